"""The one writer of a v1 file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.errors import DamagedError, EntryError
from rustassistant.records import Record
from rustassistant.stores.base import Folder
from rustassistant.stores.outcomes import (
    Conflict,
    Failure,
    OnConflict,
    Outcome,
    Outcomes,
    Put,
    Rules,
)
from rustassistant.stores.plain_writer import PlainWriter
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.v1.kept import Kept, Rank, kept_of, rank
from rustassistant.stores.v1.rows import result_text
from rustassistant.stores.v1.schema import (
    COLUMNS,
    ENTRIES,
    NANOSECONDS,
    REPLACED,
    REPLACED_TABLE,
    TABLES,
    USES,
    from_text,
)

_PUT_NOW: Final = "CREATE TEMP TABLE put_now (id INTEGER PRIMARY KEY, analyzed_at INTEGER NOT NULL)"
"""Rows of this run: their times to the nanosecond, which v1 has no place for. A temporary table
takes part in transactions, and in memory only as far as it is small."""

_FIND: Final = (
    "SELECT rowid, (SELECT analyzed_at FROM temp.put_now n WHERE n.id = e.rowid),"
    f" {', '.join(COLUMNS)} FROM {ENTRIES} e WHERE cache_key = ?"
)
_ADD: Final = (
    f"INSERT INTO {ENTRIES} ({', '.join(COLUMNS)}, last_accessed)"
    f" VALUES ({', '.join('?' * len(COLUMNS))}, ?) RETURNING rowid"
)
_CHANGE: Final = (
    f"UPDATE {ENTRIES} SET {', '.join(f'{name} = ?' for name in COLUMNS)} WHERE rowid = ?"
)
_ALL: Final = ", ".join((*COLUMNS, *USES))
_SET_ASIDE: Final = f"INSERT INTO {REPLACED} ({_ALL}) SELECT {_ALL} FROM {ENTRIES} WHERE rowid = ?"


class _Present(NamedTuple):
    """The row that has a key: what it keeps, and since when, in nanoseconds if this run put it."""

    id: int
    kept: Kept
    put_now: int | None
    is_sound: bool

    @property
    def second(self) -> int | None:
        """When its entry was analysed, None where the row does not say."""
        try:
            return from_text(self.kept.created_at) // NANOSECONDS
        except (TypeError, ValueError):
            return None


class V1Writer(PlainWriter):
    """Holds the write lock from entering to leaving, except for an instant at each commit.

    A row is found by its key alone, so there is one row for a key, whatever type, path and
    repository its entries have: that of the newest. Which one this is does not depend on the order
    in which they come, except for those of one second that come in different runs: there, what is
    in the file stays.
    """

    def __init__(self, connection: apsw.Connection, path: str, rules: Rules) -> None:
        super().__init__()
        self._connection = connection
        self._path = path
        self._rules = rules
        with errors_named(path):
            connection.execute(_PUT_NOW)
            self._begin()
            connection.execute(TABLES)  # those that are there stay as they are

    def _begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def put(self, folder: Folder, records: Sequence[Record]) -> Put:
        """Add each entry for whose key there is no row yet, or only an older one.

        What v1 can't hold comes as a failure with its reason: an entry whose key a newer one has,
        and one that the Rust program could not read.
        """
        outcomes, each = Outcomes(), list[Outcome]()
        failures, conflicts = list[Failure](), list[Conflict]()
        with errors_named(self._path):
            for record in records:
                try:
                    text = self.text(record)
                    kept = kept_of(folder, record, text)
                except (EntryError, DamagedError) as error:
                    failures.append(_failure(folder, record.file_path, error.message))
                    each.append(Outcome.FAILED)
                    continue
                outcome = self._put_one(folder, record, kept, outcomes, failures, conflicts)
                each.append(outcome)
        return Put(outcomes, each, conflicts, failures)

    def _put_one(
        self,
        folder: Folder,
        record: Record,
        kept: Kept,
        outcomes: Outcomes,
        failures: list[Failure],
        conflicts: list[Conflict],
    ) -> Outcome:
        present = self._present(kept.cache_key)
        if present is None:
            row_id = self._connection.execute(_ADD, (*kept.values(), kept.created_at)).get
            self._remember(row_id, record.analyzed_at)
            outcomes.migrated += 1
            return Outcome.MIGRATED
        if present.kept == kept:
            self._remember(present.id, self._standing(present.put_now, record.analyzed_at))
            outcomes.unchanged += 1
            return Outcome.UNCHANGED
        if not self._replaces(record, kept, present):
            winner = _named(present.kept.repo_path, present.kept.cache_type, present.kept.file_path)
            failures.append(_failure(folder, record.file_path, _reason(winner, self._rules)))
            return Outcome.FAILED
        if present.put_now is None:
            # Perhaps the only copy of what was paid for: it makes room, but is not lost.
            self._connection.execute(REPLACED_TABLE)
            self._connection.execute(_SET_ASIDE, (present.id,))
            outcomes.migrated += 1
            conflicts.append(_conflict(folder, record, present))
        else:
            # That one was counted as migrated before; this one takes its place in the count too.
            winner = _named(folder.repository.path, folder.cache_type, record.file_path)
            old = present.kept
            place = _named(old.repo_path, old.cache_type, old.file_path)
            failures.append(Failure(place, old.cache_type, _reason(winner, self._rules)))
        self._connection.execute(_CHANGE, (*kept.values(), present.id))
        self._remember(present.id, record.analyzed_at)
        return Outcome.MIGRATED

    def _remember(self, row_id: Any, analyzed_at: int) -> None:
        self._connection.execute(
            "INSERT INTO temp.put_now VALUES (?1, ?2)"
            " ON CONFLICT (id) DO UPDATE SET analyzed_at = ?2",
            (row_id, analyzed_at),
        )

    def _standing(self, before: int | None, now: int) -> int:
        """The time by which an entry that came twice is to be judged."""
        if before is None:
            return now
        return (
            min(before, now) if self._rules.on_conflict is OnConflict.OLDEST else max(before, now)
        )

    def _present(self, key: str) -> _Present | None:
        row: Any = self._connection.execute(_FIND, (key,)).fetchone()
        if row is None:
            return None
        row_id, put_now, *values = row
        blob = values[COLUMNS.index("result_blob")]
        try:
            text, is_sound = result_text(blob), True
        except DamagedError:
            text, is_sound = b"", False
        return _Present(row_id, Kept.of_row(values, text), put_now, is_sound)

    def _replaces(self, record: Record, kept: Kept, present: _Present) -> bool:
        """Whether an entry is to have the row in the other's stead.

        Good bytes are never given up for damaged ones, which nobody can read.
        """
        if not present.is_sound:
            return True
        oldest = self._rules.on_conflict is OnConflict.OLDEST
        if present.put_now is None:
            second, own = present.second, record.analyzed_at // NANOSECONDS
            return second is None or (own < second if oldest else own > second)
        mine: Rank = rank(record.analyzed_at, kept)
        theirs: Rank = rank(present.put_now, present.kept)
        return mine < theirs if oldest else mine > theirs

    def commit(self) -> None:
        """Make durable what was put, and go on in a new transaction."""
        self.finish()
        with errors_named(self._path):
            self._begin()

    def finish(self) -> None:
        """Commit, and let the lock go."""
        with errors_named(self._path):
            self._connection.execute("COMMIT")

    def abandon(self) -> None:
        """Undo what was put since the last commit."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _named(repository: object, cache_type: object, file_path: object) -> str:
    return f"{repository}/{file_path} ({cache_type})"


def _reason(winner: str, rules: Rules) -> str:
    which = "an older" if rules.on_conflict is OnConflict.OLDEST else "a newer"
    return f"the Rust program's file holds one entry for a key, and {which} one has it: {winner}"


def _failure(folder: Folder, file_path: str, reason: str) -> Failure:
    place = _named(folder.repository.path, folder.cache_type, file_path)
    return Failure(place, folder.cache_type, reason)


def _conflict(folder: Folder, record: Record, present: _Present) -> Conflict:
    second = present.second or 0
    return Conflict(
        folder.repository.path,
        folder.cache_type,
        record.file_path,
        record.analyzed_at,
        second * NANOSECONDS,
        incoming_answers=True,
    )
