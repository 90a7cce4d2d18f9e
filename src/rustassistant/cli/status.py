"""``rustassistant cache status``: what there is, what it cost, and what it has saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rustassistant.budget import BudgetState
from rustassistant.cli.entries import UNKNOWN, short_count
from rustassistant.cli.readable import counted, dollars, duration, percent, size
from rustassistant.cli.render import emit, say, visible
from rustassistant.cli.tables import Column, Gives, bar, say_table
from rustassistant.configuration import load
from rustassistant.inspection import Status, status_of
from rustassistant.inspection.status import Month, Share
from rustassistant.pricing import Split
from rustassistant.spending import Bill
from rustassistant.stores.base import printable
from rustassistant.transfer.selection import Selection

_SHOWN: Final = 10
"""Models and repositories that are shown, and months; ``--json`` has all."""

_BAR: Final = 20
_SPLITS: Final = {
    Split.STATED: "input and output tokens as the results state them",
    Split.HALF: "half of the tokens taken as input, half as output",
    Split.MIXED: "input and output tokens as the results state them, half and half where not",
}


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """What the command line asked for."""

    database: str
    selection: Selection
    as_json: bool


def run_status(options: StatusOptions) -> int:
    """Add up and tell."""
    status = status_of(options.database, load(), selection=options.selection)
    if options.as_json:
        emit("summary", **status_fields(status))
        return 0
    _say_whole(status)
    _say_budget(status)
    for heading, shares in (
        ("Type", status.by_type),
        ("Model", status.by_model),
        ("Repository", status.by_repository),
    ):
        _say_shares(heading, shares, with_lookups=status.whole.hits + status.whole.misses > 0)
    _say_growth(status.months)
    return 0


def _say_whole(status: Status) -> None:
    whole, sizes = status.whole, status.sizes
    say(f"Cache: {visible(printable(status.path))}")
    tokens = f", {short_count(whole.tokens)} tokens" if whole.tokens else ""
    chosen = " that the filters admit" if status.is_filtered else ""
    say(f"  {counted(whole.entries, 'entry')}{chosen}{tokens}")
    file = size(status.file_bytes + status.log_bytes)
    if whole.text_bytes is not None and whole.stored_percent is not None:
        say(
            f"  {size(whole.text_bytes)} of results, stored in {size(whole.stored_bytes)} "
            f"({percent(whole.stored_percent)}); the file takes {file}"
        )
    else:
        say(f"  {size(whole.stored_bytes)} of compressed results; the file takes {file}")
    free = sizes.free_pages * sizes.page_size
    if free > status.file_bytes // 10:
        say(f"  {size(free)} of it are free, for new entries or `cache compact`")
    _say_others(status)
    _say_cost(status)
    _say_lookups(status)
    if status.is_scanned:
        say("  (These filters go through all entries, though not their results: how these")
        say("  compress, and what they state of tokens, is left out.)")


def _say_others(status: Status) -> None:
    sizes = status.sizes
    others = [
        text
        for number, text in (
            (sizes.shared, "sharing the row of an equal entry"),
            (sizes.pinned, "pinned"),
            (sizes.removed, "in the trash"),
            (sizes.quarantined, "in quarantine"),
        )
        if number
        for text in (f"{number:,} {text}",)
    ]
    if others:
        say(f"  In the whole cache also: {', '.join(others)}")


def _say_cost(status: Status) -> None:
    bill = status.whole.bill
    if not bill.entries:
        return
    waiting = duration(status.seconds)
    if bill.cost.split is Split.NONE:
        say(f"  Took about {waiting} of waiting to make")
    else:
        say(f"  Cost {dollars(bill.cost.usd)} and about {waiting} of waiting to make")
        say(f"  ({_SPLITS[bill.cost.split]})")
    if bill.without_tokens:
        estimated = dollars(status.estimated_usd)
        more = " more" if bill.cost.usd else ""
        do = "does" if bill.without_tokens == 1 else "do"
        say(
            f"  ({counted(bill.without_tokens, 'entry')} {do} not say how many tokens: at a "
            f"guess {estimated}{more})"
        )
    if bill.unpriced:
        say(
            f"  (No price is known for {', '.join(map(visible, bill.unpriced))}: "
            f"{counted(bill.unpriced_entries, 'entry')}; config.toml can have one)"
        )


def _say_lookups(status: Status) -> None:
    whole = status.whole
    if not status.counts_lookups:
        say("  (Lookups are not counted by what these filters ask for)")
    elif whole.hit_percent is None:
        say("  No lookups were counted yet")
    else:
        say(
            f"  {counted(whole.hits, 'hit')} in {counted(whole.hits + whole.misses, 'lookup')} "
            f"({percent(whole.hit_percent)}) saved about {dollars(whole.saved_usd)} and "
            f"{duration(status.saved_seconds)}"
        )


def _say_budget(status: Status) -> None:
    budget, month = status.budget, status.budget_month
    least = "" if status.budget_is_whole else "at least "
    state = "" if budget.state is BudgetState.WITHIN else f", {budget.state}"
    say(
        f"{budget.state.mark} Budget of {month.name}{state}: {least}{dollars(budget.spent_usd)} of "
        f"{dollars(budget.limit_usd)} spent ({percent(budget.percent)}), "
        f"{dollars(budget.left_usd)} left"
    )


def _say_shares(heading: str, shares: Sequence[Share], *, with_lookups: bool) -> None:
    if not shares:
        return
    columns = [
        Column(heading, gives=Gives.START),
        Column("entries", is_number=True),
        Column("tokens", is_number=True, goes=1),
        Column("stored", is_number=True),
        Column("of", is_number=True, goes=2),
        Column("cost", is_number=True),
    ]
    if with_lookups:
        columns += [Column(name, is_number=True) for name in ("hits", "misses", "rate")]
    say()
    say_table(columns, [_row(share, with_lookups=with_lookups) for share in shares[:_SHOWN]])
    if len(shares) > _SHOWN:
        say(f"… and {len(shares) - _SHOWN} more; --json lists them")


def _row(share: Share, *, with_lookups: bool) -> list[str]:
    stored, rate = share.stored_percent, share.hit_percent
    cells = [
        share.name,
        f"{share.entries:,}",
        short_count(share.tokens),
        size(share.stored_bytes),
        UNKNOWN if stored is None else percent(stored),
        _cost(share.bill),
    ]
    if with_lookups:
        rate_text = UNKNOWN if rate is None else percent(rate)
        cells += [short_count(share.hits), short_count(share.misses), rate_text]
    return cells


def _cost(bill: Bill) -> str:
    return UNKNOWN if bill.cost.split is Split.NONE else dollars(bill.cost.usd)


def _say_growth(months: Sequence[Month]) -> None:
    if not months:
        return
    most = months[-1].total
    say()
    say_table(
        [Column("Month"), *(Column(name, is_number=True) for name in ("new", "cost", "in all")),
         Column("")],
        [
            [
                month.name,
                f"{month.added:,}",
                dollars(month.usd),
                f"{month.total:,}",
                bar(month.total, most, _BAR),
            ]
            for month in months[-_SHOWN - 2 :]
        ],
    )  # fmt: skip


def status_fields(status: Status) -> dict[str, Any]:
    """All of it for programs: money as numbers of US dollars, sizes in bytes, times in seconds."""
    sizes, budget = status.sizes, status.budget
    return {
        "database": printable(status.path),
        "file_bytes": status.file_bytes,
        "log_bytes": status.log_bytes,
        "free_bytes": sizes.free_pages * sizes.page_size,
        "dictionaries": sizes.dictionaries,
        "dictionary_bytes": sizes.dictionary_bytes,
        "in_trash": sizes.removed,
        "in_quarantine": sizes.quarantined,
        "pinned": sizes.pinned,
        "sharing_a_row": sizes.shared,
        "further_places": sizes.copies,
        "filtered": status.is_filtered,
        "entries_were_read": status.is_scanned,
        "lookups_are_known": status.counts_lookups,
        **{name: value for name, value in _share_fields(status.whole).items() if name != "name"},
        "usd_guessed_for_entries_without_tokens": float(status.estimated_usd),
        "seconds": status.seconds,
        "saved_seconds": status.saved_seconds,
        "budget": {
            "month": status.budget_month.name,
            "limit_usd": float(budget.limit_usd),
            "spent_usd": float(budget.spent_usd),
            "left_usd": float(budget.left_usd),
            "percent": float(budget.percent),
            "state": str(budget.state),
            "is_whole": status.budget_is_whole,
        },
        "by_type": [_share_fields(share) for share in status.by_type],
        "by_model": [_share_fields(share) for share in status.by_model],
        "by_repository": [_share_fields(share) for share in status.by_repository],
        "by_month": [
            {"month": one.name, "new": one.added, "total": one.total, "usd": float(one.usd)}
            for one in status.months
        ],
    }


def _share_fields(share: Share) -> dict[str, Any]:
    rate = share.hit_percent
    return {
        "name": share.name,
        "entries": share.entries,
        "tokens": share.tokens,
        "result_bytes": share.text_bytes,
        "stored_bytes": share.stored_bytes,
        "hits": share.hits,
        "misses": share.misses,
        "hit_rate": None if rate is None else round(rate / 100, 6),
        "usd": float(share.bill.cost.usd),
        "split": str(share.bill.cost.split),
        "entries_without_tokens": share.bill.without_tokens,
        "entries_without_price": share.bill.unpriced_entries,
        "models_without_price": list(share.bill.unpriced),
        "saved_usd": float(share.saved_usd),
    }
