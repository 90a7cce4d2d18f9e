"""Making what a database holds fit a size: as little as possible goes, and goes to the trash."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

import apsw

from rustassistant.errors import DamagedError, UnreachableSizeError
from rustassistant.inspection.opening import AnyPath, resolved
from rustassistant.inspection.scope import scope_of
from rustassistant.results import Spending
from rustassistant.retention.policies import Policy, Worth, rates_of, spendings_of
from rustassistant.retention.trashcan import compact_options
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.trash import EVICTED
from rustassistant.stores.sqlite.upkeep.live_size import live_size
from rustassistant.stores.sqlite.upkeep.ranking import Cut, Ranking
from rustassistant.stores.sqlite.upkeep.removal import empty_trash, removing
from rustassistant.stores.sqlite.views.browsing import Item, entry_item
from rustassistant.stores.sqlite.views.trashed import Wanted
from rustassistant.transfer.selection import ALL, Selection

FIRST = 20
"""Entries that a plan shows."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """What went, or would go. Sizes are bytes that live entries take (see ``docs/retention.md``).

    ``spent`` is what making all of them took; ``first`` are those that go first. ``moment`` is
    when they went, in nanoseconds since 1970; None if nothing did.
    """

    database: str
    policy: Policy
    max_size: int
    size_before: int
    size_after: int
    entries: int
    spent: tuple[Spending, ...]
    first: tuple[Item, ...] = ()
    moment: int | None = None

    @property
    def freed(self) -> int:
        """Bytes that live entries take less."""
        return self.size_before - self.size_after


def plan_eviction(
    database: AnyPath,
    max_size: int,
    worth: Worth,
    *,
    policy: Policy = Policy.LRU,
    selection: Selection = ALL,
) -> Eviction:
    """What `evict` would do. Writes nothing, and waits for nobody.

    Raises UnreachableSizeError, NotFoundError and the like.
    """
    path = resolved(database)
    with closing(open_for_reading(path)) as connection, errors_named(path):
        connection.execute("PRAGMA query_only=OFF")  # which forbids temporary tables too
        connection.execute("BEGIN")
        plan, _, _ = _plan(
            EntryReader(connection), path, max_size, worth, policy=policy, selection=selection
        )
        return plan


def evict(
    database: AnyPath,
    max_size: int,
    worth: Worth,
    *,
    policy: Policy = Policy.LRU,
    selection: Selection = ALL,
    command: str = "evict",
) -> Eviction:
    """Put into the trash, in the policy's order, just as many entries as it takes for what is live
    to fit ``max_size`` bytes; all in one transaction.

    Pinned entries stay, and what ``selection`` does not mean. If the rest can't make it fit,
    nothing goes: UnreachableSizeError. Raises LockedError and the like.
    """
    path = resolved(database)
    with removing(path) as removal:
        plan, ranking, cut = _plan(
            removal.reader, path, max_size, worth, policy=policy, selection=selection
        )
        if not cut.rows:
            return plan
        entries = removal.evict(ranking.ids(cut.rows))
        size_after = removal.live_size()
        options = {"max_size": max_size, "policy": str(policy), **compact_options(selection)}
        removal.log(command, json.dumps(options | {"evicted": entries}))
        removal.commit()
        return replace(plan, entries=entries, size_after=size_after, moment=removal.now)


def keep_within(
    database: AnyPath,
    max_size: int,
    worth: Callable[[], Worth],
    *,
    policy: Policy = Policy.LRU,
) -> Eviction | None:
    """`evict` if what is live is larger than that; None if it is not, which is found out by
    reading a few sums. For whoever has just written. ``worth`` is asked only if need be."""
    path = resolved(database)
    with closing(open_for_reading(path)) as connection, errors_named(path):
        fits = live_size(connection) <= max_size
    return None if fits else evict(path, max_size, worth(), policy=policy, command="evict (auto)")


def end_evicted(eviction: Eviction) -> int:
    """Delete for good what an eviction has put into the trash and nobody has taken back."""
    if eviction.moment is None:
        return 0
    wanted = Wanted(reason=EVICTED, since=eviction.moment, until=eviction.moment)
    return empty_trash(eviction.database, wanted, options=json.dumps({"reason": EVICTED}))


def _plan(
    reader: EntryReader,
    path: str,
    max_size: int,
    worth: Worth,
    *,
    policy: Policy,
    selection: Selection,
) -> tuple[Eviction, Ranking, Cut]:
    connection = reader.connection
    size = live_size(connection)
    excess = size - max_size
    plan = Eviction(path, policy, max_size, size, size, 0, ())
    ranking = Ranking(
        reader,
        policy,
        scope_of(connection, selection),
        rates=rates_of(connection, worth) if policy.needs_rates else None,
        waiting_usd=worth.waiting_usd,
    )
    cut = ranking.cut(excess)
    if cut.freed < excess:
        raise UnreachableSizeError(
            f"{printable(path)} holds {size} bytes of live entries, of which {cut.all_bytes} may "
            f"go; {size - cut.all_bytes} bytes stay, and {max_size} were asked for"
        )
    plan = replace(
        plan,
        size_after=size - cut.freed,
        entries=ranking.places(cut.rows),
        spent=spendings_of(ranking.made(cut.rows)),
        first=tuple(_items(connection, ranking, min(cut.rows, FIRST))),
    )
    return plan, ranking, cut


def _items(connection: apsw.Connection, ranking: Ranking, number: int) -> list[Item]:
    found = []
    for entry_id in ranking.ids(number):
        try:
            item = entry_item(connection, entry_id)
        except DamagedError:
            continue  # it may go all the same; a check says what is wrong with it
        if item is not None:
            found.append(item)
    return found
