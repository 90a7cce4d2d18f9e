"""Listing a JSON cache tree for a sync: all of it, or what news name of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from rustassistant.stores.base import Folder, Found, printable
from rustassistant.stores.json_tree.layout import Listing, walk, walk_part
from rustassistant.stores.json_tree.reading import stamp_of
from rustassistant.stores.json_tree.store import JsonPartition
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.sync.elements import columns_of, element_of, facts_of
from rustassistant.sync.news import News
from rustassistant.sync.owners import Owners
from rustassistant.sync.side import KeyOf, Listed
from rustassistant.sync.state import Container, Item, State

_BATCH: Final = 2_000


class TreeListing:
    """One listing of the tree at ``path``, which is ``side`` of a pair."""

    def __init__(
        self, path: str, state: State, side: int, key_of: KeyOf, *, is_single: bool
    ) -> None:
        self._path = path
        self._state = state
        self._side = side
        self._key_of = key_of
        self._is_single = is_single
        self._listed = Listed()
        self._untold: set[str] = set()

    def whole(self) -> Listed:
        """Look at every file, and read what is not as it was when it was last read."""
        self._listed.whole = True
        self._state.begin_listing()
        self._walk(walk(self._path), self._state.containers(self._side))
        self._state.end_listing(self._side)
        return self._listed

    def of_news(self, news: News) -> Listed | None:
        """Look at the files that the news name, and walk the directories right below the root in
        which something else has changed. None if that does not suffice to judge them."""
        if news.whole:
            return None
        parts, named = set(news.parts), []
        for directory, names in news.names.items():
            containers = self._state.containers_at(self._side, directory)
            if not containers:
                parts.add(self._part_of(directory))
            elif len(containers) > 1:
                return None
            else:
                named.append((containers[0], sorted(names)))
        if parts and (self._is_single or b"" in parts):
            return None
        for container, some in named:
            if self._part_of(container.path) not in parts and not self._name(container, some):
                return None
        return self._listed if all(map(self._walk_part, sorted(parts))) else None

    def _part_of(self, directory: bytes) -> bytes:
        """The directory right below the root that it is, or lies in."""
        return directory[len(os.fsencode(self._path)) :].lstrip(b"/").split(b"/", 1)[0]

    def _walk_part(self, part: bytes) -> bool:
        """Look at every file of a directory right below the root; whether it is one."""
        path = os.path.join(os.fsencode(self._path), part)
        if not _is_real_directory(path):
            return False
        self._listed.below.append(printable(path) + "/")
        self._state.begin_listing()
        known = [one for one in self._state.containers(self._side) if _is_below(one.path, path)]
        self._walk(walk_part(self._path, os.fsdecode(part)), known)
        self._state.end_listing(self._side, path)
        return True

    def _walk(
        self, walked: Iterator[Listing | Failure | Problem], known: Iterable[Container]
    ) -> None:
        """Take in what is found where those containers were known."""
        owners = Owners(known, self._key_of)
        for item in walked:
            if isinstance(item, Problem):
                self._listed.problems.append(item)
            elif isinstance(item, Failure):
                hides = _is_directory(item.path) or self._state.lies_below(
                    self._side, os.fsencode(item.path)
                )
                (self._listed.unlisted if hides else self._listed.failures).append(item)
                self._untold.add(item.path)
            else:
                folder = owners.as_remembered(item).folder
                container = self._state.container(self._side, os.fsencode(item.path), folder)
                there = set(map(os.fsencode, item.names))
                self._read(container, item.names, self._state.known(container), there)
        for empty in owners.of_lost():
            container = self._state.container(self._side, empty.path, empty.folder)
            self._state.drop(container, self._state.known(container))
        owners.tell(self._listed)

    def _name(self, container: Container, names: Iterable[bytes]) -> bool:
        """Look at some files of a directory; whether that is enough to judge them."""
        there = []
        for name in names:
            path = os.path.join(container.path, name)
            self._listed.files.add(printable(path))
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            except OSError:
                return False
            if not stat.S_ISREG(status.st_mode):
                return False
            there.append(name)
        # That a file is gone, and that its directory is, has to be told apart.
        if not _is_real_directory(container.path):
            return False
        known = self._state.known(container, names)
        self._read(container, list(map(os.fsdecode, there)), known, set(there))
        return True

    def _read(
        self,
        container: Container,
        names: list[str],
        known: dict[bytes, int | None],
        there: set[bytes],
    ) -> None:
        """Read those that are not as they were, and forget those that are not there."""
        path, folder = os.fsdecode(container.path), container.folder
        gone = known.keys() - there
        if self._untold:  # a link stands there, or the like: that is no deletion
            gone = {
                one for one in gone if printable(f"{path}/{os.fsdecode(one)}") not in self._untold
            }
        changed = _changed(path, names, known)
        self._listed.read += len(changed)
        for start in range(0, len(changed), _BATCH):
            some = tuple(changed[start : start + _BATCH])
            items = []
            for name, found in zip(some, JsonPartition(folder, path, some).read(), strict=True):
                if isinstance(found, Failure):
                    if _is_gone(os.path.join(path, name)):
                        gone.add(os.fsencode(name))
                    else:
                        self._listed.failures.append(found)  # what it was when read stays in mind
                elif isinstance(found, Found):
                    items.append(self._item(os.fsencode(name), found, folder))
            self._state.displace(container, [item for item in items if item.name in known])
            self._state.put(self._side, container, items)
        if gone:
            self._state.drop(container, gone)

    def _item(self, name: bytes, found: Found, folder: Folder) -> Item:
        columns = columns_of(found.entry)
        key = self._key_of(folder.repository)
        element = element_of(key, folder.cache_type, columns)
        return Item(name, found.stamp, element, facts_of(key, folder, columns))


def _is_gone(path: str) -> bool:
    """Whether there is nothing, for sure: on a bad disk, a file can't be found either."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_directory(path: str) -> bool:
    """Whether a path is a directory, or may be: one that can't be found may only look otherwise."""
    return not os.path.lexists(path) or (os.path.isdir(path) and not os.path.islink(path))


def _is_below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")


def _is_real_directory(path: bytes) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _changed(path: str, names: list[str], known: dict[bytes, int | None]) -> list[str]:
    """Names whose file is not as it was when it was read."""
    changed = []
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return names  # reading says why
    try:
        for name in names:
            stamp = known.get(os.fsencode(name))
            try:
                same = stamp is not None and stamp == stamp_of(
                    os.stat(name, dir_fd=directory, follow_symlinks=False)
                )
            except OSError:
                same = False
            if not same:
                changed.append(name)
    finally:
        os.close(directory)
    return changed
