"""``rustassistant cache list``: entries, one a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from rustassistant.cli.entries import UNKNOWN, item_fields, money, when
from rustassistant.cli.readable import counted
from rustassistant.cli.render import emit, say, visible, warn
from rustassistant.cli.tables import Column, Gives, say_table
from rustassistant.configuration import load
from rustassistant.errors import DamagedError
from rustassistant.inspection import Listed, Order, list_entries
from rustassistant.transfer.selection import Selection

EXIT_FAILURES: Final = 3
_PAGE: Final = 1000
"""Rows that are laid out together: a list without end would else be held whole."""

_COLUMNS: Final = (
    Column("ID", is_number=True),
    Column("when (UTC)"),
    Column("type"),
    Column("file", gives=Gives.START, least=24),
    Column("repository", gives=Gives.START, least=8, goes=1),
    Column("model", gives=Gives.END, goes=2),
    Column("tokens", is_number=True, goes=3),
    Column("about", is_number=True),
    Column("hits", is_number=True, goes=4),
)


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What the command line asked for; ``limit`` 0 means all."""

    database: str
    selection: Selection
    order: str
    limit: int
    as_json: bool


def run_list(options: ListOptions) -> int:
    """Print them; return 3 if some are damaged."""
    with list_entries(
        options.database,
        load(),
        selection=options.selection,
        order=Order(options.order),
        limit=options.limit or None,
    ) as listing:
        shown, damaged = _print(listing.entries, as_json=options.as_json)
        more = max(0, listing.total - shown - damaged)
        if options.as_json:
            emit(
                "summary", total=listing.total, listed=shown, more=more, damaged=damaged,
                order=options.order,
            )  # fmt: skip
        elif not listing.total:
            say(f"No such entries in {visible(options.database)}.")
        elif more:
            say(f"… and {more:,} more of {counted(listing.total, 'entry')}; --limit 0 lists all")
    return EXIT_FAILURES if damaged else 0


def _print(entries: Iterator[Listed | DamagedError], *, as_json: bool) -> tuple[int, int]:
    """How many were printed, and how many could not be read."""
    shown = damaged = 0
    while page := list(islice(entries, _PAGE)):
        rows = []
        for one in page:
            if isinstance(one, DamagedError):
                damaged += 1
                warn(f"✗ {visible(one.message)}")
                if as_json:
                    emit("error", error="DamagedError", message=one.message)
            elif as_json:
                usd = None if one.usd is None else float(one.usd)
                emit("entry", **item_fields(one.item), usd=usd)
            else:
                rows.append(_row(one))
            shown += not isinstance(one, DamagedError)
        if rows:
            say_table(_COLUMNS, rows)
    return shown, damaged


def _row(one: Listed) -> tuple[str, ...]:
    item = one.item
    return (
        str(item.id),
        when(item.analyzed_at),
        item.cache_type,
        item.file_path,
        item.repository.rstrip("/").rpartition("/")[2],
        item.model,
        UNKNOWN if item.tokens_used is None else f"{item.tokens_used:,}",
        money(one.usd),
        str(item.hits),
    )
