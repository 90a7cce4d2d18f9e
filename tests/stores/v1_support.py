"""The Rust program's database as that program makes, fills and asks it, without any code of ours.

What is replayed here is described in ``docs/format.md``: how it stores and looks up, and what its
own migration from JSON does wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import zstandard

from rustassistant.entry import full_key

CONTENT: Final = b"fn main() {}\n"
PROMPT: Final = "b56f6b9b1ff77eac"

SCHEMA: Final = """
CREATE TABLE cache_entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cache_type TEXT NOT NULL, repo_path TEXT NOT NULL,
    file_path TEXT NOT NULL, file_hash TEXT NOT NULL, cache_key TEXT NOT NULL UNIQUE,
    provider TEXT NOT NULL, model TEXT NOT NULL, prompt_hash TEXT NOT NULL,
    schema_version INTEGER NOT NULL DEFAULT 1, result_blob BLOB NOT NULL, tokens_used INTEGER,
    file_size INTEGER NOT NULL, created_at TEXT NOT NULL DEFAULT (datetime('now')),
    last_accessed TEXT NOT NULL DEFAULT (datetime('now')),
    access_count INTEGER NOT NULL DEFAULT 0);
CREATE INDEX idx_cache_key ON cache_entries(cache_key);
CREATE INDEX idx_cache_type ON cache_entries(cache_type);
CREATE INDEX idx_repo_path ON cache_entries(repo_path);
CREATE INDEX idx_model ON cache_entries(model);
CREATE INDEX idx_created_at ON cache_entries(created_at);
CREATE INDEX idx_last_accessed ON cache_entries(last_accessed);
CREATE TABLE cache_stats (
    id INTEGER PRIMARY KEY AUTOINCREMENT, cache_hits INTEGER NOT NULL DEFAULT 0,
    cache_misses INTEGER NOT NULL DEFAULT 0,
    last_updated TEXT NOT NULL DEFAULT (datetime('now')));
INSERT INTO cache_stats (id) VALUES (1);
"""
LOOSE: Final = "CREATE TABLE cache_entries ({columns})"
"""The table without types and constraints, for rows that are not as they should be."""


def frame(text: bytes) -> bytes:
    """As Rust's ``zstd::encode_all``, which streams: the frame does not tell its size."""
    compressor = zstandard.ZstdCompressor(level=3, write_content_size=False).compressobj()
    return compressor.compress(text) + compressor.flush()


def row_of(path: str = "src/lib.rs", *, content: bytes = CONTENT, **changes: Any) -> dict[str, Any]:
    """A sound row; ``result`` is the text that goes into ``result_blob``."""
    result = changes.pop("result", b'{"complexity_score":50.0,"path":"%s"}' % path.encode())
    row: dict[str, Any] = {
        "cache_type": "docs",
        "repo_path": "/home/dev/project",
        "file_path": path,
        "file_hash": hashlib.sha256(content).hexdigest(),
        "provider": "xai",
        "model": "grok-beta",
        "prompt_hash": PROMPT,
        "schema_version": 1,
        "result_blob": frame(result),
        "tokens_used": 1234,
        "file_size": len(content),
        "created_at": "2026-02-04 03:13:54",
        "last_accessed": "2026-02-05 10:00:00",
        "access_count": 0,
    }
    row |= changes
    if "cache_key" not in row:
        row["cache_key"] = key_of(row)
    return row


def key_of(row: dict[str, Any]) -> str:
    return full_key(row["file_hash"], row["model"], row["prompt_hash"], row["schema_version"])


def make_v1(path: Path, *rows: dict[str, Any], journal: str = "delete") -> Path:
    """A file as the Rust program makes it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode={journal}")
        for statement in SCHEMA.split(";\n"):
            database.execute(statement)
        for row in rows:
            insert(database, row)
        database.commit()
    return path


def make_loose(path: Path, *rows: dict[str, Any]) -> Path:
    """A table with the columns of the first row, in which anything can stand."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(LOOSE.format(columns=", ".join(rows[0])))
        for row in rows:
            insert(database, row)
        database.commit()
    return path


def insert(database: sqlite3.Connection, row: dict[str, Any], *, verb: str = "INSERT") -> None:
    places = ", ".join("?" * len(row))
    database.execute(
        f"{verb} INTO cache_entries ({', '.join(row)}) VALUES ({places})",
        tuple(row.values()),
    )


def rows_in(path: Path, columns: str = "*", table: str = "cache_entries") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()  # noqa: S608


def change(path: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(sql, values)
        database.commit()


def rust_get(
    path: Path, content_hash: str, model: str, prompt_hash: str = "", version: int = 1
) -> Any:
    """What the Rust program gets for a request, None for a miss: by the key alone."""
    key = full_key(content_hash, model, prompt_hash, version)
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(
            "SELECT result_blob FROM cache_entries WHERE cache_key = ?", (key,)
        ).fetchone()
    if found is None:
        return None
    return json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(found[0]))


def migrate_as_rust_does(root: Path, path: Path) -> int:
    """Its own migration of a JSON cache, with all its defects; returns what it reports.

    The 32-digit key is copied, a missing one becomes the empty text; the repository is read from a
    field that is not there; the time of analysis is dropped; rows of one key replace each other.
    """
    make_v1(path)
    migrated = 0
    with closing(sqlite3.connect(path)) as database:
        for file in sorted(root.glob("*/cache/*/*.json")):
            meta = json.loads((file.parents[2] / "meta.json").read_bytes())
            entry = json.loads(file.read_bytes())
            compact = json.dumps(
                entry["result"], separators=(",", ":"), sort_keys=True, ensure_ascii=False
            )
            row = {
                "cache_type": file.parent.name,
                "repo_path": meta.get("repo_path", ""),
                "file_path": entry["file_path"],
                "file_hash": entry["file_hash"],
                "cache_key": entry.get("cache_key", ""),
                "provider": entry["provider"],
                "model": entry["model"],
                "prompt_hash": entry.get("prompt_hash", ""),
                "schema_version": entry.get("schema_version", 1),
                "result_blob": frame(compact.encode()),
                "tokens_used": entry["tokens_used"],
                "file_size": entry["file_size"],
            }
            insert(database, row, verb="INSERT OR REPLACE")
            migrated += 1
        database.commit()
    return migrated


def files_beside(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))
