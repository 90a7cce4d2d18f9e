"""The one writer of a cache database."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.codec import Dictionary, Record
from rustassistant.entry_json import file_name
from rustassistant.errors import DamagedError
from rustassistant.stores.base import Folder, Known, Outcomes
from rustassistant.stores.sqlite.identifiers import Identifiers
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import EntryReader, checked
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_OWNERS_AT_ONCE: Final = 256
_CHECKPOINT_BYTES: Final = 32 * 2**20
"""The log's size from which it is folded into the file: rarer is faster, and takes more room."""

_FIND_OWNERS: Final = f"""
SELECT result_digest, id, result, dictionary_id FROM entries INDEXED BY entries_by_result
WHERE result IS NOT NULL
  AND substr(result_digest, 1, {HASH_PREFIX}) IN ({",".join("?" * _OWNERS_AT_ONCE)})
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
_ADD_FILE = "INSERT INTO files (id, repository_id, path, hash, size, place) VALUES (?,?,?,?,?,?)"
_ADD_ENTRY = """
INSERT INTO entries (id, file_id, folder_id, producer_id, analyzed_at, tokens_used, result,
                     result_of, result_digest, dictionary_id, original, source_name,
                     source_stamp, seal)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_KNOWN = """
SELECT f.path, e.source_name, e.source_stamp FROM entries e JOIN files f ON f.id = e.file_id
WHERE e.folder_id = ?1 AND e.source_stamp IS NOT NULL
UNION ALL
SELECT f.path, c.source_name, c.source_stamp FROM copies c
JOIN entries e ON e.id = c.entry_id JOIN files f ON f.id = e.file_id
WHERE c.folder_id = ?1 AND c.source_stamp IS NOT NULL
"""


class _KnownRow(NamedTuple):
    path: str
    name: bytes | None
    stamp: int


