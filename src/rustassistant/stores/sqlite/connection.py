"""Opening a cache database safely: making it, recognizing it, and naming what goes wrong."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import Final
from urllib.parse import quote

import apsw

from rustassistant.errors import (
    DamagedError,
    DestinationError,
    ForeignFileError,
    LockedError,
    NewerFileError,
    NotFoundError,
    OutOfSpaceError,
    RustAssistantError,
    UnsafePlaceError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.schema import (
    APPLICATION_ID,
    PAGE_SIZE,
    SCHEMA_VERSION,
    TABLES,
)
from rustassistant.stores.sqlite.surroundings import lock_holder, network_file_system

BUSY_TIMEOUT_MS: Final = 5_000
_CACHE_KIB: Final = 64 * 2**10
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_HEADER_NUMBERS: Final = struct.Struct(">I4xI")
_HEADER_NUMBERS_AT: Final = 60
"""``user_version`` and ``application_id``: https://www.sqlite.org/fileformat.html#the_database_header"""

_NAME_PART: Final = 50
"""Characters of the name that are repeated in that of the file under construction: a name may be
as long as a file system allows."""

_under_construction: Final[set[str]] = set()
"""Files that threads of this process are making at this moment."""

_NOT_A_DATABASE_HINT: Final = (
    "Name a file that rustassistant made, or a new name for it to make one; this file was left as "
    "it is. (RustAssistant's own cache.db is of another kind: keep it, and name another file.)"
)


