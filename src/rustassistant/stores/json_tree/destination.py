"""A directory that a JSON cache tree is written to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rustassistant.errors import DestinationError
from rustassistant.stores.base import Folder, StoreInfo, printable
from rustassistant.stores.json_tree.files import Looked, Root
from rustassistant.stores.json_tree.finding import TreeFinder
from rustassistant.stores.json_tree.naming import Tally
from rustassistant.stores.json_tree.places import Layout, Placement
from rustassistant.stores.json_tree.writing import TreeWriter
from rustassistant.stores.outcomes import Rules

_NEWEST: Final = Rules()


class JsonTreeDestination:
    """The tree at ``path``, which is made if need be.

    ``layout`` None puts each folder where it came from; ``folders`` are all that will come, if that
    is known. With ``every``, older results of a path are kept too, under names of their own.
    ``tally`` tells what became of the entries of the latest run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        layout: Layout | None = None,
        folders: Iterable[Folder] = (),
        every: bool = True,
    ) -> None:
        self.path = os.path.realpath(path)
        self.tally = Tally()
        self._placement = Placement(layout, folders)
        self._every = every
        self._only_looks = False

    def info(self) -> StoreInfo:
        """Where it is, and the bytes of its files. A missing one has size 0."""
        return StoreInfo("json", printable(self.path), _size(self.path))

    def check_writable(self) -> None:
        """Raise now what opening the writer would raise later. Makes nothing."""
        place = self._nearest()
        if not os.path.isdir(place):
            raise DestinationError(
                f"{printable(self.path)} is a file, or lies below one",
                hint="Name a directory to export to.",
            )
        if not os.access(place, os.W_OK | os.X_OK):
            raise DestinationError(
                f"{printable(self.path)} cannot be written: no permission in {printable(place)}",
                hint="Check its permissions, or name another directory.",
            )

    def room(self) -> int | None:
        """Free bytes on its disk, for users like us."""
        return shutil.disk_usage(self._nearest()).free

    def _nearest(self) -> str:
        place = self.path
        while not os.path.lexists(place):
            place = os.path.dirname(place)
        return place

    @contextmanager
    def writer(self, rules: Rules = _NEWEST) -> Iterator[TreeWriter]:
        """The one writer; makes the directory. Raises LockedError, naming who."""
        root = Looked(self.path) if self._only_looks else Root(self.path)
        try:
            writer = TreeWriter(root, self.path, self._placement, rules, every=self._every)
            self.tally = writer.tally
            try:
                yield writer
                writer.finish()
            finally:
                writer.close()
        finally:
            root.close()

    @contextmanager
    def rehearsal(self) -> Iterator[JsonTreeDestination]:
        """One that compares with what is there, and writes nothing."""
        looking = JsonTreeDestination(self.path, every=self._every)
        looking._placement = self._placement
        looking._only_looks = True
        yield looking

    def finder(self) -> TreeFinder:
        """Looks entries up, in this process or another."""
        return TreeFinder(self.path, self._placement)


def _size(path: str) -> int:
    size = 0
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # what can't be looked at is not counted
    return size
