"""Entries that answer no more: out of sight, and kept until the trash is emptied."""

from __future__ import annotations

from typing import Any, Final

from rustassistant.stores.sqlite.totals import Totals

SUPERSEDED: Final = "superseded"
"""Why an entry is in the trash: another with its identity and another result was preferred."""

EVICTED: Final = "evicted"
"""Because the database was to become smaller."""

CLEARED: Final = "cleared"
"""Because somebody chose it with `cache clear`."""

_PROMOTE: Final = """
INSERT INTO entries (file_id, folder_id, producer_id, analyzed_at, tokens_used, result_of,
                     result_digest, source_name, source_stamp, seal)
SELECT c.file_id, c.folder_id, e.producer_id, c.analyzed_at, e.tokens_used,
       ifnull(e.result_of, e.id), e.result_digest, c.source_name, c.source_stamp, c.seal
FROM copies c JOIN entries e ON e.id = c.entry_id WHERE c.id = ?
"""


def throw_away(totals: Totals, entry_id: int, *, reason: str, now: int) -> None:
    """Put an entry into the trash. Entries elsewhere that share its row get rows of their own."""
    promote_sharing(totals, entry_id)
    totals.count(entry_id, -1)
    totals.connection.execute(
        "INSERT INTO trash (entry_id, reason, removed_at) VALUES (?, ?, ?)", (entry_id, reason, now)
    )


def promote_sharing(totals: Totals, entry_id: int) -> list[int]:
    """Make entries of their own from all elsewhere that share a row; return their ids."""
    elsewhere: list[Any] = totals.connection.execute(
        "SELECT id FROM copies WHERE entry_id = ? AND file_id IS NOT NULL ORDER BY id", (entry_id,)
    ).fetchall()
    return [promote(totals, copy_id) for (copy_id,) in elsewhere]


def promote(totals: Totals, copy_id: int) -> int:
    """Make an entry of its own from one that shared another's row; return its id."""
    totals.connection.execute(_PROMOTE, (copy_id,))
    made = totals.connection.last_insert_rowid()
    totals.connection.execute("DELETE FROM copies WHERE id = ?", (copy_id,))
    totals.count(made, 1)
    return made


def take_back(totals: Totals, entry_id: int) -> None:
    """Let an entry answer again."""
    totals.connection.execute("DELETE FROM trash WHERE entry_id = ?", (entry_id,))
    totals.count(entry_id, 1)