@contextmanager
def errors_named(path: str) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file they are about."""
    place = printable(path)
    try:
        yield
    except (apsw.BusyError, apsw.LockedError):
        raise LockedError(f"{place} is locked by {lock_holder(path)}") from None
    except apsw.FullError:
        raise OutOfSpaceError(f"the disk that holds {place} is full") from None
    except apsw.NotADBError:
        raise ForeignFileError(
            f"{place} is not a SQLite database", hint=_NOT_A_DATABASE_HINT
        ) from None
    except (
        apsw.CorruptError,
        apsw.SQLError,
        apsw.FormatError,
        apsw.ConstraintError,
        UnicodeDecodeError,
        TypeError,
    ) as error:
        # All SQL is our own, so what does not fit it is a table that is not as we made it.
        raise DamagedError(f"{place} is damaged: {error}") from None
    except apsw.ReadOnlyError:
        raise _cannot_write(path) from None
    except (apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError) as error:
        raise DestinationError(
            f"{place} cannot be opened: {error}", hint=_why_not_writable(path)
        ) from None
    except apsw.IOError as error:
        raise DestinationError(
            f"reading or writing {place} failed: {error}",
            hint="The medium may be failing or full; what was committed before stays.",
        ) from None


def _cannot_write(path: str) -> DestinationError:
    return DestinationError(f"{printable(path)} cannot be written", hint=_why_not_writable(path))


def _why_not_writable(path: str) -> str:
    directory = os.path.dirname(path)
    if os.path.exists(path) and not os.access(path, os.W_OK):
        return "The file is read-only for you: check its permissions and owner."
    if not os.access(directory, os.W_OK):
        place = printable(directory)
        return f"The directory {place} is read-only for you; SQLite needs to write there."
    return "Check that the disk is mounted for writing and that its directory is yours."


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
    _check_place(path)
    with errors_named(path):
        _check_header(path)
        connection = apsw.Connection(*_for_reading(path))
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.execute("PRAGMA trusted_schema=OFF; PRAGMA query_only=ON")
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except BaseException:
            connection.close()
            raise
    return connection


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
            _create(path)
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
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


def check_writable(path: str) -> None:
    """Raise what `open_for_writing` would for this place, without making anything there."""
    _check_place(path)
    if os.path.exists(path):
        with errors_named(path):
            _check_header(path)
        if not os.access(path, os.W_OK):
            raise _cannot_write(path)
    directory = nearest_directory(path)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DestinationError(
            f"{printable(path)} cannot be written",
            hint=f"The directory {printable(directory)} is read-only for you.",
        )


def nearest_directory(path: str) -> str:
    """The directory that a file lies in, or the nearest above it that exists."""
    directory = os.path.dirname(path)
    while not os.path.exists(directory):
        directory = os.path.dirname(directory)
    return directory


def _check_place(path: str) -> None:
    place = printable(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DestinationError(
            f"{place} has a name that is not UTF-8, which SQLite cannot open",
            hint="Give the file or its directory another name.",
        ) from None
    if os.path.isdir(path):
        raise DestinationError(
            f"{place} is a directory, not a database",
            hint=f"Name a file in it, such as {os.path.join(place, 'cache.db')}.",
        )
    if os.path.exists(path) and not os.path.isfile(path):
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
    header = _read_header(path)
    if not _is_database(header):
        raise ForeignFileError(
            f"{printable(path)} is not a SQLite database", hint=_NOT_A_DATABASE_HINT
        )
    version, application_id = _HEADER_NUMBERS.unpack_from(header, _HEADER_NUMBERS_AT)
    if application_id != APPLICATION_ID:
        raise ForeignFileError(
            f"{printable(path)} is a SQLite database of another program",
            hint=_NOT_A_DATABASE_HINT,
        )
    if not 1 <= version <= SCHEMA_VERSION:
        raise NewerFileError(
            f"{printable(path)} has format {version}; this version knows formats up to "
            f"{SCHEMA_VERSION}"
        )


def _is_database(header: bytes) -> bool:
    """Magic, and a page size that there is: a text may begin with the magic too."""
    if not header.startswith(_MAGIC):
        return False
    page_size = int.from_bytes(header[16:18], "big")
    return page_size == 1 or (page_size >= 512 and page_size.bit_count() == 1)


def _read_header(path: str) -> bytes:
    if os.path.getsize(path) < _HEADER_BYTES:
        return b""
    flags = [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0]
    file = apsw.VFSFile("", path, flags)
    try:
        return file.xRead(_HEADER_BYTES, 0)
    finally:
        file.xClose()


def _create(path: str) -> None:
    """Make the file whole under another name, then give it its own: it is never half there."""
    directory, name = os.path.split(path)
    make_directories(directory)
    prefix = os.path.join(directory, f".{name[:_NAME_PART]}.new-")
    _remove_stale(prefix)
    temporary = f"{prefix}{os.getpid()}-{token_hex(4)}"
    _under_construction.add(temporary)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        _write_schema(temporary)
        _publish(temporary, path)
    except OSError as error:
        raise _from_os_error(path, error) from None
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(temporary + suffix)
        _under_construction.discard(temporary)


def _write_schema(path: str) -> None:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}; PRAGMA synchronous=FULL")
        with connection:
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute(TABLES)
        connection.pragma("journal_mode", "wal")
    finally:
        connection.close()


def _publish(temporary: str, path: str) -> None:
    """Give the file its name, unless somebody else has meanwhile made one of that name.

    A lock on the directory, not a link that fails if the name is taken: not every file system has
    links. A log that lies there without its database belongs to one that was removed, and would be
    played into ours: it is put aside.
    """
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if os.path.lexists(path):
            return
        for suffix in ("-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.rename(path + suffix, f"{path}{suffix}.orphan-{token_hex(4)}")
        os.rename(temporary, path)
        os.fsync(directory)
    finally:
        os.close(directory)


def _remove_stale(prefix: str) -> None:
    """What a process that died while making the file has left behind."""
    directory, start = os.path.split(prefix)
    with suppress(OSError):  # a directory that may be written to, but not listed
        for leftover in os.listdir(directory):
            path = os.path.join(directory, leftover)
            owner = leftover.removeprefix(start).split("-")[0]
            if leftover.startswith(start) and owner.isdecimal() and _is_gone(int(owner), path):
                with suppress(OSError):
                    os.unlink(path)


def _is_gone(process: int, path: str) -> bool:
    """Whether nobody is at work on a file any more that a process with this id began."""
    if process == os.getpid():  # in a container, ids are used again soon
        return not any(path.startswith(ours) for ours in _under_construction)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _sync_directory(path: str) -> None:
    """Make the names in it durable: a database in a directory that a power cut takes is lost."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def make_directories(path: str) -> None:
    """The directory and those above it, 0700 each: a cache may quote private code."""
    if os.path.isdir(path):
        return
    make_directories(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
        _sync_directory(os.path.dirname(path))
    except FileExistsError:
        if not os.path.isdir(path):
            raise DestinationError(f"{printable(path)} is a file, not a directory") from None
    except OSError as error:
        raise _from_os_error(path, error) from None


def _from_os_error(path: str, error: OSError) -> RustAssistantError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(f"the disk that holds {printable(path)} is full")
    return DestinationError(
        f"{printable(path)} cannot be made: {error.strerror}", hint=_why_not_writable(path)
    )
