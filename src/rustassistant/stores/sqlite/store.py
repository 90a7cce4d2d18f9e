"""The cache database as a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final

import apsw

from rustassistant.entry import Entry
from rustassistant.errors import DamagedError, RustAssistantError
from rustassistant.stores.base import (
    Candidate,
    Folder,
    Held,
    Partition,
    Query,
    Repository,
    StoreInfo,
    Survey,
    Tree,
    printable,
)
from rustassistant.stores.outcomes import Failure, Rules
from rustassistant.stores.sqlite.connection import (
    check_writable,
    open_for_reading,
    open_for_writing,
)
from rustassistant.stores.sqlite.held import HeldReader
from rustassistant.stores.sqlite.naming import errors_named, nearest_directory
from rustassistant.stores.sqlite.partitions import partitions, survey
from rustassistant.stores.sqlite.rehearsal import Rehearsal, rehearse
from rustassistant.stores.sqlite.rows import (
    FILES_FIRST,
    IS_LIVE,
    EntryReader,
    entry_sql,
)
from rustassistant.stores.sqlite.schema import HASH_PREFIX
from rustassistant.stores.sqlite.surroundings import file_state
from rustassistant.stores.sqlite.writer import SqliteWriter

_BY_HASH: Final = f"WHERE substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.hash = ?"


class SqliteStore:
    """A cache database at ``path``. Opens it for each operation, and keeps nothing open.

    As a source it lists live entries; with ``superseded``, also those of which another result is
    preferred: they came from files, too.
    """

    def __init__(self, path: str | os.PathLike[str], *, superseded: bool = False) -> None:
        self.path = os.path.realpath(path)
        self._superseded = superseded

    def info(self) -> StoreInfo:
        """Where it is and its size, the write-ahead log included. A missing one has size 0."""
        size = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):  # a log goes with the last who has the file open
                size += os.stat(self.path + suffix).st_size
        return StoreInfo("sqlite", printable(self.path), size)

    def check_writable(self) -> None:
        """Raise now what opening the writer would raise later. Makes nothing."""
        check_writable(self.path)

    def survey(self) -> Survey:
        """Count its live entries, and pick samples of them."""
        return survey(self.path)

    def partitions(self) -> Iterator[Partition | Failure]:
        """List its entries, at each place where they lay."""
        return partitions(self.path, superseded=self._superseded)

    def tree(self) -> Tree:
        """The one file."""
        return Tree(self.path)

    def room(self) -> int | None:
        """Free bytes on its disk, for users like us."""
        return shutil.disk_usage(nearest_directory(self.path)).free

    @contextmanager
    def writer(self, rules: Rules = Rules()) -> Iterator[SqliteWriter]:
        """The one writer; makes the file if there is none. Raises LockedError, naming who."""
        connection = open_for_writing(self.path)
        try:
            writer = SqliteWriter(connection, self.path, rules)
            try:
                yield writer
                writer.finish()
            except BaseException:
                writer.abandon()
                raise
        finally:
            with errors_named(self.path):
                connection.close()

    def rehearsal(self) -> AbstractContextManager[Rehearsal]:
        """A private copy to try a run on."""
        return rehearse(self, self.path)

    def state(self) -> bytes | None:
        """Others after every change, by whomever."""
        return file_state(self.path)

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
        self._held = HeldReader(self._reader)
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
        self._held.forget()
        try:
            yield
        finally:
            self._held.forget()
            connection.execute("ROLLBACK")

    def find(self, folder: Folder, entry: Entry) -> Sequence[Entry | DamagedError]:
        """Every entry of that one's repository, type, path and key, or why it can't be read."""
        if not self._rows().connection.in_transaction:
            self._held.forget()  # others may have written since
        found: list[Entry | DamagedError] = []
        for one in self.held(folder, entry):
            given = one if isinstance(one, DamagedError) else one.entry
            if given not in found:  # one entry may have lain at several places
                found.append(given)
        return found

    def held(self, folder: Folder, entry: Entry) -> Iterator[Held | DamagedError]:
        """The same, at each place where it lay; to be asked for within `snapshot`."""
        self._rows()
        try:
            yield from self._held.held(folder, entry)
        except Exception:
            with errors_named(self._path):  # only now: to be ready for them takes time
                raise

    def held_here(self, folder: Folder, entries: Sequence[Entry]) -> Sequence[Sequence[Held]]:
        """What of these is plainly there, in that folder; to be asked for within `snapshot`."""
        self._rows()
        with errors_named(self._path):
            return self._held.held_here(folder, entries)

    def repository(self, repository: Repository) -> Repository | None:
        """The repository with that path and directory, as it is here."""
        self._rows()
        with errors_named(self._path):
            return self._held.repository(repository)

    def candidates(self, file_hash: bytes) -> Sequence[Candidate]:
        """Every entry about that content, without its result."""
        with errors_named(self._path):
            return self._rows().candidates(
                FILES_FIRST, f"{_BY_HASH} AND {IS_LIVE}", (file_hash[:HASH_PREFIX], file_hash)
            )

    def lookup(self, query: Query) -> Entry | None:
        """The entry that answers, or None."""
        condition = (
            f"{_BY_HASH} AND d.cache_type = ?3 AND (?4 IS NULL OR p.model = ?4) AND {IS_LIVE}"
        )
        bindings = (query.file_hash[:HASH_PREFIX], query.file_hash, query.cache_type, query.model)
        with errors_named(self._path):
            best = query.best(self._rows().candidates(FILES_FIRST, condition, bindings))
            if best is None:
                return None
            found = self._rows().select(entry_sql() + "WHERE e.id = ?", (best.id,))
            answer = next(found, DamagedError(f"entry {best.id} is in an index only"))
        if isinstance(answer, DamagedError):
            raise answer
        return answer

    def _rows(self) -> EntryReader:
        if self._connection is None:
            raise RustAssistantError("the finder is not open: use it in a `with` block")
        return self._reader