class SqliteWriter:
    """Holds the write lock from entering to leaving, except for an instant at each commit."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._execute = connection.execute
        self._reader = EntryReader(connection)
        self._version: int | None = None
        self._new_entries: list[tuple[Any, ...]] = []
        self._new_entries_of: set[int] = set()
        self._sound: set[int] = set()
        self._begin()

    def _begin(self) -> None:
        """Start a transaction; if others wrote since the last one, forget what we remember."""
        with errors_named(self._path):
            self._execute("BEGIN IMMEDIATE")
            version = self._connection.pragma("data_version")
            if version == self._version:
                return
            self._version = version
            self._ids = Identifiers(self._connection)
            self._next_entry: int = self._execute("SELECT ifnull(max(id), 0) + 1 FROM entries").get

    def commit(self) -> None:
        """Make durable what was put, and go on in a new transaction.

        The log is folded into the file only when the lock is held again, over another connection:
        SQLite itself would do it while committing, after it has let the lock go, and that takes
        long enough for somebody who waits to get the lock in the middle of our run.
        """
        self.finish()
        self._begin()
        if self._log_size() > _CHECKPOINT_BYTES:
            self._fold_log()
            # Only a transaction that begins after that writes the log from its start again.
            self.finish()
            self._begin()

    def _log_size(self) -> int:
        """Bytes in the log; 0 where a file system does without one."""
        try:
            return os.path.getsize(self._path + "-wal")
        except FileNotFoundError:
            return 0

    def _fold_log(self) -> None:
        with errors_named(self._path):
            folding = apsw.Connection(self._path, flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                folding.pragma("journal_mode")  # reads the file, and so finds its log
                with suppress(apsw.BusyError):  # another program is at it, which will do as well
                    folding.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            finally:
                folding.close()

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
            ids = self._ids.existing(folder)
            if ids is None:
                return {}
            for row in self._execute(_KNOWN, (ids.folder,)):
                path, name, stamp = checked(row, _KnownRow)
                stamps[file_name(path) if name is None else os.fsdecode(name)].append(stamp)
        return stamps

    def dictionaries(self) -> Sequence[Dictionary]:
        """The newest of each type."""
        with errors_named(self._path):
            rows = self._execute(
                "SELECT max(id), cache_type, data FROM dictionaries GROUP BY cache_type ORDER BY 1"
            )
            return [checked(row, Dictionary) for row in rows]

    def add_dictionary(self, cache_type: str, data: bytes) -> Dictionary:
        """Keep a dictionary under its SHA-256."""
        digest = sha256(data).digest()
        with errors_named(self._path):
            self._execute(
                "INSERT INTO dictionaries (sha256, cache_type, data) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (digest, cache_type, data),
            )
            row = self._execute(
                "SELECT id FROM dictionaries WHERE sha256 = ? AND cache_type = ?",
                (digest, cache_type),
            ).get
        return Dictionary(row, cache_type, data)

    def put(self, folder: Folder, records: Sequence[Record]) -> Outcomes:
        """Add the entries of one folder that are not there yet."""
        outcomes = Outcomes()
        with errors_named(self._path):
            ids = self._ids.folder(folder)
            owners = self._owners(records)
            for record in records:
                file_id, is_new = self._ids.file(ids.repository, record)
                producer_id = self._ids.producer(record)
                owner = owners.get(record.result_digest)
                if owner is not None and not is_new:
                    if file_id in self._new_entries_of:
                        self._flush()  # an equal one may be among the rows of this very batch
                    wanted = (file_id, folder.cache_type, producer_id, record.analyzed_at,
                              record.tokens_used, owner, record.original is None)  # fmt: skip
                    rows = self._execute(_FIND_EQUAL, wanted).fetchall()
                    if self._already_there(ids.folder, record, rows, outcomes):
                        continue
                self._add(record, file_id, ids.folder, producer_id, owners)
                outcomes.migrated += 1
            self._flush()
        return outcomes

    def _owners(self, records: Sequence[Record]) -> dict[bytes, int]:
        """Entries that hold a result of one of these records, by its digest."""
        owners: dict[bytes, int] = {}
        for start in range(0, len(records), _OWNERS_AT_ONCE):
            prefixes: list[bytes | None] = [
                record.result_digest[:HASH_PREFIX]
                for record in records[start : start + _OWNERS_AT_ONCE]
            ]
            prefixes += [None] * (_OWNERS_AT_ONCE - len(prefixes))
            wanted = {record.result_digest for record in records}
            owners |= {
                digest: row_id
                for digest, row_id, frame, dictionary_id in self._execute(_FIND_OWNERS, prefixes)
                if digest in wanted and self._is_sound(row_id, frame, dictionary_id, digest)
            }
        return owners

    def _is_sound(
        self, row_id: int, frame: bytes, dictionary_id: int | None, digest: bytes
    ) -> bool:
        """Whether a result can still be read: good bytes are not given up for damaged ones."""
        if row_id not in self._sound:
            try:
                self._reader.text(frame, dictionary_id, digest)
            except DamagedError:
                return False
            self._sound.add(row_id)
        return True

    def _add(
        self,
        record: Record,
        file_id: int,
        folder_id: int,
        producer_id: int,
        owners: dict[bytes, int],
    ) -> None:
        entry_id = self._next_entry
        self._next_entry += 1
        digest = record.result_digest
        owner = owners.setdefault(digest, entry_id)
        shared = owner != entry_id
        self._new_entries_of.add(file_id)
        self._new_entries.append(
            (
                entry_id,
                file_id,
                folder_id,
                producer_id,
                record.analyzed_at,
                record.tokens_used,
                None if shared else record.result,
                owner if shared else None,
                digest,
                record.dictionary_id,
                record.original,
                record.name,
                record.stamp,
                record.seal,
            )
        )

    def _flush(self) -> None:
        """Insert what has come together: a few large statements cost half of many small ones."""
        if self._ids.new_files:
            self._connection.executemany(_ADD_FILE, self._ids.new_files)
            self._ids.new_files.clear()
        if self._new_entries:
            self._connection.executemany(_ADD_ENTRY, self._new_entries)
            self._new_entries.clear()
            self._new_entries_of.clear()

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
        try:
            kept = text(original, dictionary_id)
        except DamagedError:
            return False
        return text(record.original, record.dictionary_id) == kept
