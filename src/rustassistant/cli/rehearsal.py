"""What a migration would do: ``--dry-run`` and ``--plan``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from rustassistant.cli.audience import Audience
from rustassistant.cli.counting import counting
from rustassistant.cli.exits import EXIT_CONFLICTS, EXIT_FAILURES
from rustassistant.cli.migrate_report import result_fields, say_others, tell_conflicts
from rustassistant.cli.problems import tell_failures, tell_notes
from rustassistant.cli.readable import counted, dollars, duration
from rustassistant.cli.render import emit, say, visible
from rustassistant.migrate import CacheMigrator, Rehearsal, Spending
from rustassistant.pricing import Cost, Prices
from rustassistant.spending import MonthlyPrices, bill
from rustassistant.stores.base import printable


class _Bill(NamedTuple):
    """What making entries cost. ``unpriced`` are models whose price nobody knows."""

    cost: Cost
    entries: int
    without_tokens: int
    unpriced: list[str]
    seconds: float


def run_rehearsal(migrator: CacheMigrator, audience: Audience, *, plan: str | None) -> int:
    """Find out, tell, and return the exit code of the real run, as far as it can be known."""
    if audience.talks:
        say("🔎 Rehearsing the migration: nothing is written")
        for source in migrator.sources:
            say(f"  Source: {visible(printable(source))}")
        say(f"  Destination: {visible(printable(migrator.destination))}\n")
    with counting("rehearse", audience) as count:
        rehearsal = migrator.rehearse(count) if plan is None else migrator.plan(plan, count)
        result = rehearsal.result
        count.end(result)
    bill = _bill(rehearsal.spent)
    if audience.talks:
        _say(rehearsal, bill)
        if plan is not None:
            say(f"\n📋 The plan is in {visible(plan)}; carry it out with --apply {visible(plan)}")
    tell_failures(result.failures, "would fail", audience)
    tell_conflicts(result.conflicts, audience)
    tell_notes(result.notes, audience, total=result.total_notes)
    if audience.as_json:
        emit(
            "summary",
            dry_run=True,
            plan=plan,
            sources=[printable(source) for source in migrator.sources],
            destination=printable(migrator.destination),
            destination_grows_by=rehearsal.grows_by,
            sizes_are_estimates=True,
            cost=_bill_fields(bill, rehearsal.spent),
            **result_fields(result),
        )
    if result.conflicts and migrator.refuses_conflicts:
        return EXIT_CONFLICTS
    return EXIT_FAILURES if result.total_failed else 0


def _bill(spent: tuple[Spending, ...]) -> _Bill:
    from rustassistant.configuration import load

    configuration = load()
    prices = MonthlyPrices(Prices(configuration.prices))
    total = bill(((one, None) for one in spent), prices)  # when they were made is not kept apart
    seconds = float(configuration.cost.seconds_per_entry) * total.entries
    return _Bill(total.cost, total.entries, total.without_tokens, list(total.unpriced), seconds)


def _say(rehearsal: Rehearsal, bill: _Bill) -> None:
    result = rehearsal.result
    say("\n✓ This is what a real run would come to:")
    say(f"  Total entries: {result.total_entries}")
    say(f"  Would be migrated: {result.total_migrated}")
    say_others(result)
    say(f"  Would fail: {result.total_failed}")
    say(f"  Source size: {result.source_size} bytes")
    say(
        f"  Destination size: about {result.destination_size} bytes, "
        f"{rehearsal.grows_by:+} (an estimate)"
    )
    if not bill.entries:
        return
    say(
        f"  What is new cost about {dollars(bill.cost.usd)} and {duration(bill.seconds)} of "
        f"waiting to make ({bill.cost.split} of input and output tokens)"
        if bill.cost.usd != Decimal(0)
        else f"  What is new took about {duration(bill.seconds)} of waiting to make"
    )
    if bill.without_tokens:
        say(f"  ({counted(bill.without_tokens, 'entry', 'entries')} do not say how many tokens)")
    if bill.unpriced:
        say(f"  (No price is known for {', '.join(map(visible, bill.unpriced))})")


def _bill_fields(bill: _Bill, spent: tuple[Spending, ...]) -> dict[str, Any]:
    return {
        "usd": float(bill.cost.usd),
        "split": str(bill.cost.split),
        "seconds": bill.seconds,
        "entries_without_tokens": bill.without_tokens,
        "models_without_price": bill.unpriced,
        "by_model": [
            {
                "provider": one.provider,
                "model": one.model,
                "entries": one.entries,
                "assumed_tokens": one.assumed_tokens,
                "input_tokens": one.input_tokens,
                "output_tokens": one.output_tokens,
            }
            for one in spent
        ],
    }
