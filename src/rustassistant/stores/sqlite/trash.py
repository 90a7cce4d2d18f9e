"""Entries that answer no more: out of sight, and kept until the trash is emptied."""

from __future__ import annotations

from typing import Any, Final

import apsw

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

_INHERIT: Final = (
    "INSERT OR IGNORE INTO pins (entry_id, pinned_at)"
    " SELECT ?, p.pinned_at FROM copies c JOIN pins p USING (entry_id) WHERE c.id = ?",
    "INSERT OR IGNORE INTO uses (entry_id, hits, last_used)"
    " SELECT ?, u.hits, u.last_used FROM copies c JOIN uses u USING (entry_id) WHERE c.id = ?",
)
"""Whoever shared a row shared its pin. Which of them was asked for, nobody noted: each counts as
used as often, so that what answered yesterday is not evicted as if it never had."""


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
    inherit(totals.connection, made, copy_id)
    totals.connection.execute("DELETE FROM copies WHERE id = ?", (copy_id,))
    totals.count(made, 1)
    return made


def inherit(connection: apsw.Connection, entry_id: int, copy_id: int) -> None:
    """Give an entry that has a row of its own now the pin and uses of the one that it shared."""
    for sql in _INHERIT:
        connection.execute(sql, (entry_id, copy_id))


def take_back(totals: Totals, entry_id: int) -> None:
    """Let an entry answer again."""
    totals.connection.execute("DELETE FROM trash WHERE entry_id = ?", (entry_id,))
    totals.count(entry_id, 1)
