"""A cache database as a source of entries: every live one, at every place where it lay."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from rustassistant.entry_json import file_name
from rustassistant.errors import DamagedError, RustAssistantError
from rustassistant.stores.base import (
    Folder,
    Found,
    Look,
    Repository,
    Stamps,
    Survey,
    Taker,
    printable,
)
from rustassistant.stores.outcomes import Failure
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import (
    IS_KEPT,
    IS_LIVE,
    EntryReader,
    checked,
    copy_sql,
    entry_sql,
)
from rustassistant.stores.sqlite.surroundings import file_state

_PARTITION_ENTRIES: Final = 512
_SAMPLES_PER_TYPE: Final = 600

_FOLDERS: Final = """
SELECT d.id, r.path, r.directory, r.meta, d.cache_type, d.layout, d.subfolder
FROM folders d JOIN repositories r ON r.id = d.repository_id
ORDER BY r.path, r.directory, d.cache_type, d.layout, d.subfolder
"""
_ENTRIES: Final = """
SELECT e.id, f.path, e.source_name FROM entries e JOIN files f ON f.id = e.file_id
WHERE e.folder_id = ? AND {which} ORDER BY e.id
"""
_COPIES: Final = """
SELECT c.id, f.path, c.source_name
FROM copies c JOIN entries e ON e.id = c.entry_id
JOIN files f ON f.id = ifnull(c.file_id, e.file_id)
WHERE c.folder_id = ? AND {which} ORDER BY c.id
"""
_READ_ENTRIES: Final = (
    entry_sql(more=", e.source_name, e.source_stamp, e.id")
    + "WHERE e.id IN (SELECT value FROM json_each(?))"
)
_READ_COPIES: Final = (
    copy_sql(more=", c.source_name, c.source_stamp, c.id")
    + "WHERE c.id IN (SELECT value FROM json_each(?))"
)

_STAMPS: Final = "SELECT id, source_stamp FROM {table} WHERE id IN (SELECT value FROM json_each(?))"


class _FolderRow(NamedTuple):
    id: int
    path: str
    directory: str | None
    meta: bytes | None
    cache_type: str
    layout: str
    subfolder: str

    @property
    def folder(self) -> Folder:
        repository = Repository(self.path, self.directory, self.meta)
        return Folder(repository, self.cache_type, self.layout, self.subfolder)


class _Place(NamedTuple):
    """One place of an entry: a row of ``entries`` or ``copies``."""

    id: int
    path: str
    name: bytes | None

    @property
    def file_name(self) -> str:
        return file_name(self.path) if self.name is None else os.fsdecode(self.name)


class _Origin(NamedTuple):
    """What a place remembers of the file that lay there."""

    name: bytes | None
    stamp: int | None
    id: int


class SqlitePartition(msgspec.Struct, frozen=True):
    """Some rows of one folder: of ``copies`` if ``copied``, else of ``entries``.

    ``share`` is each row's part of the file, in bytes: what all of them take adds up to the file.
    """

    folder: Folder
    path: str
    rows: tuple[int, ...]
    names: tuple[str, ...]
    copied: bool = False
    share: int = 0

    @property
    def label(self) -> str:
        """The database, the repository and the type, for people."""
        return f"{printable(self.path)}:{self.folder.repository.path}/{self.folder.cache_type}"

    def part(self, positions: Sequence[int]) -> SqlitePartition:
        """Some of its entries."""
        return msgspec.structs.replace(
            self,
            rows=tuple(self.rows[position] for position in positions),
            names=tuple(self.names[position] for position in positions),
        )

    def state(self) -> bytes | None:
        """That of the whole database: rows have none of their own."""
        return file_state(self.path)

    def place(self, position: int) -> str:
        """The file that lay there."""
        return self._place(self.names[position])

    def look(self, known: Stamps) -> Look:
        """Read the stamps of all rows alone."""
        table = "copies" if self.copied else "entries"
        try:
            connection = open_for_reading(self.path)
            try:
                with errors_named(self.path):
                    rows = connection.execute(_STAMPS.format(table=table), (json.dumps(self.rows),))
                    stamps = dict(checked(rows.fetchall(), list[tuple[int, int | None]]))
            finally:
                connection.close()
        except RustAssistantError:
            return Look()  # reading says which of them, and why
        unchanged = tuple(
            position
            for position, (row, seen) in enumerate(zip(self.rows, known, strict=True))
            if seen and stamps.get(row) in seen
        )
        return Look(unchanged, len(unchanged) * self.share)

    def read(self, taker: Taker | None = None) -> Iterator[Found | Failure]:
        """Read each row. A damaged one is a failure."""
        try:
            connection = open_for_reading(self.path)
        except RustAssistantError as error:
            yield from (self._failure(name, error.message) for name in self.names)
            return
        try:
            yield from self._read(connection)
        finally:
            connection.close()

    def _read(self, connection: apsw.Connection) -> Iterator[Found | Failure]:
        try:
            with errors_named(self.path):
                found = self._rows(connection)
        except RustAssistantError as error:
            yield from self._one_by_one(error)
            return
        reader = EntryReader(connection)
        for row, name in zip(self.rows, self.names, strict=True):
            try:
                with errors_named(self.path):
                    item = self._one(reader, found.get(row), name)
            except RustAssistantError as error:
                item = self._failure(name, error.message)
            yield item

    def _rows(self, connection: apsw.Connection) -> dict[int, tuple[Any, ...]]:
        sql = _READ_COPIES if self.copied else _READ_ENTRIES
        return {row[-1]: row for row in connection.execute(sql, (json.dumps(self.rows),))}

    def _one_by_one(self, error: RustAssistantError) -> Iterator[Found | Failure]:
        """Each row alone, when reading them together failed: a damaged page is not all pages."""
        if len(self.rows) == 1:
            yield self._failure(self.names[0], error.message)
            return
        for position in range(len(self.rows)):
            yield from self.part([position]).read()

    def _one(self, reader: EntryReader, row: tuple[Any, ...] | None, name: str) -> Found | Failure:
        if row is None:
            return self._failure(name, "vanished before it could be read: run again")
        try:
            origin = checked(row[-len(_Origin._fields) :], _Origin)
        except DamagedError as error:
            return self._failure(name, error.message)
        entry = reader.entry(row)
        if isinstance(entry, DamagedError):
            return self._failure(name, entry.message)
        return Found(entry, self._place(name), self.share, origin.name, origin.stamp)

    def _place(self, name: str) -> str:
        return f"{self.label}/{printable(name)}"

    def _failure(self, name: str, reason: str) -> Failure:
        return Failure(self._place(name), self.folder.cache_type, reason)


def partitions(path: str, *, superseded: bool = False) -> Iterator[SqlitePartition | Failure]:
    """List a database, one folder's names in memory at a time; with ``superseded``, those too.

    A folder that can't be listed, as its pages are damaged, is a failure and hides no other.
    """
    which = IS_KEPT if superseded else IS_LIVE
    connection = open_for_reading(path)
    try:
        with errors_named(path):
            rows = connection.execute(_FOLDERS).fetchall()
        share = _share(connection, path)
        for row in rows:
            try:
                with errors_named(path):
                    found = checked(row, _FolderRow)
                    own, copied = (
                        [
                            checked(one, _Place)
                            for one in connection.execute(sql.format(which=which), (found.id,))
                        ]
                        for sql in (_ENTRIES, _COPIES)
                    )
            except DamagedError as error:
                yield Failure(f"{printable(path)}:{row[1]}/{row[4]}", str(row[4]), error.message)
                continue
            for places, is_copied in ((own, False), (copied, True)):
                for some in _in_parts(found.folder, path, places):
                    yield msgspec.structs.replace(some, copied=is_copied, share=share)
    finally:
        connection.close()


def _share(connection: apsw.Connection, path: str) -> int:
    """Bytes of the file for each place of an entry; 0 where the totals can't say how many."""
    try:
        with errors_named(path):
            live = connection.execute(
                "SELECT ifnull(sum(entries), 0) + (SELECT count(*) FROM copies) FROM totals"
            ).get
            size = os.path.getsize(path)
    except DamagedError:
        return 0
    return size // live if live > 0 else 0


