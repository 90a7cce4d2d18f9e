"""Listing one directory of a tree: files that may be entries by name alone, the rest as found."""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple

from rustassistant.native import names_alone
from rustassistant.stores.json_tree.reading import is_fresh

SUFFIX: Final = ".json"
_SUFFIX: Final = SUFFIX.encode()
_ROOM: Final = 8 * 2**20
"""Characters of names to remember: those of a quarter of a million files. Whatever the size of a
tree, it takes no more memory."""


class Scanned(NamedTuple):
    """Names of regular files that end in ``.json``, sorted, and whatever else lies there."""

    names: list[str]
    rest: list[os.DirEntry[str]]


def scan(path: str) -> Scanned:
    """List a directory. Raises OSError if it can't be listed to its end."""
    if names_alone is not None and (alone := names_alone(path, _SUFFIX)) is not None:
        alone.sort()
        return Scanned(alone, [])
    # Almost all of it are entries, so of these nothing but names is kept, which sort quickly.
    names, rest = [], []
    with os.scandir(path) as found:
        for one in found:
            name = one.name
            if name.endswith(SUFFIX) and one.is_file(follow_symlinks=False):
                names.append(name)
            else:
                rest.append(one)
    names.sort()
    rest.sort(key=lambda one: one.name)
    return Scanned(names, rest)


class _Kept(NamedTuple):
    times: tuple[int, int, int]
    names: str


class Rescan:
    """Lists directories twice, but looks into each only once if nothing has come or gone between.

    That shows in the directory's own times: of one so fresh that it might not, or that holds
    anything but entries, or when there is no room, nothing is remembered.
    """

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._kept: dict[str, _Kept] = {}

    def first(self, path: str) -> Scanned:
        """List a directory, and remember its names if need be."""
        now = time.time_ns()
        times = _times(path)
        scanned = scan(path)
        if scanned.names and not scanned.rest and not is_fresh(times[0], now):
            names = "/".join(scanned.names)
            if len(names) <= self._room:
                self._room -= len(names)
                self._kept[path] = _Kept(times, names)
        return scanned

    def again(self, path: str) -> Scanned:
        """What `first` found there, if that still holds, which is then forgotten."""
        kept = self._kept.pop(path, None)
        if kept is None:
            return scan(path)
        self._room += len(kept.names)
        return Scanned(kept.names.split("/"), []) if _times(path) == kept.times else scan(path)


def _times(path: str) -> tuple[int, int, int]:
    """When a directory has changed last, and which it is: its times and its inode."""
    status = os.stat(path, follow_symlinks=False)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino
