"""A database of ours as one side of a sync."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

import apsw

from rustassistant.stores.base import Folder, Found, Survey, printable
from rustassistant.stores.outcomes import Failure, OnConflict, Problem, Rules
from rustassistant.stores.sqlite.connection import open_for_reading, open_for_writing
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.partitions import SqlitePartition
from rustassistant.stores.sqlite.serving.live import SqliteLive
from rustassistant.stores.sqlite.serving.spool import Spool
from rustassistant.stores.sqlite.standings import (
    Rows,
    has_rows,
    last_rows,
    pinned_rows,
)
from rustassistant.stores.sqlite.store import SqliteStore
from rustassistant.stores.sqlite.writer import SqliteWriter
from rustassistant.sync.database_listing import DatabaseListing, Seen, name_of
from rustassistant.sync.database_work import DatabaseWork
from rustassistant.sync.elements import (
    repository_key,
)
from rustassistant.sync.news import News
from rustassistant.sync.side import KeyOf, Listed, Side
from rustassistant.sync.state import Container, State
from rustassistant.transfer.plan import Options, choose_dictionaries

_RULES: Final = Rules(on_conflict=OnConflict.KEEP_BOTH, restamp=False)
"""What answers is decided here, by what happened on both sides, not by the writer."""

_BATCH: Final = 2_000


class DatabaseSide:
    """The database at ``path``, which is made if need be."""

    kind = "database"
    is_narrow = False
    is_single = False
    trash: str | None = None

    def __init__(self, path: str) -> None:
        self.store = SqliteStore(path)
        self.path = self.store.path
        self.location = printable(self.path)
        self.place = self.path
        self.key_of: KeyOf = repository_key
        self.promoted: dict[int, int] = {}
        """Entries that got rows of their own in this run, by the ids that they had in ``copies``
        when it was listed."""
        self._spool = Spool(self.path)
        self._seen: Seen | None = None

    def exists(self) -> bool:
        """Whether there is anything."""
        return os.path.lexists(self.path)

    def own_key(self, folders: Iterable[Folder]) -> str | None:
        """None: it holds entries of any repository."""
        return None

    # Looking.

    def glance(self) -> bytes:
        """Of the times and sizes of the file and its log, and of what waits beside it."""
        digest = blake2b(digest_size=16)
        for path in (self.path, self.path + "-wal", self._spool.directory):
            try:
                status = os.stat(path)
            except OSError as error:
                digest.update(b"!%d" % (error.errno or 0))
                continue
            if not status.st_size and path != self.path:
                continue  # a reader makes a log too
            for fact in (status.st_ino, status.st_size, status.st_mtime_ns):
                digest.update(b"%d," % fact)
        return digest.digest()

    def list(self, state: State, side: int) -> Listed:
        """Bring what is remembered of the database up to date, unless it is as it was."""
        listing = DatabaseListing(self.path, state, side, self.key_of)
        listed = listing.whole(self._seen)
        listed.problems += self._waiting()
        self._seen = listing.seen
        return listed

    def list_news(self, state: State, side: int, news: News) -> Listed | None:
        """The same, of the rows that have changed; None if they can't be told from others. Which
        have is asked of the database, not of the news."""
        listing = DatabaseListing(self.path, state, side, self.key_of)
        listed = listing.since(self._seen)
        self._seen = listing.seen
        if listed is not None:
            listed.problems += self._waiting()
        return listed

    def remember(self, before: Side) -> None:
        """Take over how far an earlier object for the same database has read."""
        if isinstance(before, DatabaseSide) and before.place == self.place:
            self._seen = before._seen

    def _waiting(self) -> Iterator[Problem]:
        """What could not be taken in: the database is locked, or it can't be read."""
        count = 0 if self._spool.is_empty() else sum(1 for _ in self._spool.waiting())
        if count:
            waits = "1 result waits" if count == 1 else f"{count} results wait"
            text = f"{waits} there for the database, and can't be compared"
            yield Problem(printable(self._spool.directory), text)

    def read(
        self, container: Container, names: Iterable[bytes]
    ) -> Iterator[tuple[bytes, Found | Failure]]:
        """Read rows of one folder."""
        wanted = list(names)
        for copied in (False, True):
            some = [name for name in wanted if self.row_of(name)[0] == copied]
            if not some:
                continue
            partition = SqlitePartition(
                container.folder,
                self.path,
                tuple(self.row_of(name)[1] for name in some),
                tuple(map(os.fsdecode, some)),
                copied,
            )
            for name, found in zip(some, partition.read(), strict=True):
                if isinstance(found, Found | Failure):
                    yield name, found

    def row_of(self, name: bytes) -> Rows:
        """The row that a result has now."""
        copied, row_id = name[:1] == b"c", int(name[1:])
        if copied and row_id in self.promoted:
            return False, self.promoted[row_id]
        return copied, row_id

    def survey(self) -> Survey:
        """How many of which type, with samples."""
        return self.store.survey()

    def mark(self) -> str:
        """Names the newest rows."""
        if not self.exists():
            return ""
        with self._read() as connection:
            return last_rows(connection)

    def is_older(self, mark: str) -> bool:
        """Whether those rows have not been there yet."""
        with self._read() as connection:
            return not has_rows(connection, mark)

    def pinned(self) -> frozenset[bytes]:
        """Those that people have pinned."""
        if not self.exists():
            return frozenset()
        with self._read() as connection:
            return frozenset(map(name_of, pinned_rows(connection)))

    @contextmanager
    def _read(self) -> Iterator[apsw.Connection]:
        connection = open_for_reading(self.path)
        try:
            with errors_named(self.path):
                connection.execute("BEGIN")
                yield connection
        finally:
            connection.close()

    # Changing.

    def settle(self, found: Iterable[tuple[Container, bytes]]) -> None:
        """Nothing: what was committed is durable."""

    def tidy(self) -> None:
        """Take in what waits beside it, if nobody holds its lock; the rest SQLite does."""
        if not self._spool.is_empty():
            SqliteLive(self.path, patience=0, memory=0).close()

    def prepare(self, survey: Callable[[], Survey]) -> None:
        """Make the database if need be, with dictionaries trained on what is about to come."""
        with self.store.writer(_RULES) as writer:
            if not writer.dictionaries():
                choose_dictionaries(survey(), writer, Options())

    @contextmanager
    def changes(self, state: State, side: int, *, other: str) -> Iterator[DatabaseWork]:
        """Hold the writer's lock; raises LockedError, naming who has it."""
        connection = open_for_writing(self.path)
        try:
            writer = SqliteWriter(connection, self.path, _RULES)
            try:
                work = DatabaseWork(self, writer, connection, state, side, other)
                yield work
                work.finish()
                writer.finish()
            except BaseException:
                writer.abandon()
                raise
        finally:
            with errors_named(self.path):
                connection.close()
