from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from looking import Filled, filled
from rustassistant.budget import BudgetState
from rustassistant.configuration import load
from rustassistant.inspection import status_of

__all__ = ["filled"]


@pytest.fixture
def spent(filled: Filled) -> Filled:
    for number, when in enumerate(
        ("2026-01-31T23:59:59.999999999", "2026-02-01T00:00:00", "2026-02-28T23:59:59.999999999",
         "2026-03-01T00:00:00")
    ):  # fmt: skip
        filled.add(
            f"{number}.rs", content=str(number).encode(), analyzed_at=f"{when}+00:00",
            tokens_used=100_000 + number,
        )  # fmt: skip
    filled.migrate()
    return filled


def test_month_of_the_budget_is_the_calendar_month_in_utc(spent: Filled) -> None:
    now = datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=5)))  # still February in UTC
    status = status_of(spent.database, load(), now=now)
    assert status.budget.spent_usd == Decimal("2.00003")
    assert (status.budget_month.name, status.budget_month.added) == ("2026-02", 2)
    later = status_of(spent.database, load(), now=now + timedelta(hours=5))
    assert later.budget.spent_usd == Decimal("1.00003")


def test_trash_counts_for_the_month_it_was_made_in(spent: Filled) -> None:
    """What was thrown away this month, but made before, was this month's spending never."""
    removed = int(datetime(2026, 2, 20, tzinfo=UTC).timestamp()) * 10**9
    for entry in (1, 2):
        spent.execute("INSERT INTO trash VALUES (?, 'evicted', ?)", (entry, removed))
    spent.execute("DELETE FROM totals WHERE month < 2026 * 12 + 1")
    spent.execute("UPDATE totals SET entries = 1, tokens = 100002, assumed_tokens = 100002"
                  " WHERE month = 2026 * 12 + 1")  # fmt: skip
    status = status_of(spent.database, load(), now=datetime(2026, 2, 25, tzinfo=UTC))
    assert status.budget.spent_usd == Decimal("2.00003")
    assert status.whole.entries == 2
    assert status.sizes.removed == 2


def test_budget_without_entries_is_whole(filled: Filled) -> None:
    filled.add("a.rs")
    filled.migrate()
    status = status_of(filled.database, load(), now=datetime(2030, 1, 1, tzinfo=UTC))
    assert (status.budget.state, status.budget_is_whole) == (BudgetState.WITHIN, True)


def test_answer_is_of_one_moment_while_others_write(spent: Filled) -> None:
    before = status_of(spent.database, load())
    spent.add("more.rs", content=b"more")
    spent.migrate()
    after = status_of(spent.database, load())
    assert (before.whole.entries, after.whole.entries) == (4, 5)
    assert sum(one.entries for one in after.by_type) == sum(m.added for m in after.months) == 5
