"""Opening a v1 file: as a source so that nothing at all changes, as a destination safely."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final
from urllib.parse import quote

import apsw

from rustassistant.errors import (
    DamagedError,
    ForeignFileError,
    LockedError,
    NotACacheError,
    NotFoundError,
    RustAssistantError,
    SourceUnreadableError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import (
    check_permissions,
    check_place,
    is_database,
    read_header,
)
from rustassistant.stores.sqlite.creation import create
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.surroundings import lock_holder
from rustassistant.stores.v1.schema import TABLES, Table, tables_of

BUSY_TIMEOUT_MS: Final = 5_000
_CACHE_KIB: Final = 64 * 2**10
_JOURNAL_FORMAT_AT: Final = 18
_WRITE_AHEAD_LOG: Final = 2
"""In the header: https://www.sqlite.org/fileformat.html#file_format_version_numbers"""

_WITHOUT_LOCKS: Final = "unix-none"

_State = list[tuple[int, int, int] | None]


class _LeftUnfinishedError(SourceUnreadableError):
    """A journal has to be played back first, which is not for readers to do."""


class Reading:
    """A connection that leaves file and directory exactly as they are, its log included.

    A file without a write-ahead log is opened read-only, and SQLite's locks keep others from
    changing it under a query. One with a log that somebody has open is as well: shared memory for
    that is there already. What is left is a log that nobody has open. An ordinary connection would
    make shared memory beside it, and fold the log into the file or leave both behind; so it is
    read without locks and with the log's index in our own memory, and `check` tells after each row
    whether anybody has come to change it meanwhile.
    https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._state: _State | None = None
        _check_is_there(path)
        with errors_of_source(path):
            header = read_header(path)
            if not is_database(header):
                raise not_v1(path)
            has_log = header[_JOURNAL_FORMAT_AT] == _WRITE_AHEAD_LOG
            is_open = os.path.exists(path + "-shm") and os.path.exists(path + "-wal")
            self.connection = self._quietly() if has_log and not is_open else _connect(path)
            try:
                self.connection.set_busy_timeout(BUSY_TIMEOUT_MS)
                self.connection.execute("PRAGMA trusted_schema=OFF; PRAGMA query_only=ON")
                self.tables = tables_of(self.connection)
                self.check()
            except BaseException:
                self.connection.close()
                raise
        if not self.tables:
            self.connection.close()
            raise not_v1(path)

    def _quietly(self) -> apsw.Connection:
        self._state = _state(self.path)
        if not self._state[1]:  # an empty log would be made where there is none
            return _connect(self.path, "immutable=1")
        connection = _connect(self.path, f"vfs={_WITHOUT_LOCKS}")
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # it could not; nor may it try
        connection.pragma("locking_mode", "exclusive")
        return connection

    def check(self) -> None:
        """Raise LockedError if what was read may be half of one state, half of another."""
        if self._state is not None and _state(self.path) != self._state:
            raise LockedError(
                f"another program began to use {printable(self.path)} while it was read"
            )

    def close(self) -> None:
        """Leaves nothing behind."""
        self.connection.close()

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _connect(path: str, terms: str = "") -> apsw.Connection:
    uri = f"file:{quote(os.fsencode(path))}?mode=ro&{terms}"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def _state(path: str) -> _State:
    """What changes when anybody writes: the file, its log, and the shared memory of who writes.

    An empty log is none.
    """
    found: _State = []
    for suffix in ("", "-wal", "-shm"):
        try:
            status = os.stat(path + suffix)
        except FileNotFoundError:
            found.append(None)
        else:
            there = (status.st_ino, status.st_size, status.st_mtime_ns)
            found.append(there if status.st_size else None)
    return found


def _check_is_there(path: str) -> None:
    if not os.path.exists(path):
        raise NotFoundError(
            f"the source {printable(path)} does not exist",
            hint="RustAssistant keeps its own database in ~/.rustassistant/cache.db.",
        )
    if not os.path.isfile(path):
        raise not_v1(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise SourceUnreadableError(
            f"{printable(path)} has a name that is not UTF-8, which SQLite cannot open",
            hint="Give the file or its directory another name.",
        ) from None


def not_v1(path: str) -> RustAssistantError:
    """The error for a source that is something else."""
    return NotACacheError(
        f"{printable(path)} is not a database of the Rust program",
        hint="Name its cache.db, or the directory of a JSON cache.",
    )


@contextmanager
def errors_of_source(path: str) -> Iterator[None]:
    """Turn what SQLite says of a source into our errors."""
    place = printable(path)
    try:
        yield
    except (apsw.BusyError, apsw.LockedError):
        raise LockedError(f"{place} is locked by {lock_holder(path)}") from None
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as error:
        raise DamagedError(
            f"{place} is damaged: {error}",
            hint="Keep the file as it is, and migrate again from the JSON cache if it is there.",
        ) from None
    except apsw.ReadOnlyError:
        raise _LeftUnfinishedError(
            f"{place} was left in the middle of a change, which only writing to it could undo",
            hint="Copy it with the -journal file beside it to another place, open the copy once "
            "with any SQLite tool, and name the copy.",
        ) from None
    except (apsw.Error, OSError) as error:
        raise SourceUnreadableError(f"{place} cannot be read: {error}") from None


def check_writable(path: str) -> None:
    """Raise what `open_for_writing` would, without making anything."""
    check_place(path)
    if os.path.exists(path):
        _check_is_v1(path)
    check_permissions(path)


def _check_is_v1(path: str) -> None:
    """Refuse any other file, untouched."""
    try:
        try:
            table = _table_of(path)
        except _LeftUnfinishedError:
            # By a run of ours that died, perhaps. Opening it for writing mends it, once it is known
            # to be what we may write to.
            with _mended_copy(path) as copy:
                table = _table_of(copy)
    except NotACacheError:
        raise ForeignFileError(f"{printable(path)} is not a database of the Rust program") from None
    if table.missing:
        raise _lacks_columns(path, table)


def _table_of(path: str) -> Table:
    with Reading(path) as reading:
        table: Table = reading.tables[0]
        return table


@contextmanager
def _mended_copy(path: str) -> Iterator[str]:
    """A copy, in a temporary directory, to which its journal was played back."""
    with errors_named(path), tempfile.TemporaryDirectory(prefix="rustassistant-") as directory:
        copy = os.path.join(directory, "copy.db")
        for suffix in ("", "-journal"):
            shutil.copyfile(path + suffix, copy + suffix)
        with closing(apsw.Connection(copy, flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        yield copy


def _lacks_columns(path: str, table: Table) -> RustAssistantError:
    return ForeignFileError(
        f"the table {table.name} of {printable(path)} lacks {', '.join(table.missing)}",
        hint="Name a new file; this one was left as it is, and can still be a source.",
    )


def open_for_writing(path: str) -> apsw.Connection:
    """The connection of the one writer; the file is made if there is none.

    A file that exists keeps its journal mode: whether it has a write-ahead log is for the Rust
    program to say.
    """
    check_writable(path)
    with errors_named(path):
        if not os.path.exists(path):
            create(path, _write_schema)
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            prepare(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def prepare(connection: apsw.Connection) -> None:
    """Settings for writing. Until a commit, nothing spills into the file: readers go on.

    ``EXTRA``, since without a write-ahead log ``FULL`` leaves it to the disk when a commit lasts:
    the journal may come back with the power. https://www.sqlite.org/pragma.html#pragma_synchronous
    """
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    for pragma in (
        "trusted_schema=OFF",
        "synchronous=EXTRA",
        f"cache_size=-{_CACHE_KIB}",
        "cache_spill=OFF",
        "cell_size_check=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _write_schema(path: str) -> None:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        with connection:
            connection.execute(TABLES)
    finally:
        connection.close()
