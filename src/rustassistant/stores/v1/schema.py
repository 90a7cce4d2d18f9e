"""The tables of the Rust program's own database, as it makes them itself.

Names, types and defaults are its; so is what makes a row the answer to a lookup: ``cache_key``
alone, which is unique. It opens a file with ``CREATE TABLE IF NOT EXISTS``, so a table of ours
beside its own does not disturb it.
"""

from __future__ import annotations

from typing import Final

import apsw
import msgspec

from rustassistant.timestamps import format_rfc3339, parse_rfc3339

NANOSECONDS: Final = 10**9

ENTRIES: Final = "cache_entries"
REPLACED: Final = "cache_entries_replaced"
"""Ours: rows that were in the file before a newer entry of the same key came in. The Rust program
does not look there; reading the file as a source does."""

_COLUMNS: Final = """
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cache_type TEXT NOT NULL,
    repo_path TEXT NOT NULL,
    file_path TEXT NOT NULL,
    file_hash TEXT NOT NULL,
    cache_key TEXT NOT NULL{unique},
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt_hash TEXT NOT NULL,
    schema_version INTEGER NOT NULL DEFAULT 1,
    result_blob BLOB NOT NULL,
    tokens_used INTEGER,
    file_size INTEGER NOT NULL,
    created_at TEXT NOT NULL DEFAULT (datetime('now')),
    last_accessed TEXT NOT NULL DEFAULT (datetime('now')),
    access_count INTEGER NOT NULL DEFAULT 0
"""

TABLES: Final = f"""
CREATE TABLE IF NOT EXISTS {ENTRIES} ({_COLUMNS.format(unique=" UNIQUE")});
CREATE INDEX IF NOT EXISTS idx_cache_key ON {ENTRIES} (cache_key);
CREATE INDEX IF NOT EXISTS idx_cache_type ON {ENTRIES} (cache_type);
CREATE INDEX IF NOT EXISTS idx_repo_path ON {ENTRIES} (repo_path);
CREATE INDEX IF NOT EXISTS idx_model ON {ENTRIES} (model);
CREATE INDEX IF NOT EXISTS idx_created_at ON {ENTRIES} (created_at);
CREATE INDEX IF NOT EXISTS idx_last_accessed ON {ENTRIES} (last_accessed);
CREATE TABLE IF NOT EXISTS cache_stats (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cache_hits INTEGER NOT NULL DEFAULT 0,
    cache_misses INTEGER NOT NULL DEFAULT 0,
    last_updated TEXT NOT NULL DEFAULT (datetime('now'))
);
INSERT OR IGNORE INTO cache_stats (id, cache_hits, cache_misses) VALUES (1, 0, 0);
"""

REPLACED_TABLE: Final = f"CREATE TABLE IF NOT EXISTS {REPLACED} ({_COLUMNS.format(unique='')})"

COLUMNS: Final = (
    "cache_type", "repo_path", "file_path", "file_hash", "cache_key", "provider", "model",
    "prompt_hash", "schema_version", "result_blob", "tokens_used", "file_size", "created_at",
)  # fmt: skip
"""What a row says of its entry, in the table's order: all but its number and its uses."""

USES: Final = ("last_accessed", "access_count")

_REQUIRED: Final = frozenset(("cache_type", "file_path", "file_hash", "model", "result_blob"))
"""Without these nothing can be told apart; what else a table lacks has a meaning when absent."""


class Table(msgspec.Struct, frozen=True):
    """A table of entries as it is in some file, by the columns that it has."""

    name: str
    columns: frozenset[str]

    @property
    def missing(self) -> list[str]:
        """Columns that the Rust program's table has and this one lacks."""
        return [name for name in (*COLUMNS, *USES) if name not in self.columns]

    def expression(self, column: str) -> str:
        """SQL for a column, NULL where the table lacks it."""
        return column if column in self.columns else "NULL"


def tables_of(connection: apsw.Connection) -> list[Table]:
    """The tables of entries in a database; none if it is no v1 file.

    A view of that name, as our own database has, is no table.
    """
    found = []
    for name in (ENTRIES, REPLACED):
        is_table = connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", (name,)
        ).get
        if is_table:
            rows = connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
            columns = frozenset(column for (column,) in rows)
            if columns >= _REQUIRED:
                found.append(Table(name, columns))
        elif name == ENTRIES:
            return []
    return found


def to_text(nanoseconds: int) -> str:
    """A moment as SQLite's ``datetime()`` prints it: UTC, whole seconds, rounded down."""
    whole = nanoseconds - nanoseconds % NANOSECONDS
    return format_rfc3339(whole)[:19].replace("T", " ")


def from_text(text: str) -> int:
    """Nanoseconds of such a time, or of an RFC 3339 one. Raises ValueError for anything else."""
    try:
        return parse_rfc3339(text + "+00:00")
    except ValueError:
        return parse_rfc3339(text)
