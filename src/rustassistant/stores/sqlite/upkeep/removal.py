"""Taking entries out of sight, bringing them back, and ending them for good.

Each of these is one transaction of its own connection, but for emptying the trash, which goes on
in batches: a process that dies leaves some of it emptied, and everything else as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import apsw

from rustassistant.codec import Encoder
from rustassistant.errors import DamagedError
from rustassistant.stores.outcomes import Run
from rustassistant.stores.sqlite.connection import open_for_reading, open_for_writing
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import IS_LIVE, USES_OF_FILE, EntryReader, entry_sql
from rustassistant.stores.sqlite.run_log import RunLog
from rustassistant.stores.sqlite.totals import Totals
from rustassistant.stores.sqlite.trash import (
    CLEARED,
    EVICTED,
    promote,
    promote_sharing,
    take_back,
    throw_away,
)
from rustassistant.stores.sqlite.upkeep.live_size import live_size
from rustassistant.stores.sqlite.views.summary import Scope
from rustassistant.stores.sqlite.views.tokens import Made, made_of
from rustassistant.stores.sqlite.views.trashed import Wanted, trashed_ids

_BATCH: Final = 5_000
"""Entries that end in one transaction: the log grows by the pages they lie on."""

_UNPINNED: Final = "e.id NOT IN (SELECT entry_id FROM pins)"
_ENTRIES: Final = """
SELECT e.id FROM entries e JOIN files f ON f.id = e.file_id WHERE {condition} {live} AND {more}
"""
_SHARING: Final = """
SELECT c.id FROM copies c JOIN entries e ON e.id = c.entry_id JOIN files f ON f.id = c.file_id
WHERE {condition} {live} AND {more}
"""
_OWNERS: Final = """
SELECT id, result, dictionary_id FROM entries e
WHERE id IN (SELECT id FROM temp.ending)
  AND EXISTS (SELECT 1 FROM entries s WHERE s.result_of = e.id
              AND s.id NOT IN (SELECT id FROM temp.ending))
