"""Looking entries up in a JSON cache tree, as far as its names help."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rustassistant.entry import Entry
from rustassistant.entry_json import file_name, parse
from rustassistant.errors import DamagedError, EntryError, NotACacheError, NotFoundError
from rustassistant.stores.base import Candidate, Folder, Found, Query
from rustassistant.stores.json_tree.files import directory_below, present
from rustassistant.stores.json_tree.places import Placement
from rustassistant.stores.json_tree.store import JsonTree
from rustassistant.stores.outcomes import Failure, Problem

_Identity = tuple[str, ...]


class TreeFinder:
    """A view of a tree that can be sent to another process before it is opened there.

    An entry is looked for under the name that its path implies; only one that is not there makes
    the rest of its folder be read. A lookup by content reads the whole tree.
    """

    def __init__(self, path: str, placement: Placement) -> None:
        self._path = path
        self._placement = placement
        self._root: int | None = None
        self._index: tuple[Folder, dict[_Identity, list[str]]] | None = None

    def __enter__(self) -> TreeFinder:
        if os.path.isdir(self._path):
            self._root = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        if self._root is not None:
            os.close(self._root)
        self._root = self._index = None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A tree has none: each answer is of the moment when its file is read."""
        yield

    def find(self, folder: Folder, entry: Entry) -> Sequence[Entry | DamagedError]:
        """Every entry with that one's identity."""
        try:
            directory = directory_below(self._root, self._placement.place(folder).parts)
        except EntryError:
            return []
        if directory is None:
            return []
        try:
            likely = _read(directory, file_name(entry.file_path), folder)
            if likely == entry:
                return [entry]
            names = self._names(directory, folder).get(entry.identity, ())
            found = [_read(directory, name, folder) for name in names]
        finally:
            os.close(directory)
        return [one for one in found if one is not None]

    def _names(self, directory: int, folder: Folder) -> dict[_Identity, list[str]]:
        if self._index is None or self._index[0] != folder:
            names: defaultdict[_Identity, list[str]] = defaultdict(list)
            for name in sorted(os.listdir(directory)):
                one = _read(directory, name, folder) if name.endswith(".json") else None
                if one is not None:
                    names[one.identity].append(name)
            self._index = (folder, names)
        return self._index[1]

    def candidates(self, file_hash: bytes) -> Sequence[Candidate]:
        """All that the tree knows of a content."""
        return [
            Candidate(number, entry.repository, entry.cache_type, entry.file_path, entry.file_hash,
                      *entry.producer, entry.analyzed_at)
            for number, entry in enumerate(self._entries())
            if entry.file_hash == file_hash
        ]  # fmt: skip

    def lookup(self, query: Query) -> Entry | None:
        """The entry that answers, or None."""
        best = query.best(self.candidates(query.file_hash))
        if best is None:
            return None
        return next(one for number, one in enumerate(self._entries()) if number == best.id)

    def _entries(self) -> Iterator[Entry]:
        try:
            partitions = JsonTree(self._path).partitions()
            for item in partitions:
                if isinstance(item, Failure | Problem):
                    continue
                for found in item.read():
                    if isinstance(found, Found):
                        yield found.entry
        except (NotFoundError, NotACacheError):
            return


def _read(directory: int, name: str, folder: Folder) -> Entry | None:
    """The entry in a file; None for anything else, which a survey of the tree tells of."""
    try:
        text = present(directory, os.fsencode(name))
        if text is None:
            return None
        repository = folder.repository.path
        return parse(text, repository=repository, cache_type=folder.cache_type).entry
    except (EntryError, ValueError):  # the latter: a NUL, which no file's name has in it
        return None
