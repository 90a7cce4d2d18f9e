"""Changing a tree that others write to as well: adding, replacing and removing single files.

Nothing is ever unlinked that is not also somewhere else: what has to be kept is moved, or has got a
second name, in a dated trash directory beside the tree before its own name goes. Before a file is
replaced or removed it is looked at, and again when it is out of the way: one that somebody changed
in between goes back.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from rustassistant.errors import EntryError
from rustassistant.stores.json_tree.files import (
    Root,
    Taken,
    directory_below,
    keep_aside,
    present,
)
from rustassistant.stores.json_tree.layout import LOCAL_DIRECTORY, UNFINISHED
from rustassistant.stores.json_tree.meta import META_NAME, path_in
from rustassistant.stores.json_tree.places import Place, suffixed
from rustassistant.stores.json_tree.reading import read_file
from rustassistant.stores.json_tree.standing import Standing
from rustassistant.stores.renaming import exchange, rename_new

_META: Final = META_NAME.encode()
_FEW: Final = 50
_OPEN_FILES: Final = "/proc/self/fd"
_CHANGED: Final = "was changed by somebody else meanwhile: left for the next run"
_FATAL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))

Expected = Callable[[bytes], bool]
"""Whether a file's text is what was found when the tree was listed."""


class Change(NamedTuple):
    """One file: ``number`` is where its new text was staged, None to remove it.

    ``expected`` judges the text that has the name now, None if the name is to be free; ``is_news``
    says whether a text that has it all the same has come since the tree was listed. What leaves
    goes to the trash if ``keeps``, and stays under a name of its own if ``beside``.
    """

    place: Place
    name: bytes
    number: int | None
    digest: bytes
    repository: str
    expected: Expected | None = None
    is_news: Expected | None = None
    keeps: bool = True
    beside: bool = False


