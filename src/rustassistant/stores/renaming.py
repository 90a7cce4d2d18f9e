"""Renaming that never replaces anything unasked, and swapping two names in one step.

Linux does both in the kernel; elsewhere they are done as nearly as can be.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_AT_FDCWD: Final = -100
_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
"""``AT_FDCWD``, ``RENAME_NOREPLACE`` and ``RENAME_EXCHANGE``:
https://man7.org/linux/man-pages/man2/renameat2.2.html"""

_UNSUPPORTED: Final = frozenset((errno.ENOSYS, errno.EINVAL, errno.ENOTSUP))


def rename_new(old: str, new: str) -> None:
    """Give a file or directory a name that is free. Raises FileExistsError if it is not.

    Where the system can't promise that, a name that is taken in the very moment between looking and
    renaming is replaced; a directory with something in it never is.
    """
    if _rename(old, new, _NOREPLACE):
        return
    try:
        os.lstat(new)  # where even this fails, something may be there
    except FileNotFoundError:
        os.rename(old, new)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)


def exchange(one: str, other: str) -> bool:
    """Swap what two names stand for: nobody ever finds either of them missing.

    False, and nothing is done, where the system or the file system can't do that.
    """
    return _rename(one, other, _EXCHANGE)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hear of Ctrl-C and of being asked to end only afterwards: not between two renames."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _rename(old: str, new: str, flags: int) -> bool:
    """``renameat2``; False if there is none for these."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    place, target = os.fsencode(old), os.fsencode(new)
    if function(_AT_FDCWD, place, _AT_FDCWD, target, ctypes.c_uint(flags)) == 0:
        return True
    error = ctypes.get_errno()
    if error in _UNSUPPORTED:
        return False
    raise OSError(error, os.strerror(error), old, None, new)
