"""What the commands that look into a cache share: the database, and how entries are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from rustassistant.cli.readable import dollars
from rustassistant.cli.render import emit, visible, warn
from rustassistant.cli.tables import Column, say_table
from rustassistant.entry import full_key
from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.views.browsing import Item
from rustassistant.timestamps import format_rfc3339

UNKNOWN: Final = "-"
_PAGE: Final = 1000
"""Rows that are laid out together: a list without end would else be held whole."""

_Listed = TypeVar("_Listed")


class Shown(NamedTuple):
    """How many entries were printed, and how many could not be read."""

    listed: int
    damaged: int


def when(nanoseconds: int) -> str:
    """A time to the minute, UTC."""
    return format_rfc3339(nanoseconds)[:16].replace("T", " ")


def money(usd: Decimal | None) -> str:
    """An amount, or that it is not known."""
    return UNKNOWN if usd is None else dollars(usd)


def short_count(count: int) -> str:
    """A count in at most six characters: ``999``, ``46.5M``."""
    amount = float(count)
    if count < 10_000:
        return f"{count:,}"
    unit = "T"
    for name in ("k", "M", "G", "T"):
        amount /= 1000
        if amount < 999.95:
            unit = name
            break
    return f"{amount:.1f}{unit}"


def item_fields(item: Item) -> dict[str, Any]:
    """An entry's columns for programs."""
    return {
        "id": item.id,
        "repository": item.repository,
        "cache_type": item.cache_type,
        "file_path": item.file_path,
        "file_hash": item.file_hash.hex(),
        "file_size": item.file_size,
        "cache_key": full_key(
            item.file_hash.hex(), item.model, item.prompt_hash, item.schema_version
        ),
        "provider": item.provider,
        "model": item.model,
        "prompt_hash": item.prompt_hash,
        "schema_version": item.schema_version,
        "analyzed_at": format_rfc3339(item.analyzed_at),
        "tokens_used": item.tokens_used,
        "stored_bytes": item.stored_bytes,
        "hits": item.hits,
        "last_used": None if item.last_used is None else format_rfc3339(item.last_used),
        "pinned": bool(item.pinned),
        "shares_a_row": item.copy_id is not None,
    }


def tokens(item: Item) -> str:
    """How many tokens it took, in a table."""
    return UNKNOWN if item.tokens_used is None else f"{item.tokens_used:,}"


def print_entries(
    found: Iterator[_Listed | DamagedError],
    *,
    as_json: bool,
    fields: Callable[[_Listed], dict[str, Any]],
    columns: Sequence[Column],
    row: Callable[[_Listed], tuple[str, ...]],
) -> Shown:
    """Print a list as it comes, a line of JSON each or a row of a table; damage is told beside."""
    listed = damaged = 0
    while page := list(islice(found, _PAGE)):
        rows = []
        for one in page:
            if isinstance(one, DamagedError):
                damaged += 1
                warn(f"✗ {visible(one.message)}")
                if as_json:
                    emit("error", error="DamagedError", message=one.message)
                continue
            listed += 1
            if as_json:
                emit("entry", **fields(one))
            else:
                rows.append(row(one))
        if rows:
            say_table(columns, rows)
    return Shown(listed, damaged)
