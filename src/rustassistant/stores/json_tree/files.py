"""Files of a tree that is being written, each reached from its root without following a link.

What is new is written into a directory of its own in the root, made durable all at once, and only
then given its names: a process that dies leaves no half file anywhere, and nothing under a name
that a reader would take for an entry. One wait for the disk serves a whole batch, since a wait for
each of twenty thousand files takes minutes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from rustassistant.errors import (
    DestinationError,
    EntryError,
    LockedError,
    OutOfSpaceError,
    RustAssistantError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.json_tree.layout import UNFINISHED
from rustassistant.stores.json_tree.reading import read_file

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_NO_LINKS: Final = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))


class Taken(Exception):  # noqa: N818 - it is an answer, not an error
    """Something has the name already."""


def directory_below(
    root: int | None, parts: Sequence[bytes | str], *, make: bool = False
) -> int | None:
    """An open descriptor of a directory below ``root``; None if there is none and none is made.

    Raises EntryError if a link or something else stands in the way.
    """
    if root is None:
        return None
    current = os.dup(root)
    try:
        for part in parts:
            try:
                below = os.open(part, _DIRECTORY, dir_fd=current)
            except FileNotFoundError:
                if not make:
                    return None
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=current)
                os.fsync(current)
                below = os.open(part, _DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
        result, current = current, -1
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        in_the_way = error.errno in (errno.ELOOP, errno.ENOTDIR)
        reason = "no directory, and links are not followed" if in_the_way else error.strerror
        place = "/".join(map(printable, parts))
        raise EntryError(f"{place}: {reason}") from None
    finally:
        if current >= 0:
            os.close(current)
    return result


def present(directory: int, name: bytes) -> bytes | None:
    """The bytes of a file that is there already; None if there is none.

    Raises EntryError, saying why, if it is no file that can be read.
    """
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EntryError(f"cannot be looked at: {error.strerror}") from None
    if stat.S_ISLNK(status.st_mode):
        raise EntryError("a symbolic link has its name; it was left alone")
    return read_file(os.fsdecode(name), directory=directory).text


class Looked:
    """The root of a tree that would be written to: nothing is, and all else goes its way."""

    def __init__(self, path: str) -> None:
        self.descriptor = _opened(path) if os.path.isdir(path) else None

    def close(self) -> None:
        """Nothing was made."""
        if self.descriptor is not None:
            os.close(self.descriptor)

    def write(self, number: int, text: bytes) -> None:
        """Nowhere."""

    def drop(self, number: int) -> None:
        """Nothing to forget."""


def _opened(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


class Root:
    """The root of a tree while we write to it. No other writer of ours can at the same time."""

    def __init__(self, path: str) -> None:
        self.path = path
        with self.errors_named():
            os.makedirs(path, 0o700, exist_ok=True)
            self.descriptor = _opened(path)
        self._unfinished: int | None = None
        try:
            # The lock is the kernel's, on the directory itself: it leaves nothing behind.
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with self.errors_named():
                self._clear()
        except BlockingIOError:
            holder = lock_holder(os.fstat(self.descriptor))
            os.close(self.descriptor)
            raise LockedError(f"{printable(path)} is being written to by {holder}") from None
        except BaseException:
            os.close(self.descriptor)
            raise

    @contextmanager
    def errors_named(self) -> Iterator[None]:
        """Turn what the operating system says into an error of ours."""
        try:
            yield
        except OSError as error:
            raise _named(error, self.path) from None

    def _clear(self) -> None:
        """Remove what a run that died has left unfinished."""
        with suppress(EntryError):
            left = directory_below(self.descriptor, [UNFINISHED])
            if left is None:
                return
            try:
                for name in os.listdir(left):
                    if name.isdecimal():
                        os.unlink(name, dir_fd=left)
            finally:
                os.close(left)
            with suppress(OSError):
                os.rmdir(UNFINISHED, dir_fd=self.descriptor)

    def close(self) -> None:
        """Remove what has got no name, and let the lock go. What can't be removed, the next run
        removes."""
        try:
            if self._unfinished is not None:
                os.close(self._unfinished)
                self._unfinished = None
                with suppress(OSError):
                    self._clear()
        finally:
            os.close(self.descriptor)

    def _unfinished_directory(self) -> int:
        if self._unfinished is None:
            try:
                self._unfinished = directory_below(self.descriptor, [UNFINISHED], make=True)
            except EntryError as error:
                raise DestinationError(f"{printable(self.path)}: {error.message}") from None
        assert self._unfinished is not None  # noqa: S101 - it was made
        return self._unfinished

    def write(self, number: int, text: bytes) -> None:
        """Put bytes where nobody looks, to be named later by that number."""
        with self.errors_named():
            directory = self._unfinished_directory()
            descriptor = os.open(str(number), _NEW_FILE, 0o600, dir_fd=directory)
            with open(descriptor, "wb", buffering=0) as file:
                rest = memoryview(text)
                while rest:
                    rest = rest[file.write(rest) :]

    def drop(self, number: int) -> None:
        """Forget what `write` put there."""
        with self.errors_named():
            os.unlink(str(number), dir_fd=self._unfinished_directory())

    def name(self, number: int, directory: int, name: bytes, *, replace: bool = False) -> None:
        """Give it its name. Raises Taken rather than replace anything, unless told to."""
        source = self._unfinished_directory()
        if replace:
            os.rename(str(number), name, src_dir_fd=source, dst_dir_fd=directory)
            return
        try:
            # A link fails where a rename would replace what somebody else has just put there.
            os.link(str(number), name, src_dir_fd=source, dst_dir_fd=directory,
                    follow_symlinks=False)  # fmt: skip
        except FileExistsError:
            raise Taken from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if _exists(directory, name):
                raise Taken from None
            os.rename(str(number), name, src_dir_fd=source, dst_dir_fd=directory)
            return
        os.unlink(str(number), dir_fd=source)


def keep_aside(directory: int, name: bytes, aside: int, new_name: bytes) -> None:
    """Give a file a second name, in ``aside``, or move it there if links are not to be had.

    Raises Taken if something has that name there.
    """
    try:
        os.link(name, new_name, src_dir_fd=directory, dst_dir_fd=aside, follow_symlinks=False)
    except FileExistsError:
        raise Taken from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if _exists(aside, new_name):
            raise Taken from None
        os.rename(name, new_name, src_dir_fd=directory, dst_dir_fd=aside)
    os.fsync(aside)


def _exists(directory: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def lock_holder(status: os.stat_result) -> str:
    """Who holds the lock on a directory, as far as Linux's /proc/locks tells."""
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError), open("/proc/locks", encoding="utf-8") as locks:
        for line in locks:
            # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:131072 0 EOF
            parts = line.split()
            if parts[1] == "FLOCK" and parts[5] == wanted and int(parts[4]) > 0:
                return f"process {parts[4]}"
    return "another process"


def _named(error: OSError, path: str) -> RustAssistantError:
    place = printable(path)
    if error.errno in _NO_ROOM:
        return OutOfSpaceError(f"the disk of {place} is full")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return DestinationError(
            f"{place} is a file, or lies below one", hint="Name a directory to export to."
        )
    return DestinationError(
        f"{place} cannot be written: {error.strerror}",
        hint="Check its permissions, or name another directory.",
    )
