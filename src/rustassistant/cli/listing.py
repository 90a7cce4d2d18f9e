"""``rustassistant cache list``: entries, one a line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rustassistant.cli.entries import item_fields, money, print_entries, tokens, when
from rustassistant.cli.exits import EXIT_FAILURES
from rustassistant.cli.readable import counted
from rustassistant.cli.render import emit, say, visible
from rustassistant.cli.tables import Column, Gives
from rustassistant.configuration import load
from rustassistant.inspection import Listed, Order, list_entries
from rustassistant.transfer.selection import Selection

_COLUMNS: Final = (
    Column("ID", is_number=True),
    Column("when (UTC)", goes=2),
    Column("type", goes=1),
    Column("file", gives=Gives.START, least=24),
    Column("repository", gives=Gives.START, least=8, goes=4),
    Column("model", gives=Gives.END, goes=5),
    Column("tokens", is_number=True, goes=6),
    Column("about", is_number=True, goes=3),
    Column("hits", is_number=True, goes=7),
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
        shown, damaged = print_entries(
            listing.entries, as_json=options.as_json, fields=_fields, columns=_COLUMNS, row=_row
        )
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


def _fields(one: Listed) -> dict[str, Any]:
    return item_fields(one.item) | {"usd": None if one.usd is None else float(one.usd)}


def _row(one: Listed) -> tuple[str, ...]:
    item = one.item
    return (
        str(item.id),
        when(item.analyzed_at),
        item.cache_type,
        item.file_path,
        item.repository.rstrip("/").rpartition("/")[2],
        item.model,
        tokens(item),
        money(one.usd),
        str(item.hits),
    )
