"""What the commands that look into a cache share: the database, and how entries are told."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rustassistant.cli.readable import dollars
from rustassistant.entry import full_key
from rustassistant.stores.sqlite.views.browsing import Item
from rustassistant.timestamps import format_rfc3339

UNKNOWN = "-"


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
