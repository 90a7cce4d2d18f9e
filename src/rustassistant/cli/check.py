"""``rustassistant cache check``: what is wrong, what it costs, and what a repair made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rustassistant.check import (
    CheckResult,
    Kind,
    Problem,
    Refill,
    RepairResult,
    check_database,
    repair_database,
)
from rustassistant.cli.audience import Audience
from rustassistant.cli.exits import EXIT_DAMAGED
from rustassistant.cli.problems import warn_each
from rustassistant.cli.readable import counted, dollars, duration
from rustassistant.cli.render import emit, meter, say, visible, warn
from rustassistant.cli.stopping import interruptible
from rustassistant.errors import UsageError
from rustassistant.pricing import Cost, Prices
from rustassistant.stores.base import printable


@dataclass(frozen=True, slots=True)
class CheckOptions(Audience):
    """What the command line asked for."""

    database: str
    repair: bool
    sources: tuple[str, ...]
    keep_copy: bool


@dataclass(frozen=True, slots=True)
class _Bill:
    """What making the lost entries again would come to."""

    cost: Cost
    seconds: float


def run_check(options: CheckOptions) -> int:
    """Look, repair if asked to, tell; return the exit code."""
    if options.sources and not options.repair:
        raise UsageError(
            "--from refills what a repair has set aside",
            hint="Add --repair, or leave --from out to only look.",
        )
    with interruptible("interrupted; a repair is done as a whole or not at all"):
        return _run(options)


def _run(options: CheckOptions) -> int:
    started = time.monotonic()
    if options.talks:
        doing = "🔧 Checking and repairing" if options.repair else "🔍 Checking"
        say(f"{doing} {visible(printable(options.database))}")
    repair: RepairResult | None = None
    with meter("check", as_json=options.as_json, quiet=options.quiet) as shown:

        def progress(done: int, total: int, problems: int) -> None:
            shown.update(done, total, problems)

        if options.repair:
            repair = repair_database(
                options.database,
                sources=options.sources,
                keep_copy=options.keep_copy,
                progress=progress,
            )
            found = repair.found
        else:
            found = check_database(options.database, progress)
    bill = _bill(found)
    _tell_problems(found, bill, options)
    if repair is not None:
        _tell_repair(repair, options)
    left = found if repair is None else repair.left
    if options.talks and left.sound:
        again = "again " if repair is not None and not found.sound else ""
        say(f"✓ The database is {again}sound: {counted(left.entries, 'entry')} looked at")
    if options.as_json:
        _emit_summary(found, repair, bill, options, time.monotonic() - started)
    return 0 if left.sound else EXIT_DAMAGED


def _bill(found: CheckResult) -> _Bill:
    if not found.lost:
        return _Bill(Cost(), 0.0)
    from rustassistant.configuration import load

    configuration = load()
    prices = Prices(configuration.prices)
    cost = Cost()
    for problem in found.lost:
        if problem.model is not None and problem.tokens_used is not None:
            price = prices.price(problem.provider or "", problem.model)
            cost += (price and price.cost(problem.tokens_used)) or Cost()
    return _Bill(cost, float(configuration.cost.seconds_per_entry) * len(found.lost))


def _tell_problems(found: CheckResult, bill: _Bill, options: CheckOptions) -> None:
    if options.as_json:
        for problem in found.problems:
            emit("error", **_fields(problem))
        return
    if found.sound:
        return
    count = counted(len(found.problems), "problem")
    warn(f"✗ {count} in {counted(found.entries, 'entry')}:")
    warn_each(map(_line, found.problems), len(found.problems))
    if found.lost:
        lost = counted(len(found.lost), "entry", "entries")
        took = f"{counted(found.tokens, 'token')}, " if found.tokens else ""
        usd = f"about {dollars(bill.cost.usd)}, " if bill.cost.usd else ""
        warn(f"  {lost} can't be given back: {took}{usd}{duration(bill.seconds)} of waiting")
    if not options.repair:
        warn(
            "  Hint: --repair sets damaged rows aside and keeps all others; with --from it reads "
            "what was lost from a JSON cache or a backup again."
        )


def _line(problem: Problem) -> str:
    """A problem for people: whose it is, as far as it could be told, and what is wrong."""
    if problem.kind not in (Kind.ENTRY, Kind.PLACE):
        where = f"{problem.table} row {problem.row_id}: " if problem.row_id is not None else ""
        return where + problem.what
    whose = _whose(problem.cache_type, problem.file_path)
    said = [problem.model] if problem.model else []
    if problem.tokens_used is not None:
        said.append(counted(problem.tokens_used, "token"))
    about = f" ({', '.join(said)})" if said else ""
    what = "entry" if problem.kind is Kind.ENTRY else "further place"
    return (
        f"{what} {problem.row_id}: {whose} in {problem.repository or 'an unknown repository'}"
        f"{about}: {problem.what}"
    )


def _fields(problem: Problem) -> dict[str, Any]:
    is_entry = problem.kind is Kind.ENTRY
    return {
        "kind": str(problem.kind),
        "remedy": str(problem.remedy),
        "error": problem.what,
        "lost": problem.paid,
        "table": problem.table or None,
        "row_id": problem.row_id,
        "entry_id": problem.row_id if is_entry else None,
        "repository": problem.repository,
        "cache_type": problem.cache_type,
        "file_path": problem.file_path,
        "file_hash": None if problem.file_hash is None else problem.file_hash.hex(),
        "provider": problem.provider,
        "model": problem.model,
        "tokens_used": problem.tokens_used,
    }


def _tell_repair(repair: RepairResult, options: CheckOptions) -> None:
    if options.as_json:
        return
    if options.talks and repair.kept is not None:
        if repair.rebuilt:
            say("  Pages were damaged: all that could be read is in a new file now")
        say(f"  The file as it was: {visible(printable(repair.kept))}")
    if repair.refill is not None:
        _tell_refill(repair.refill, options)
    if not repair.left.sound:
        warn(f"✗ {counted(len(repair.left.problems), 'problem')} could not be repaired:")
        warn_each(map(_line, repair.left.problems), len(repair.left.problems))


def _tell_refill(refill: Refill, options: CheckOptions) -> None:
    if options.talks and (refill.back or refill.missing):
        say(f"  Refilled: {counted(refill.back, 'entry', 'entries')}")
    if refill.missing:
        count = counted(len(refill.missing), "entry", "entries")
        warn(f"✗ {count} could not be refilled, or not be recognised:")
    lines = (
        f"{_whose(one.cache_type, one.file_path)} in {one.repository or 'an unknown repository'}"
        for one in refill.missing
    )
    warn_each(lines, len(refill.missing))


def _whose(cache_type: str | None, path: str | None) -> str:
    return f"{cache_type or 'some entry'} of {path or 'an unknown file'}"


def _emit_summary(
    found: CheckResult,
    repair: RepairResult | None,
    bill: _Bill,
    options: CheckOptions,
    seconds: float,
) -> None:
    refill = None if repair is None else repair.refill
    emit(
        "summary",
        database=printable(options.database),
        sound=(found if repair is None else repair.left).sound,
        entries=found.entries,
        problems=len(found.problems),
        lost_entries=len(found.lost),
        lost_tokens=found.tokens,
        lost_usd=float(bill.cost.usd),
        lost_seconds=bill.seconds,
        repaired=repair is not None,
        rebuilt=repair is not None and repair.rebuilt,
        kept=None if repair is None or repair.kept is None else printable(repair.kept),
        problems_left=None if repair is None else len(repair.left.problems),
        refilled=None if refill is None else refill.back,
        not_refilled=None
        if refill is None
        else [
            {
                "repository": one.repository,
                "cache_type": one.cache_type,
                "file_path": one.file_path,
                "model": one.model,
                "tokens_used": one.tokens_used,
                "reason": one.reason,
            }
            for one in refill.missing
        ],
        seconds=round(seconds, 3),
    )
