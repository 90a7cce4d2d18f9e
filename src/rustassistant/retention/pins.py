"""Entries that somebody wants to keep, whatever the size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apsw

from rustassistant.errors import DamagedError, NotFoundError
from rustassistant.inspection.opening import AnyPath, opened, resolved
from rustassistant.inspection.scope import scope_of
from rustassistant.inspection.showing import find_entries
from rustassistant.retention.trashcan import compact_options
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.upkeep import pinning
from rustassistant.stores.sqlite.upkeep.removal import removing
from rustassistant.stores.sqlite.views.browsing import Item
from rustassistant.transfer.selection import Selection


def pin(
    database: AnyPath, targets: Sequence[str] = (), selection: Selection | None = None
) -> tuple[int, int]:
    """Pin entries: those that are named by id or file, or, if there is a selection, all live ones
    that it means. Returns how many were meant, and how many of these were not pinned before.

    Raises NotFoundError for an id or file of which there is no entry; then nothing is pinned.
    """
    return _set(database, targets, selection, pins=True)


def unpin(
    database: AnyPath, targets: Sequence[str] = (), selection: Selection | None = None
) -> tuple[int, int]:
    """The reverse; returns how many were meant, and how many of these had been pinned."""
    return _set(database, targets, selection, pins=False)


@contextmanager
def list_pins(
    database: AnyPath, targets: Sequence[str] = (), selection: Selection | None = None
) -> Iterator[Iterator[tuple[Item, int] | DamagedError]]:
    """What is pinned, or what of that is meant, the last pinned first, and since when (nanoseconds
    since 1970); as long as the block lasts, all is as it was at its beginning."""
    path = resolved(database)
    ids = _ids(path, targets)
    with opened(path) as connection:
        sql, values = "SELECT entry_id FROM pins", list[Any]()
        if targets or selection is not None:
            sql, values = _meant(connection, path, ids, selection)
        yield pinning.pinned(connection, sql, values)


def _set(
    database: AnyPath, targets: Sequence[str], selection: Selection | None, *, pins: bool
) -> tuple[int, int]:
    path = resolved(database)
    ids = _ids(path, targets)
    with removing(path) as removal:
        connection = removal.connection
        sql, values = _meant(connection, path, ids, selection)
        meant: Any = connection.execute(f"SELECT count(*) FROM ({sql})", values).get  # noqa: S608
        changed = (pinning.pin if pins else pinning.unpin)(connection, sql, values)
        if changed:
            removal.changed = changed
            options = {} if selection is None else compact_options(selection)
            if targets:
                options["entries"] = list(targets)
            removal.log("pin" if pins else "pin --remove", json.dumps(options))
            removal.commit()
    return meant, changed


def _ids(path: str, targets: Sequence[str]) -> list[int]:
    """Ids of the entries that are named: a number is an id, all else a file."""
    ids = []
    for target in targets:
        if target.isdecimal() and target.isascii():
            ids.append(int(target))
        else:
            ids += [item.id for item in find_entries(path, target)]
    return list(dict.fromkeys(ids))


def _meant(
    connection: apsw.Connection, path: str, ids: Sequence[int], selection: Selection | None
) -> tuple[str, list[Any]]:
    parts, values = [], list[Any]()
    if ids:
        sql, more = pinning.of_ids([one for one in ids if one.bit_length() < 64])
        there = {row[0] for row in connection.execute(sql, more)}
        for one in ids:
            if one not in there:
                raise NotFoundError(
                    f"{printable(path)} has no entry {one}",
                    hint="`rustassistant cache list` shows the IDs.",
                )
        parts.append(sql)
        values += more
    if selection is not None:
        sql, more = pinning.chosen(connection, scope_of(connection, selection))
        parts.append(f"SELECT id FROM ({sql})")  # noqa: S608 - our own constants
        values += more
    return " UNION ".join(parts), values