"""


class Removal:
    """What a command does to the entries of one database. ``now`` is its moment, in nanoseconds."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.reader = EntryReader(connection)
        self.now = time.time_ns()
        self.changed = 0
        self._started = time.monotonic()
        self._totals = Totals(self.reader)
        self._runs = RunLog(connection)

    def live_size(self) -> int:
        """As `live_size`, what this has changed included."""
        self._totals.write()
        return live_size(self.connection)

    def evict(self, ids: Iterable[int]) -> int:
        """Put entries into the trash together with those that share their rows."""
        before = self.changed
        for entry_id in ids:
            for one in (*promote_sharing(self._totals, entry_id), entry_id):
                self._throw_away(one, EVICTED)
        return self.changed - before

    def clear(self, scope: Scope) -> int:
        """Put all of a scope into the trash, but for what is pinned."""
        before = self.changed
        parts = {"live": IS_LIVE, "more": _UNPINNED}
        # Copies first: they get rows of their own when the entry goes whose row they share.
        condition, values = scope.condition(self.connection, "c")
        for copy_id in self._gathered(_SHARING.format(condition=condition, **parts), values):
            self._throw_away(promote(self._totals, copy_id), CLEARED)
        condition, values = scope.condition(self.connection)
        for entry_id in self._gathered(_ENTRIES.format(condition=condition, **parts), values):
            self._throw_away(entry_id, CLEARED)
        return self.changed - before

    def _gathered(self, sql: str, values: Sequence[Any]) -> Iterator[int]:
        """Ids that SQL selects now, however they change while they are gone through."""
        execute = self.connection.execute
        execute("DROP TABLE IF EXISTS temp.gathered")
        execute("CREATE TEMP TABLE gathered (place INTEGER PRIMARY KEY, id INTEGER)")
        execute(f"INSERT INTO temp.gathered (id) {sql}", tuple(values))
        yield from (row[0] for row in execute("SELECT id FROM temp.gathered ORDER BY place"))

    def pinned(self, scope: Scope) -> int:
        """How many of a scope are pinned, and so stay."""
        count = 0
        for form, place in ((_ENTRIES, "e"), (_SHARING, "c")):
            condition, values = scope.condition(self.connection, place)
            sql = form.format(condition=condition, live=IS_LIVE, more=f"NOT {_UNPINNED}")
            count += self.connection.execute(f"SELECT count(*) FROM ({sql})", values).get
        return count

    def made(self, scope: Scope) -> list[Made]:
        """What making those of a scope took that are not pinned."""
        condition, values = scope.condition(self.connection)
        source = "entries e JOIN files f ON f.id = e.file_id"
        return made_of(self.reader, source, f"{condition} {IS_LIVE} AND {_UNPINNED}", values)

    def _throw_away(self, entry_id: int, reason: str) -> None:
        throw_away(self._totals, entry_id, reason=reason, now=self.now)
        self.changed += 1

    def restore(self, ids: Iterable[int]) -> None:
        """Let entries in the trash answer again."""
        for entry_id in ids:
            take_back(self._totals, entry_id)
            self.changed += 1

    def end(self, ids: Sequence[int]) -> None:
        """Delete entries of the trash. A result that others share goes over to one of these."""
        execute, many = self.connection.execute, self.connection.executemany
        execute("CREATE TEMP TABLE IF NOT EXISTS ending (id INTEGER PRIMARY KEY)")
        execute("DELETE FROM temp.ending")
        each = [(one,) for one in ids]
        many("INSERT INTO temp.ending VALUES (?)", each)
        for entry_id in ids:
            promote_sharing(self._totals, entry_id)
        owners: list[Any] = execute(_OWNERS).fetchall()
        for owner in owners:
            self._bequeath(*owner)
        files: list[Any] = execute(
            "SELECT DISTINCT file_id FROM entries WHERE id IN (SELECT id FROM temp.ending)"
        ).fetchall()
        many("DELETE FROM copies WHERE entry_id = ?", each)
        many("DELETE FROM trash WHERE entry_id = ?", each)
        # Those first that share a result: what is shared can't be deleted.
        many("DELETE FROM entries WHERE id = ? AND result IS NULL", each)
        many("DELETE FROM entries WHERE id = ?", each)
        many(f"DELETE FROM files WHERE id = ?1 AND NOT EXISTS ({USES_OF_FILE})", files)
        self.changed += len(ids)

    def _bequeath(self, owner: int, frame: bytes, dictionary_id: int | None) -> None:
        """Give a result to an entry that stays, a live one if there is one."""
        execute = self.connection.execute
        sharers: list[Any] = execute(
            "SELECT e.id, t.entry_id IS NULL, e.original IS NULL OR e.dictionary_id IS ?2"
            " FROM entries e LEFT JOIN trash t ON t.entry_id = e.id"
            " WHERE e.result_of = ?1 AND e.id NOT IN (SELECT id FROM temp.ending)",
            (owner, dictionary_id),
        ).fetchall()
        heir, is_live, takes_frame = max(sharers, key=lambda one: (one[1], one[2], -one[0]))
        if is_live:
            self._totals.count(heir, -1)
        if takes_frame:
            execute(
                "UPDATE entries SET result = ?, result_of = NULL, dictionary_id = ? WHERE id = ?",
                (frame, dictionary_id, heir),
            )
        else:
            self._encode_anew(heir)
        execute("UPDATE entries SET result_of = ? WHERE result_of = ?", (heir, owner))
        if is_live:
            self._totals.count(heir, 1)

    def _encode_anew(self, entry_id: int) -> None:
        """Compress both texts of an entry without a dictionary: it can name only one, and its own
        original needs another than the result that it gets."""
        entry = next(self.reader.select(entry_sql() + "WHERE e.id = ?", (entry_id,)))
        if isinstance(entry, DamagedError):
            raise entry
        record = Encoder().encode(entry, name=None, stamp=None)
        self.connection.execute(
            "UPDATE entries SET result = ?, result_of = NULL, original = ?, dictionary_id = NULL"
            " WHERE id = ?",
            (record.result, record.original, entry_id),
        )

    def tidy(self) -> None:
        """Delete what no entry refers to any more: sums of nothing, folders, repositories."""
        execute = self.connection.execute
        execute("DELETE FROM totals WHERE entries = 0")
        execute(
            "DELETE FROM folders WHERE id NOT IN (SELECT folder_id FROM entries)"
            " AND id NOT IN (SELECT folder_id FROM copies)"
            " AND id NOT IN (SELECT folder_id FROM totals)"
        )
        if self.connection.changes():
            execute(
                "DELETE FROM repositories WHERE id NOT IN (SELECT repository_id FROM folders)"
                " AND id NOT IN (SELECT repository_id FROM files)"
            )

    def log(self, command: str, options: str) -> None:
        """Leave a row that says what was done, or set it to what has been done by now."""
        self._totals.write()
        pages, page_size = (self.connection.pragma(name) for name in ("page_count", "page_size"))
        self._runs.write(
            Run(
                command=command,
                options=options,
                sources="[]",
                started_at=self.now,
                outcome="done",
                found=self.changed,
                stored_bytes=pages * page_size,
                seconds=time.monotonic() - self._started,
            ),
            (),
        )

    def commit(self) -> None:
        """Make durable what was done, and let others write."""
        self._totals.write()
        self.connection.execute("COMMIT")


@contextmanager
def removing(path: str) -> Iterator[Removal]:
    """The lock of a database that exists, and one transaction; what is not committed is undone.

    Raises NotFoundError, LockedError naming who holds it, and the like.
    """
    open_for_reading(path).close()  # the writer would make what is not there
    connection = open_for_writing(path)
    try:
        with errors_named(path):
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Removal(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
    finally:
        with errors_named(path):
            connection.close()


def empty_trash(
    path: str,
    wanted: Wanted,
    *,
    options: str,
    progress: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> int:
    """End what is wanted of the trash, pinned entries excepted; return how many they were.

    In batches, each all or nothing; between two of them, ``cancelled`` may end it, and others may
    write.
    """
    wanted = wanted._replace(unpinned=True)
    with removing(path) as removal:
        connection = removal.connection
        while ids := trashed_ids(connection, wanted, limit=_BATCH):
            removal.end(ids)
            is_last = len(ids) < _BATCH
            if is_last:
                removal.tidy()
            removal.log("trash empty", options)
            removal.commit()
            if progress is not None:
                progress(removal.changed)
            with suppress(apsw.BusyError):  # the log would else grow as large as all that goes
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            if is_last or (cancelled is not None and cancelled()):
                break
            connection.execute("BEGIN IMMEDIATE")
        return removal.changed
