"""What a check of a database finds: data only."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec

from rustassistant.stores.sqlite.integrity.records import Value


class Kind(StrEnum):
    """What a problem is about."""

    ENTRY = "entry"
    PLACE = "place"
    ROW = "row"
    INDEX = "index"
    SCHEMA = "schema"
    TOTALS = "totals"
    PAGES = "pages"


class Remedy(StrEnum):
    """What a repair does about it."""

    SET_ASIDE = "set aside"
    MEND = "mend"
    REINDEX = "reindex"
    RECREATE = "recreate"
    RECOUNT = "recount"
    REBUILD = "rebuild"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, and as much of whose it is as could be told.

    ``table`` and ``row_id`` say where; for a `Kind.ENTRY` ``row_id`` is the entry's id. ``change``
    are the columns that a `Remedy.MEND` sets. ``paid`` says that a result is at stake that was
    paid for: the entry can't be given back.
    """

    kind: Kind
    remedy: Remedy
    what: str
    table: str = ""
    row_id: int | None = None
    repository: str | None = None
    cache_type: str | None = None
    file_path: str | None = None
    provider: str | None = None
    model: str | None = None
    tokens_used: int | None = None
    paid: bool = False
    file_hash: bytes | None = None
    change: dict[str, Value] = {}


Looked = Callable[[int, int, int], None]
"""Told as a check goes on: entries looked at, entries in all, problems so far."""
