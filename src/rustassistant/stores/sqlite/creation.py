"""Making a cache database: it is whole from the first moment that it has its name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex
from typing import Final

import apsw

from rustassistant.errors import DestinationError
from rustassistant.stores.base import printable
from rustassistant.stores.renaming import rename_new
from rustassistant.stores.sqlite.naming import from_os_error
from rustassistant.stores.sqlite.schema import APPLICATION_ID, PAGE_SIZE, SCHEMA_VERSION, TABLES

_NAME_PART: Final = 50
"""Characters of the name that are repeated in that of the file under construction: a name may be
as long as a file system allows."""

_under_construction: Final[set[str]] = set()
"""Files that threads of this process are making at this moment."""


def create(path: str, write_schema: Callable[[str], None] | None = None) -> None:
    """Make the file whole under another name, then give it its own: it is never half there.

    ``write_schema`` fills the empty file at a path; without it, the tables are ours.
    """
    directory, name = os.path.split(path)
    _make_directories(directory)
    prefix = os.path.join(directory, f".{name[:_NAME_PART]}.new-")
    _remove_stale(prefix)
    temporary = f"{prefix}{os.getpid()}-{token_hex(4)}"
    _under_construction.add(temporary)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        (write_schema or _write_schema)(temporary)
        _publish(temporary, path)
    except OSError as error:
        raise from_os_error(path, error) from None
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):  # on a failing disk; the next run removes what is stale
                os.unlink(temporary + suffix)
        _under_construction.discard(temporary)


def _write_schema(path: str) -> None:
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}; PRAGMA synchronous=FULL")
        # Not `with connection`: SQLite itself has undone what a full disk stopped, and a second
        # undoing would fail, and hide the reason.
        connection.execute("BEGIN")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        connection.execute(TABLES)
        connection.execute("COMMIT")
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
        with suppress(FileNotFoundError):
            os.lstat(path)  # on a bad disk this fails, which is not to say that nothing is there
            return
        for suffix in ("-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.rename(path + suffix, f"{path}{suffix}.orphan-{token_hex(4)}")
        os.fsync(directory)  # that its journal is gone: later on, nobody would look for it
        with suppress(FileExistsError):
            rename_new(temporary, path)
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


def _make_directories(path: str) -> None:
    """The directory and those above it, 0700 each: a cache may quote private code."""
    if os.path.isdir(path):
        return
    _make_directories(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
        _sync_directory(os.path.dirname(path))
    except FileExistsError:
        if not os.path.isdir(path):
            raise DestinationError(f"{printable(path)} is a file, not a directory") from None
    except OSError as error:
        raise from_os_error(path, error) from None
