"""Frames of a database exchanged for smaller ones while others use it.

Rows are read and compressed without the lock. It is held only to put a batch in, and a row that is
no longer what was read is passed over. The run's own row in ``runs`` says how far it is, in the
transaction of each batch: whatever kills the process, the next run goes on after the last batch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.errors import DamagedError, InterruptedRunError, LockedError
from rustassistant.stores.outcomes import Run, RunNote
from rustassistant.stores.sqlite.connection import open_for_reading, open_for_writing
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import EntryReader, checked
from rustassistant.stores.sqlite.run_log import LoggedRun, RunLog, notes_of, runs
from rustassistant.stores.sqlite.totals import Sums, Totals, month_of
from rustassistant.stores.sqlite.views.texts import StoredTexts, Texts

COMMAND: Final = "recompress"

BATCH_ROWS: Final = 500
_BATCH_BYTES: Final = 8 * 2**20
"""Of frames in a batch: what is under way is held in memory, and may be many times as long."""

_LOG_BYTES: Final = 8 * 2**20
"""The log's size from which it is folded into the file."""

_TRY_MS: Final = 250
_PATIENCE: Final = 60.0
"""Seconds to wait for the lock. A migration lets it go for an instant every five."""

_WHICH: Final = "(?1 IS NULL OR d.cache_type IN (SELECT value FROM json_each(?1)))"
_ROWS: Final = f"""
SELECT e.id, d.cache_type, e.result, e.result_digest, e.dictionary_id, e.original
FROM entries e CROSS JOIN folders d ON d.id = e.folder_id
WHERE {_WHICH} AND e.id > ?2 AND e.id <= ?3 ORDER BY e.id
"""
_COUNT: Final = f"""
SELECT count(*) FROM entries e JOIN folders d ON d.id = e.folder_id
WHERE {_WHICH} AND e.id > ?2 AND e.id <= ?3
"""
_GROUP: Final = """
SELECT folder_id, producer_id, analyzed_at,
       EXISTS (SELECT 1 FROM trash WHERE entry_id = entries.id) FROM entries WHERE id = ?
"""
_REPLACE: Final = """
UPDATE entries SET result = ?, original = ?, dictionary_id = ?
WHERE id = ? AND result IS ? AND original IS ? AND dictionary_id IS ? AND result_digest IS ?
"""
_WHERE: Final = """
SELECT f.path, d.cache_type FROM entries e LEFT JOIN files f ON f.id = e.file_id
LEFT JOIN folders d ON d.id = e.folder_id WHERE e.id = ?
"""
_UNUSED: Final = """
SELECT id, cache_type FROM dictionaries d
WHERE NOT EXISTS (SELECT 1 FROM quarantine WHERE dictionary = d.sha256)
  AND id NOT IN (SELECT dictionary_id FROM entries WHERE dictionary_id IS NOT NULL)
"""


class NewFrames(NamedTuple):
    """What is to take the place of a row's frames."""

    result: bytes | None
    original: bytes | None
    dictionary_id: int | None

    @property
    def size(self) -> int:
        """Bytes of the frames."""
        return len(self.result or b"") + len(self.original or b"")


class Rows(NamedTuple):
    """Some rows; of those that are ``damaged``, id and reason. ``through`` is the last id."""

    sound: list[StoredTexts]
    damaged: list[tuple[int, str]]
    through: int


class Replaced(NamedTuple):
    """Rows that were replaced, that others had changed meanwhile, and bytes that were saved."""

    rows: int = 0
    changed: int = 0
    saved: int = 0