def _in_parts(folder: Folder, path: str, places: list[_Place]) -> Iterator[SqlitePartition]:
    for start in range(0, len(places), _PARTITION_ENTRIES):
        some = places[start : start + _PARTITION_ENTRIES]
        rows = tuple(place.id for place in some)
        names = tuple(place.file_name for place in some)
        yield SqlitePartition(folder, path, rows, names)


def survey(path: str) -> Survey:
    """Count the entries of each type by the totals, and pick samples evenly; nothing of either
    where the tables that say so are damaged."""
    connection = open_for_reading(path)
    try:
        with errors_named(path):
            return _survey(connection, path)
    except DamagedError:
        return Survey({}, 0.0, [])
    finally:
        connection.close()


def _survey(connection: apsw.Connection, path: str) -> Survey:
    files: defaultdict[str, int] = defaultdict(int)
    text_bytes = 0
    for cache_type, entries, size in connection.execute(
        "SELECT d.cache_type, sum(t.entries), sum(t.text_bytes)"
        " FROM totals t JOIN folders d ON d.id = t.folder_id GROUP BY 1"
    ):
        files[cache_type] += entries
        text_bytes += size
    total = sum(files.values())
    for cache_type, copies in connection.execute(
        "SELECT d.cache_type, count(*) FROM copies c JOIN folders d ON d.id = c.folder_id"
        " GROUP BY 1"
    ):
        files[cache_type] += copies
    samples = list(_samples(connection, path, files))
    return Survey(dict(files), text_bytes / total if total else 0.0, samples)


def _samples(
    connection: apsw.Connection, path: str, files: dict[str, int]
) -> Iterator[SqlitePartition]:
    for row in connection.execute(_FOLDERS).fetchall():
        found = checked(row, _FolderRow)
        step = max(1, -(-files.get(found.cache_type, 0) // _SAMPLES_PER_TYPE))
        ids = [
            entry_id
            for (entry_id,) in connection.execute(
                "SELECT id FROM entries WHERE folder_id = ? AND id % ? = 0", (found.id, step)
            )
        ]
        if ids:
            names = tuple(map(str, ids))  # what they are called does not matter to a sample
            yield SqlitePartition(found.folder, path, tuple(ids), names)
