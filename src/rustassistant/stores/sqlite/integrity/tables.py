"""The tables as they should be, and rows of them read so that no damage stops the reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeAlias

import apsw

from rustassistant.stores.sqlite.integrity.pages import Cell
from rustassistant.stores.sqlite.integrity.records import Value
from rustassistant.stores.sqlite.schema import TABLES, place_of

_SAFE: Final = "typeof({0}), iif(typeof({0}) = 'text', CAST({0} AS BLOB), {0})"
"""A column as values that can always be fetched: what is no UTF-8 can't be fetched as text."""

Values: TypeAlias = dict[str, Any]
"""A row's columns by name: whatever stands there, so of no type that could be told."""

_CLASSES: Final[Mapping[str, tuple[type, ...]]] = {
    "TEXT": (str,),
    "BLOB": (bytes,),
    "INTEGER": (int,),
    "REAL": (float, int),
}
_MARKS: Final[Mapping[str, tuple[str, ...]]] = {
    "TEXT": ("text",),
    "BLOB": ("blob",),
    "INTEGER": ("integer",),
    "REAL": ("real", "integer"),
}


class Column(NamedTuple):
    """A column by its declaration."""

    name: str
    type: str
    nullable: bool
    is_rowid: bool


class Table(NamedTuple):
    """A table of ours. ``keyed`` is false for one that is stored without row ids."""

    name: str
    columns: tuple[Column, ...]
    keyed: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns."""
        return tuple(column.name for column in self.columns)


class Row(NamedTuple):
    """A row as it stands.

    ``fault`` says which column holds what it can't, empty if none does. ``change`` are columns
    whose bytes are right but marked as of another type, which a single bit does: in ``values``
    they stand as they should be.
    """

    rowid: int
    values: Values
    fault: str
    change: Values


class SchemaObject(NamedTuple):
    """A table, index, trigger or view; ``sql`` is None for an index that a table implies."""

    kind: str
    name: str
    table: str
    sql: str | None


def objects_of(connection: apsw.Connection) -> dict[tuple[str, str], SchemaObject]:
    """All that a database's schema names, but for what SQLite keeps for itself."""
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema"
        " WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' OR name LIKE 'sqlite~_autoindex~_%' ESCAPE '~'"
    )
    return {(row[0], row[1]): SchemaObject(*row) for row in rows}


@lru_cache(maxsize=1)
def our_objects() -> dict[tuple[str, str], SchemaObject]:
    """All that our schema consists of, in the order in which it can be made."""
    connection = apsw.Connection(":memory:")
    try:
        connection.execute(TABLES)
        return objects_of(connection)
    finally:
        connection.close()


@lru_cache(maxsize=1)
def our_tables() -> dict[str, Table]:
    """Our tables by name."""
    connection = apsw.Connection(":memory:")
    try:
        connection.execute(TABLES)
        return {
            str(name): Table(
                str(name),
                _columns(connection, str(name), keyed=not without_rowid),
                not without_rowid,
            )
            for name, without_rowid in connection.execute(
                "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
                " AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
            ).fetchall()
        }
    finally:
        connection.close()


def _columns(connection: apsw.Connection, table: str, *, keyed: bool) -> tuple[Column, ...]:
    rows: list[Any] = connection.execute(
        'SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (table,)
    ).fetchall()
    # Only a primary key of one column can be the row id: https://www.sqlite.org/lang_createtable.html#rowid
    may_be_rowid = keyed and sum(bool(pk) for *_, pk in rows) == 1
    return tuple(
        Column(name, kind, not notnull and not pk, bool(may_be_rowid and pk and kind == "INTEGER"))
        for name, kind, notnull, pk in rows
    )


