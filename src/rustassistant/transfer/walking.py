"""Everything below a directory, in an order that is the same for every copy of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import IO, Final, NamedTuple

from rustassistant.errors import BackupError
from rustassistant.stores.base import printable

ReportCopied = Callable[[int, int], None]
"""Called with the bytes copied so far and the bytes in all."""

ATTEMPTS: Final = 5
"""How often a file is read that others write to at this moment, before giving up."""

_KEPT: Final = (stat.S_ISDIR, stat.S_ISREG, stat.S_ISLNK, stat.S_ISFIFO)


class Found(NamedTuple):
    """Something that lies in a tree: its path, the names that lead to it from the root."""

    path: str
    parts: tuple[str, ...]
    status: os.stat_result


def walk(directory: str) -> Iterator[Found]:
    """Each directory before what is in it, by name as bytes; links are not followed.

    Sockets and devices are left out: they are somebody's endpoints and hold nothing to keep. Holds
    the names of one directory a level, no more.
    """
    pending = [_entries(directory, ())]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        yield found
        if stat.S_ISDIR(found.status.st_mode):
            pending.append(_entries(found.path, found.parts))


def _entries(directory: str, parts: tuple[str, ...]) -> Iterator[Found]:
    names = sorted(os.listdir(directory), key=os.fsencode)
    for name in names:
        path = os.path.join(directory, name)
        status = os.lstat(path)
        if any(kind(status.st_mode) for kind in _KEPT):
            yield Found(path, (*parts, name), status)


def size_of(directory: str) -> int:
    """Bytes in the files below it."""
    sizes = (one.status.st_size for one in walk(directory) if stat.S_ISREG(one.status.st_mode))
    return sum(sizes)


def below(root: str, parts: tuple[str, ...]) -> str:
    """The path that names lead to."""
    return "/".join((root, *parts))


def opened(path: str) -> IO[bytes]:
    """A file of a tree for reading, not what a link leads to, nor waiting at a FIFO."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(os.open(path, flags), "rb")


def state_of(status: os.stat_result) -> tuple[int, int, int]:
    """What differs after a file was written to."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def changing(path: str) -> BackupError:
    """The error for a file that never holds still."""
    return BackupError(
        f"{printable(path)} changes while it is copied",
        hint="Stop what writes to it, then run the same command again.",
    )
