"""What analyses cost: sums of tokens, each at the price of its model in its month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from rustassistant.pricing import Cost, Price, Prices
from rustassistant.results import Spending

PUBLISHED_USD_PER_ENTRY: Final = Decimal("0.002")
"""What RustAssistant's own scan of 936 files cost for each, where nothing better is known."""

Made = tuple[Spending, int | None]
"""What was used, and when: twelve times the year, and 0 to 11 for its months; None for now."""


class Bill(msgspec.Struct, frozen=True):
    """What entries cost to make. Bills add up, from ``Bill()`` on.

    ``without_tokens`` of the ``entries`` do not say how many tokens they took, and
    ``unpriced_entries``, by the models in ``unpriced``, have no price that anybody knows: neither
    are in ``cost``.
    """

    cost: Cost = Cost()
    entries: int = 0
    without_tokens: int = 0
    unpriced_entries: int = 0
    unpriced: tuple[str, ...] = ()

    def __add__(self, other: Bill) -> Bill:
        return Bill(
            self.cost + other.cost,
            self.entries + other.entries,
            self.without_tokens + other.without_tokens,
            self.unpriced_entries + other.unpriced_entries,
            tuple(dict.fromkeys((*self.unpriced, *other.unpriced)))
            if other.unpriced
            else self.unpriced,
        )

    @property
    def is_whole(self) -> bool:
        """Whether every entry is in the cost."""
        return not self.without_tokens and not self.unpriced_entries


class MonthlyPrices:
    """Prices of models in the middle of a month, so that one that changed within it is wrong for
    half of it at most; None as the month means now. Each is looked up once."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._known: dict[tuple[str, str, int | None], Price | None] = {}

    def price(self, provider: str, model: str, month: int | None) -> Price | None:
        """What one token cost, None if nobody knows."""
        key = (provider, model, month)
        if key not in self._known:
            at = None if month is None else datetime(month // 12, month % 12 + 1, 15, tzinfo=UTC)
            self._known[key] = self._prices.price(provider, model, at)
        return self._known[key]


def bill_of(one: Spending, month: int | None, prices: MonthlyPrices) -> Bill:
    """What some entries of one model and month cost."""
    price = prices.price(one.provider, one.model, month)
    if price is None:
        return Bill(
            entries=one.entries,
            unpriced_entries=one.entries,
            unpriced=(one.model,) if one.entries else (),
        )
    cost = Cost()
    if one.input_tokens or one.output_tokens:
        cost += price.cost(None, one.input_tokens, one.output_tokens) or Cost()
    cost += price.cost(one.assumed_tokens) or Cost()
    return Bill(cost, one.entries, one.entries_without_tokens)


def bill(made: Iterable[Made], prices: MonthlyPrices) -> Bill:
    """What all of them cost together."""
    total = Bill()
    for one, month in made:
        total += bill_of(one, month, prices)
    return total


def estimate(made: Iterable[Made], prices: MonthlyPrices) -> Decimal:
    """US dollars that entries without a token count may have cost, on top of `bill`.

    They count like the others of their model, or like all others where it has none, or as the
    published figure where there are none at all. Models without a price count as nothing.
    """
    known: defaultdict[tuple[str, str], Bill] = defaultdict(Bill)
    for one, month in made:
        known[one.provider, one.model] += bill_of(one, month, prices)
    total = Bill()
    for one_bill in known.values():
        total += one_bill
    overall = _mean(total)
    usd = Decimal(0)
    for one_bill in known.values():
        mean = _mean(one_bill)
        if mean is None:
            mean = PUBLISHED_USD_PER_ENTRY if overall is None else overall
        usd += one_bill.without_tokens * mean
    return usd


def _mean(found: Bill) -> Decimal | None:
    priced = found.entries - found.without_tokens - found.unpriced_entries
    return found.cost.usd / priced if priced > 0 else None