def judged(table: Table, rowid: int, values: Values, marked: Sequence[str] = ()) -> Row:
    """A row, judged. ``marked`` are the types that SQLite has its columns down as, if known."""
    change: Values = {}
    for number, (name, kind, _, _) in enumerate(table.columns):
        value = values[name]
        right = _as_declared(kind, value)
        if value is None or not isinstance(right, _CLASSES[kind]):
            continue
        if type(right) is not type(value) or (marked and marked[number] not in _MARKS[kind]):
            change[name] = values[name] = right
    fault = next(_faults(table, values), "")
    derived = _derived(table.name, values)
    if derived:
        change |= derived
        values |= derived
        if fault.split(" ")[1:2] == list(derived):
            fault = next(_faults(table, values), "")
    return Row(rowid, values, fault, change)


def is_noise(table: Table, row: Row) -> bool:
    """Whether so much of a row is wrong that it tells nothing: bytes that were read as a row."""
    return len(list(_faults(table, row.values))) > 1


def _faults(table: Table, values: Values) -> Iterator[str]:
    for name, kind, nullable, _ in table.columns:
        if values[name] is None:
            if not nullable:
                yield f"its {name} is missing"
        elif not isinstance(values[name], _CLASSES[kind]):
            yield f"its {name} is not what was stored"


def _derived(name: str, values: Values) -> Values:
    """A column that follows from others, where it is not what it can be."""
    if name == "files" and not isinstance(values["place"], int):
        repository_id, path = values["repository_id"], values["path"]
        if isinstance(repository_id, int) and isinstance(path, str):
            return {"place": place_of(repository_id, path)}
    if name == "dictionaries" and isinstance(values["data"], bytes):
        digest = values["sha256"]
        if not isinstance(digest, bytes) or len(digest) != 32:
            return {"sha256": sha256(values["data"]).digest()}
        if not isinstance(values["cache_type"], str):
            return {"cache_type": f"damaged {digest.hex()[:8]}"}
    if name == "entries" and None not in (values["result"], values["result_of"]):
        return {"result_of": None}
    return {}


def _as_declared(kind: str, value: Value) -> Value:
    if kind == "BLOB" and isinstance(value, str):
        return value.encode()
    if kind == "TEXT" and isinstance(value, bytes):
        with suppress(UnicodeDecodeError):
            return value.decode()
    return value


def rows_of(
    connection: apsw.Connection, name: str, condition: str = "", values: Sequence[Any] = ()
) -> Iterator[Row]:
    """Rows of a table, whatever is in their columns. Raises what SQLite does of damaged pages."""
    table = our_tables()[name]
    safe = ", ".join(_SAFE.format(column) for column in table.names)
    rowid = "rowid" if table.keyed else "0"
    for row in connection.execute(f"SELECT {rowid}, {safe} FROM {name} {condition}", values):
        marked = row[1::2]
        fetched = map(_value, marked, row[2::2])
        yield judged(table, row[0], dict(zip(table.names, fetched, strict=True)), marked)


def _value(marked: str, value: Any) -> Value:
    """What a column holds: text, or the bytes of what is marked as text and is none."""
    if marked == "text":
        with suppress(UnicodeDecodeError):
            return bytes(value).decode()
    return value  # type: ignore[no-any-return]


def row_of_cell(table: Table, cell: Cell) -> Row:
    """A cell of a table's page as a row of it. Columns that it lacks are null."""
    missing = (None,) * max(0, len(table.columns) - len(cell.values))
    values = dict(zip(table.names, (*cell.values, *missing), strict=False))
    for column in table.columns:
        if column.is_rowid:
            values[column.name] = cell.rowid
    return judged(table, cell.rowid or 0, values, ())


def insert_sql(table: Table) -> str:
    """A statement that adds a row with its id."""
    names = ("rowid", *table.names) if _hides_rowid(table) else table.names
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def bindings_of(table: Table, row: Row) -> tuple[Any, ...]:
    """The values for `insert_sql`."""
    values = tuple(row.values[name] for name in table.names)
    return (row.rowid, *values) if _hides_rowid(table) else values


def _hides_rowid(table: Table) -> bool:
    """Whether the row id is none of the columns."""
    return table.keyed and not any(column.is_rowid for column in table.columns)
