"""Reading one file of a tree that others may be writing to at this moment."""

from __future__ import annotations

import os
import stat
from typing import Final, NamedTuple

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.errors import EntryError
from rustassistant.native import stamp

_ATTEMPTS: Final = 3
READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""A link is refused where it stands, and opening a FIFO does not wait for its other end."""

COARSE_CLOCK_NS: Final = 2 * 10**9
FINE_CLOCK_NS: Final = 50 * 10**6
"""A file changed within its clock's step before being read could change again without its time
showing it. FAT's step is two seconds, the longest there is; where times have a fraction, it is the
kernel's own, of at most ten milliseconds."""


_64_BITS: Final = 2**64 - 1
_48_BITS: Final = 2**48 - 1


class FileText(NamedTuple):
    """A file's bytes, and its stamp: None where it was too fresh for its times to be trusted."""

    text: bytes
    stamp: int | None


def read_file(path: str, *, directory: int | None = None, now: int | None = None) -> FileText:
    """The whole of a regular file, read at a moment when it did not change.

    ``directory`` is an open descriptor that ``path`` is relative to; ``now`` is nanoseconds since
    1970, no later than the first read. Raises EntryError, saying why, if it can't be read.
    """
    try:
        descriptor = os.open(path, READ_FLAGS, dir_fd=directory)
    except OSError as error:
        raise EntryError(_reason(error)) from None
    try:
        for _ in range(_ATTEMPTS):
            before = os.fstat(descriptor)
            _check(before)
            text = _read(descriptor, before.st_size)
            after = os.fstat(descriptor)
            if (
                len(text) == after.st_size
                and before.st_mtime_ns == after.st_mtime_ns
                and before.st_ctime_ns == after.st_ctime_ns
            ):
                trusted = now is not None and not is_fresh(after.st_mtime_ns, now)
                return FileText(text, stamp_of(after) if trusted else None)
            os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        raise EntryError(_reason(error)) from None
    finally:
        os.close(descriptor)
    raise EntryError("changes while it is being read; run again when its writer has finished")


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise EntryError("not a regular file")
    if status.st_size > MAX_TEXT_BYTES:
        raise EntryError(
            f"larger than an entry can be: {status.st_size} bytes, "
            f"of at most {MAX_TEXT_BYTES // 2**20} MiB"
        )


def _read(descriptor: int, size: int) -> bytes:
    """All bytes, and one more if the file has grown: asking for it shows that it has not."""
    text = os.read(descriptor, size + 1)
    if len(text) == size:
        return text
    parts = [text]
    length = len(text)
    while length <= size and (text := os.read(descriptor, size + 1 - length)):
        parts.append(text)
        length += len(text)
    return b"".join(parts)


def is_fresh(changed: int, now: int) -> bool:
    """Whether a file that was changed at one time could, at another, change without its time."""
    step = FINE_CLOCK_NS if changed % 10**9 else COARSE_CLOCK_NS
    return changed > now - step


def stamp_of(status: os.stat_result) -> int:
    """48 bits that differ when a file is changed, touched or replaced.

    Of its size, its times of modification and of status change to the nanosecond, and its inode;
    kept in place of these because it takes a fifth of their space in every row. The second time
    betrays those who change a file and set its first time back.
    """
    facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    if stamp is not None:
        return stamp(*facts)
    state = 0
    for fact in facts:  # as `_mixed` of native/files.pyx: splitmix64
        state = ((state ^ fact) + 0x9E3779B97F4A7C15) & _64_BITS
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & _64_BITS
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & _64_BITS
        state ^= state >> 31
    return (state & _48_BITS) - 2**47


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "vanished before it could be read"
    return f"cannot be read: {error.strerror}"
