"""Copies of a database file: made while others write, proven equal, and put in its place.

A copy is of one moment. SQLite's backup interface copies the pages of a snapshot that a read
transaction holds, so a writer neither waits nor makes it begin anew:
https://www.sqlite.org/backup.html. Then every row is read from the snapshot and from the copy.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from secrets import token_hex
from typing import Final, NamedTuple
from urllib.parse import quote

import apsw
import msgspec

from rustassistant.errors import (
    BackupError,
    DamagedError,
    ForeignFileError,
    LockedError,
    NewerFileError,
    NotFoundError,
    OutOfSpaceError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.renaming import exchange, rename_new, sync_directory
from rustassistant.stores.sqlite.connection import (
    BUSY_TIMEOUT_MS,
    is_database,
    kind_of_database,
    open_for_reading,
    read_header,
)
from rustassistant.stores.sqlite.naming import cannot_write, errors_named
from rustassistant.stores.sqlite.rows import EntryReader, entry_sql
from rustassistant.stores.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from rustassistant.stores.sqlite.surroundings import lock_holder

SIDECARS: Final = ("-wal", "-journal", "-shm")
"""What SQLite keeps beside a database; the first two hold changes that are not in it yet."""

DAMAGED_LISTED: Final = 200
_A_LITTLE_ROOM: Final = 2**16
_PAGES_AT_ONCE: Final = 256
_STEPS_BETWEEN_SIGNALS: Final = 100_000
_PHASES: Final = 3
"""Copying, comparing and reading every entry: each goes once over all bytes."""

Told = Callable[[int, int], None]
"""Called with bytes done and in all, each byte of the database counted once a phase."""


class Copied(NamedTuple):
    """A finished copy. ``size`` in bytes; ``damaged`` names entries that can't be read from it, the
    first two hundred of ``damaged_count``: they were damaged in what was copied."""

    entries: int
    size: int
    damaged: tuple[str, ...]
    damaged_count: int


def copy_database(
    path: str, target: str, progress: Told | None = None, *, at_rest: bool = False
) -> Copied:
    """Copy what a database holds at this moment to ``target``, a new file, and make it durable.

    The copy is opened, checked and compared row by row. ``at_rest``: it is itself a copy, which
    nobody writes to, and may lie where SQLite has no locks or on a medium that is read-only.
    Raises NotFoundError, ForeignFileError, NewerFileError, DamagedError (the database itself is),
    OutOfSpaceError, BackupError.
    """
    quiet = at_rest and not any(os.path.lexists(path + suffix) for suffix in SIDECARS)
    with closing(_open_quietly(path) if quiet else _open(path)) as source, errors_named(path):
        source.execute("BEGIN")
        _check_is_cache(source, path)
        size = source.pragma("page_count") * source.pragma("page_size")
        told = _Meter(size, progress)
        with _full_disk_named(path, target, size):
            _copy_pages(source, target, told)
        with closing(_open_copy(target)) as copy:
            _check_structure(copy, path)
            entries = _compare(source, copy, path, told)
            if kind_of_database(path) == "v1":
                return Copied(entries, size, (), 0)
            damaged, count = _damaged_entries(copy, entries, told)
    return Copied(entries, size, tuple(damaged), count)


def put_in_place(new: str, target: str, aside: str | None) -> None:
    """Give a finished copy, one file without a log, the name ``target``.

    What lies there goes to ``aside``, a free name, its log with it; None says that nothing may.
    Raises FileExistsError, LockedError if anybody has the old one open. On any error the old one
    lies where it was.
    """
    directory = os.path.dirname(target)
    if aside is None or not os.path.lexists(target):
        _put_orphans_aside(target)
        rename_new(new, target)
        sync_directory(directory)
        return
    _settle(target)
    with _held_alone(target):
        if not _has_pending(target) and _exchange(new, target, aside):
            return
        moved: list[tuple[str, str]] = []
        try:
            for suffix in ("", *SIDECARS):
                if os.path.lexists(target + suffix):
                    rename_new(target + suffix, aside + suffix)
                    moved.append((target + suffix, aside + suffix))
            rename_new(new, target)
        except BaseException:
            for old, now in reversed(moved):
                os.rename(now, old)
            raise
        sync_directory(directory)


def _exchange(new: str, target: str, aside: str) -> bool:
    """The swap in one step. If the process dies before it, a whole copy more lies at ``aside``."""
    directory = os.path.dirname(target)
    for suffix in SIDECARS:  # empty, and nobody has them open; a log would be played into the new
        with suppress(FileNotFoundError):
            rename_new(target + suffix, f"{aside}{suffix}")
    rename_new(new, aside)
    try:
        swapped = exchange(aside, target)
    except BaseException:
        os.rename(aside, new)
        raise
    if not swapped:
        os.rename(aside, new)
        return False
    sync_directory(directory)
    return True


def _put_orphans_aside(target: str) -> None:
    """A log without its database would be played into the one that gets the name."""
    for suffix in SIDECARS:
        with suppress(FileNotFoundError):
            os.rename(target + suffix, f"{target}{suffix}.orphan-{token_hex(4)}")


def _settle(path: str) -> None:
    """Have SQLite fold a log into its database, so that one file is all there is to move.

    Of a damaged one it can't; then the log goes along as it is.
    """
    if not _has_pending(path):
        return
    try:
        with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except (apsw.BusyError, apsw.LockedError):
        raise _in_use(path) from None
    except (apsw.Error, UnicodeError):
        return


def _has_pending(path: str) -> bool:
    for suffix in ("-wal", "-journal"):
        with suppress(FileNotFoundError):
            if os.path.getsize(path + suffix):
                return True
    return False


@contextmanager
def _held_alone(path: str) -> Iterator[None]:
    """Hold the lock that every connection shares while it is open, whatever the file's state.

    A connection that stays open over the swap would write to the old file, and its closing remove
    the new one's log: https://www.sqlite.org/howtocorrupt.html#unlink
    """
    try:
        file = apsw.VFSFile("", path, [apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_MAIN_DB, 0])
    except (apsw.Error, UnicodeError):
        raise cannot_write(path) from None
    try:
        file.xLock(apsw.SQLITE_LOCK_SHARED)
        file.xLock(apsw.SQLITE_LOCK_EXCLUSIVE)
        yield
    except (apsw.BusyError, apsw.LockedError):
        raise _in_use(path) from None
    finally:
        file.xUnlock(apsw.SQLITE_LOCK_NONE)
        file.xClose()


def _in_use(path: str) -> LockedError:
    return LockedError(
        f"{printable(path)} is in use by {lock_holder(path, readers=True)}",
        hint="Nothing was changed. Stop that process, then run the same command again.",
    )


def _open_quietly(path: str) -> apsw.Connection:
    """For reading a file that nobody has open: nothing is made beside it, no lock is asked for."""
    if not os.path.exists(path):
        raise NotFoundError(f"the database {printable(path)} does not exist")
    with errors_named(path):
        if not is_database(read_header(path)):
            raise ForeignFileError(f"{printable(path)} is not a SQLite database")
        connection = _open_copy(path)
        try:
            _check_at_rest(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _check_at_rest(connection: apsw.Connection, path: str) -> None:
    """Refuse a newer format, and a file that lacks pages, which SQLite would take for zeros."""
    names = ("application_id", "user_version", "page_count", "page_size")
    application_id, version, pages, page_size = map(connection.pragma, names)
    if application_id == APPLICATION_ID and version > SCHEMA_VERSION:
        raise NewerFileError(
            f"{printable(path)} has format {version}; this version knows formats up to "
            f"{SCHEMA_VERSION}"
        )
    if os.path.getsize(path) < pages * page_size:
        raise DamagedError(
            f"{printable(path)} is damaged: its end is missing",
            hint="Nothing was restored from it. Restore another backup.",
        )


def _open(path: str) -> apsw.Connection:
    """For reading a database that others may be using."""
    if kind_of_database(path) == "v1":
        with errors_named(path):
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            connection = apsw.Connection(_uri(path, "mode=ro"), flags=flags)
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.execute("PRAGMA trusted_schema=OFF")
            return connection
    return open_for_reading(path)


def _uri(path: str, query: str) -> str:
    return f"file:{quote(os.fsencode(path))}?{query}"


def _open_copy(path: str) -> apsw.Connection:
    """For reading, and without making anything beside it: nobody else knows of it."""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(_uri(path, "immutable=1"), flags=flags)
    connection.execute("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON")
    connection.set_progress_handler(lambda: False, _STEPS_BETWEEN_SIGNALS)  # Ctrl-C is heard
    return connection


def _check_is_cache(connection: apsw.Connection, path: str) -> None:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'cache_entries'").get:
        raise ForeignFileError(f"{printable(path)} is a SQLite database of another program")


class _Meter:
    """Progress of three phases as bytes."""

    def __init__(self, size: int, progress: Told | None) -> None:
        self._size = size
        self._progress = progress

    def __call__(self, phase: int, part: int, whole: int) -> None:
        if self._progress is not None:
            done = self._size * part // whole if whole else self._size
            self._progress(phase * self._size + done, _PHASES * self._size)


def _copy_pages(source: apsw.Connection, target: str, told: _Meter) -> None:
    # Without locks and a journal: the file is nobody's but ours, and worthless until it is whole.
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(apsw.Connection(_uri(target, "nolock=1"), flags=flags)) as copy:
        copy.execute("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(_PAGES_AT_ONCE)
                told(0, backup.page_count - backup.remaining, backup.page_count)
    _sync_file(target)


@contextmanager
def _full_disk_named(path: str, target: str, size: int) -> Iterator[None]:
    """Say so where there is no room for a copy, before and while it is written."""
    full = OutOfSpaceError(
        f"the disk has no room for a copy of {printable(path)}, {size / 2**20:,.1f} MiB",
        hint="Free some space, or name another place; nothing was left behind.",
    )
    directory = os.path.dirname(target)
    if shutil.disk_usage(directory).free < size:
        raise full
    try:
        yield
    except apsw.FullError:
        raise full from None
    except apsw.IOError:  # which some file systems say instead
        if shutil.disk_usage(directory).free < _A_LITTLE_ROOM:
            raise full from None
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise full from None
        raise


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_structure(copy: apsw.Connection, path: str) -> None:
    """Every page and index: https://www.sqlite.org/pragma.html#pragma_integrity_check"""
    found = [row[0] for row in copy.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        first = " ".join(str(found[0]).split())
        raise DamagedError(
            f"{printable(path)} is damaged: {first}",
            hint="It was left as it is, and no copy of it was kept. Copy the file by other means "
            "before anything is done about it.",
        )


def _compare(source: apsw.Connection, copy: apsw.Connection, path: str, told: _Meter) -> int:
    """Hold every row of every table against the snapshot; return how many entries there are."""
    tables = [
        name
        for (name,) in source.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name"
        )
    ]
    entries = 0
    for number, name in enumerate(["sqlite_schema", *tables]):
        first, second = (_digest_of(connection, name) for connection in (source, copy))
        if first != second:
            raise BackupError(f"the copy of {printable(path)} differs from it in table {name}")
        if name in ("entries", "cache_entries"):
            entries = first[1]
        told(1, number, len(tables))
    return entries


