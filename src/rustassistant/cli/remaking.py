"""What making entries again would cost, and asking before anything is deleted for good."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from rustassistant.cli.readable import counted, dollars, duration
from rustassistant.cli.render import say, visible
from rustassistant.configuration import load
from rustassistant.errors import UsageError
from rustassistant.pricing import Prices
from rustassistant.results import Spending
from rustassistant.retention import Worth
from rustassistant.spending import Bill, MonthlyPrices, bill, estimate


class Remaking(NamedTuple):
    """At today's prices. ``estimated_usd`` is for entries that do not say what they took."""

    bill: Bill
    estimated_usd: Decimal
    seconds: float

    @property
    def usd(self) -> Decimal:
        """All of it, US dollars."""
        return self.bill.cost.usd + self.estimated_usd


def worth() -> Worth:
    """Prices and times as they are configured."""
    configuration = load(only("RUSTASSISTANT_COST_"))
    return Worth(Prices(configuration.prices), float(configuration.cost.seconds_per_entry))


def only(prefix: str) -> dict[str, str]:
    """What of the environment has such names: what is wrong with others is no concern here."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefix)}


def remaking_of(spent: Sequence[Spending], worth: Worth) -> Remaking:
    """What making these again would cost."""
    prices = MonthlyPrices(worth.prices)
    made = [(one, None) for one in spent]
    total = bill(made, prices)
    seconds = worth.seconds_per_entry * total.entries
    return Remaking(total, estimate(made, prices), seconds)


def remaking_text(remaking: Remaking) -> str:
    """As ``$1.20 and 3 h 5 min of waiting``."""
    time = f"{duration(remaking.seconds)} of waiting"
    return f"{dollars(remaking.usd)} and {time}" if remaking.usd else time


def say_gaps(remaking: Remaking) -> None:
    """What the cost is uncertain of."""
    found = remaking.bill
    if found.without_tokens:
        without = counted(found.without_tokens, "entry")
        say(
            f"  (for {without} without a token count, {dollars(remaking.estimated_usd)} is assumed)"
        )
    if found.unpriced:
        say(f"  (No price is known for {', '.join(map(visible, found.unpriced))})")


def remaking_fields(remaking: Remaking) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "usd": float(remaking.usd),
        "estimated_usd": float(remaking.estimated_usd),
        "split": str(remaking.bill.cost.split),
        "seconds": remaking.seconds,
        "entries_without_tokens": remaking.bill.without_tokens,
        "entries_without_price": remaking.bill.unpriced_entries,
        "models_without_price": list(remaking.bill.unpriced),
    }


def agreed(question: str, *, yes: bool, as_json: bool) -> bool:
    """Whether somebody at a terminal says yes, unless the command line has. Raises UsageError where
    nobody can be asked."""
    if yes:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "nobody is there to be asked; nothing was changed",
            hint="Add --yes if you are sure; --dry-run shows what would go.",
        )
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() in ("y", "yes"):
        return True
    say("Nothing was changed.")
    return False
