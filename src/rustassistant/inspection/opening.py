"""The database that is looked into: making an empty one, opening it for reading, where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from rustassistant.errors import NotFoundError, UsageError
from rustassistant.stores.base import printable
from rustassistant.stores.json_tree.layout import LOCAL_DIRECTORY
from rustassistant.stores.sqlite.connection import check_writable, open_for_reading
from rustassistant.stores.sqlite.creation import create
from rustassistant.stores.sqlite.naming import errors_named

AnyPath = str | os.PathLike[str]

DATABASE_NAME = "cache.db"


@dataclass(frozen=True, slots=True)
class Made:
    """A database that is there now; ``was_there`` already, or is new and empty."""

    path: str
    was_there: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a database lies. ``size`` and ``log_size`` are bytes, 0 for what does not exist."""

    path: str
    exists: bool
    size: int
    log_size: int

    @property
    def total_size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        return self.size + self.log_size


def make_database(path: AnyPath) -> Made:
    """Make an empty database, unless it is there already; a directory means ``cache.db`` in it.

    Raises ForeignFileError and the like where something else is in its place.
    """
    place = resolved(path)
    if os.path.isdir(place):
        place = os.path.join(place, DATABASE_NAME)
    was_there = os.path.exists(place)
    if not was_there:
        check_writable(place)
        create(place)
    open_for_reading(place).close()
    return Made(place, was_there)


def make_local_database(repository: AnyPath) -> Made:
    """Make an empty database in a repository. Raises NotFoundError if that is no directory."""
    root = resolved(repository)
    if os.path.basename(root) == LOCAL_DIRECTORY:
        root = os.path.dirname(root)
    if not os.path.isdir(root):
        raise NotFoundError(
            f"{printable(root)} is not a directory", hint="Name the repository's root."
        )
    return make_database(os.path.join(root, LOCAL_DIRECTORY, DATABASE_NAME))


def place_of_database(path: AnyPath) -> Place:
    """Where a database lies, or would."""
    place = resolved(path)
    return Place(place, os.path.exists(place), _size(place), _size(place + "-wal"))


def resolved(path: AnyPath) -> str:
    """The real path that a database's name stands for. Raises UsageError for an empty one."""
    if not os.fspath(path):
        raise UsageError("an empty path names no database", hint="Name a file.")
    return os.path.realpath(Path(path).expanduser())


@contextmanager
def opened(path: str) -> Iterator[apsw.Connection]:
    """A database for reading: one moment of it for as long as it is open, and errors of ours."""
    connection = open_for_reading(path)
    try:
        with errors_named(path):
            connection.execute("BEGIN")
            yield connection
    finally:
        connection.close()


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0