def _digest_of(connection: apsw.Connection, table: str) -> tuple[bytes, int]:
    """SHA-256 over the rows of a table as MessagePack, and how many they are."""
    digest, count = sha256(), 0
    encode = msgspec.msgpack.Encoder().encode
    name = table.replace('"', '""')
    columns = "type, name, tbl_name, sql" if table == "sqlite_schema" else "*"
    for count, row in enumerate(connection.execute(f'SELECT {columns} FROM "{name}"'), 1):  # noqa: B007
        digest.update(encode(row))
    return digest.digest(), count


def _damaged_entries(copy: apsw.Connection, entries: int, told: _Meter) -> tuple[list[str], int]:
    """Entries whose columns or results are not what was stored: a bit flipped in one is no concern
    of SQLite's, but it is of whoever relies on the copy."""
    damaged: list[str] = []
    count = seen = 0
    for seen, found in enumerate(EntryReader(copy).select(entry_sql(), ()), 1):
        if isinstance(found, DamagedError):
            count += 1
            if len(damaged) < DAMAGED_LISTED:
                damaged.append(found.message)
        if seen % 1000 == 0:
            told(2, seen, entries)
    if seen < entries:
        count += entries - seen
        damaged.append(f"{entries - seen} entries belong to nothing that the database holds")
    told(2, 1, 1)
    return damaged, count
