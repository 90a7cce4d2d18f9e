"""The file in which a pair of places is remembered: opened, locked, made."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from typing import Final

import apsw
import msgspec

from rustassistant.configuration.settings import home
from rustassistant.errors import (
    DamagedError,
    DestinationError,
    LockedError,
    OutOfSpaceError,
    UnsafeSyncError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.naming import from_os_error
from rustassistant.sync.state import State

FORMAT: Final = "1"
_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE agreed (
    slot    BLOB NOT NULL,
    digest  BLOB NOT NULL,
    sides   INTEGER NOT NULL, -- 1: the first place, 2: the second, 3: both
    PRIMARY KEY (slot, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE containers (
    id      INTEGER PRIMARY KEY,
    side    INTEGER NOT NULL,
    path    BLOB NOT NULL,
    folder  BLOB NOT NULL, -- MessagePack
    UNIQUE (side, path, folder)
) STRICT;
CREATE TABLE items (
    container   INTEGER NOT NULL,
    name        BLOB NOT NULL,
    side        INTEGER NOT NULL,
    stamp       INTEGER,
    slot        BLOB NOT NULL,
    identity    BLOB NOT NULL,
    digest      BLOB NOT NULL,
    analyzed_at INTEGER NOT NULL,
    facts       BLOB NOT NULL, -- MessagePack
    PRIMARY KEY (container, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX items_by_slot ON items (slot, digest, side);
CREATE TABLE touched (slot BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE unsettled (
    slot       BLOB PRIMARY KEY,
    vanished_a INTEGER NOT NULL, -- from the first place, and kept on the second
    vanished_b INTEGER NOT NULL,
    left_over  INTEGER NOT NULL, -- conflicts
    filtered   INTEGER NOT NULL,
    surplus    INTEGER NOT NULL  -- agreed to be on both sides, and not
) STRICT, WITHOUT ROWID;
-- Counting hundreds of thousands of rows takes longer than syncing one.
CREATE TABLE counts (
    id      INTEGER PRIMARY KEY, -- 0 and 1: items of a side; 11 to 13: agreed, 10 plus the sides
    number  INTEGER NOT NULL
) STRICT;
INSERT INTO counts VALUES (0, 0), (1, 0), (11, 0), (12, 0), (13, 0);
CREATE TRIGGER item_came AFTER INSERT ON items
BEGIN UPDATE counts SET number = number + 1 WHERE id = NEW.side; END;
CREATE TRIGGER item_went AFTER DELETE ON items
BEGIN UPDATE counts SET number = number - 1 WHERE id = OLD.side; END;
CREATE TRIGGER agreed_came AFTER INSERT ON agreed
BEGIN UPDATE counts SET number = number + 1 WHERE id = 10 + NEW.sides; END;
CREATE TRIGGER agreed_went AFTER DELETE ON agreed
BEGIN UPDATE counts SET number = number - 1 WHERE id = 10 + OLD.sides; END;
"""


def state_path(places: tuple[str, str]) -> str:
    """The file of a pair, in whichever order it is named."""
    name = sha256("\0".join(sorted(places)).encode("utf-8", "surrogateescape")).hexdigest()
    return os.path.join(str(home()), "sync", f"{name[:32]}.db")


@contextmanager
def opened(places: tuple[str, str], *, keep: bool) -> Iterator[State]:
    """The state of a pair, locked. Without ``keep`` it is a copy that nobody will see again.

    Raises LockedError if another sync of the pair is under way, DamagedError if the file is.
    """
    path = state_path(places)
    with ExitStack() as stack:
        stack.enter_context(_errors_named(path))
        if keep:
            os.makedirs(str(home()), 0o700, exist_ok=True)
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            stack.enter_context(_locked(f"{path}.lock", places))
        connection = _connect(path) if keep else _copied(path)
        stack.callback(connection.close)
        connection.execute("PRAGMA synchronous=FULL")
        _prepare(connection, places, path)
        yield State(connection, swapped=places[0] > places[1])


@contextmanager
def _errors_named(path: str) -> Iterator[None]:
    """Say of what goes wrong with this file that it is this file; stores say it of theirs."""
    place = f"what is remembered of the last sync, {printable(path)},"
    try:
        yield
    except (apsw.BusyError, apsw.LockedError):
        raise LockedError(f"{place} is locked by another process") from None
    except apsw.FullError:
        raise OutOfSpaceError(f"the disk that holds {printable(path)} is full") from None
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, msgspec.DecodeError) as error:
        raise DamagedError(
            f"{place} is damaged: {error}",
            hint="Remove that file: the next sync then deletes nothing, and copies what is on "
            "one side only to the other.",
        ) from None
    except apsw.Error as error:
        raise DestinationError(f"{place} cannot be kept: {error}") from None
    except OSError as error:
        about = str(error.filename or "")
        if about != str(home()) and not about.startswith(os.path.dirname(path)):
            raise
        raise from_os_error(path, error) from None


def _connect(path: str) -> apsw.Connection:
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
    return apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)


def _copied(path: str) -> apsw.Connection:
    """A copy in a temporary file without a name."""
    made = apsw.Connection("")
    if os.path.exists(path) and os.path.getsize(path):
        # For writing: one that was killed may have to be rolled back before it can be read.
        original = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with made.backup("main", original, "main") as copying:
                while not copying.done:
                    copying.step()
        except BaseException:
            made.close()
            raise
        finally:
            original.close()
    return made


def _prepare(connection: apsw.Connection, places: tuple[str, str], path: str) -> None:
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if tables and _format_of(connection) != FORMAT:
        raise UnsafeSyncError(
            "the last sync was made by another version of this program",
            hint=f"Use that version, or remove {printable(path)}: the next sync is then a first "
            "one, which deletes nothing.",
        )
    if not tables:
        first, second = sorted(places)
        with connection:
            connection.execute(_SCHEMA)
            connection.executemany(
                "INSERT INTO facts VALUES (?, ?)",
                [("format", FORMAT), ("first", printable(first)), ("second", printable(second))],
            )


def _format_of(connection: apsw.Connection) -> str | None:
    with suppress(apsw.SQLError):
        found: str | None = connection.execute("SELECT value FROM facts WHERE name = 'format'").get
        return found
    return None


@contextmanager
def _locked(path: str, places: tuple[str, str]) -> Iterator[None]:
    """The kernel's lock: it goes with the process, however that ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise LockedError(
                f"{printable(places[0])} and {printable(places[1])} are being synced by "
                f"process {holder or 'unknown'}"
            ) from None
        with suppress(OSError):  # a full disk: then nobody is told who it is
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
