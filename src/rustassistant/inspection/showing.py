"""One entry with all that is known of it, its result included."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, NamedTuple

import apsw

from rustassistant.configuration import Configuration
from rustassistant.entry import Entry
from rustassistant.errors import DamagedError, NotFoundError
from rustassistant.inspection.opening import AnyPath, opened, resolved
from rustassistant.inspection.paths import ranked, suffixes
from rustassistant.pricing import Cost, Prices
from rustassistant.spending import MonthlyPrices
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.rows import EntryReader, checked, entry_sql
from rustassistant.stores.sqlite.totals import month_of
from rustassistant.stores.sqlite.views.browsing import (
    EntryPlace,
    Item,
    entry_item,
    items_of_paths,
    places_of,
)
from rustassistant.usage import MAX_TOKENS, Usage, stated_usage

_MORE: Final = """
SELECT o.id, r.removed_at, p.pinned_at FROM entries e
LEFT JOIN entries o ON o.id = e.result_of
LEFT JOIN trash r ON r.entry_id = e.id
LEFT JOIN pins p ON p.entry_id = e.id
WHERE e.id = ?
"""


class _More(NamedTuple):
    result_of: int | None
    removed_at: int | None
    pinned_at: int | None


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry. Times in nanoseconds; ``usage`` is what its result states, and ``cost`` at the
    price of its month, None if unknown; ``result_of`` the entry that holds an equal result."""

    item: Item
    entry: Entry
    usage: Usage | None
    cost: Cost | None
    places: tuple[EntryPlace, ...]
    result_of: int | None
    removed_at: int | None
    pinned_at: int | None


def show_entry(database: AnyPath, entry_id: int, configuration: Configuration) -> Shown:
    """One entry by its id, checked as every lookup checks it.

    Raises NotFoundError if there is none, DamagedError if it can't be given back.
    """
    path = resolved(database)
    with opened(path) as connection:
        # An integer of more than 64 bits is no id either.
        item = entry_item(connection, entry_id) if entry_id.bit_length() < 64 else None
        if item is None:
            raise NotFoundError(
                f"{printable(path)} has no entry {entry_id}",
                hint="`rustassistant cache list` shows the IDs.",
            )
        entry = read_entry(connection, entry_id)
        more = checked(connection.execute(_MORE, (entry_id,)).fetchall()[0], _More)
        places = tuple(places_of(connection, entry_id))
    usage = stated_usage(entry.result)
    return Shown(
        item=item,
        entry=entry,
        usage=usage,
        cost=cost_of(item, usage, MonthlyPrices(Prices(configuration.prices))),
        places=places,
        result_of=more.result_of,
        removed_at=more.removed_at,
        pinned_at=more.pinned_at,
    )


def find_entries(database: AnyPath, file: AnyPath, *, cache_type: str | None = None) -> list[Item]:
    """Live entries about a file, the newest first: by its path in the repository, or anywhere on
    this machine. Only those that fit best: the longest path, in the repository that it lies in.

    Raises NotFoundError if there are none.
    """
    path = resolved(database)
    with opened(path) as connection:
        found = items_of_paths(connection, suffixes(file), cache_type)
    live = [item for item in found if item.removed is None]
    best = max((ranked(file, item.repository, item.file_path) for item in live), default=None)
    if best is None:
        kind = "" if cache_type is None else f"{cache_type} "
        raise NotFoundError(
            f"{printable(path)} has no {kind}entry about {printable(os.fspath(file))}",
            hint="Give the file's path in its repository, or an ID from `rustassistant cache "
            "list`.",
        )
    fitting = [i for i in live if ranked(file, i.repository, i.file_path) == best]
    return sorted(fitting, key=lambda item: (-item.analyzed_at, item.id))


def read_entry(connection: apsw.Connection, entry_id: int) -> Entry:
    """An entry with its result. Raises DamagedError."""
    rows = EntryReader(connection).select(entry_sql() + "WHERE e.id = ?", (entry_id,))
    entry = next(rows, DamagedError(f"entry {entry_id} is in an index only"))
    if isinstance(entry, DamagedError):
        raise entry
    return entry


def cost_of(
    item: Item, usage: Usage | None, prices: MonthlyPrices, *, month: int | None = None
) -> Cost | None:
    """What an entry cost, or would in another month than its own."""
    when = month_of(item.analyzed_at) if month is None else month
    price = prices.price(item.provider, item.model, when)
    if price is None:
        return None
    if usage is not None:
        return price.cost(None, *usage)
    tokens = item.tokens_used
    return price.cost(tokens) if tokens is not None and tokens <= MAX_TOKENS else None
