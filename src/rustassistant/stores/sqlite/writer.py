"""The one writer of a cache database."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from typing import Final

import apsw

from rustassistant.codec import Dictionary
from rustassistant.entry_json import file_name
from rustassistant.records import Record
from rustassistant.stores.base import Folder, Known
from rustassistant.stores.outcomes import Put, Rules, Run, RunNote
from rustassistant.stores.sqlite.arrivals import Arrivals
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import IS_KNOWN, EntryReader, checked
from rustassistant.stores.sqlite.run_log import RunLog, last_notes
from rustassistant.stores.sqlite.totals import Totals
from rustassistant.stores.sqlite.trash import promote, take_back, throw_away

_CHECKPOINT_BYTES: Final = 32 * 2**20
"""The log's size from which it is folded into the file: rarer is faster, and takes more room."""

_KNOWN: Final = f"""
SELECT f.path, e.source_name, e.source_stamp FROM entries e JOIN files f ON f.id = e.file_id
WHERE e.folder_id = ?1 AND e.source_stamp IS NOT NULL AND {IS_KNOWN}
UNION ALL
SELECT f.path, c.source_name, c.source_stamp
FROM copies c JOIN entries e ON e.id = c.entry_id
JOIN files f ON f.id = ifnull(c.file_id, e.file_id)
WHERE c.folder_id = ?1 AND c.source_stamp IS NOT NULL AND {IS_KNOWN}
"""


_KnownRows = list[tuple[str, bytes | None, int]]
"""Path, name and stamp."""

_ROWS_AT_ONCE: Final = 1_000
"""To check: one by one takes twice as long, all of a large folder much memory."""


class SqliteWriter:
    """Holds the write lock from entering to leaving, except for an instant at each commit."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: str,
        rules: Rules = Rules(),
        *,
        has_log: bool = True,
    ) -> None:
        self._connection = connection
        self._path = path
        self._has_log = has_log
        self._rules = rules
        self._execute = connection.execute
        self._reader = EntryReader(connection)
        self._totals = Totals(self._reader)
        self._runs = RunLog(connection)
        self._version: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Start a transaction; if others wrote since the last one, forget what we remember."""
        with errors_named(self._path):
            self._execute("BEGIN IMMEDIATE")
            version = self._connection.pragma("data_version")
            if version != self._version:
                self._version = version
                self._arrivals = Arrivals(self._reader, self._totals, self._rules)

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
        if not self._has_log:
            return 0
        try:
            return os.path.getsize(self._path + "-wal")
        except OSError:  # what is wrong with it, the next write to it says
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
            self._totals.write()
            self._execute("COMMIT")

    def abandon(self) -> None:
        """Undo what was put since the last commit."""
        self._totals.forget()
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    def known(self, folder: Folder) -> Known:
        """Stamps by the name each file had in that folder."""
        stamps: dict[str, tuple[int, ...]] = {}
        with errors_named(self._path):
            ids = self._arrivals.ids.existing(folder)
            if ids is None:
                return {}
            rows = self._execute(_KNOWN, (ids.folder,))
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                for path, name, stamp in checked(some, _KnownRows):
                    called = file_name(path) if name is None else os.fsdecode(name)
                    before = stamps.get(called)
                    stamps[called] = (stamp,) if before is None else (*before, stamp)
        return stamps

    def dictionaries(self) -> Sequence[Dictionary]:
        """The newest of each type."""
        with errors_named(self._path):
            rows = self._execute(
                "SELECT max(id), cache_type, data FROM dictionaries GROUP BY cache_type ORDER BY 1"
            )
            return [checked(row, Dictionary) for row in rows]

    def add_dictionary(self, cache_type: str, data: bytes) -> Dictionary:
        """Keep a dictionary under its SHA-256: once, which a trigger sees to."""
        digest = sha256(data).digest()
        with errors_named(self._path):
            self._execute(
                "INSERT INTO dictionaries (sha256, cache_type, data) VALUES (?, ?, ?)",
                (digest, cache_type, data),
            )
            row = self._execute(
                "SELECT id FROM dictionaries WHERE sha256 = ? AND cache_type = ?",
                (digest, cache_type),
            ).get
        return Dictionary(row, cache_type, data)

    def put(self, folder: Folder, records: Sequence[Record]) -> Put:
        """Add the entries of one folder that are not there yet."""
        with errors_named(self._path):
            return self._arrivals.put(folder, records)

    def throw_away(
        self, entries: Sequence[int], copies: Sequence[int] = (), *, reason: str
    ) -> None:
        """Put entries into the trash, by their ids and those of ``copies`` at other files."""
        with errors_named(self._path):
            # Copies first: they get rows of their own when the entry goes whose row they share.
            ids = [*(promote(self._totals, copy_id) for copy_id in copies), *entries]
            for entry_id in ids:
                throw_away(self._totals, entry_id, reason=reason, now=time.time_ns())
            self._arrivals = Arrivals(self._reader, self._totals, self._rules)

    def promote(self, copies: Sequence[int]) -> dict[int, int]:
        """Give entries that share another's row, named by their ids in ``copies``, rows of their
        own; return the ids of these."""
        with errors_named(self._path):
            made = {copy_id: promote(self._totals, copy_id) for copy_id in copies}
            if made:
                self._arrivals = Arrivals(self._reader, self._totals, self._rules)
        return made

    def take_back(self, entries: Sequence[int]) -> None:
        """Let entries answer again that are in the trash, by their ids."""
        with errors_named(self._path):
            for entry_id in entries:
                take_back(self._totals, entry_id)
            self._arrivals = Arrivals(self._reader, self._totals, self._rules)

    def log(self, run: Run, notes: Sequence[RunNote]) -> None:
        """Keep the run's row as it is now, and what is new to note."""
        with errors_named(self._path):
            pages, page_size = (
                self._connection.pragma(name) for name in ("page_count", "page_size")
            )
            run.stored_bytes = pages * page_size
            self._runs.write(run, notes)

    def last_notes(self, sources: str) -> Collection[RunNote]:
        """What the latest run over the same sources had to note."""
        with errors_named(self._path):
            return last_notes(self._connection, sources)
