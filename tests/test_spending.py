from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from rustassistant.configuration import PriceOverride
from rustassistant.pricing import Prices, Split
from rustassistant.results import Spending
from rustassistant.spending import Bill, MonthlyPrices, bill, bill_of, estimate

PRICES = MonthlyPrices(
    Prices(
        [
            PriceOverride(
                model=model, input_usd_per_million=Decimal(usd), output_usd_per_million=Decimal(usd)
            )
            for model, usd in (("one", 1), ("ten", 10))
        ]
    )
)
MONTH = 2026 * 12


def spent(model: str, entries: int = 1, assumed: int = 0, *, without: int = 0) -> Spending:
    return Spending("house", model, entries, assumed, 0, 0, without)


def test_tokens_are_priced_by_model_and_unknown_models_are_named() -> None:
    made = [(spent("one", 2, 10**6), MONTH), (spent("ten", 1, 10**6), MONTH)]
    unpriced = [(spent("none", 3, 10**6), MONTH), (spent("none", 1), MONTH - 1)]
    found = bill([*made, *unpriced], PRICES)
    assert found.cost.usd == 11
    assert (found.entries, found.unpriced_entries, found.unpriced) == (7, 4, ("none",))
    assert not found.is_whole


def test_stated_and_assumed_tokens_add_up() -> None:
    found = bill_of(Spending("house", "one", 2, 10**6, 3 * 10**6, 10**6, 0), MONTH, PRICES)
    assert (found.cost.usd, found.cost.split) == (Decimal(5), Split.MIXED)
    assert found.is_whole


def test_price_is_that_of_the_month() -> None:
    asked: list[datetime | None] = []

    class Noting(Prices):
        def price(self, provider: str, model: str, at: datetime | None = None) -> None:
            asked.append(at)

    prices = MonthlyPrices(Noting())
    for month in (2026 * 12 + 11, 2026 * 12 + 11, None):
        prices.price("xai", "grok", month)
    assert asked == [datetime(2026, 12, 15, tzinfo=UTC), None]


def test_entries_without_tokens_count_like_the_others_of_their_model() -> None:
    made = [(spent("one", 4, 3 * 10**6, without=1), MONTH), (spent("ten", 2, without=2), MONTH)]
    assert estimate(made, PRICES) == 1 + 2 * 1  # one costs a dollar each, and ten has no others
    assert estimate([(spent("ten", 2, without=2), MONTH)], PRICES) == Decimal("0.004")
    assert estimate([(spent("none", 2, without=2), MONTH)], PRICES) == 0


@given(st.lists(st.tuples(st.sampled_from(["one", "ten", "none"]), st.integers(0, 10**12))))
def test_bills_add_up_in_any_grouping(parts: list[tuple[str, int]]) -> None:
    made = [(spent(model, 1, tokens), MONTH) for model, tokens in parts]
    total = Bill()
    for one in made:
        total += bill([one], PRICES)
    assert total == bill(made, PRICES)
