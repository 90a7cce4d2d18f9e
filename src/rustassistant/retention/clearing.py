"""Putting entries into the trash because somebody chose them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from rustassistant.inspection.opening import AnyPath, resolved
from rustassistant.inspection.scope import scope_of
from rustassistant.results import Spending
from rustassistant.retention.policies import spendings_of
from rustassistant.retention.trashcan import compact_options
from rustassistant.stores.sqlite.upkeep.removal import removing
from rustassistant.transfer.selection import ALL, Selection


@dataclass(frozen=True, slots=True)
class Cleared:
    """What went, or would go: ``pinned`` entries were meant too, and stay. Sizes are bytes that
    live entries take; ``spent`` is what making those took that went."""

    entries: int
    pinned: int
    size_before: int
    size_after: int
    spent: tuple[Spending, ...]


def clear(database: AnyPath, selection: Selection = ALL, *, dry_run: bool = False) -> Cleared:
    """Put all entries that are meant into the trash, in one transaction; pinned ones stay.

    A ``dry_run`` does the same and undoes it, so it needs the lock too. Raises NotFoundError,
    LockedError and the like.
    """
    with removing(resolved(database)) as removal:
        before = removal.live_size()
        scope = scope_of(removal.connection, selection)
        pinned = removal.pinned(scope)
        spent = spendings_of(removal.made(scope))
        entries = removal.clear(scope)
        after = removal.live_size()
        if entries and not dry_run:
            options = compact_options(selection) | {"cleared": entries}
            removal.log("clear", json.dumps(options))
            removal.commit()
        return Cleared(entries, pinned, before, after, spent)
