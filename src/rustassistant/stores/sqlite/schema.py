"""The tables of a cache database. ``docs/format.md`` explains them to people.

History of ``user_version``:

1. The first.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from rustassistant.codec import DIGEST_BYTES, MAGIC
from rustassistant.stores.sqlite.key_sql import CACHE_KEY_SQL
from rustassistant.stores.sqlite.use_schema import USE_TABLES

APPLICATION_ID: Final = 0x52754173
"""``RuAs``: marks a SQLite file as ours. At offset 68 of the file, for file(1) and the like."""

SCHEMA_VERSION: Final = 1

PAGE_SIZE: Final = 8192
"""Entries are a few hundred bytes: on 8 KiB pages fewer of them leave a gap than on 4 KiB."""

HASH_PREFIX: Final = 3
"""Bytes of a hash that its index holds: 24 bits tell most of a million rows apart, and what
they find is compared in full."""


def place_of(repository_id: int, path: str) -> int:
    """The ``place`` of a file: 16 bits, for finding it by its content and where it lies."""
    return (crc32(path.encode(), repository_id) >> 16) - 2**15


_SECONDS: Final = "e.analyzed_at / 1000000000 - (e.analyzed_at % 1000000000 < 0)"
"""Rounded down, which SQLite's division does not do before 1970."""

