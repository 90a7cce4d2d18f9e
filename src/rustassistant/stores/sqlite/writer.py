"""The one writer of a cache database."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import apsw

from rustassistant.codec import Dictionary, Record
from rustassistant.entry import Producer
from rustassistant.entry_json import file_name
from rustassistant.stores.base import Folder, Known, Outcomes
from rustassistant.stores.sqlite.connection import errors_named
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_FIND_FILE = f"""
SELECT id FROM files
WHERE substr(hash, 1, {HASH_PREFIX}) = ? AND repository_id = ?
  AND path = ? AND hash = ? AND size IS ?
"""
_FIND_RESULT = f"""
SELECT id FROM entries
WHERE substr(result_digest, 1, {HASH_PREFIX}) = ? AND result_digest = ?
"""
_FIND_EQUAL = """
SELECT e.id, e.folder_id, e.source_name, e.source_stamp, e.original, e.dictionary_id
FROM entries e JOIN folders d ON d.id = e.folder_id
WHERE e.file_id = ? AND d.cache_type = ? AND e.producer_id = ? AND e.analyzed_at = ?
  AND e.tokens_used IS ? AND ifnull(e.result_of, e.id) = ? AND (e.original IS NULL) = ?
"""
_FIND_COPY = """
SELECT rowid, source_stamp FROM copies WHERE entry_id = ? AND folder_id = ? AND source_name IS ?
"""
_ADD_FILE = "INSERT INTO files (repository_id, path, hash, size) VALUES (?, ?, ?, ?)"
_ADD_ENTRY = """
INSERT INTO entries (file_id, folder_id, producer_id, analyzed_at, tokens_used, result,
                     result_digest, result_of, dictionary_id, original, source_name, source_stamp)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_KNOWN = """
SELECT f.path, e.source_name, e.source_stamp FROM entries e JOIN files f ON f.id = e.file_id
WHERE e.folder_id = ?1 AND e.source_stamp IS NOT NULL
UNION ALL
SELECT f.path, c.source_name, c.source_stamp FROM copies c
JOIN entries e ON e.id = c.entry_id JOIN files f ON f.id = e.file_id
WHERE c.folder_id = ?1 AND c.source_stamp IS NOT NULL
"""


