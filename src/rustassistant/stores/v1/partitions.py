"""A v1 file as a source: its rows, by repository and type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import apsw
import msgspec

from rustassistant.entry import JSON_KEY_DIGITS
from rustassistant.entry_json import file_name, render
from rustassistant.errors import DamagedError, LockedError, RustAssistantError
from rustassistant.stores.base import (
    Folder,
    Found,
    Look,
    Partition,
    Stamps,
    Survey,
    Taker,
    printable,
)
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.stores.v1.opening import Reading, errors_of_source
from rustassistant.stores.v1.rows import Row, entry_of, folder_of, provenance_of, row_sql
from rustassistant.stores.v1.schema import ENTRIES, Table

PARTITION_ROWS: Final = 512
_SAMPLES_PER_TYPE: Final = 600
_MEASURED: Final = 400


class V1Partition(msgspec.Struct, frozen=True):
    """Some rows of one table, all of one repository and type."""

    folder: Folder
    path: str
    table: str
    rows: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """The database, the repository and the type, for people."""
        folder = self.folder
        return f"{printable(self.path)}:{folder.repository.path}/{folder.cache_type}"

    def part(self, positions: Sequence[int]) -> V1Partition:
        """Some of its rows."""
        return msgspec.structs.replace(
            self,
            rows=tuple(self.rows[position] for position in positions),
            names=tuple(self.names[position] for position in positions),
        )

    def place(self, position: int) -> str:
        """The row, by its number."""
        return self._place(self.rows[position])

    def look(self, known: Stamps) -> Look:
        """Read each row that may be a known one, but nothing in it. Raises LockedError."""
        unchanged, size = [], 0
        try:
            with Reading(self.path) as reading:
                table = self._table(reading)
                for position, (row, stamps) in enumerate(zip(self.rows, known, strict=True)):
                    found = self._row(reading, table, row) if stamps and table else None
                    if found is not None and found.stamp in (stamps or ()):
                        unchanged.append(position)
                        size += found.size
        except LockedError:
            raise
        except RustAssistantError:
            return Look()  # reading says which of them, and why
        return Look(tuple(unchanged), size)

    def read(self, taker: Taker | None = None) -> Iterator[Found | Failure]:
        """Read each row. Each stands for itself, damaged or not.

        Raises LockedError: what others hold or change is a reason to try again, for all of it.
        """
        try:
            reading = Reading(self.path)
        except LockedError:
            raise
        except RustAssistantError as error:
            for row in self.rows:
                yield self._failure(row, error.message)
            return
        with reading:
            table = self._table(reading)
            for row in self.rows:
                if table is None:
                    yield self._failure(row, f"the table {self.table} vanished")
                else:
                    yield self._one(reading, table, row)

    def _table(self, reading: Reading) -> Table | None:
        return next((one for one in reading.tables if one.name == self.table), None)

    def _row(self, reading: Reading, table: Table, number: int) -> Row | None:
        with errors_of_source(self.path):
            found = reading.connection.execute(
                f"{row_sql(table)} WHERE rowid = ?", (number,)
            ).fetchone()
        reading.check()
        return None if found is None else Row._make(found)

    def _one(self, reading: Reading, table: Table, number: int) -> Found | Failure:
        place = self._place(number)
        try:
            row = self._row(reading, table, number)
            if row is None:
                return self._failure(number, "vanished before it could be read")
            if isinstance(row.file_path, str):
                place = f"{place} ({row.file_path})"
            provenance = provenance_of(row, table, printable(self.path))
            entry = entry_of(row, provenance)
        except LockedError:
            raise
        except RustAssistantError as error:
            return Failure(place, self.folder.cache_type, error.message)
        return Found(entry, place, row.size, None, row.stamp, tuple(provenance.notes))

    def _place(self, number: int) -> str:
        which = f"row {number}" if self.table == ENTRIES else f"row {number} of {self.table}"
        return f"{self.label}: {which}"

    def _failure(self, number: int, reason: str) -> Failure:
        return Failure(self._place(number), self.folder.cache_type, reason)


class _Group(NamedTuple):
    """All rows of a table with one repository and one type, of which ``first`` is the first."""

    table: Table
    folder: Folder
    first: int


def _text(value: bytes | None) -> str:
    """A column that may not be UTF-8, for listing: the row itself fails if it is not."""
    return (value or b"").decode("utf-8", "backslashreplace")


def _groups(connection: apsw.Connection, table: Table, path: str) -> list[_Group]:
    repository = table.expression("repo_path")
    rows = connection.execute(
        f"SELECT CAST({repository} AS BLOB), CAST(cache_type AS BLOB), min(rowid)"
        f" FROM {table.name} GROUP BY {repository}, cache_type ORDER BY 1, 2, 3"
    )
    return [
        _Group(table, folder_of(_text(repository), _text(cache_type), printable(path)), first)
        for repository, cache_type, first in rows
    ]


def _rows_of(
    connection: apsw.Connection, group: _Group, step: int = 1
) -> Iterator[tuple[int, str]]:
    """Number and file name of each row, or of every so many."""
    name, repository = group.table.name, group.table.expression("repo_path")
    for number, file_path in connection.execute(
        f"SELECT rowid, CAST(file_path AS BLOB) FROM {name}"
        f" WHERE {repository} IS (SELECT {repository} FROM {name} WHERE rowid = ?1)"
        f" AND cache_type IS (SELECT cache_type FROM {name} WHERE rowid = ?1)"
        " AND rowid % ?2 = 0 ORDER BY rowid",
        (group.first, step),
    ):
        yield number, file_name(_text(file_path))


def _in_parts(group: _Group, path: str, rows: Sequence[tuple[int, str]]) -> Iterator[V1Partition]:
    for start in range(0, len(rows), PARTITION_ROWS):
        numbers, names = zip(*rows[start : start + PARTITION_ROWS], strict=True)
        yield V1Partition(group.folder, path, group.table.name, numbers, names)


def partitions(path: str) -> Iterator[Partition | Failure | Problem]:
    """List a file, one folder's names in memory at a time, and what it holds that is not moved."""
    with Reading(path) as reading:
        for table in reading.tables:
            yield from _problems(reading, table)
            with errors_of_source(path):
                groups = _groups(reading.connection, table, path)
            for group in groups:
                try:
                    with errors_of_source(path):
                        rows = list(_rows_of(reading.connection, group))
                    reading.check()
                except DamagedError as error:
                    folder = group.folder
                    place = f"{printable(path)}:{folder.repository.path}/{folder.cache_type}"
                    yield Failure(place, folder.cache_type, f"can't be listed: {error.message}")
                    continue
                yield from _in_parts(group, path, rows)


