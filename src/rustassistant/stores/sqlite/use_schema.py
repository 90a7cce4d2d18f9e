"""The tables that tell how a cache is used. ``docs/format.md`` explains them to people."""

from __future__ import annotations

from typing import Final

USE_TABLES: Final = """
-- How often each entry answered. Apart from entries: what is paid for is not rewritten for a count.
CREATE TABLE uses (
    entry_id   INTEGER PRIMARY KEY REFERENCES entries,
    hits       INTEGER NOT NULL,
    last_used  INTEGER NOT NULL  -- nanoseconds since 1970, UTC
) STRICT;

-- What was asked for, and whether it was there.
CREATE TABLE traffic (
    day           INTEGER NOT NULL, -- days since 1970, UTC
    cache_type    TEXT NOT NULL,
    model         TEXT NOT NULL,    -- empty if any would have done, and none was there
    repository    TEXT NOT NULL,    -- likewise
    hits          INTEGER NOT NULL,
    misses        INTEGER NOT NULL,
    tokens_saved  INTEGER NOT NULL, -- of the entries that answered, once for each hit
    PRIMARY KEY (day, cache_type, model, repository)
) STRICT, WITHOUT ROWID;

-- Entries that are never evicted.
CREATE TABLE pins (
    entry_id   INTEGER PRIMARY KEY REFERENCES entries,
    pinned_at  INTEGER NOT NULL  -- nanoseconds since 1970, UTC
) STRICT;

CREATE TRIGGER uses_end_with_entries AFTER DELETE ON entries
BEGIN
    DELETE FROM uses WHERE entry_id = OLD.id;
    DELETE FROM pins WHERE entry_id = OLD.id;
END;
"""
