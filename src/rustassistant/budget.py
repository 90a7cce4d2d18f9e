"""A month's spending against the budget, with RustAssistant's thresholds.

The published ones are 75 % for a warning, 90 % for an alert and 100 % for exceeded; the first two
can be configured.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Final

import msgspec

from rustassistant.configuration.settings import BudgetSettings

_NANOSECONDS: Final = 1_000_000_000


class BudgetState(StrEnum):
    """How far the budget is spent."""

    WITHIN = "within"
    WARNING = "warning"
    ALERT = "alert"
    EXCEEDED = "exceeded"

    @property
    def mark(self) -> str:
        """The sign before the line that tells it: ✓, ⚠, 🔶 or ✗."""
        return _MARKS[self]


_MARKS: Final = {
    BudgetState.WITHIN: "✓",
    BudgetState.WARNING: "⚠",
    BudgetState.ALERT: "🔶",
    BudgetState.EXCEEDED: "✗",
}


class Budget(msgspec.Struct, frozen=True):
    """A month's budget and what of it is spent, in US dollars."""

    limit_usd: Decimal
    spent_usd: Decimal
    state: BudgetState

    @property
    def percent(self) -> Decimal:
        """How much is spent, with one decimal, rounded down: 100 is not said before it is true."""
        exact = self.spent_usd * 100 / self.limit_usd
        return exact.quantize(Decimal("0.1"), ROUND_FLOOR)

    @property
    def left_usd(self) -> Decimal:
        """What may still be spent; nothing if the budget is exceeded."""
        return max(self.limit_usd - self.spent_usd, Decimal(0))


def judge(spent_usd: Decimal, settings: BudgetSettings) -> Budget:
    """Hold what a month has cost against the budget; a threshold counts from its very value on."""
    percent = spent_usd * 100 / settings.monthly_usd
    if percent >= 100:
        state = BudgetState.EXCEEDED
    elif percent >= settings.alert_percent:
        state = BudgetState.ALERT
    elif percent >= settings.warn_percent:
        state = BudgetState.WARNING
    else:
        state = BudgetState.WITHIN
    return Budget(settings.monthly_usd, spent_usd, state)


def month_of(now: datetime) -> tuple[int, int]:
    """The calendar month around a time, in UTC: its first nanosecond since 1970 and the next's.

    UTC, because that is how entries tell when they were made: one answer on every machine.
    """
    start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    later = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp()) * _NANOSECONDS, int(later.timestamp()) * _NANOSECONDS
