"""What is in the trash: which entries, why and since when, and how much room they take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.rows import checked
from rustassistant.stores.sqlite.trash import SUPERSEDED
from rustassistant.stores.sqlite.views.browsing import Item, at_most, entry_item
from rustassistant.stores.sqlite.views.summary import Scope

_TRASHED: Final = """
SELECT {columns} FROM trash t CROSS JOIN entries e ON e.id = t.entry_id
JOIN files f ON f.id = e.file_id WHERE
"""


class Wanted(NamedTuple):
    """Which of the trash is meant; None is all. ``ids`` are of entries, ``until`` and ``since`` are
    moments of removal in nanoseconds, both included. Pinned entries are left out with
    ``unpinned``, and superseded ones unless asked for by id or reason with ``removed``."""

    scope: Scope = Scope()
    ids: Sequence[int] | None = None
    reason: str | None = None
    since: int | None = None
    until: int | None = None
    unpinned: bool = False
    removed: bool = False

    def condition(self, connection: apsw.Connection) -> tuple[str, list[Any]]:
        """SQL over the tables ``t``, ``e`` and ``f`` for what is meant, and its values."""
        sql, values = self.scope.condition(connection)
        for part, value in (
            ("t.reason = ? AND ", self.reason),
            ("t.removed_at >= ? AND ", self.since),
            ("t.removed_at <= ? AND ", self.until),
        ):
            if value is not None:
                sql += part
                values.append(value)
        if self.ids is not None:
            sql += "t.entry_id IN (SELECT value FROM json_each(?)) AND "
            values.append(json.dumps(list(self.ids)))
        elif self.removed and self.reason is None:
            sql += f"t.reason <> '{SUPERSEDED}' AND "
        if self.unpinned:
            sql += "t.entry_id NOT IN (SELECT entry_id FROM pins) AND "
        return sql + "1", values


class Trashed(NamedTuple):
    """An entry in the trash. ``removed_at`` in nanoseconds."""

    item: Item
    removed_at: int


class TrashSize(NamedTuple):
    """How many entries there are, and bytes of frames in their rows."""

    entries: int
    stored_bytes: int


def trash_size(connection: apsw.Connection, wanted: Wanted) -> TrashSize:
    """Add up what of the trash is meant."""
    condition, values = wanted.condition(connection)
    columns = (
        "count(*), ifnull(sum(ifnull(length(e.result), 0) + ifnull(length(e.original), 0)), 0)"
    )
    row: Any = connection.execute(_TRASHED.format(columns=columns) + condition, values).fetchone()
    return checked(row, TrashSize)


def trashed_ids(
    connection: apsw.Connection, wanted: Wanted, *, limit: int | None = None
) -> list[int]:
    """Ids of what of the trash is meant, in their order."""
    condition, values = wanted.condition(connection)
    sql = _TRASHED.format(columns="t.entry_id") + f"{condition} ORDER BY 1 LIMIT ?"
    rows = connection.execute(sql, (*values, at_most(limit)))
    return [checked(row, tuple[int])[0] for row in rows]


def trashed(
    connection: apsw.Connection, wanted: Wanted, *, limit: int | None = None
) -> Iterator[Trashed | DamagedError]:
    """What of the trash is meant, the last removed first. A damaged one comes as the error."""
    condition, values = wanted.condition(connection)
    sql = _TRASHED.format(columns="t.entry_id, t.removed_at") + condition
    sql += " ORDER BY t.removed_at DESC, t.entry_id LIMIT ?"
    for row in connection.execute(sql, (*values, at_most(limit))):
        try:
            entry_id, removed_at = checked(row, tuple[int, int])
            item = entry_item(connection, entry_id)
        except DamagedError as error:
            yield DamagedError(f"entry {row[0]}: {error}")
        else:
            if item is not None:
                yield Trashed(item, removed_at)
