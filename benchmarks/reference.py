"""The published migrator's algorithm, step for step, losses included: a peer to measure against.

Parse each file wholly, compress its compact result with zstd 3, insert one row at a time with the
key as it stands, each in a transaction of its own. Run: ``python reference.py SOURCE DESTINATION``.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import zstandard

_SCHEMA = """
CREATE TABLE cache_entries (
    id INTEGER PRIMARY KEY, cache_type TEXT, repo_path TEXT, file_path TEXT, file_hash TEXT,
    cache_key TEXT UNIQUE, provider TEXT, model TEXT, prompt_hash TEXT, schema_version INTEGER,
    result_blob BLOB, tokens_used INTEGER, file_size INTEGER, created_at TEXT DEFAULT
    CURRENT_TIMESTAMP, last_accessed TEXT DEFAULT CURRENT_TIMESTAMP, access_count INTEGER DEFAULT 0
);
CREATE INDEX idx_cache_key ON cache_entries (cache_key);
CREATE INDEX idx_cache_type ON cache_entries (cache_type);
CREATE INDEX idx_repo_path ON cache_entries (repo_path);
CREATE INDEX idx_model ON cache_entries (model);
CREATE INDEX idx_created_at ON cache_entries (created_at);
CREATE INDEX idx_last_accessed ON cache_entries (last_accessed);
"""
_INSERT = """
INSERT OR REPLACE INTO cache_entries
(cache_type, repo_path, file_path, file_hash, cache_key, provider, model, prompt_hash,
 schema_version, result_blob, tokens_used, file_size) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
"""


def migrate(source: Path, destination: Path) -> int:
    """Move every entry; return how many were said to be moved."""
    database = sqlite3.connect(destination, isolation_level=None)
    database.executescript(_SCHEMA)
    database.execute("PRAGMA journal_mode=WAL")
    moved = 0
    for meta in sorted(source.glob("*/meta.json")):
        repository = json.loads(meta.read_text()).get("repo_path", "")
        for file in sorted(meta.parent.glob("cache/*/*.json")):
            entry = json.loads(file.read_text())
            result = json.dumps(entry["result"], separators=(",", ":"), ensure_ascii=False)
            row = (
                file.parent.name, repository, entry["file_path"], entry["file_hash"],
                entry.get("cache_key", ""), entry["provider"], entry["model"],
                entry.get("prompt_hash", ""), entry.get("schema_version", 1),
                zstandard.ZstdCompressor(level=3).compress(result.encode()),
                entry["tokens_used"], entry["file_size"],
            )  # fmt: skip
            database.execute(_INSERT, row)
            moved += 1
    database.close()
    return moved


if __name__ == "__main__":
    print(migrate(Path(sys.argv[1]), Path(sys.argv[2])))