class SqliteWriter:
    """Holds the write lock from entering to leaving, except for an instant at each commit."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._execute = connection.execute
        self._reader = EntryReader(connection)
        self._version: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Start a transaction; if others wrote since the last one, forget what we remember."""
        with errors_named(self._path):
            self._execute("BEGIN IMMEDIATE")
        version = self._connection.pragma("data_version")
        if version != self._version:
            self._version = version
            self._folders: dict[Folder, tuple[int, int]] = {}
            self._producers = self._read_producers()

    def commit(self) -> None:
        """Make durable what was put, and go on in a new transaction."""
        with errors_named(self._path):
            self._execute("COMMIT")
        self._begin()

    def finish(self) -> None:
        """Commit, and let the lock go."""
        with errors_named(self._path):
            self._execute("COMMIT")

    def abandon(self) -> None:
        """Undo what was put since the last commit."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def known(self, folder: Folder) -> Known:
        """Stamps by the name each file had in that folder."""
        stamps: defaultdict[str, list[int]] = defaultdict(list)
        with errors_named(self._path):
            folder_id, _ = self._folder(folder)
            for path, name, stamp in self._execute(_KNOWN, (folder_id,)):
                stamps[file_name(path) if name is None else os.fsdecode(name)].append(stamp)
        return stamps

    def dictionaries(self) -> Sequence[Dictionary]:
        """The newest of each type."""
        rows = self._execute(
            "SELECT max(id), cache_type, data FROM dictionaries GROUP BY cache_type ORDER BY 1"
        )
        return [Dictionary(*row) for row in rows]

    def add_dictionary(self, cache_type: str, data: bytes) -> Dictionary:
        """Keep a dictionary under its SHA-256."""
        digest = sha256(data).digest()
        with errors_named(self._path):
            self._execute(
                "INSERT INTO dictionaries (sha256, cache_type, data) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (digest, cache_type, data),
            )
            row = self._execute("SELECT id FROM dictionaries WHERE sha256 = ?", (digest,)).get
        return Dictionary(row, cache_type, data)

    def put(self, folder: Folder, records: Iterable[Record]) -> Outcomes:
        """Add the entries of one folder that are not there yet."""
        outcomes = Outcomes()
        with errors_named(self._path):
            folder_id, repository_id = self._folder(folder)
            for record in records:
                self._put(folder, folder_id, repository_id, record, outcomes)
        return outcomes

    def _put(
        self,
        folder: Folder,
        folder_id: int,
        repository_id: int,
        record: Record,
        outcomes: Outcomes,
    ) -> None:
        execute = self._execute
        file_hash, digest = record.file_hash, record.result_digest
        producer_id = self._producer(record)
        file_id = execute(
            _FIND_FILE,
            (file_hash[:HASH_PREFIX], repository_id, record.file_path, file_hash, record.file_size),
        ).get
        owner = execute(_FIND_RESULT, (digest[:HASH_PREFIX], digest)).get
        if file_id is None:
            execute(_ADD_FILE, (repository_id, record.file_path, file_hash, record.file_size))
            file_id = self._connection.last_insert_rowid()
        elif owner is not None:
            wanted = (file_id, folder.cache_type, producer_id, record.analyzed_at,
                      record.tokens_used, owner, record.original is None)  # fmt: skip
            if self._already_there(folder_id, record, execute(_FIND_EQUAL, wanted), outcomes):
                return
        shared = owner is not None
        execute(
            _ADD_ENTRY,
            (
                file_id,
                folder_id,
                producer_id,
                record.analyzed_at,
                record.tokens_used,
                None if shared else record.result,
                None if shared else digest,
                owner,
                record.dictionary_id,
                record.original,
                record.name,
                record.stamp,
            ),
        )
        outcomes.migrated += 1

    def _already_there(
        self, folder_id: int, record: Record, rows: Iterable[Any], outcomes: Outcomes
    ) -> bool:
        """Whether one of these rows is that very entry; if it lay elsewhere, note this place."""
        equal = [row for row in rows if self._same_original(record, row[4], row[5])]
        if not equal:
            return False
        table, stamp = "entries", None
        here = next((row for row in equal if row[1:3] == (folder_id, record.name)), None)
        if here is not None:
            row_id, stamp = here[0], here[3]
        else:
            table = "copies"
            copies = (
                self._execute(_FIND_COPY, (row[0], folder_id, record.name)).fetchone()
                for row in equal
            )
            copy = next((found for found in copies if found is not None), None)
            if copy is None:
                self._execute(
                    "INSERT INTO copies VALUES (?, ?, ?, ?)",
                    (equal[0][0], folder_id, record.name, record.stamp),
                )
                outcomes.duplicate += 1
                return True
            row_id, stamp = copy
        if stamp is not None and record.stamp is not None and stamp != record.stamp:
            # Touched, or copied back: remember its new times, so that it need not be read again.
            self._execute(
                f"UPDATE {table} SET source_stamp = ? WHERE rowid = ?",
                (record.stamp, row_id),
            )
        outcomes.unchanged += 1
        return True

    def _same_original(
        self, record: Record, original: bytes | None, dictionary_id: int | None
    ) -> bool:
        if record.original is None or original is None:
            return record.original is original
        text = self._reader.text
        return text(record.original, record.dictionary_id) == text(original, dictionary_id)

    def _folder(self, folder: Folder) -> tuple[int, int]:
        """Ids of the folder and its repository, making rows for new ones."""
        ids = self._folders.get(folder)
        if ids is None:
            repository_id = self._repository(folder)
            values = (repository_id, folder.cache_type, folder.layout, folder.subfolder)
            found = self._execute(
                "SELECT id FROM folders WHERE repository_id = ? AND cache_type = ?"
                " AND layout = ? AND subfolder = ?",
                values,
            ).get
            if found is None:
                self._execute(
                    "INSERT INTO folders (repository_id, cache_type, layout, subfolder)"
                    " VALUES (?, ?, ?, ?)",
                    values,
                )
                found = self._connection.last_insert_rowid()
            ids = self._folders[folder] = (found, repository_id)
        return ids

    def _repository(self, folder: Folder) -> int:
        repository = folder.repository
        row = self._execute(
            "SELECT id, meta FROM repositories WHERE path = ? AND ifnull(directory, '') = ?",
            (repository.path, repository.directory or ""),
        ).fetchone()
        if row is None:
            self._execute(
                "INSERT INTO repositories (path, directory, meta) VALUES (?, ?, ?)",
                (repository.path, repository.directory, repository.meta),
            )
            return self._connection.last_insert_rowid()
        if repository.meta is not None and row[1] != repository.meta:
            self._execute(
                "UPDATE repositories SET meta = ? WHERE id = ?", (repository.meta, row[0])
            )
        return int(row[0])

    def _read_producers(self) -> dict[Producer, int]:
        rows = self._execute(
            "SELECT provider, model, prompt_hash, schema_version, id FROM producers"
        )
        return {Producer(*parts): row_id for *parts, row_id in rows}

    def _producer(self, record: Record) -> int:
        producer = Producer(
            record.provider, record.model, record.prompt_hash, record.schema_version
        )
        found = self._producers.get(producer)
        if found is None:
            self._execute(
                "INSERT INTO producers (provider, model, prompt_hash, schema_version)"
                " VALUES (?, ?, ?, ?)",
                producer,
            )
            found = self._producers[producer] = self._connection.last_insert_rowid()
        return found