class TreeChanges:
    """Holds the lock on the tree until `close`. `stage` comes first, then `settle`, then `do`."""

    def __init__(self, standing: Standing) -> None:
        self._root = Root(standing.base)
        self._standing = standing
        self._numbers = 0
        self._trash: str | None = None
        self._touched: set[tuple[bytes, ...]] = set()
        self._unsettled: set[int] = set()
        self._owned: set[tuple[bytes, ...]] = set()

    @property
    def trash(self) -> str | None:
        """Where removed and replaced files are, if there were any."""
        return self._trash

    def close(self) -> None:
        """Let the lock go."""
        self._root.close()

    def stage(self, text: bytes) -> int:
        """Put a text where nobody looks."""
        self._numbers += 1
        self._root.write(self._numbers, text)
        self._unsettled.add(self._numbers)
        return self._numbers

    def settle(self) -> None:
        """Make all that was staged durable: of many files, with one wait for the whole disk."""
        if len(self._unsettled) > _FEW:
            os.sync()
        else:
            with self._root.errors_named():
                for number in self._unsettled:
                    path = os.path.join(self._root.path, UNFINISHED, str(number))
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
        self._unsettled.clear()

    def do(self, change: Change) -> None:
        """Make one change. Raises EntryError, saying why, if it can't be made; nothing is then."""
        try:
            self._do(change)
        except OSError as error:
            if error.errno in _FATAL:
                with self._root.errors_named():
                    raise
            raise EntryError(f"cannot be changed: {error.strerror}") from None

    def finish(self) -> None:
        """Make all changes durable."""
        for parts in sorted(self._touched):
            with suppress(EntryError), self._root.errors_named():
                directory = directory_below(self._root.descriptor, parts)
                if directory is not None:
                    try:
                        os.fsync(directory)
                    finally:
                        os.close(directory)
        self._touched.clear()

    def _do(self, change: Change) -> None:
        parts = change.place.parts
        making = change.number is not None and change.expected is None
        if making and change.place.owner:
            self._own(change)
        directory = directory_below(self._root.descriptor, parts, make=making)
        if directory is None:
            raise EntryError(_CHANGED)
        try:
            if change.number is None:
                self._remove(change, directory)
            elif change.expected is None:
                self._add(change, directory, change.number)
            else:
                self._replace(change, directory, change.number)
        finally:
            os.close(directory)
        self._touched.add(parts)

    # A repository's directory.

    def _own(self, change: Change) -> None:
        """Have ``meta.json`` there before its entries are, and see that it is this repository's."""
        parts = change.place.parts[: change.place.owner]
        if parts in self._owned:
            return
        directory = directory_below(self._root.descriptor, parts, make=True)
        assert directory is not None  # noqa: S101 - it was made
        try:
            there = present(directory, _META)
            if there is not None:
                if change.place.meta is not None and path_in(there) != change.repository:
                    raise EntryError("its directory belongs to another repository")
            elif change.place.meta is not None:
                number = self.stage(change.place.meta)
                self.settle()
                with suppress(Taken):
                    self._root.name(number, directory, _META)
                os.fsync(directory)
        finally:
            os.close(directory)
        self._owned.add(parts)

    # One file.

    def _add(self, change: Change, directory: int, number: int) -> None:
        """Under its own name if that is free, else under the one that its text gives it."""
        for name in (change.name, suffixed(change.name, change.digest)):
            try:
                self._root.name(number, directory, name)
            except Taken:
                there = _taken_by(directory, name)
                if sha256(there).digest() == change.digest:
                    self._root.drop(number)
                    return
                if change.is_news is not None and change.is_news(there):
                    raise EntryError(_CHANGED) from None
            else:
                return
        raise EntryError("another file has the name that is meant for it")

    def _replace(self, change: Change, directory: int, number: int) -> None:
        text = self._as_expected(change, directory)
        name = change.name
        if change.beside:
            with suppress(Taken):  # that name tells the content
                keep_aside(directory, name, directory, suffixed(name, sha256(text).digest()))
        elif change.keeps:
            self._keep(change, directory)
        staged = os.path.join(self._root.path, UNFINISHED, str(number))
        target = self._path(directory, change.place.parts, name)
        if not exchange(staged, target):
            # No step that swaps: whoever changes the file in this instant loses to us.
            os.rename(staged, target)
            return
        if _text(staged) != text:
            exchange(staged, target)
            raise EntryError(_CHANGED)
        self._root.drop(number)

    def _remove(self, change: Change, directory: int) -> None:
        text = self._as_expected(change, directory)
        parts, new_name = change.place.parts, change.name
        name = self._path(directory, parts, change.name)
        aside = self._aside(change)
        try:
            while True:
                kept = self._path(aside, parts, new_name, root=self._trash)
                try:
                    rename_new(name, kept)
                    break
                except FileExistsError:
                    new_name += b"~"
            os.fsync(aside)
            if _text(kept) != text:
                rename_new(kept, name)
                raise EntryError(_CHANGED)
        finally:
            os.close(aside)

    def _as_expected(self, change: Change, directory: int) -> bytes:
        text = present(directory, change.name)
        if text is None or change.expected is None or not change.expected(text):
            raise EntryError(_CHANGED)
        return text

    def _keep(self, change: Change, directory: int) -> None:
        aside, name = self._aside(change), change.name
        try:
            while True:
                try:
                    keep_aside(directory, change.name, aside, name)
                    break
                except Taken:
                    name += b"~"
        finally:
            os.close(aside)

    def _aside(self, change: Change) -> int:
        """The directory of the trash in which a file goes, as it lay in the tree."""
        if self._trash is None:
            self._trash = _new_trash(self._standing)
        trash = os.open(self._trash, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._take_meta_along(change, trash)
            aside = directory_below(trash, change.place.parts, make=True)
        finally:
            os.close(trash)
        assert aside is not None  # noqa: S101 - it was made
        return aside

    def _take_meta_along(self, change: Change, trash: int) -> None:
        """Copy ``meta.json``, whole, so that what is in the trash can be migrated as it is."""
        owner = change.place.parts[:1]
        if owner == (LOCAL_DIRECTORY.encode(),):
            return
        source = directory_below(self._root.descriptor, owner)
        target = directory_below(trash, owner, make=True)
        try:
            if source is not None and target is not None:
                with suppress(EntryError, Taken):
                    text = None if present(target, _META) else present(source, _META)
                    if text is not None:
                        number = self.stage(text)
                        self.settle()
                        self._root.name(number, target, _META)
                        os.fsync(target)
        finally:
            for descriptor in (source, target):
                if descriptor is not None:
                    os.close(descriptor)

    def _path(
        self, directory: int, parts: tuple[bytes, ...], name: bytes, *, root: str | None = None
    ) -> str:
        """A file's path, where it can be through an open directory, which nobody can swap."""
        if os.path.isdir(_OPEN_FILES):
            return os.path.join(_OPEN_FILES, str(directory), os.fsdecode(name))
        below = os.fsdecode(b"/".join((*parts, name)))
        return os.path.join(self._root.path if root is None else root, below)


def _taken_by(directory: int, name: bytes) -> bytes:
    """What has a name; nothing, if that is no file. Raises EntryError for a file that can't be
    read: it may be the very one."""
    try:
        return present(directory, name) or b""
    except EntryError:
        with suppress(FileNotFoundError):
            if stat.S_ISREG(os.lstat(name, dir_fd=directory).st_mode):
                raise
        return b""


def _text(path: str) -> bytes | None:
    try:
        return read_file(path).text
    except EntryError:
        return None


def _new_trash(standing: Standing) -> str:
    """Make it: beside the tree, or in it where that can't be; in a repository, with its cache.

    It is called a backup, which listings know and leave alone.
    """
    base = standing.base
    name = f"trash.backup-{datetime.now().astimezone():%Y-%m-%dT%H%M%S}"
    if standing.local is not None:
        return _made(os.path.join(base, LOCAL_DIRECTORY, name))
    parent = os.path.dirname(base)
    same_disk = os.stat(parent).st_dev == os.stat(base).st_dev
    if same_disk and os.access(parent, os.W_OK | os.X_OK):
        return _made(f"{base}.{name}")
    return _made(os.path.join(base, name))


def _made(wanted: str) -> str:
    number = 1
    while True:
        path = wanted if number == 1 else f"{wanted}-{number}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            number += 1
            continue
        parent = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
        return path
