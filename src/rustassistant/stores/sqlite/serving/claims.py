"""Claims to computations: locked files beside the database, one for each key under way.

The kernel holds the locks (flock), so a claim ends with its holder's process, however that ends,
and nobody has to guess from process ids, which containers use again, or from clocks. A row in the
database would need its write lock, which a migration may hold for minutes.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from typing import Final

from rustassistant.errors import DestinationError
from rustassistant.stores.base import printable

SUFFIX: Final = ".claims"
_FLAGS: Final = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class FileClaim:
    """A lock that this process holds until `release`, or its end."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        _held[descriptor] = self

    def release(self) -> None:
        """Remove the file, then let its lock go: who waits for that file finds another there."""
        if _held.get(self._descriptor) is not self:
            return  # released already, or inherited by a fork: it is the parent's to release
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        del _held[self._descriptor]
        os.close(self._descriptor)
        self._descriptor = -1


def claim(database: str, key: bytes) -> FileClaim | None:
    """The claim to a key for this database, or None while somebody else has it.

    Raises DestinationError where no such file can be made.
    """
    directory = database + SUFFIX
    path = os.path.join(directory, key.hex())
    try:
        while True:
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
            with suppress(FileNotFoundError):  # somebody has just removed the empty directory
                return _try(path)
    except OSError as error:
        raise DestinationError(
            f"{printable(path)} cannot be made: {error.strerror}",
            hint="What several programs ask for at once may be computed by each of them.",
        ) from None


def _try(path: str) -> FileClaim | None:
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(path, descriptor):
                return FileClaim(path, descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder has removed it meanwhile


def _is_there(path: str, descriptor: int) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def sweep(database: str) -> None:
    """Remove what processes that were killed have left, and the directory if nothing is in it."""
    directory = database + SUFFIX
    with suppress(OSError):
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                left = _try(path)
                if left is not None:
                    left.release()
        os.rmdir(directory)


def _forget_in_child() -> None:
    """The child's descriptors would keep the parent's locks beyond its end."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


_held: Final[dict[int, FileClaim]] = {}
os.register_at_fork(after_in_child=_forget_in_child)
