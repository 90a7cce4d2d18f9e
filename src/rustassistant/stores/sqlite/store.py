"""The cache database as a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import apsw

from rustassistant.entry import Entry
from rustassistant.errors import DamagedError, RustAssistantError
from rustassistant.stores.base import Candidate, Folder, Query, Repository, StoreInfo, printable
from rustassistant.stores.sqlite.connection import (
    check_writable,
    open_for_reading,
    open_for_writing,
)
from rustassistant.stores.sqlite.naming import errors_named, nearest_directory
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.schema import HASH_PREFIX, place_of
from rustassistant.stores.sqlite.writer import SqliteWriter

_BY_HASH: Final = f"WHERE substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.hash = ?"
_FILES_FIRST: Final = "files f CROSS JOIN entries e ON e.file_id = f.id"
_ENTRIES_FIRST: Final = "entries e JOIN files f ON f.id = e.file_id"


class SqliteStore:
    """A cache database at ``path``. Opens it for each operation, and keeps nothing open."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(path)

    def info(self) -> StoreInfo:
        """Where it is and its size, the write-ahead log included. A missing one has size 0."""
        size = 0
        for suffix in ("", "-wal"):
            if os.path.exists(self.path + suffix):
                size += os.path.getsize(self.path + suffix)
        return StoreInfo("sqlite", printable(self.path), size)

    def check_writable(self) -> None:
        """Raise now what opening the writer would raise later. Makes nothing."""
        check_writable(self.path)

    def room(self) -> int | None:
        """Free bytes on its disk, for users like us."""
        return shutil.disk_usage(nearest_directory(self.path)).free

    @contextmanager
    def writer(self) -> Iterator[SqliteWriter]:
        """The one writer; makes the file if there is none. Raises LockedError, naming who."""
        connection = open_for_writing(self.path)
        try:
            writer = SqliteWriter(connection, self.path)
            try:
                yield writer
                writer.finish()
            except BaseException:
                writer.abandon()
                raise
        finally:
            with errors_named(self.path):
                connection.close()

    def finder(self) -> SqliteFinder:
        """Looks entries up, in this process or another."""
        return SqliteFinder(self.path)


class SqliteFinder:
    """A read-only view that can be sent to another process before it is opened there."""

    _connection: apsw.Connection | None = None

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (SqliteFinder, (self._path,))

    def __enter__(self) -> SqliteFinder:
        self._connection = open_for_reading(self._path)
        self._reader = EntryReader(self._connection)
        self._repository: tuple[Repository, int] | None = None
        return self

    def __exit__(self, *exc_info: Any) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One read transaction."""
        connection = self._rows().connection
        with errors_named(self._path):
            connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    def find(self, folder: Folder, entry: Entry) -> Sequence[Entry | DamagedError]:
        """Every entry of that one's repository, type, path and key, or why it can't be read."""
        condition = _BY_HASH + (
            " AND f.place = ? AND f.repository_id = ? AND f.path = ?"
            " AND d.cache_type = ? AND p.model = ?"
        )
        with errors_named(self._path):
            rows = self._rows()
            repository_id = self._repository_id(folder.repository)
            if repository_id is None:
                return []
            place = place_of(repository_id, entry.file_path)
            wanted = (place, repository_id, entry.file_path, folder.cache_type, entry.model)
            bindings = (entry.file_hash[:HASH_PREFIX], entry.file_hash, *wanted)
            found = list(rows.select(_FILES_FIRST, condition, bindings))
        return [
            one for one in found if isinstance(one, DamagedError) or one.identity == entry.identity
        ]

    def _repository_id(self, repository: Repository) -> int | None:
        if self._repository is None or self._repository[0] != repository:
            row = self._rows().value(
                "SELECT id FROM repositories WHERE path = ? AND ifnull(directory, '') = ?",
                (repository.path, repository.directory or ""),
            )
            if row is None:
                return None
            self._repository = (repository, row)
        return self._repository[1]

    def candidates(self, file_hash: bytes) -> Sequence[Candidate]:
        """Every entry about that content, without its result."""
        with errors_named(self._path):
            return self._rows().candidates(
                _FILES_FIRST, _BY_HASH, (file_hash[:HASH_PREFIX], file_hash)
            )

    def lookup(self, query: Query) -> Entry | None:
        """The entry that answers, or None."""
        condition = _BY_HASH + " AND d.cache_type = ?3 AND (?4 IS NULL OR p.model = ?4)"
        bindings = (query.file_hash[:HASH_PREFIX], query.file_hash, query.cache_type, query.model)
        with errors_named(self._path):
            best = query.best(self._rows().candidates(_FILES_FIRST, condition, bindings))
            if best is None:
                return None
            found = self._rows().select(_ENTRIES_FIRST, "WHERE e.id = ?", (best.id,))
            answer = next(found, DamagedError(f"entry {best.id} is in an index only"))
        if isinstance(answer, DamagedError):
            raise answer
        return answer

    def _rows(self) -> EntryReader:
        if self._connection is None:
            raise RustAssistantError("the finder is not open: use it in a `with` block")
        return self._reader