class Recompression(Texts):
    """One run over a database that exists. ``options`` stand in its row and make it known again."""

    def __init__(
        self, path: str, options: Mapping[str, Any], cancelled: Callable[[], bool] | None = None
    ) -> None:
        open_for_reading(path).close()  # the writer would make what is not there
        super().__init__(open_for_writing(path), path)
        self._connection.set_busy_timeout(_TRY_MS)
        self._cancelled = cancelled or (lambda: False)
        self._totals = Totals(EntryReader(self._connection))
        self._log = RunLog(self._connection)
        self._options = dict(options)
        self._started = time.monotonic()
        self._notes = list[RunNote]()
        self.run = Run(COMMAND, "{}", "[]", started_at=time.time_ns())
        self.state: dict[str, Any] = {}

    def __enter__(self) -> Recompression:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with errors_named(self.path):
            self._connection.close()

    def unfinished(self) -> dict[str, Any] | None:
        """The state of the latest run with these options, if it did not come to its end."""
        latest = self._latest()
        if latest is None or latest.outcome == "done":
            return None
        try:
            said = json.loads(latest.options)
        except ValueError:
            return None
        state = said.pop("state", None) if isinstance(said, dict) else None
        is_same = said == json.loads(json.dumps(self._options))
        return state if is_same and isinstance(state, dict) else None

    def _latest(self) -> LoggedRun | None:
        with errors_named(self.path):
            return next((run for run in runs(self._connection) if run.command == COMMAND), None)

    def last_id(self) -> int:
        """The largest id there is."""
        with errors_named(self.path):
            last: int = self._connection.execute("SELECT ifnull(max(id), 0) FROM entries").get
        return last

    def count(self, types: Collection[str] | None, after: int, last: int) -> int:
        """Rows of these types with ids above ``after``, up to ``last``."""
        with errors_named(self.path):
            number: int = self._connection.execute(_COUNT, (_listed(types), after, last)).get
        return number

    def rows(self, types: Collection[str] | None, after: int, last: int) -> Iterator[Rows]:
        """These rows in the order of their ids; each batch as it is when it is asked for."""
        while True:
            batch = self._batch((_listed(types), after, last))
            if batch is None:
                return
            yield batch
            after = batch.through

    def _batch(self, which: tuple[str | None, int, int]) -> Rows | None:
        sound, damaged, size, through = [], list[tuple[int, str]](), 0, None
        with errors_named(self.path):
            cursor = self._connection.execute(_ROWS, which)
            for row in cursor:
                through = row[0]
                try:
                    texts = checked(row, StoredTexts)
                except DamagedError as error:
                    damaged.append((through, error.message))
                else:
                    sound.append(texts)
                    size += texts.size
                if len(sound) + len(damaged) >= BATCH_ROWS or size >= _BATCH_BYTES:
                    cursor.close(True)
                    break
        return None if through is None else Rows(sound, damaged, through)

    def add_dictionaries(self, data: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Keep newly trained dictionaries, and begin the run's row: it is known again by them."""
        with self._transaction():
            ids = {}
            for cache_type, one in data.items():
                names = (sha256(one).digest(), cache_type)
                self._connection.execute(
                    "INSERT INTO dictionaries (sha256, cache_type, data) VALUES (?, ?, ?)",
                    (*names, one),
                )
                ids[cache_type] = self._connection.execute(
                    "SELECT id FROM dictionaries WHERE sha256 = ? AND cache_type = ?", names
                ).get
            self.state = {**state, "dictionaries": ids}
            self._write_log()

    def replace(self, each: Sequence[tuple[StoredTexts, NewFrames]], through: int) -> Replaced:
        """Put new frames in where the row still is what was read; ``through`` is how far it came.

        A run that has changed nothing yet leaves no trace.
        """
        self.state["through"] = through
        if not each and not self._has_row:
            return Replaced()
        with self._transaction():
            done = Replaced()
            for old, new in each:
                done = self._replace(old, new, done)
            self.run.migrated += done.rows
            self._write_log()
        self._fold_log()
        return done

    def _replace(self, old: StoredTexts, new: NewFrames, done: Replaced) -> Replaced:
        execute = self._connection.execute
        execute(
            _REPLACE,
            (*new, old.id, old.result, old.original, old.dictionary_id, old.result_digest),
        )
        if not self._connection.changes():
            return done._replace(changed=done.changed + 1)
        saved = old.size - new.size
        group: Any = execute(_GROUP, (old.id,)).fetchone()
        folder_id, producer_id, analyzed_at, is_removed = group
        if not is_removed and saved:
            self._totals.add(
                (folder_id, producer_id, month_of(analyzed_at)), Sums(stored_bytes=-saved)
            )
        return done._replace(rows=done.rows + 1, saved=done.saved + saved)

    def note_damaged(self, entry_id: int, reason: str) -> RunNote:
        """Remember a row that can't be read, with where its entry lay."""
        with errors_named(self.path):
            row = self._connection.execute(_WHERE, (entry_id,)).fetchone() or (None, None)
        path, cache_type = (part if isinstance(part, str) else "" for part in row)
        note = RunNote("failure", f"entry {entry_id}: {path or 'unknown path'}", cache_type, reason)
        self._notes.append(note)
        return note

    def finish(self, outcome: str) -> None:
        """Say in the run's row how it ended, if it changed anything, or found damage anew."""
        self.run.outcome = outcome
        if not self._has_row:
            latest = self._latest()
            with errors_named(self.path):
                known = [] if latest is None else notes_of(self._connection, latest.id)
            if set(self._notes) <= set(known):
                return
        with self._transaction():
            self._write_log()

    @property
    def _has_row(self) -> bool:
        return self.run.options != "{}"

    def _write_log(self) -> None:
        self._totals.write()
        options = json.dumps({**self._options, "state": self.state})
        pages, page_size = (self._connection.pragma(name) for name in ("page_count", "page_size"))
        self.run.stored_bytes = pages * page_size
        self.run.seconds = time.monotonic() - self._started
        self.run.options = options
        self._log.write(self.run, self._notes)
        self._notes.clear()
        self._connection.execute(
            "UPDATE runs SET options = ? WHERE command = ? AND started_at = ?",
            (options, COMMAND, self.run.started_at),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """The lock for a moment. Raises LockedError if it can't be had for a minute."""
        deadline = time.monotonic() + _PATIENCE
        with errors_named(self.path):
            while True:
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                    break
                except apsw.BusyError:
                    if self._cancelled():
                        raise InterruptedRunError("interrupted while others were writing") from None
                    if time.monotonic() > deadline:
                        raise
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._totals.forget()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _fold_log(self) -> None:
        """Keep the write-ahead log from growing to the size of all that is rewritten."""
        with suppress(OSError, LockedError), errors_named(self.path):
            if os.path.getsize(self.path + "-wal") > _LOG_BYTES:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


class Dropped(NamedTuple):
    """Dictionaries that nothing uses: those that are gone, and those that had to stay."""

    gone: tuple[int, ...] = ()
    left: tuple[int, ...] = ()


def drop_dictionaries(path: str, types: Collection[str] | None, keep: Collection[int]) -> Dropped:
    """Delete dictionaries of these types that no entry and no row in quarantine needs.

    Only while nobody else has the database open: a migration may hold frames that it has yet to
    put in, and a program remember dictionaries by their ids, which are given anew. A connection
    that wants to be alone gets the file's own lock, which every other shares for as long as it is
    open: https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory
    """
    with closing(open_for_reading(path)) as connection, errors_named(path):
        found: list[Any] = connection.execute(_UNUSED).fetchall()
    unused = tuple(
        one for one, name in found if one not in keep and (types is None or name in types)
    )
    # One at a time: a trigger goes through all entries meanwhile, and whoever comes has to wait.
    gone = tuple(one for one in unused if _drop(path, one))
    return Dropped(gone, tuple(one for one in unused if one not in gone))


def _drop(path: str, dictionary_id: int) -> bool:
    """Delete one if nobody else has the database open; whether it could be done."""
    with errors_named(path):
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            for pragma in ("locking_mode=EXCLUSIVE", "trusted_schema=OFF", "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("DELETE FROM dictionaries WHERE id = ?", (dictionary_id,))
        except (apsw.BusyError, apsw.ConstraintError):  # the latter by triggers: it is in use now
            return False
        finally:
            connection.close()
    return True


def _listed(types: Collection[str] | None) -> str | None:
    return None if types is None else json.dumps(sorted(types))
