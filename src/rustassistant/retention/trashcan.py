"""What is in the trash: looking, bringing back, and ending it for good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from rustassistant.errors import DamagedError, NotFoundError, UsageError
from rustassistant.inspection.opening import AnyPath, opened, resolved
from rustassistant.inspection.scope import scope_of
from rustassistant.results import Spending
from rustassistant.retention.policies import spendings_of
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.serving.additions import DELETED
from rustassistant.stores.sqlite.trash import CLEARED, EVICTED, SUPERSEDED
from rustassistant.stores.sqlite.upkeep.removal import empty_trash, removing
from rustassistant.stores.sqlite.views.tokens import made_of
from rustassistant.stores.sqlite.views.trashed import (
    Trashed,
    TrashSize,
    Wanted,
    trash_size,
    trashed,
    trashed_ids,
)
from rustassistant.transfer.selection import ALL, Selection

REASONS = (SUPERSEDED, EVICTED, CLEARED, DELETED)
"""Why an entry may be in the trash."""

_NS = 10**9


@dataclass(frozen=True, slots=True)
class Chosen:
    """What of the trash is meant; without anything, all of it. ``ids`` are of entries, ``reason``
    is one of `REASONS`, ``older_than`` seconds since they were removed."""

    ids: tuple[int, ...] | None = None
    selection: Selection = ALL
    reason: str | None = None
    older_than: int | None = None


@dataclass(frozen=True, slots=True)
class TrashContents:
    """What is in the trash: the ``size`` of what is meant; ``pinned`` of these entries are pinned,
    and so stay when it is emptied. ``entries`` gives them, the last removed first; in place of a
    damaged one stands the error. ``spent`` is what making those took that are not pinned."""

    size: TrashSize
    pinned: int
    entries: Iterator[Trashed | DamagedError]
    spent: tuple[Spending, ...]


@contextmanager
def look_into_trash(
    database: AnyPath,
    chosen: Chosen = Chosen(),
    *,
    limit: int | None = None,
    with_costs: bool = False,
) -> Iterator[TrashContents]:
    """Look over what is meant; as long as the block lasts, all is as it was at its beginning.

    ``with_costs`` reads every result for what it states. Raises NotFoundError and the like.
    """
    with opened(resolved(database)) as connection:
        wanted = _wanted(connection, chosen)
        size = trash_size(connection, wanted)
        unpinned = wanted._replace(unpinned=True)
        spent: tuple[Spending, ...] = ()
        if with_costs:
            condition, values = unpinned.condition(connection)
            spent = spendings_of(
                made_of(
                    EntryReader(connection),
                    "trash t CROSS JOIN entries e ON e.id = t.entry_id"
                    " JOIN files f ON f.id = e.file_id",
                    condition,
                    values,
                    stating="SELECT id FROM producers",
                )
            )
        pinned = size.entries - trash_size(connection, unpinned).entries
        yield TrashContents(size, pinned, trashed(connection, wanted, limit=limit), spent)


def restore(database: AnyPath, chosen: Chosen) -> int:
    """Let what is meant answer again, in one transaction; return how many they were.

    Superseded entries only come back if they are meant by id or reason. One that comes back stands
    beside the one that superseded it, and the newest answers. Raises NotFoundError if an id is of
    nothing in the trash, and LockedError.
    """
    path = resolved(database)
    with removing(path) as removal:
        wanted = _wanted(removal.connection, chosen)._replace(removed=True)
        ids = trashed_ids(removal.connection, wanted)
        missing = sorted(set(chosen.ids or ()) - set(ids))
        if missing:
            others = f" (and {len(missing) - 1} more)" if missing[1:] else ""
            raise NotFoundError(
                f"entry {missing[0]} is not in the trash of {printable(path)}{others}",
                hint="`rustassistant cache trash list` shows what is. Nothing was restored.",
            )
        if ids:
            removal.restore(ids)
            options = _options(chosen) | {"restored": removal.changed}
            removal.log("trash restore", json.dumps(options))
            removal.commit()
        return len(ids)


def empty(
    database: AnyPath,
    chosen: Chosen = Chosen(),
    *,
    until: int | None = None,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """Delete what is meant for good, but for what is pinned; return how many entries they were.

    ``until`` is a moment (nanoseconds since 1970): what came into the trash later stays. In
    batches: ``cancelled`` ends it between two of them. Raises NotFoundError, LockedError.
    """
    path = resolved(database)
    with opened(path) as connection:
        wanted = _wanted(connection, chosen)
        if not trash_size(connection, wanted._replace(unpinned=True)).entries:
            return 0
    if until is not None and (wanted.until is None or until < wanted.until):
        wanted = wanted._replace(until=until)
    return empty_trash(
        path,
        wanted,
        options=json.dumps(_options(chosen)),
        progress=progress,
        cancelled=cancelled,
    )


def _wanted(connection: Any, chosen: Chosen) -> Wanted:
    if chosen.reason is not None and chosen.reason not in REASONS:
        raise UsageError(
            f"{chosen.reason!r} is no reason to be in the trash",
            hint=f"There are {', '.join(REASONS)}.",
        )
    age = chosen.older_than
    return Wanted(
        scope=scope_of(connection, chosen.selection),
        ids=None if chosen.ids is None else _fitting(chosen.ids),
        reason=chosen.reason,
        until=None if age is None else max(0, time.time_ns() - age * _NS),
    )


def _fitting(ids: Sequence[int]) -> tuple[int, ...]:
    """Numbers of more than 64 bits are no ids, and SQLite can't say so."""
    return tuple(one for one in ids if one.bit_length() < 64)


def _options(chosen: Chosen) -> dict[str, Any]:
    options: dict[str, Any] = dict(compact_options(chosen.selection))
    if chosen.ids is not None:
        options["ids"] = list(chosen.ids)
    if chosen.reason is not None:
        options["reason"] = chosen.reason
    if chosen.older_than is not None:
        options["older_than_seconds"] = chosen.older_than
    return options


def compact_options(selection: Selection) -> dict[str, Any]:
    """The filters that are in use, for the log of runs."""
    return {
        name: value
        for name, value in msgspec.to_builtins(selection).items()
        if value not in ([], (), None)
    }
