"""Naming what goes wrong with a database file: SQLite's errors and the system's as ours."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from rustassistant.errors import (
    DamagedError,
    DestinationError,
    ForeignFileError,
    LockedError,
    OutOfSpaceError,
    RustAssistantError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.surroundings import lock_holder

NOT_A_DATABASE_HINT: Final = (
    "Name a file that rustassistant made, or a new name for it to make one; this file was left as "
    "it is. (The Rust program's own cache.db is of another kind: give it with --source instead, to "
    "move what it holds into a file of ours.)"
)

_NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))


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
            f"{place} is not a SQLite database", hint=NOT_A_DATABASE_HINT
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
        raise cannot_write(path) from None
    except (apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError) as error:
        raise DestinationError(
            f"{place} cannot be opened: {error}", hint=why_not_writable(path)
        ) from None
    except (FileExistsError, InterruptedError):
        raise  # nothing is wrong with the file: who asked for it deals with that
    except (apsw.IOError, OSError) as error:
        if wants_room(error):
            raise OutOfSpaceError(f"the disk that holds {place} is full") from None
        raise DestinationError(
            f"reading or writing {place} failed: {error}",
            hint="The medium may be failing or full; what was committed before stays.",
        ) from None


def wants_room(error: apsw.IOError | OSError) -> bool:
    """Whether a full disk is what is wrong: SQLite says no more than that its shared memory,
    32 KiB, could not be made."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    return bool(getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE)


def cannot_write(path: str) -> DestinationError:
    """The error for a file that we may not write to, and what may be the reason."""
    return DestinationError(f"{printable(path)} cannot be written", hint=why_not_writable(path))


def why_not_writable(path: str) -> str:
    """What to check, by what the permissions say."""
    directory = os.path.dirname(path)
    if os.path.exists(path) and not os.access(path, os.W_OK):
        return "The file is read-only for you: check its permissions and owner."
    if not os.access(directory, os.W_OK):
        place = printable(directory)
        return f"The directory {place} is read-only for you; SQLite needs to write there."
    return "Check that the disk is mounted for writing and that its directory is yours."


def from_os_error(path: str, error: OSError) -> RustAssistantError:
    """The error for something that the system would not let us make."""
    if error.errno in _NO_ROOM:
        return OutOfSpaceError(f"the disk that holds {printable(path)} is full")
    return DestinationError(
        f"{printable(path)} cannot be made: {error.strerror}", hint=why_not_writable(path)
    )


def nearest_directory(path: str) -> str:
    """The directory that a file lies in, or the nearest above it that exists."""
    directory = os.path.dirname(path)
    while not os.path.exists(directory):
        directory = os.path.dirname(directory)
    return directory
