"""Rows of records that are the first of their identity, made many at a time."""

from collections.abc import Callable
from typing import Any

from rustassistant.records import Record
from rustassistant.stores.sqlite.identifiers import Identifiers

def add_first(
    records: list[Record],
    start: int,
    *,
    ids: Identifiers,
    owner_of: Callable[[bytes, int], int],
    place_of: Callable[[int, str], int],
    add_sums: Callable[[tuple[int, int, int], tuple[int, ...]], None],
    most_tokens: int,
    cache_type: str,
    folder_id: int,
    repository_id: int,
    rows: list[tuple[Any, ...]],
    files_of_rows: set[int],
    next_entry: int,
) -> tuple[int, int]:
    """Make rows of ``records`` from ``start`` on; tell how far that went, and the next entry's id.

    ``ids`` are the `Identifiers` of a repository all of whose files are known; ``owner_of``,
    ``place_of`` and ``add_sums`` are `Owners.add`, `schema.place_of` and `totals.Totals.add`.
    """
