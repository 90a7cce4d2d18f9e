"""Which rows of a database may have changed since a moment, found without reading all.

Rows come with higher ids, and answer no more once they are in the trash, so ids and the trash tell
most of what happens. What they do not tell shows in the sums, which each writer keeps: then the
answer is that nobody knows, and all rows have to be read.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from collections.abc import Collection
from typing import Final, NamedTuple

import apsw

from rustassistant.stores.sqlite.rows import checked
from rustassistant.stores.sqlite.standings import Rows

_NUMBERS: Final = """
SELECT (SELECT ifnull(max(id), 0) FROM entries), (SELECT ifnull(max(id), 0) FROM copies),
       (SELECT count(*) FROM copies), (SELECT ifnull(sum(entries), 0) FROM totals),
       (SELECT ifnull(sum(entry_id), 0) FROM trash), (SELECT count(*) FROM trash)
"""
_NEW_ENTRIES: Final = "SELECT id, folder_id FROM entries WHERE id > ?"
_NEW_COPIES: Final = "SELECT id, folder_id FROM copies WHERE id > ?"
_ENTRIES: Final = "SELECT id, folder_id FROM entries WHERE id IN (SELECT value FROM json_each(?))"
_COPIES: Final = (
    "SELECT id, folder_id FROM copies WHERE entry_id IN (SELECT value FROM json_each(?))"
)


class _Numbers(NamedTuple):
    last_entry: int
    last_copy: int
    copies: int
    live: int
    trash_sum: int
    trash_count: int


class _Place(NamedTuple):
    row_id: int
    folder_id: int


class Horizon(NamedTuple):
    """How far a database was read: the highest ids, how many copies and how many entries that
    answer there were, and the ids in the trash."""

    numbers: _Numbers
    trash: array[int]


def horizon(connection: apsw.Connection, before: Horizon | None = None) -> Horizon:
    """How far one reads in the transaction at hand. Raises DamagedError."""
    numbers = checked(connection.execute(_NUMBERS).fetchall()[0], _Numbers)
    if before is not None and before.numbers[4:] == numbers[4:]:
        return Horizon(numbers, before.trash)
    rows = connection.execute("SELECT entry_id FROM trash ORDER BY entry_id")
    return Horizon(numbers, array("q", (row[0] for row in rows)))


def changed(
    connection: apsw.Connection, before: Horizon, now: Horizon
) -> dict[int, list[Rows]] | None:
    """Rows that have come, gone, or come back, by folder; None if more has happened than that."""
    then, numbers = before.numbers, now.numbers
    moved = _moved(before, now)
    came = _places(connection, _NEW_ENTRIES, then.last_entry)
    old = json.dumps([row_id for row_id in moved if row_id <= then.last_entry])
    was = _places(connection, _ENTRIES, old)
    copied = _places(connection, _NEW_COPIES, then.last_copy)
    gone = set(moved).intersection(now.trash)
    live = sum(one.row_id not in gone for one in came)
    live += sum(-1 if one.row_id in gone else 1 for one in was)
    if (numbers.live - then.live, numbers.copies - then.copies) != (live, len(copied)):
        return None
    found: defaultdict[int, list[Rows]] = defaultdict(list)
    for is_copy, places in (
        (False, [*came, *was]),
        (True, [*copied, *_places(connection, _COPIES, old)]),
    ):
        for row_id, folder_id in places:
            found[folder_id].append((is_copy, row_id))
    return found


def _places(connection: apsw.Connection, sql: str, value: int | str) -> list[_Place]:
    return [checked(row, _Place) for row in connection.execute(sql, (value,)).fetchall()]


def _moved(before: Horizon, now: Horizon) -> Collection[int]:
    """Ids that are in the trash and were not, or were and are not."""
    if before.trash is now.trash:
        return ()
    return set(before.trash).symmetric_difference(now.trash)
