"""Opening a cache database safely, and recognizing what is none."""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import suppress
from typing import Final
from urllib.parse import quote

import apsw

from rustassistant.errors import (
    DestinationError,
    ForeignFileError,
    NewerFileError,
    NotFoundError,
    UnsafePlaceError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.creation import create
from rustassistant.stores.sqlite.naming import (
    NOT_A_DATABASE_HINT,
    cannot_write,
    errors_named,
    nearest_directory,
    wants_room,
)
from rustassistant.stores.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from rustassistant.stores.sqlite.surroundings import network_file_system

BUSY_TIMEOUT_MS: Final = 5_000
_LEAST_SHARED_MEMORY: Final = 32 * 2**10
"""Bytes: https://www.sqlite.org/walformat.html#wal_index_block_size_and_the_size_of_the_wal_index_file"""
_CACHE_KIB: Final = 16 * 2**10
"""Migrations are no quicker with more. So little is full early, which keeps their memory the same
however many entries there are."""
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_HEADER_NUMBERS: Final = struct.Struct(">I4xI")
_HEADER_NUMBERS_AT: Final = 60
"""``user_version`` and ``application_id``: https://www.sqlite.org/fileformat.html#the_database_header"""


def open_for_reading(path: str) -> apsw.Connection:
    """A connection that changes nothing. Raises NotFoundError, ForeignFileError, NewerFileError, …

    It is opened for writing where we may, because a connection that may not leaves its log and
    shared memory lying beside the file when it is closed.
    """
    if not os.path.exists(path):
        raise NotFoundError(
            f"the database {printable(path)} does not exist",
            hint="Make it with `rustassistant cache migrate`, or name another with --destination.",
        )
    check_place(path)
    with errors_named(path):
        _check_header(path)
        try:
            return _opened_for_reading(path)
        except apsw.IOError as error:
            if not wants_room(error):
                raise
            return _opened_for_reading(path, alone=True)


def _opened_for_reading(path: str, *, alone: bool = False) -> apsw.Connection:
    """``alone``: with nobody else beside it, which needs no shared memory.

    That lies in a file, which can't be made on a full disk. Where there is one somebody has the
    database open, and is not shut out. https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory
    """
    connection = apsw.Connection(*_for_reading(path))
    try:
        _keep_plans(connection)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA trusted_schema=OFF; PRAGMA query_only=ON")
        if alone:
            connection.pragma("locking_mode", "exclusive")
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        if alone:
            _remove_stub(path + "-shm")
    except BaseException:
        connection.close()
        raise
    return connection


def is_alone(connection: apsw.Connection) -> bool:
    """Whether nobody else can open the database until this is closed: for full disks."""
    return bool(connection.pragma("locking_mode") == "exclusive")


def _remove_stub(shared_memory: str) -> None:
    """Remove what an attempt to make shared memory left. We hold the lock: nobody else uses it."""
    with suppress(FileNotFoundError):
        if os.path.getsize(shared_memory) < _LEAST_SHARED_MEMORY:
            os.unlink(shared_memory)


def _for_reading(path: str) -> tuple[str, int]:
    """Name and flags to open a database with, by what we may do where it lies."""
    directory_is_ours = os.access(os.path.dirname(path), os.W_OK)
    if directory_is_ours and os.access(path, os.W_OK):
        return path, apsw.SQLITE_OPEN_READWRITE
    log = path + "-wal"
    if directory_is_ours or (os.path.exists(log) and os.path.getsize(log)):
        return path, apsw.SQLITE_OPEN_READONLY
    # SQLite can't make the shared memory that reading needs, and nothing is in a log.
    uri = f"file:{quote(os.fsencode(path))}?immutable=1"
    return uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI


def open_for_writing(path: str) -> apsw.Connection:
    """The connection of the one writer; the file is made if there is none.

    ``synchronous=FULL`` because with NORMAL, in WAL mode, a power cut can take back a commit that
    was reported: https://www.sqlite.org/pragma.html#pragma_synchronous
    """
    check_writable(path)
    with errors_named(path):
        if not os.path.exists(path):
            create(path)
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            _keep_plans(connection)
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            for pragma in (
                "trusted_schema=OFF",
                "journal_mode=WAL",
                "synchronous=FULL",
                f"cache_size=-{_CACHE_KIB}",
                "wal_autocheckpoint=0",  # see `SqliteWriter.commit`
                "cell_size_check=ON",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
    return connection


def _keep_plans(connection: apsw.Connection) -> None:
    """Without this, SQLite plans each query on an expression's index anew at each execution.

    A lookup took three times as long. https://www.sqlite.org/queryplanner-ng.html#qpstab
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def check_writable(path: str) -> None:
    """Raise what `open_for_writing` would for this place, without making anything there."""
    check_place(path)
    if os.path.exists(path):
        with errors_named(path):
            _check_header(path)
    check_permissions(path)


def check_permissions(path: str) -> None:
    """Raise DestinationError if we may not write to a file, or make it where there is none."""
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise cannot_write(path)
    directory = nearest_directory(path)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DestinationError(
            f"{printable(path)} cannot be written",
            hint=f"The directory {printable(directory)} is read-only for you.",
        )


def check_place(path: str) -> None:
    """Raise what is wrong with a place for a database, whatever may lie there."""
    place = printable(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DestinationError(
            f"{place} has a name that is not UTF-8, which SQLite cannot open",
            hint="Give the file or its directory another name.",
        ) from None
    mode = _mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise DestinationError(
            f"{place} is a directory, not a database",
            hint=f"Name a file in it, such as {os.path.join(place, 'cache.db')}.",
        )
    if mode is not None and not stat.S_ISREG(mode):
        raise ForeignFileError(f"{place} is not a regular file")
    directory = nearest_directory(path)
    if not os.path.isdir(directory):
        raise DestinationError(
            f"{printable(directory)} is a file, not a directory",
            hint="Name a place whose directory exists or can be made.",
        )
    kind = network_file_system(directory)
    if kind:
        raise UnsafePlaceError(f"{place} lies on a network file system ({kind})")


def _mode(path: str) -> int | None:
    """What lies at a place; None if nothing does. Looked at once: a disk that fails at a second
    look would make a file something else."""
    with errors_named(path):
        try:
            return os.stat(path).st_mode
        except OSError as error:
            if error.errno == errno.EIO:
                raise
            return None


def _check_header(path: str) -> None:
    """Refuse what is not ours before anything can change it.

    The header's numbers are in the main file from its first moment on (see `_create`). It is read
    through SQLite's own file layer: closing a plain descriptor would drop the locks that another
    connection of this process holds, and a connection would make a log beside the file.
    https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
    """
    if os.path.getsize(path) == 0:
        raise ForeignFileError(
            f"{printable(path)} is an empty file that rustassistant did not make",
            hint="Remove it if nobody needs it, and run the same command again.",
        )
    header = read_header(path)
    if not is_database(header):
        raise ForeignFileError(
            f"{printable(path)} is not a SQLite database", hint=NOT_A_DATABASE_HINT
        )
    version, application_id = _HEADER_NUMBERS.unpack_from(header, _HEADER_NUMBERS_AT)
    if application_id != APPLICATION_ID:
        raise ForeignFileError(
            f"{printable(path)} is a SQLite database of another program",
            hint=NOT_A_DATABASE_HINT,
        )
    if not 1 <= version <= SCHEMA_VERSION:
        raise NewerFileError(
            f"{printable(path)} has format {version}; this version knows formats up to "
            f"{SCHEMA_VERSION}"
        )


def kind_of_database(path: str) -> str:
    """``v1`` for a database that has no mark, as the Rust program's own, ``sqlite`` for any other,
    ``json`` for what is none, which the tree's store refuses with what to name instead."""
    try:
        header = read_header(path)
    except (OSError, apsw.Error, UnicodeEncodeError):
        return "sqlite"
    if not is_database(header):
        return "json"
    _, application_id = _HEADER_NUMBERS.unpack_from(header, _HEADER_NUMBERS_AT)
    return "sqlite" if application_id else "v1"


def is_database(header: bytes) -> bool:
    """Magic, and a page size that there is: a text may begin with the magic too."""
    if not header.startswith(_MAGIC):
        return False
    page_size = int.from_bytes(header[16:18], "big")
    return page_size == 1 or (page_size >= 512 and page_size.bit_count() == 1)


def read_header(path: str) -> bytes:
    """The first bytes of a database file; none if it is too short to be one."""
    if os.path.getsize(path) < _HEADER_BYTES:
        return b""
    flags = [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0]
    file = apsw.VFSFile("", path, flags)
    try:
        return file.xRead(_HEADER_BYTES, 0)
    finally:
        file.xClose()
