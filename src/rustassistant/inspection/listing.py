"""Entries in a list: which, in what order, and what each cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import apsw

from rustassistant.configuration import Configuration
from rustassistant.errors import DamagedError
from rustassistant.inspection.opening import AnyPath, opened, resolved
from rustassistant.inspection.scope import scope_of
from rustassistant.pricing import Prices
from rustassistant.spending import MonthlyPrices
from rustassistant.stores.sqlite.totals import month_of
from rustassistant.stores.sqlite.views.browsing import Item, count_items, items
from rustassistant.transfer.selection import ALL, Selection
from rustassistant.usage import MAX_TOKENS


class Order(StrEnum):
    """What comes first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LARGEST = "largest"
    TOKENS = "tokens"
    COST = "cost"
    FILE = "file"


class Listed(NamedTuple):
    """An entry, and what it cost: half of its tokens taken as input, since its result is not read.
    None if it does not say how many tokens, or its model has no price."""

    item: Item
    usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Listing:
    """``total`` entries there are; ``entries`` gives the first of them, one at a time. In place of
    a damaged one stands the error that says what is wrong."""

    total: int
    entries: Iterator[Listed | DamagedError]


@contextmanager
def list_entries(
    database: AnyPath,
    configuration: Configuration,
    *,
    selection: Selection = ALL,
    order: Order = Order.NEWEST,
    limit: int | None = None,
) -> Iterator[Listing]:
    """Look entries over; as long as the block lasts, all is as it was at its beginning.

    Memory does not grow with their number. Raises NotFoundError and the like.
    """
    with opened(resolved(database)) as connection:
        scope = scope_of(connection, selection)
        costs = Costs(connection, MonthlyPrices(Prices(configuration.prices)))
        if order is Order.COST:
            connection.create_scalar_function("usd", costs.of_row, 3)
        total = count_items(connection, scope)

        def entries() -> Iterator[Listed | DamagedError]:
            for item in items(connection, scope, order=order, limit=limit):
                yield item if isinstance(item, DamagedError) else Listed(item, costs.of(item))

        yield Listing(total, entries())


class Costs:
    """What entries cost by their token counts alone."""

    def __init__(self, connection: apsw.Connection, prices: MonthlyPrices) -> None:
        rows: Iterator[Any] = connection.execute("SELECT id, provider, model FROM producers")
        self._producers: dict[Any, tuple[str, str]] = {
            one: (provider, model) for one, provider, model in rows
        }
        self._prices = prices

    def of(self, item: Item) -> Decimal | None:
        """US dollars for an entry."""
        return self._usd(item.provider, item.model, item.analyzed_at, item.tokens_used)

    def of_row(self, *row: Any) -> float | None:
        """The same of (producer id, time, tokens), for SQL to sort by."""
        producer_id, analyzed_at, tokens = row
        producer = self._producers.get(producer_id)
        usd = None if producer is None else self._usd(*producer, analyzed_at, tokens)
        return None if usd is None else float(usd)

    def _usd(
        self, provider: str, model: str, analyzed_at: int, tokens: int | None
    ) -> Decimal | None:
        if tokens is None or not 0 <= tokens <= MAX_TOKENS:
            return None
        price = self._prices.price(provider, model, month_of(analyzed_at))
        cost = None if price is None else price.cost(tokens)
        return None if cost is None else cost.usd
