"""Other ways to bring all entries into one place that answers by key, each as its documentation
advises for much at once, and durable when it ends.

    python benchmarks/peers.py NAME SOURCE DESTINATION

fills one: a process of its own for each run, as ours is one. All keep every field of an entry, its
repository and its result, and find it by type, repository, path and full key.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import reference
from rustassistant.entry import full_key

_COLUMNS: Final = {
    "repository": str, "cache_type": str, "key": str, "file_path": str, "file_hash": str,
    "cache_key": str, "analyzed_at": str, "provider": str, "model": str, "prompt_hash": str,
    "schema_version": int, "result": str, "tokens_used": int, "file_size": int,
}  # fmt: skip
_BATCH: Final = 20_000
"""Entries in a transaction, as we have in ours."""

_WHERE: Final = "cache_type = ? AND repository = ? AND file_path = ? AND key = ?"


class Sample(NamedTuple):
    """What to ask for, and the answer."""

    cache_type: str
    repository: str
    file_path: str
    file_hash: str
    model: str
    prompt_hash: str
    schema_version: int
    result: Any

    @property
    def key(self) -> str:
        """64 hex digits."""
        return full_key(self.file_hash, self.model, self.prompt_hash, self.schema_version)

    @property
    def asked(self) -> tuple[str, str, str, str]:
        """What tells entries apart."""
        return self.cache_type, self.repository, self.file_path, self.key


def entries_of(repos: Path) -> Iterator[tuple[str, str, bytes]]:
    """Repository, type and the file's bytes of each entry in a central root."""
    for meta in sorted(repos.glob("*/meta.json")):
        repository = json.loads(meta.read_bytes())["path"]
        for kind in sorted(meta.parent.glob("cache/*")):
            for name in sorted(os.listdir(kind)):
                yield repository, kind.name, (kind / name).read_bytes()


