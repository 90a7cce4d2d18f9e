from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.budget import BudgetState, judge, month_of
from rustassistant.configuration import load
from rustassistant.configuration.settings import BudgetSettings

MONEY = st.decimals(0, 10**6, places=6)


def published() -> BudgetSettings:
    return load({}).budget


@pytest.mark.parametrize(
    ("spent", "state", "percent"),
    [
        ("0", "within", "0.0"),
        ("2.249999", "within", "74.9"),
        ("2.25", "warning", "75.0"),
        ("2.699999", "warning", "89.9"),
        ("2.70", "alert", "90.0"),
        ("2.999999", "alert", "99.9"),
        ("3.00", "exceeded", "100.0"),
        ("30", "exceeded", "1000.0"),
    ],
)
def test_published_thresholds_count_from_their_very_value(
    spent: str, state: str, percent: str
) -> None:
    budget = judge(Decimal(spent), published())
    assert (budget.state, str(budget.percent)) == (state, percent)
    assert budget.limit_usd == 3


def test_each_state_has_a_mark_of_its_own() -> None:
    assert [state.mark for state in BudgetState] == ["✓", "⚠", "🔶", "✗"]


def test_what_is_left_is_never_less_than_nothing() -> None:
    assert judge(Decimal("2.50"), published()).left_usd == Decimal("0.50")
    assert judge(Decimal("3.50"), published()).left_usd == 0


@given(limit=st.decimals("0.01", 10**6, places=2), spent=MONEY, more=MONEY)
def test_spending_more_never_looks_better(limit: Decimal, spent: Decimal, more: Decimal) -> None:
    settings = BudgetSettings(
        monthly_usd=limit, warn_percent=Decimal(75), alert_percent=Decimal(90)
    )
    states = list(BudgetState)
    before, after = judge(spent, settings), judge(spent + more, settings)
    assert states.index(before.state) <= states.index(after.state)
    assert (after.state is BudgetState.EXCEEDED) == (spent + more >= limit)
    assert (after.percent >= 100) == (after.state is BudgetState.EXCEEDED)


def test_month_begins_and_ends_in_utc() -> None:
    start, end = month_of(datetime(2026, 2, 14, 12, tzinfo=UTC))
    assert start == int(datetime(2026, 2, 1, tzinfo=UTC).timestamp()) * 10**9
    assert end == int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 10**9
    new_year_in_tokyo = datetime(2027, 1, 1, 3, tzinfo=timezone(timedelta(hours=9)))
    assert month_of(new_year_in_tokyo) == month_of(datetime(2026, 12, 31, tzinfo=UTC))


@given(st.integers(0, 7 * 10**9))
def test_months_follow_each_other_without_a_gap(second: int) -> None:
    now = datetime.fromtimestamp(second, UTC)
    start, end = month_of(now)
    assert start <= now.timestamp() * 10**9 < end
    last = datetime.fromtimestamp(start // 10**9, UTC) - timedelta(microseconds=1)
    assert month_of(last)[1] == start
    assert month_of(datetime.fromtimestamp(end // 10**9, UTC))[0] == end
