"""The Rust program's own database as a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import apsw

from rustassistant.entry import Entry, full_key
from rustassistant.errors import DamagedError, EntryError, NotFoundError, RustAssistantError
from rustassistant.stores.base import (
    Candidate,
    Destination,
    Folder,
    Partition,
    Query,
    StoreInfo,
    Survey,
    Tree,
    printable,
)
from rustassistant.stores.outcomes import Failure, Problem, Rules
from rustassistant.stores.sqlite.naming import errors_named, nearest_directory
from rustassistant.stores.v1.opening import (
    Reading,
    check_writable,
    errors_of_source,
    open_for_writing,
    prepare,
)
from rustassistant.stores.v1.partitions import partitions, survey
from rustassistant.stores.v1.rows import Provenance, Row, entry_of, provenance_of, row_sql
from rustassistant.stores.v1.schema import ENTRIES, TABLES, Table
from rustassistant.stores.v1.writer import V1Writer


class V1Store:
    """The database at ``path``. Opens it for each operation, and keeps nothing open.

    As a source nothing of it is ever written, its log and shared memory included.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(path)

    def info(self) -> StoreInfo:
        """Where it is and its size, the write-ahead log included. A missing one has size 0."""
        size = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):  # a log goes with the last who has the file open
                size += os.stat(self.path + suffix).st_size
        return StoreInfo("v1", printable(self.path), size)

    # As a source.

    def survey(self) -> Survey:
        """Count its rows, and pick samples of them."""
        return survey(self.path)

    def tree(self) -> Tree:
        """The one file."""
        return Tree(self.path)

    def partitions(self) -> Iterator[Partition | Failure | Problem]:
        """List its rows, by repository and type."""
        return partitions(self.path)

    # As a destination.

    def check_writable(self) -> None:
        """Raise now what opening the writer would raise later. Makes nothing."""
        check_writable(self.path)

    def room(self) -> int | None:
        """Free bytes on its disk, for users like us."""
        return shutil.disk_usage(nearest_directory(self.path)).free

    @contextmanager
    def writer(self, rules: Rules = Rules()) -> Iterator[V1Writer]:
        """The one writer; makes the file if there is none. Raises LockedError, naming who."""
        connection = open_for_writing(self.path)
        try:
            with _writing(connection, self.path, rules) as writer:
                yield writer
        finally:
            with errors_named(self.path):
                connection.close()

    @contextmanager
    def rehearsal(self) -> Iterator[Destination]:
        """A copy in SQLite's own temporary storage, which has no name and leaves nothing."""
        self.check_writable()
        copy = apsw.Connection("")
        try:
            with errors_named(self.path):
                if os.path.exists(self.path):
                    with Reading(self.path) as reading:
                        _copy(reading, copy)
                else:
                    copy.execute(TABLES)
                prepare(copy)
            yield _Rehearsal(self, copy)
        finally:
            copy.close()

    def finder(self) -> V1Finder:
        """Looks entries up, in this process or another."""
        return V1Finder(self.path)


@contextmanager
def _writing(connection: apsw.Connection, path: str, rules: Rules) -> Iterator[V1Writer]:
    writer = V1Writer(connection, path, rules)
    try:
        yield writer
        writer.finish()
    except BaseException:
        writer.abandon()
        raise


def _copy(reading: Reading, copy: apsw.Connection) -> None:
    with copy.backup("main", reading.connection, "main") as backup:
        while not backup.done:
            backup.step(1024)
    reading.check()


class _Rehearsal(V1Store):
    """Stands in for a store: writes go to a copy."""

    def __init__(self, real: V1Store, copy: apsw.Connection) -> None:
        super().__init__(real.path)
        self._copy = copy

    def info(self) -> StoreInfo:
        """Its size is what the real file will have, within a few pages."""
        pages, size = (self._copy.pragma(name) for name in ("page_count", "page_size"))
        return StoreInfo("v1", printable(self.path), pages * size)

    @contextmanager
    def writer(self, rules: Rules = Rules()) -> Iterator[V1Writer]:
        """Writes to the copy."""
        with errors_named(self.path):
            self._copy.execute("DROP TABLE IF EXISTS temp.put_now")
        with _writing(self._copy, self.path, rules) as writer:
            yield writer


class V1Finder:
    """A read-only view that can be sent to another process before it is opened there."""

    _reading: Reading | None = None

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (V1Finder, (self._path,))

    def __enter__(self) -> V1Finder:
        if not os.path.exists(self._path):
            raise NotFoundError(f"the database {printable(self._path)} does not exist")
        self._reading = Reading(self._path)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One read transaction."""
        connection = self._opened().connection
        with errors_of_source(self._path):
            connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    def find(self, folder: Folder, entry: Entry) -> Sequence[Entry | DamagedError]:
        """Every entry of that one's repository, type, path and key, or why it can't be read.

        By the key, whole or cut short: a row whose key is another's is found by `lookup` only.
        """
        key = full_key(entry.file_hash.hex(), entry.model, entry.prompt_hash, entry.schema_version)
        found = self._rows("WHERE cache_key IN (?, ?)", (key, key[:32]))
        return [
            one
            for row, provenance in found
            if provenance.folder.repository.path == folder.repository.path
            and provenance.folder.cache_type == folder.cache_type
            and provenance.file_path == entry.file_path
            for one in [self._entry(row, provenance)]
            if isinstance(one, DamagedError) or one.identity == entry.identity
        ]

    def candidates(self, file_hash: bytes) -> Sequence[Candidate]:
        """Every entry about that content. Reads the whole table: v1 has no index for it."""
        found = self._rows("WHERE file_hash = ? COLLATE NOCASE", (file_hash.hex(),))
        return [provenance.candidate(row.id) for row, provenance in found]

    def lookup(self, query: Query) -> Entry | None:
        """The entry that answers, or None."""
        best = query.best(self.candidates(query.file_hash))
        if best is None:
            return None
        for row, provenance in self._rows("WHERE rowid = ?", (best.id,)):
            answer = self._entry(row, provenance)
            if isinstance(answer, DamagedError):
                raise answer
            return answer
        raise DamagedError(f"row {best.id} is in an index only")

    def _rows(self, condition: str, values: tuple[Any, ...]) -> list[tuple[Row, Provenance]]:
        """Rows that say what they are; those that do not could answer nothing."""
        reading = self._opened()
        table: Table = reading.tables[0]
        with errors_of_source(self._path):
            rows = reading.connection.execute(row_sql(table) + condition, values).fetchall()
        reading.check()
        found = []
        for row in map(Row._make, rows):
            try:
                found.append((row, provenance_of(row, table, printable(self._path))))
            except EntryError:
                continue
        return found

    def _entry(self, row: Row, provenance: Provenance) -> Entry | DamagedError:
        try:
            return entry_of(row, provenance)
        except RustAssistantError as error:
            return DamagedError(f"row {row.id} of {ENTRIES}: {error.message}")

    def _opened(self) -> Reading:
        if self._reading is None:
            raise RustAssistantError("a finder has to be entered before it is used")
        return self._reading
