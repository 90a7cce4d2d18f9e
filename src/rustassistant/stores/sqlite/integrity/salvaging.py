"""Carrying the rows of a file whose pages are damaged over into a whole one.

Every page of the file is read by itself, those too that no b-tree leads to any more. What was
found is in the end as good as its seals and digests say, which the check afterwards looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.stores.sqlite.integrity.pages import Cell, Pages
from rustassistant.stores.sqlite.integrity.row_ids import LostRow, RowIds
from rustassistant.stores.sqlite.integrity.small_tables import (
    SECOND_HOLDINGS,
    Indexed,
    as_columns,
    without,
)
from rustassistant.stores.sqlite.integrity.tables import (
    Row,
    Table,
    bindings_of,
    insert_sql,
    is_noise,
    judged,
    our_tables,
    row_of_cell,
    rows_of,
)

_COUNTED_ANEW: Final = "totals"
_NAMED_BY_NOTHING: Final = (
    "trash", "pins", "uses", "traffic", "runs", "run_failures", "quarantine",
)  # fmt: skip
"""Tables of which nothing else tells that a row is gone."""

_BATCH: Final = 500


class Reject(NamedTuple):
    """A row that the whole file can't hold as it is, and why."""

    table: str
    row: Row
    what: str


class Salvaged(NamedTuple):
    """What did not come over as it should have, and what the indices of the damaged file held.

    ``restored`` are rows, by table and id, that were taken from there. ``spoiled`` are tables that
    had more on a page that can't be read, and nothing tells what.
    """

    rejects: list[Reject]
    lost: list[LostRow]
    indexed: Indexed
    restored: list[tuple[str, int]]
    spoiled: tuple[str, ...]


def columns_of(connection: apsw.Connection | None) -> Mapping[str, tuple[str, ...]]:
    """The columns that each of our tables has in a file, in its order; none where it can't say."""
    found: dict[str, tuple[str, ...]] = {}
    if connection is not None:
        for name in our_tables():
            with suppress(apsw.Error, UnicodeDecodeError):
                rows = connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
                found[name] = tuple(str(column) for (column,) in rows)
    return found


def salvage(
    pages: Pages, target: apsw.Connection, columns: Mapping[str, tuple[str, ...]]
) -> Salvaged:
    """Carry all rows over into ``target``, which has our tables, empty, and an open transaction."""
    return _Salvage(pages, target, columns).run()


