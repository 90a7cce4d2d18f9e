"""Making a database file as small as what it holds, while others read it.

SQLite's own VACUUM, which is one transaction: a process that dies, or a disk that is full, leaves
the file as it was, and readers go on undisturbed with what they see. A new file swapped into the
old one's place would leave them with a file that has no name any more.
https://www.sqlite.org/lang_vacuum.html
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final, NamedTuple

import apsw
import msgspec

from rustassistant.errors import DamagedError, OutOfSpaceError
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import open_for_reading, open_for_writing
from rustassistant.stores.sqlite.integrity.tables import our_tables
from rustassistant.stores.sqlite.naming import errors_named

_TEMPORARY: Final = ("SQLITE_TMPDIR", "TMPDIR")
_TEMPORARY_PLACES: Final = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - where SQLite looks
_STEPS_BETWEEN_SIGNALS: Final = 100_000
_SPARE: Final = 2**20
_PATIENCE_MS: Final = 1_000
"""How long to wait for readers to finish, so that the file can shrink at once."""

_pack: Final = msgspec.msgpack.Encoder().encode


class Compacted(NamedTuple):
    """Bytes of the file and its log. ``is_shrunk`` is not so while others read: the file gets its
    size when they have finished. ``compared`` says that all rows were held against what they were
    before, which nobody can do if others wrote meanwhile."""

    before: int
    after: int
    is_shrunk: bool
    compared: bool


class _State(NamedTuple):
    digest: bytes
    version: int


def compact(path: str, told: Callable[[str], None] | None = None) -> Compacted:
    """Rewrite a database without gaps, and make sure that it holds what it held.

    ``told`` is called with ``checking``, ``compacting`` and ``comparing`` as it goes on. Raises
    NotFoundError, LockedError, OutOfSpaceError before anything is begun, DamagedError.
    """
    told = told or (lambda _: None)
    open_for_reading(path).close()
    connection = open_for_writing(path)
    try:
        with errors_named(path):
            connection.set_progress_handler(lambda: False, _STEPS_BETWEEN_SIGNALS)  # hear Ctrl-C
            before = _size(path)
            told("checking")
            _check(connection, path)
            first = _state(connection)
            _check_room(connection, path)
            told("compacting")
            connection.execute("VACUUM")
            told("comparing")
            _check(connection, path)
            then = _state(connection)
            compared = first.version == then.version
            if compared and first.digest != then.digest:
                raise DamagedError(f"{printable(path)} does not hold what it held before")
            is_shrunk = _fold_log(connection)
    finally:
        with errors_named(path):
            connection.close()
    return Compacted(before, _size(path), is_shrunk, compared)


def _size(path: str) -> int:
    return sum(
        os.path.getsize(path + suffix) for suffix in ("", "-wal") if os.path.exists(path + suffix)
    )


def _check(connection: apsw.Connection, path: str) -> None:
    """A damaged file is left as it is: a repair may still find rows that VACUUM leaves out."""
    try:
        said = connection.execute("PRAGMA integrity_check(1)").get
    except apsw.CorruptError as error:
        said = str(error)
    if said != "ok":
        raise DamagedError(
            f"{printable(path)} is damaged: {said}",
            hint="Run `rustassistant cache check --repair` first.",
        )


@contextmanager
def _moment(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _state(connection: apsw.Connection) -> _State:
    """A digest of all rows of all tables of ours, and a number that changes when others write."""
    digest = blake2b()
    with _moment(connection):
        for name, table in sorted(our_tables().items()):
            key = "rowid" if table.keyed else ", ".join(table.names)
            for row in connection.execute(f"SELECT * FROM {name} ORDER BY {key}"):
                digest.update(_pack(row))
            digest.update(name.encode())
        return _State(digest.digest(), connection.pragma("data_version"))


def _check_room(connection: apsw.Connection, path: str) -> None:
    """VACUUM writes what there is twice: to a temporary file, and to the log."""
    pages, free, page_size = (
        connection.pragma(name) for name in ("page_count", "freelist_count", "page_size")
    )
    needed = (pages - free) * page_size + _SPARE
    places: dict[int, tuple[str, int]] = {}
    for place in (os.path.dirname(path), _temporary_directory()):
        device = os.stat(place).st_dev
        first, so_far = places.get(device, (place, 0))
        places[device] = (first, so_far + needed)
    for place, wanted in places.values():
        room = shutil.disk_usage(place).free
        if room < wanted:
            raise OutOfSpaceError(
                f"compacting {printable(path)} needs {wanted} bytes in {printable(place)} for a "
                f"moment, and there are {room}",
                hint="Free some space; nothing was changed. The environment variable "
                "SQLITE_TMPDIR names another directory for its temporary file.",
            )


def _temporary_directory() -> str:
    """Where SQLite puts it: https://www.sqlite.org/tempfiles.html#temporary_file_storage_locations"""
    named = (os.environ.get(name) for name in _TEMPORARY)
    for place in (*named, *_TEMPORARY_PLACES):
        if place and os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK):
            return place
    return os.getcwd()


def _fold_log(connection: apsw.Connection) -> bool:
    """Move the new pages from the log into the file; whether that could be done, and it shrank."""
    connection.set_busy_timeout(_PATIENCE_MS)  # who wants to write waits for as long
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        return False
    return True