TABLES: Final = f"""
CREATE TABLE repositories (
    id         INTEGER PRIMARY KEY,
    path       TEXT NOT NULL,
    directory  TEXT,     -- the cache's own directory for it: <hash8>, NULL in the local layout
    meta       BLOB      -- its meta.json, as it was
) STRICT;
CREATE UNIQUE INDEX repositories_by_path ON repositories (path, ifnull(directory, ''));

CREATE TABLE folders (
    id             INTEGER PRIMARY KEY,
    repository_id  INTEGER NOT NULL REFERENCES repositories,
    cache_type     TEXT NOT NULL,
    layout         TEXT NOT NULL CHECK (layout IN ('centralized', 'flat', 'local')),
    subfolder      TEXT NOT NULL,
    UNIQUE (repository_id, cache_type, layout, subfolder)
) STRICT;

CREATE TABLE producers (
    id              INTEGER PRIMARY KEY,
    provider        TEXT NOT NULL,
    model           TEXT NOT NULL,
    prompt_hash     TEXT,     -- NULL in entries from before keys
    schema_version  INTEGER   -- likewise; then it counts as 1
) STRICT;
CREATE UNIQUE INDEX producers_by_parts
    ON producers (model, provider, ifnull(prompt_hash, x''), ifnull(schema_version, x''));

CREATE TABLE dictionaries (
    id          INTEGER PRIMARY KEY,
    sha256      BLOB NOT NULL CHECK (length(sha256) = 32),
    cache_type  TEXT NOT NULL,
    data        BLOB NOT NULL
) STRICT;

-- A file's content as it was when it was analysed; up to four types of entries share it.
CREATE TABLE files (
    id             INTEGER PRIMARY KEY,
    repository_id  INTEGER NOT NULL REFERENCES repositories,
    path           TEXT NOT NULL,
    hash           BLOB NOT NULL CHECK (length(hash) = 32),
    size           INTEGER,
    place          INTEGER NOT NULL  -- of a CRC-32 of the path, begun with repository_id
) STRICT;
-- The place keeps files apart whose content is the same, such as thousands of empty ones.
CREATE INDEX files_by_hash ON files (substr(hash, 1, {HASH_PREFIX}), place);

CREATE TABLE entries (
    id             INTEGER PRIMARY KEY,
    file_id        INTEGER NOT NULL,  -- of files: no REFERENCES, as no index begins with it
    folder_id      INTEGER NOT NULL REFERENCES folders,
    producer_id    INTEGER NOT NULL REFERENCES producers,
    analyzed_at    INTEGER NOT NULL,           -- nanoseconds since 1970, UTC
    tokens_used    INTEGER,
    result         BLOB,                       -- a zstd frame with its JSON text
    result_of      INTEGER REFERENCES entries, -- or the entry with the same result
    result_digest  BLOB NOT NULL CHECK (length(result_digest) = {DIGEST_BYTES}), -- of its text
    dictionary_id  INTEGER REFERENCES dictionaries,
    original       BLOB,     -- the whole file, where the columns would not give it back
    source_name    BLOB,     -- the file's name, where its path does not imply it
    source_stamp   INTEGER,  -- tells whether the file has changed since it was read
    seal           INTEGER NOT NULL, -- CRC-32 of all columns that tell what this is
    CHECK ((result IS NULL) = (result_of IS NOT NULL))
) STRICT;
-- For those of a file too: they lie in one of the few folders of its repository.
CREATE INDEX entries_by_folder ON entries (folder_id, file_id);
CREATE INDEX entries_by_result ON entries (substr(result_digest, 1, {HASH_PREFIX}))
    WHERE result IS NOT NULL;
CREATE INDEX entries_by_owner ON entries (result_of) WHERE result_of IS NOT NULL;

-- Further places where the same entry lay.
CREATE TABLE copies (
    id            INTEGER PRIMARY KEY,
    entry_id      INTEGER NOT NULL REFERENCES entries,
    folder_id     INTEGER NOT NULL REFERENCES folders,
    file_id       INTEGER REFERENCES files, -- NULL if it is the entry's
    analyzed_at   INTEGER,                  -- likewise
    source_name   BLOB,
    source_stamp  INTEGER,
    seal          INTEGER NOT NULL
) STRICT;
CREATE INDEX copies_by_folder ON copies (folder_id);
CREATE INDEX copies_by_entry ON copies (entry_id);
CREATE INDEX copies_by_file ON copies (file_id) WHERE file_id IS NOT NULL;

-- Entries that answer no more, and why: kept until the trash is emptied.
CREATE TABLE trash (
    entry_id    INTEGER PRIMARY KEY REFERENCES entries,
    reason      TEXT NOT NULL, -- superseded, evicted, cleared, deleted
    removed_at  INTEGER NOT NULL
) STRICT;

-- Rows that were found damaged, as they stood.
CREATE TABLE quarantine (
    id              INTEGER PRIMARY KEY,
    quarantined_at  INTEGER NOT NULL, -- nanoseconds since 1970, UTC
    reason          TEXT NOT NULL,
    outcome         TEXT NOT NULL, -- lost, refilled, or mended: a sound row stands in its place
    table_name      TEXT NOT NULL, -- where it stood
    repository      TEXT, -- these as far as they could be told
    cache_type      TEXT,
    file_path       TEXT,
    file_hash       BLOB,
    model           TEXT,
    tokens_used     INTEGER,
    dictionary      BLOB, -- SHA-256 of what its frames are compressed with
    original_row    BLOB NOT NULL -- a MessagePack map by column
) STRICT;
CREATE TRIGGER dictionaries_in_quarantine BEFORE DELETE ON dictionaries
WHEN EXISTS (SELECT 1 FROM quarantine WHERE dictionary = OLD.sha256)
BEGIN SELECT RAISE(ABORT, 'rows in quarantine are compressed with this dictionary'); END;

-- Sums over the entries that are not in the trash, so that nobody has to read them all.
CREATE TABLE totals (
    folder_id      INTEGER NOT NULL REFERENCES folders,
    producer_id    INTEGER NOT NULL REFERENCES producers,
    month          INTEGER NOT NULL, -- of analyzed_at, UTC: twelve times the year, and 0 to 11
    entries        INTEGER NOT NULL,
    tokens         INTEGER NOT NULL, -- of those that say how many
    assumed_tokens INTEGER NOT NULL, -- of these, where the result does not tell input from output
    without_tokens INTEGER NOT NULL, -- entries that do not say how many
    input_tokens   INTEGER NOT NULL, -- of those whose result tells them apart
    output_tokens  INTEGER NOT NULL,
    text_bytes     INTEGER NOT NULL, -- of results, before compression
    stored_bytes   INTEGER NOT NULL, -- of frames in these rows
    PRIMARY KEY (folder_id, producer_id, month)
) STRICT, WITHOUT ROWID;

-- What each run did that changed something, or found something amiss.
CREATE TABLE runs (
    id             INTEGER PRIMARY KEY,
    started_at     INTEGER NOT NULL, -- nanoseconds since 1970, UTC
    user           TEXT NOT NULL,
    host           TEXT NOT NULL,
    version        TEXT NOT NULL,
    command        TEXT NOT NULL,    -- migrate, sync, ...
    options        TEXT NOT NULL,    -- JSON
    sources        TEXT NOT NULL,    -- JSON, a list of places
    outcome        TEXT,             -- done, interrupted or failed; NULL if it died
    found          INTEGER NOT NULL,
    migrated       INTEGER NOT NULL,
    unchanged      INTEGER NOT NULL,
    duplicate      INTEGER NOT NULL,
    filtered       INTEGER NOT NULL,
    failed         INTEGER NOT NULL,
    conflicts      INTEGER NOT NULL,
    source_bytes   INTEGER NOT NULL,
    stored_bytes   INTEGER NOT NULL, -- of the database and its log, when it was last told
    seconds        REAL NOT NULL
) STRICT;

-- What a run could not move, and conflicts that it resolved.
CREATE TABLE run_failures (
    run_id      INTEGER NOT NULL REFERENCES runs,
    kind        TEXT NOT NULL, -- failure or conflict
    path        TEXT NOT NULL,
    cache_type  TEXT NOT NULL,
    reason      TEXT NOT NULL
) STRICT;
CREATE INDEX run_failures_by_run ON run_failures (run_id);
{USE_TABLES}
CREATE TRIGGER dictionaries_in_use BEFORE DELETE ON dictionaries
WHEN EXISTS (SELECT 1 FROM entries WHERE dictionary_id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'entries are compressed with this dictionary'); END;

CREATE TRIGGER dictionaries_never_change BEFORE UPDATE ON dictionaries
WHEN EXISTS (SELECT 1 FROM entries WHERE dictionary_id = OLD.id)
BEGIN SELECT RAISE(ABORT, 'entries are compressed with this dictionary'); END;

-- Not even by INSERT OR REPLACE, which deletes without telling the triggers above.
CREATE TRIGGER dictionaries_once BEFORE INSERT ON dictionaries
WHEN EXISTS (SELECT 1 FROM dictionaries
             WHERE id = NEW.id OR (sha256 = NEW.sha256 AND cache_type = NEW.cache_type))
BEGIN SELECT RAISE(IGNORE); END;

CREATE TRIGGER results_in_use BEFORE DELETE ON entries
WHEN EXISTS (SELECT 1 FROM entries WHERE result_of = OLD.id)
BEGIN SELECT RAISE(ABORT, 'other entries share this result'); END;

CREATE VIEW cache_entries AS
SELECT e.id,
       d.cache_type,
       r.path AS repo_path,
       f.path AS file_path,
       lower(hex(f.hash)) AS file_hash,
       {CACHE_KEY_SQL} AS cache_key,
       p.provider,
       p.model,
       ifnull(p.prompt_hash, '') AS prompt_hash,
       ifnull(p.schema_version, 1) AS schema_version,
       CAST(x'{MAGIC.hex()}' || ifnull(e.result, o.result) AS BLOB) AS result_blob,
       e.tokens_used,
       f.size AS file_size,
       datetime({_SECONDS}, 'unixepoch') AS created_at,
       datetime(ifnull(u.last_used / 1000000000, {_SECONDS}), 'unixepoch') AS last_accessed,
       ifnull(u.hits, 0) AS access_count
FROM entries e
JOIN files f ON f.id = e.file_id
JOIN folders d ON d.id = e.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
LEFT JOIN entries o ON o.id = e.result_of
LEFT JOIN uses u ON u.entry_id = e.id
WHERE e.id NOT IN (SELECT entry_id FROM trash);
"""