class _Salvage:
    def __init__(
        self, pages: Pages, target: apsw.Connection, columns: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._pages = pages
        self._target = target
        self._tables = {
            name: table for name, table in our_tables().items() if name != _COUNTED_ANEW
        }
        self._columns = columns
        self._rejects: list[Reject] = []
        self._collided: list[tuple[Table, Row]] = []
        self._pending: dict[str, list[Row]] = {name: [] for name in self._tables}
        self._spoiled: dict[str, set[int]] = {name: set() for name in self._tables}

    def run(self) -> Salvaged:
        seen: set[int] = set()
        list(self._pages.cells(1, seen))
        roots = {(row.kind, row.name): row.root for row in self._pages.schema()}
        for name, table in self._tables.items():
            root = roots.get(("table", name), 0)
            spoiled = self._spoiled[name]
            for cell in self._pages.cells(root, seen, keyed=table.keyed, spoiled=spoiled):
                self._take(name, cell)
        self._write()
        for cell in self._pages.orphans(seen):
            name = self._home(cell)
            if name:
                self._add(name, self._row(name, cell), is_orphan=True)
        indexed = self._indexed(roots)
        restored = list(self._restore(indexed))
        lost = RowIds(self._target, self._pages, roots).settle(self._collided)
        known = {(reject.table, reject.row.rowid) for reject in self._rejects}
        lost = [one for one in lost if (one.table, one.id) not in known]
        lacking = tuple(name for name in _NAMED_BY_NOTHING if self._spoiled[name])
        return Salvaged(self._rejects, lost, indexed, restored, lacking)

    def _row(self, name: str, cell: Cell) -> Row:
        """A cell as a row of a table, whose columns may stand in another order there."""
        table = self._tables[name]
        names = self._columns.get(name) or table.names
        if names != table.names and set(names) >= set(table.names):
            values: dict[str, Any] = dict(zip(names, cell.values, strict=False))
            ordered = tuple(values.get(column) for column in table.names)
            cell = cell._replace(values=ordered)
        return row_of_cell(table, cell)

    def _take(self, name: str, cell: Cell) -> None:
        row = self._row(name, cell)
        if row.fault or len(cell.values) > len(row.values):
            name = self._home(cell) or name
            row = self._row(name, cell)
        if is_noise(self._tables[name], row):
            self._spoiled[name].add(cell.page)  # if it was a row, an index may know of which id
            return
        while spared := without(name, row.fault):
            row = judged(self._tables[name], row.rowid, row.values | spared)
        if row.fault:
            self._rejects.append(Reject(name, row, row.fault))
            return
        self._pending[name].append(row)
        if len(self._pending[name]) >= _BATCH:
            self._write()

    def _home(self, cell: Cell) -> str:
        """The one table that a record of no known table fits, by the types of its columns."""
        fitting = [
            name
            for name, table in self._tables.items()
            if table.keyed == (cell.rowid is not None)
            and len(cell.values) == len(table.columns)
            and not any(
                column.is_rowid and value is not None
                for column, value in zip(table.columns, cell.values, strict=True)
            )
            and not (row := row_of_cell(table, cell)).fault
            and not row.change
        ]
        return fitting[0] if len(fitting) == 1 else ""

    def _write(self) -> None:
        for name, rows in self._pending.items():
            if not rows:
                continue
            try:
                with self._target:
                    values = [bindings_of(self._tables[name], row) for row in rows]
                    self._target.executemany(insert_sql(self._tables[name]), values)
            except apsw.ConstraintError:
                for row in rows:
                    self._add(name, row)
            rows.clear()

    def _add(self, name: str, row: Row, *, is_orphan: bool = False) -> None:
        """One row; of a page that nothing leads to, only where its id is not taken."""
        table = self._tables[name]
        try:
            self._target.execute(insert_sql(table), bindings_of(table, row))
        except apsw.ConstraintError as error:
            if is_orphan or self._is_there(table, row):
                pass
            elif name in ("files", "entries") and self._is_taken(name, row):
                self._collided.append((table, row))
            else:
                self._rejects.append(Reject(name, row, f"it can't stand beside others: {error}"))

    def _is_there(self, table: Table, row: Row) -> bool:
        """Whether the very row came over already: its page may lie in the file twice."""
        same = " AND ".join(f"{column} IS ?" for column in table.names)
        values = tuple(row.values[column] for column in table.names)
        sql = f"SELECT 1 FROM {table.name} WHERE {same}"
        return self._target.execute(sql, values).get is not None

    def _is_taken(self, name: str, row: Row) -> bool:
        """Whether another row has the id, and not one that is the same otherwise."""
        there = next(rows_of(self._target, name, "WHERE id = ?", (row.rowid,)), None)
        return there is not None and there.values != row.values

    def _restore(self, indexed: Indexed) -> Iterator[tuple[str, int]]:
        """Rows that are gone, from the indices that hold all of their columns that matter."""
        for name, rows in indexed.items():
            table = our_tables()[name]
            for row_id, held in rows.items():
                if self._target.execute(f"SELECT 1 FROM {name} WHERE id = ?", (row_id,)).get:
                    continue
                values = dict.fromkeys(table.names) | held | {"id": row_id}
                try:
                    row = Row(row_id, values, "", {})
                    self._target.execute(insert_sql(table), bindings_of(table, row))
                except apsw.ConstraintError:  # it is there under another id, which is wrong then
                    same = " AND ".join(f"{column} IS ?" for column in held)
                    with suppress(apsw.ConstraintError):
                        self._target.execute(
                            f"UPDATE {name} SET id = ? WHERE {same}", (row_id, *held.values())
                        )
                else:
                    yield name, row_id

    def _indexed(self, roots: Mapping[tuple[str, str], int]) -> Indexed:
        held: dict[str, dict[int, dict[str, Any]]] = {}
        for name, (index, columns) in SECOND_HOLDINGS.items():
            rows = held[name] = {}
            root = roots.get(("index", index))
            for cell in () if root is None else self._pages.cells(root, keyed=False):
                *values, row_id = cell.values or (None,)
                if cell.exact and len(values) == len(columns) and isinstance(row_id, int):
                    rows[row_id] = as_columns(name, values)
        return held
