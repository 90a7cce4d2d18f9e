"""How a cache is used, added up in its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import apsw

from rustassistant.stores.live import Question, Traffic, Use

_MAX_SUM: Final = 2**62
"""Sums stop there instead of overflowing, which SQLite would turn into fractions."""

_ADD_USE: Final = f"""
INSERT INTO uses (entry_id, hits, last_used)
SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM entries WHERE id = ?1)
ON CONFLICT DO UPDATE SET hits = min({_MAX_SUM}, hits + excluded.hits),
                          last_used = max(last_used, excluded.last_used)
"""
_ADD_TRAFFIC: Final = f"""
INSERT INTO traffic (day, cache_type, model, repository, hits, misses, tokens_saved)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    hits = min({_MAX_SUM}, hits + excluded.hits),
    misses = min({_MAX_SUM}, misses + excluded.misses),
    tokens_saved = min({_MAX_SUM}, tokens_saved + excluded.tokens_saved)
"""
_SUMS: Final = """
SELECT ifnull(sum(hits), 0), ifnull(sum(misses), 0), ifnull(sum(tokens_saved), 0) FROM traffic
"""


def add_uses(
    connection: apsw.Connection, uses: Mapping[int, Use], traffic: Mapping[Question, Traffic]
) -> None:
    """Add to the tables, in one transaction that does not wait for the disk.

    After a power cut the latest counts may be gone, never anything else: the log that they are
    written to is synced with the next entry, in its order.
    """
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(_ADD_USE, [(entry_id, *use) for entry_id, use in uses.items()])
        connection.executemany(
            _ADD_TRAFFIC, [(*question, *sums) for question, sums in traffic.items()]
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def traffic_sums(connection: apsw.Connection) -> Traffic:
    """All that was counted, of all days."""
    row: Any = connection.execute(_SUMS).fetchone()
    return Traffic(*row)