def samples_of(repos: Path, count: int) -> list[Sample]:
    """So many entries from all over the tree, of those that record their prompt."""
    found = []
    for repository, cache_type, text in entries_of(repos):
        entry = json.loads(text)
        if entry.get("prompt_hash"):
            sample = Sample(
                cache_type, repository, entry["file_path"], entry["file_hash"], entry["model"],
                entry["prompt_hash"], entry.get("schema_version", 1), entry["result"],
            )  # fmt: skip
            found.append(sample)
    return found[:: max(1, len(found) // count)][:count]


def _key_of(entry: Mapping[str, Any]) -> str:
    prompt_hash, version_ = entry.get("prompt_hash"), entry.get("schema_version")
    return full_key(entry["file_hash"], entry["model"], prompt_hash, version_)


class Peer:
    """One of them. ``package`` is what has to be installed, ``words`` what is not comparable."""

    package: ClassVar[str] = ""
    words: ClassVar[str] = ""

    @classmethod
    def missing(cls) -> bool:
        """Whether it has to be skipped."""
        module = cls.package.replace("-", "_")
        return bool(module) and importlib.util.find_spec(module) is None

    @classmethod
    def label(cls) -> str:
        """Its name with its version."""
        return f"{cls.package} {version(cls.package)}"

    def fill(self, repos: Path, destination: Path) -> None:
        """Make it from a tree; durable on return."""
        raise NotImplementedError

    def answers(self, destination: Path, samples: Sequence[Sample]) -> tuple[int, int]:
        """How many entries it holds, and how many of the samples it answers rightly."""
        raise NotImplementedError


class SqliteUtils(Peer):
    """A table of rows with an index, filled in bulk within transactions."""

    package = "sqlite-utils"
    words = (
        "sqlite-utils keeps results as plain text, uncompressed, in WAL mode, in one transaction "
        "that waits for the disk at its end."
    )

    def fill(self, repos: Path, destination: Path) -> None:
        """`insert_all` of a generator in one transaction, then the index."""
        import sqlite_utils

        database = sqlite_utils.Database(destination)
        database.enable_wal()
        database.execute("PRAGMA synchronous=FULL")
        table = database["entries"]
        table.create(_COLUMNS)
        with database.atomic():  # else each of its small batches is a transaction
            table.insert_all(map(self._row, entries_of(repos)), batch_size=_BATCH)
        table.create_index(["key"])
        database.close()

    @staticmethod
    def _row(found: tuple[str, str, bytes]) -> dict[str, Any]:
        repository, cache_type, text = found
        entry = json.loads(text)
        row = {"repository": repository, "cache_type": cache_type, "key": _key_of(entry)}
        row |= {name: entry.get(name) for name in _COLUMNS if name not in row}
        row["result"] = json.dumps(entry["result"], ensure_ascii=False, separators=(",", ":"))
        return row

    def answers(self, destination: Path, samples: Sequence[Sample]) -> tuple[int, int]:
        """By one query each."""
        import sqlite_utils

        database = sqlite_utils.Database(destination)
        found = 0
        for sample in samples:
            rows = list(database["entries"].rows_where(_WHERE, sample.asked))
            found += any(json.loads(row["result"]) == sample.result for row in rows)
        count = database["entries"].count
        database.close()
        return count, found


class DiskCache(Peer):
    """Each entry's bytes under its key, set within transactions."""

    package = "diskcache"
    words = (
        "diskcache keeps each entry's file as it is, uncompressed, under a key; it can be asked "
        "for nothing else. It runs without eviction and with synchronous=FULL; values above 32 KiB "
        "are files of their own, which it does not wait for."
    )
    _settings: ClassVar[dict[str, Any]] = {"eviction_policy": "none", "sqlite_synchronous": 2}

    def fill(self, repos: Path, destination: Path) -> None:
        """`set` within `transact`."""
        import diskcache

        with diskcache.Cache(destination, **self._settings) as cache:
            entries = entries_of(repos)
            while batch := [found for found, _ in zip(entries, range(_BATCH), strict=False)]:
                with cache.transact():
                    for repository, cache_type, text in batch:
                        entry = json.loads(text)
                        asked = (cache_type, repository, entry["file_path"], _key_of(entry))
                        cache.set(":".join(asked), text)

    def answers(self, destination: Path, samples: Sequence[Sample]) -> tuple[int, int]:
        """By `get`."""
        import diskcache

        with diskcache.Cache(destination, **self._settings) as cache:
            found = 0
            for sample in samples:
                text = cache.get(":".join(sample.asked))
                found += text is not None and json.loads(text)["result"] == sample.result
            return len(cache), found


class DuckDb(Peer):
    """`read_json` of all files into a table, then an index."""

    package = "duckdb"
    words = (
        "DuckDB reads the files itself, in all processors, and keeps columns, compressed its own "
        "way; it is made for questions about many rows."
    )
    _columns: ClassVar[dict[str, str]] = {
        "file_path": "VARCHAR", "file_hash": "VARCHAR", "cache_key": "VARCHAR",
        "analyzed_at": "VARCHAR", "provider": "VARCHAR", "model": "VARCHAR",
        "prompt_hash": "VARCHAR", "schema_version": "INTEGER", "result": "JSON",
        "tokens_used": "BIGINT", "file_size": "BIGINT",
    }  # fmt: skip
    _create: ClassVar[str] = """
    CREATE TABLE entries AS
    SELECT m.path AS repository, split_part(e.filename, '/', -2) AS cache_type,
           sha256(concat_ws(':', e.file_hash, e.model, ifnull(e.prompt_hash, ''),
                            ifnull(e.schema_version, 1))) AS key,
           e.* EXCLUDE (filename)
    FROM read_json(?, columns = {columns}, format = 'unstructured', filename = true,
                   maximum_object_size = 67108864) e
    JOIN read_json(?, columns = {{'path': 'VARCHAR', 'hash': 'VARCHAR'}},
                   format = 'unstructured') m
    ON m.hash = split_part(e.filename, '/', -4)
    """

    def fill(self, repos: Path, destination: Path) -> None:
        """Types are given, so that nothing has to be guessed, and the file is checkpointed."""
        import duckdb

        with duckdb.connect(str(destination)) as connection:
            create = self._create.format(columns=self._columns)
            connection.execute(create, [f"{repos}/*/cache/*/*.json", f"{repos}/*/meta.json"])
            connection.execute("CREATE INDEX entries_by_key ON entries (key)")
            connection.execute("CHECKPOINT")

    def answers(self, destination: Path, samples: Sequence[Sample]) -> tuple[int, int]:
        """By one query each."""
        import duckdb

        with duckdb.connect(str(destination), read_only=True) as connection:
            found = 0
            for sample in samples:
                query = f"SELECT result FROM entries WHERE {_WHERE}"  # noqa: S608 - our own words
                rows = connection.execute(query, list(sample.asked)).fetchall()
                found += any(json.loads(result) == sample.result for (result,) in rows)
            (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            return count, found


class Reference(Peer):
    """The published migrator, step for step."""

    words = (
        "The published algorithm keeps the JSON key where lookups use the full one, so that none "
        "of its rows is found, drops `analyzed_at`, and overwrites entries with equal keys."
    )

    @classmethod
    def label(cls) -> str:
        """It has no version."""
        return "published algorithm"

    def fill(self, repos: Path, destination: Path) -> None:
        """As `reference.py` has it."""
        reference.migrate(repos, destination)

    def answers(self, destination: Path, samples: Sequence[Sample]) -> tuple[int, int]:
        """By the key that programs ask it for."""
        import zstandard

        database = sqlite3.connect(destination)
        found = 0
        for sample in samples:
            query = "SELECT result_blob FROM cache_entries WHERE cache_key = ?"
            for (blob,) in database.execute(query, (sample.key,)):
                text = zstandard.ZstdDecompressor().decompress(blob)
                found += json.loads(text) == sample.result
        (count,) = database.execute("SELECT count(*) FROM cache_entries").fetchone()
        database.close()
        return count, found


PEERS: Final[dict[str, Peer]] = {
    "sqlite-utils": SqliteUtils(),
    "diskcache": DiskCache(),
    "duckdb": DuckDb(),
    "reference": Reference(),
}


def answers_of_ours(database: Path, samples: Sequence[Sample]) -> tuple[int, int]:
    """The same of a database of ours, through the published API."""
    import apsw

    from rustassistant import AnalysisCache

    found = 0
    with AnalysisCache(database) as cache:
        for sample in samples:
            hit = cache.get(
                type=sample.cache_type,
                file_hash=sample.file_hash,
                model=sample.model,
                prompt_hash=sample.prompt_hash,
                schema_version=sample.schema_version,
                repository=sample.repository,
                file_path=Path(sample.file_path),
            )
            found += hit is not None and json.loads(hit.text) == sample.result
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    count = connection.execute("SELECT count(*) FROM cache_entries").get
    connection.close()
    return count, found


if __name__ == "__main__":
    PEERS[sys.argv[1]].fill(Path(sys.argv[2]), Path(sys.argv[3]))
