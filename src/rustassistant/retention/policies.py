"""What goes first, and what making an entry again is worth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import apsw

from rustassistant.inspection.sums import spending_of
from rustassistant.pricing import Prices
from rustassistant.results import Spending
from rustassistant.spending import PUBLISHED_USD_PER_ENTRY, Bill, MonthlyPrices, bill_of
from rustassistant.stores.sqlite.rows import checked
from rustassistant.stores.sqlite.upkeep.ranking import Order, Rate
from rustassistant.stores.sqlite.views.summary import Scope, lines
from rustassistant.stores.sqlite.views.tokens import Made

Policy = Order
"""What eviction takes first: the least recently used, the oldest, the largest, the cheapest or the
most expensive to make again, or what is worth least for its bytes."""

WAITING_USD_PER_SECOND: Final = 0.0001
"""What a second of waiting counts for in the policy ``value``: 36 cents an hour. Half a minute then
weighs somewhat more than the 0.002 USD that RustAssistant's own scan cost for each file."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What entries cost to make again: today's prices, and the seconds that each takes."""

    prices: Prices
    seconds_per_entry: float = 30.0

    @property
    def waiting_usd(self) -> float:
        """What the time for one entry counts for."""
        return self.seconds_per_entry * WAITING_USD_PER_SECOND


def rates_of(connection: apsw.Connection, worth: Worth) -> dict[int, Rate]:
    """Today's rates by producer's id. An entry that does not say what it took counts like the
    others of its model, as in `spending.estimate`; a model without a price counts as nothing."""
    prices = MonthlyPrices(worth.prices)
    bills: defaultdict[tuple[str, str], Bill] = defaultdict(Bill)
    for line in lines(connection, Scope()):
        bills[line.provider, line.model] += bill_of(spending_of(line), None, prices)
    overall = Bill()
    for bill in bills.values():
        overall += bill
    rates = {}
    for row in connection.execute("SELECT id, provider, model FROM producers"):
        producer_id, provider, model = checked(row, tuple[int, str, str])
        price = prices.price(provider, model, None)
        if price is None:
            rates[producer_id] = Rate(0.0, 0.0, 0.0)
            continue
        mean = _mean(bills[provider, model]) or _mean(overall) or PUBLISHED_USD_PER_ENTRY
        rates[producer_id] = Rate(
            float(price.input_usd_per_token), float(price.output_usd_per_token), float(mean)
        )
    return rates


def _mean(bill: Bill) -> Decimal | None:
    counted = bill.entries - bill.without_tokens - bill.unpriced_entries
    return bill.cost.usd / counted if counted > 0 else None


def spendings_of(made: Iterable[Made]) -> tuple[Spending, ...]:
    """What entries took to make, in the words in which costs are asked for."""
    return tuple(
        Spending(
            provider=one.provider,
            model=one.model,
            entries=one.entries,
            assumed_tokens=one.assumed_tokens,
            input_tokens=one.input_tokens,
            output_tokens=one.output_tokens,
            entries_without_tokens=one.without_tokens,
        )
        for one in made
    )
