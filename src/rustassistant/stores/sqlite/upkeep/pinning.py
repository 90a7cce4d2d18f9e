"""Entries that are never evicted, cleared or ended: which they are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw

from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.rows import IS_LIVE, checked
from rustassistant.stores.sqlite.views.browsing import Item, entry_item
from rustassistant.stores.sqlite.views.summary import Scope

_CHOSEN: Final = """
SELECT e.id FROM entries e JOIN files f ON f.id = e.file_id WHERE {condition} {live}
UNION
SELECT e.id FROM copies c JOIN entries e ON e.id = c.entry_id JOIN files f ON f.id = c.file_id
WHERE {sharing} {live}
"""
_OF_IDS: Final = "SELECT id FROM entries WHERE id IN (SELECT value FROM json_each(?))"


def chosen(connection: apsw.Connection, scope: Scope) -> tuple[str, list[Any]]:
    """SQL for the live entries of a scope, and its values. An entry that shares another's row is
    meant by the other's id."""
    condition, values = scope.condition(connection)
    sharing, more = scope.condition(connection, "c")
    sql = _CHOSEN.format(condition=condition, sharing=sharing, live=IS_LIVE)
    return sql, [*values, *more]


def of_ids(ids: Sequence[int]) -> tuple[str, list[Any]]:
    """SQL for those of these entries that there are, and its values."""
    return _OF_IDS, [json.dumps(list(ids))]


def pin(connection: apsw.Connection, sql: str, values: Sequence[Any]) -> int:
    """Pin what SQL selects; return how many were not pinned before."""
    connection.execute(
        f"INSERT OR IGNORE INTO pins (entry_id, pinned_at) SELECT id, ? FROM ({sql})",
        (time.time_ns(), *values),
    )
    return connection.changes()


def unpin(connection: apsw.Connection, sql: str, values: Sequence[Any]) -> int:
    """Unpin what SQL selects; return how many were pinned."""
    connection.execute(f"DELETE FROM pins WHERE entry_id IN ({sql})", tuple(values))
    return connection.changes()


def pinned(
    connection: apsw.Connection, sql: str, values: Sequence[Any]
) -> Iterator[tuple[Item, int] | DamagedError]:
    """What is pinned of what SQL selects, the last pinned first, and when (nanoseconds)."""
    rows = connection.execute(
        f"SELECT entry_id, pinned_at FROM pins WHERE entry_id IN ({sql})"
        " ORDER BY pinned_at DESC, entry_id",
        tuple(values),
    )
    for row in rows:
        try:
            entry_id, pinned_at = checked(row, tuple[int, int])
            item = entry_item(connection, entry_id)
        except DamagedError as error:
            yield DamagedError(f"entry {row[0]}: {error}")
        else:
            if item is not None:
                yield item, pinned_at