def _problems(reading: Reading, table: Table) -> Iterator[Problem]:
    """What holds for the table as a whole, said once instead of for each row."""
    place = f"{printable(reading.path)}:{table.name}"
    if table.missing:
        yield Problem(place, f"has no {', '.join(table.missing)}: counted as absent in each entry")
    if "created_at" in table.columns:
        yield Problem(place, "times of analysis are those of created_at, which has whole seconds")
    short = _sum(reading, table, "cache_key", f"length(cache_key) = {JSON_KEY_DIGITS}")
    if short:
        yield Problem(
            place,
            f"{short} rows have keys of {JSON_KEY_DIGITS} digits, by which the Rust program never "
            "finds them: repaired",
        )
    nameless = _sum(reading, table, "repo_path", "ifnull(repo_path, '') = ''")
    if nameless:
        yield Problem(
            place, f"{nameless} rows name no repository: kept under the database's own path"
        )
    used = _sum(reading, table, "access_count", "access_count > 0")
    if used:
        uses = _sum(reading, table, "access_count", "max(access_count, 0)")
        yield Problem(place, f"counts {uses} uses of {used} entries, which are not carried over")


def _sum(reading: Reading, table: Table, column: str, expression: str) -> int:
    """The sum of an expression over a column that the table may lack."""
    if column not in table.columns:
        return 0
    with errors_of_source(reading.path):
        found = reading.connection.execute(f"SELECT total({expression}) FROM {table.name}").get
    return int(found or 0)


def survey(path: str) -> Survey:
    """Count rows by type, pick samples evenly, and measure some of them uncompressed."""
    files: defaultdict[str, int] = defaultdict(int)
    samples: list[V1Partition] = []
    with Reading(path) as reading, errors_of_source(path):
        for table in reading.tables:
            for cache_type, count in reading.connection.execute(
                f"SELECT CAST(cache_type AS BLOB), count(*) FROM {table.name} GROUP BY cache_type"
            ):
                files[_text(cache_type)] += count
            for group in _groups(reading.connection, table, path):
                step = -(-files[group.folder.cache_type] // _SAMPLES_PER_TYPE)
                rows = list(_rows_of(reading.connection, group, step))
                samples.extend(_in_parts(group, path, rows))
    return Survey(dict(files), _mean_size(samples), samples)


def _mean_size(samples: Sequence[V1Partition]) -> float:
    """Mean bytes of an entry as JSON, of at most a few hundred."""
    total = sum(len(part.rows) for part in samples)
    step = max(1, total // _MEASURED)
    sizes = [
        len(render(item.entry))
        for part in samples
        for item in part.part(range(0, len(part.rows), step)).read()
        if isinstance(item, Found)
    ]
    return sum(sizes) / len(sizes) if sizes else 0.0
