"""Which row had which id, by the indices of a damaged file: what refers to an id must find it.

An id stands in a row's page once, and once in each index. A wrong bit in it makes a sound entry a
stranger to whoever shares its result, or gives it the id of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.stores.sqlite.integrity.pages import Pages
from rustassistant.stores.sqlite.integrity.tables import Row, Table, Values, bindings_of, insert_sql
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_ROUNDS: Final = 2
"""Of two rows with one id the one that was there first may have to go before the other comes."""

_TABLES: Final = """
CREATE TEMP TABLE named_files (id INTEGER PRIMARY KEY, prefix, place);
CREATE TEMP TABLE named_entries (id INTEGER PRIMARY KEY, file_id, folder_id);
CREATE TEMP TABLE named_copies (id INTEGER PRIMARY KEY, file_id, folder_id, entry_id);
"""
_BY_COLUMNS: Final = {
    "files_by_hash": ("files", ("prefix", "place")),
    "entries_by_folder": ("entries", ("folder_id", "file_id")),
    "copies_by_file": ("copies", ("file_id",)),
    "copies_by_folder": ("copies", ("folder_id",)),
    "copies_by_entry": ("copies", ("entry_id",)),
}
_NAMED: Final = {
    "entries": ("id", "file_id", "folder_id"),
    "copies": ("id", "file_id", "folder_id", "entry_id"),
}
_MISSING: Final = "SELECT n.* FROM named_{0} n LEFT JOIN {0} t ON t.id = n.id WHERE t.id IS NULL"
_STRANGERS: Final = {
    "files": f"""
SELECT f.id FROM files f
WHERE substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.place = ? AND NOT EXISTS (
    SELECT 1 FROM named_files n
    WHERE n.id = f.id AND n.prefix = substr(f.hash, 1, {HASH_PREFIX}) AND n.place = f.place)
""",
    "entries": """
SELECT e.id FROM entries e
WHERE e.file_id = ? AND e.folder_id = ? AND NOT EXISTS (
    SELECT 1 FROM named_entries n
    WHERE n.id = e.id AND n.file_id = e.file_id AND n.folder_id = e.folder_id)
""",
}
"""Rows with certain columns whose id the indices know for another, or not at all."""


class LostRow(NamedTuple):
    """An entry, or a further place of one, that only indices still name: what they say of it."""

    table: str
    values: Values

    @property
    def id(self) -> int:
        """The row's id."""
        return int(self.values["id"])


class RowIds:
    """What the indices of a damaged file say, held against the rows that were salvaged."""

    def __init__(
        self, target: apsw.Connection, pages: Pages, roots: Mapping[tuple[str, str], int]
    ) -> None:
        self._target = target
        self._pages = pages
        self._roots = roots

    def settle(self, collided: Iterable[tuple[Table, Row]]) -> list[LostRow]:
        """Give rows their ids back; return the entries and places of which there is none.

        ``collided`` are rows that found their id taken: they come in under new ones first.
        """
        self._target.execute(_TABLES)
        try:
            self._read_indices()
            for table, row in collided:
                self._add_under_new_id(table, row)
            for name in ("files", "entries"):
                for _ in range(_ROUNDS):
                    self._reunite(name)
            return [
                *self._lost("entries", ("file_id", "folder_id")),
                *self._lost("copies", ("folder_id", "entry_id")),
            ]
        finally:
            for name in ("files", "entries", "copies"):
                self._target.execute(f"DROP TABLE named_{name}")

    def _cells(self, index: str, parts: int) -> Iterable[tuple[Any, ...]]:
        root = self._roots.get(("index", index))
        for cell in () if root is None else self._pages.cells(root, keyed=False):
            is_one = cell.exact and len(cell.values) == parts + 1
            if is_one and isinstance(cell.values[-1], int):
                yield cell.values

    def _read_indices(self) -> None:
        for index, (table, columns) in _BY_COLUMNS.items():
            changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
            self._target.executemany(
                f"INSERT INTO named_{table} ({', '.join(columns)}, id)"
                f" VALUES ({', '.join('?' * len(columns))}, ?) ON CONFLICT DO UPDATE SET {changes}",
                self._cells(index, len(columns)),
            )

    def _add_under_new_id(self, table: Table, row: Row) -> None:
        new_id: Any = self._target.execute(
            f"SELECT max(ifnull((SELECT max(id) FROM {table.name}), 0),"
            f" ifnull((SELECT max(id) FROM named_{table.name} WHERE id < {2**62}), 0)) + 1"
        ).get
        values = row.values | {"id": new_id}
        self._target.execute(
            insert_sql(table), bindings_of(table, row._replace(rowid=new_id, values=values))
        )

    def _reunite(self, name: str) -> None:
        for missing, *known in self._target.execute(_MISSING.format(name)).fetchall():
            strangers = self._target.execute(_STRANGERS[name], known).fetchall()
            if len(strangers) == 1:
                self._target.execute(
                    f"UPDATE {name} SET id = ? WHERE id = ?", (missing, strangers[0][0])
                )

    def _lost(self, table: str, columns: tuple[str, str]) -> list[LostRow]:
        """Rows that the indices of both columns name, or one where the other has gaps itself."""
        count: Any = self._target.execute(f"SELECT count(*) FROM {table}").get
        counts = self._target.execute(
            f"SELECT count({columns[0]}), count({columns[1]}) FROM named_{table}"
        ).fetchone()
        may_lack = {
            column for column, named in zip(columns, counts or (0, 0), strict=True) if named < count
        }
        cursor = self._target.execute(_MISSING.format(table) + " ORDER BY n.id")
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        found = [dict(zip(_NAMED[table], row, strict=True)) for row in rows]
        return [
            LostRow(table, values)
            for values in found
            if all(values[column] is not None or column in may_lack for column in columns)
        ]
