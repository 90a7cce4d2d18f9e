"""The pages of a database file as of one moment, for reading them without SQLite."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory, gettempdir
from typing import BinaryIO, Final

import apsw

from rustassistant.errors import OutOfSpaceError
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.integrity.pages import Pages

_CHUNK_BYTES: Final = 2**20
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24


@contextmanager
def image_of(
    path: str, connection: apsw.Connection | None, directory: str | None = None
) -> Iterator[Pages]:
    """The pages of a database at this moment, its log's included.

    ``connection`` reads it as far as SQLite can; without one the bytes are taken as they lie
    there. A copy is made in ``directory`` (the system's for temporary files) and removed again.
    """
    with TemporaryDirectory(prefix="rustassistant-", dir=directory) as place:
        copy = os.path.join(place, "image")
        try:
            if connection is None or not _backed_up(connection, copy):
                copy_bytes(path, copy)
                _play_log(path + "-wal", copy)
        except (OSError, apsw.FullError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OutOfSpaceError(
                f"the disk that holds {printable(directory or gettempdir())} is full",
                hint="A damaged database is copied there to read its pages; TMPDIR names another "
                "place for that.",
            ) from None
        with open(copy, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            view = memoryview(mapped)
            try:
                yield Pages(view)
            finally:
                view.release()


def _backed_up(connection: apsw.Connection, copy: str) -> bool:
    target = apsw.Connection(copy)
    try:
        target.execute("PRAGMA synchronous=OFF")
        with target.backup("main", connection, "main") as backup:
            while not backup.done:
                backup.step(1024)
    except (apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError):
        return False
    finally:
        target.close()
    return os.path.getsize(copy) > 0


def copy_bytes(path: str, copy: str) -> None:
    """Copy a database file as it lies there, through SQLite's own file layer.

    Closing a plain descriptor would drop the locks that connections of this process hold.
    https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    flags = [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0]
    file = apsw.VFSFile("", path, flags)
    descriptor = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        size, position = os.path.getsize(path), 0
        with os.fdopen(descriptor, "wb") as target:
            while position < size:
                part = file.xRead(min(_CHUNK_BYTES, size - position), position)
                target.write(part)
                position += len(part)
            target.flush()
            os.fsync(target.fileno())
    finally:
        file.xClose()


def _play_log(log: str, copy: str) -> None:
    """Write a log's committed pages over a copy: https://www.sqlite.org/fileformat2.html#walformat"""
    try:
        source = open(log, "rb")  # noqa: SIM115 - closed below; there may be none
    except FileNotFoundError:
        return
    with source, open(copy, "r+b") as target:
        header = source.read(_WAL_HEADER)
        size = int.from_bytes(header[8:12], "big")
        if len(header) < _WAL_HEADER or not 512 <= size <= 2**16:
            return
        committed = _committed(source, header[16:24], size)
        source.seek(_WAL_HEADER)
        for _ in range(committed):
            frame = source.read(_FRAME_HEADER + size)
            target.seek((int.from_bytes(frame[:4], "big") - 1) * size)
            target.write(frame[_FRAME_HEADER:])


def _committed(source: BinaryIO, salt: bytes, size: int) -> int:
    """How many frames of a log there are up to the end of its last transaction."""
    committed = number = 0
    while len(frame := source.read(_FRAME_HEADER + size)) == _FRAME_HEADER + size:
        if frame[8:16] != salt or not any(frame[:4]):
            break  # of an earlier round
        number += 1
        if any(frame[4:8]):
            committed = number
    return committed
