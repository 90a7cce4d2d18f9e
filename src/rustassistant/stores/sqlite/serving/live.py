"""The cache database, open for programs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import apsw
import msgspec

from rustassistant.entry import Entry
from rustassistant.errors import (
    DamagedError,
    DestinationError,
    LockedError,
    NotFoundError,
    RustAssistantError,
)
from rustassistant.stores.base import printable
from rustassistant.stores.live import Answer, Filter, Question, Traffic, Use, Wanted
from rustassistant.stores.sqlite.connection import check_writable, open_for_writing
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.serving.additions import LAST_MOMENT, Additions, Encoders
from rustassistant.stores.sqlite.serving.answer_memory import AnswerMemory
from rustassistant.stores.sqlite.serving.claims import FileClaim, claim, sweep
from rustassistant.stores.sqlite.serving.sessions import Sessions
from rustassistant.stores.sqlite.serving.spool import Spool, Waiting
from rustassistant.stores.sqlite.serving.uses import add_uses, traffic_sums
from rustassistant.stores.sqlite.writer import SqliteWriter

_ATTEMPT_SECONDS: Final = 1.0
"""How long one attempt to get the write lock waits inside SQLite, where a fork waits for it."""

_IMPATIENT_SECONDS: Final = 0.5
"""How long to wait for the lock after waiting for it in vain: a migration may take long."""

_logger: Final = logging.getLogger("rustassistant")

_COUNT_SECONDS: Final = 0.05
_LOG_BYTES: Final = 4 * 2**20
"""The log's size from which it is folded into the database after an entry was set."""

_TURN_SECONDS: Final = 0.1
"""How long a lookup lets those of other threads go first: what it reads is mostly in memory, and
threads that take Python's lock from each other in the midst of it take three times as long. Where
the disk is that slow, they wait for it together."""

_REPLACED_CHECK_NS: Final = 10**9
"""How often it is looked whether another file lies there now."""


class _Job:
    """An entry to be put, and what became of that."""

    __slots__ = ("done", "entry", "error", "set_now")

    def __init__(self, entry: Entry, *, set_now: bool) -> None:
        self.entry = entry
        self.set_now = set_now
        self.done = False
        self.error: Exception | None = None


class SqliteLive:
    """A database at ``path``, made when the first entry is put.

    ``patience`` is how many seconds `put` and `remove` wait for its write lock; ``memory`` how
    many bytes of results are kept for those who ask again.
    """

    def __init__(self, path: str, *, patience: float, memory: int) -> None:
        self.path = os.path.realpath(os.path.expanduser(path))
        self._patience = patience
        self._impatient = False
        self._memory_limit = memory
        self._spool = Spool(self.path)
        self._begin_anew()
        self._sessions = Sessions(self.path, self._begin_anew)
        if os.path.exists(self.path):
            self._sessions.give_back(self._sessions.take())
        else:
            check_writable(self.path)
        sweep(self.path)
        self.fold()

    def _begin_anew(self) -> None:
        """As in a new process: no lock is held, nobody waits."""
        self._memory = AnswerMemory(self._memory_limit)
        self._encoders = Encoders()
        self._jobs: deque[_Job] = deque()
        self._turn = threading.Lock()
        self._looking_up = threading.Lock()
        self._next_check = 0

    def lookup(self, wanted: Wanted) -> Answer | None:
        """The entry that answers, or None. Raises DamagedError."""
        # What waits is looked at first: what is folded in between is in the database then.
        waiting = None if self._spool.is_empty() else self._waiting(wanted)
        now = time.monotonic_ns()
        if now > self._next_check:
            self._next_check = now + _REPLACED_CHECK_NS
            if self._sessions.renew_if_replaced():
                self._memory.clear()
        is_its_turn = self._looking_up.acquire(timeout=_TURN_SECONDS)
        try:
            answer = self._stored_answer(wanted)
        finally:
            if is_its_turn:
                self._looking_up.release()
        if waiting is None:
            return answer
        return max((waiting, answer or waiting), key=wanted.rank)

    def _stored_answer(self, wanted: Wanted) -> Answer | None:
        try:
            reader = self._sessions.take()
        except NotFoundError:
            return None
        try:
            answer = self._memory.lookup(reader, wanted)
        except DamagedError:
            self._sessions.give_back(reader)
            raise
        except BaseException:
            self._sessions.discard(reader)
            with errors_named(self.path):
                raise
        self._sessions.give_back(reader)
        return answer

    def _waiting(self, wanted: Wanted) -> Answer | None:
        found = [
            Answer.from_entry(one.entry)
            for one in self._spool.waiting(wanted.file_hash)
            if isinstance(one, Waiting)
        ]
        return max(filter(wanted.accepts, found), key=wanted.rank, default=None)

    def put(self, entry: Entry, *, set_now: bool) -> None:
        """Keep an entry; it would survive a power cut when this returns.

        Entries that threads put at the same time share one transaction. Where the database cannot
        be written, because somebody holds its lock or the medium fails, the entry waits beside it.
        """
        job = _Job(entry, set_now=set_now)
        self._jobs.append(job)
        with self._turn:
            if not job.done:
                self._put_jobs(job)
        if job.error is not None:
            raise job.error

    def _put_jobs(self, own: _Job) -> None:
        """Put what threads have come with, ``own`` among it; each job says what became of it."""
        jobs: list[_Job] = []
        try:
            try:
                self._put_together(jobs, take=self._take)
            except Exception:  # whatever one of them is to blame for, the others don't fail with it
                self._take(jobs)
                for job in jobs:
                    self._put_alone(job)
        except BaseException:  # this thread is interrupted; the others go on
            self._jobs.extend(job for job in jobs if job is not own and not job.done)
            raise

    def _take(self, jobs: list[_Job]) -> None:
        while self._jobs:
            jobs.append(self._jobs.popleft())

    def _put_alone(self, job: _Job) -> None:
        if not job.done:
            try:
                self._put_together([job])
            except Exception as error:
                job.error = error
                job.done = True

    def _put_together(
        self, jobs: list[_Job], *, take: Callable[[list[_Job]], None] = lambda _: None
    ) -> None:
        """Put jobs in one transaction, with those that ``take`` adds until the lock is had."""

        def write(additions: Additions) -> None:
            take(jobs)
            for job in jobs:
                additions.add(job.entry, set_now=job.set_now)

        reason: RustAssistantError | None = None
        try:
            self._write(write, _IMPATIENT_SECONDS if self._impatient else self._patience)
            self._impatient = False
        except (LockedError, DestinationError, DamagedError) as error:
            self._impatient = isinstance(error, LockedError)
            reason = error
            take(jobs)
        for job in jobs:
            job.error = None if reason is None else self._put_aside(job, reason)
            job.done = True

    def _put_aside(self, job: _Job, reason: RustAssistantError) -> RustAssistantError | None:
        try:
            latest = self._latest(job.entry) if job.set_now else None
            entry = job.entry
            # There is nothing after the last moment: what claims it makes way in `fold`.
            if latest is not None and entry.analyzed_at <= latest < LAST_MOMENT:
                entry = msgspec.structs.replace(entry, analyzed_at=latest + 1)
            self._spool.add(entry, set_now=job.set_now)
        except RustAssistantError:
            return reason
        _logger.warning("%s; the entry was set aside in %s", reason, self._spool.directory)
        return None

    def _latest(self, entry: Entry) -> int | None:
        """When the entry was analysed that answers now for that very file, if there is one."""
        wanted = Wanted(
            entry.cache_type,
            entry.file_hash,
            entry.model,
            entry.prompt_hash,
            entry.schema_version,
            repository=entry.repository,
            file_path=entry.file_path,
        )
        try:
            answer = self.lookup(wanted)
        except RustAssistantError:
            return None
        return None if answer is None else answer.analyzed_at

    def remove(self, wanted: Filter) -> int:
        """Let these answer no more; return how many they were."""
        removed = 0

        def write(additions: Additions) -> None:
            nonlocal removed
            additions.settle()
            removed = additions.remove(wanted)

        if os.path.exists(self.path) or not self._spool.is_empty():
            with self._turn:
                self._write(write, self._patience)
        return removed

    def fold(self) -> None:
        """Move what waits beside the database into it, if nobody holds the lock."""
        if self._spool.is_empty() or not self._turn.acquire(blocking=False):
            return
        try:
            with suppress(LockedError, DestinationError, DamagedError):
                self._write(lambda _: None, 0)
        finally:
            self._turn.release()

    def _write(self, write: Callable[[Additions], None], patience: float) -> None:
        """Fold in what waits, then write, in one transaction. Raises LockedError, …"""
        deadline = time.monotonic() + patience
        while True:
            left = deadline - time.monotonic()
            try:
                with self._sessions.writing(), self._connected(min(left, _ATTEMPT_SECONDS)) as db:
                    self._transact(db, write)
                    self._fold_log(db)
            except LockedError:
                if time.monotonic() >= deadline:
                    raise
            else:
                return

    @contextmanager
    def _connected(self, patience: float) -> Iterator[apsw.Connection]:
        connection = open_for_writing(self.path)
        try:
            connection.set_busy_timeout(max(0, int(patience * 1000)))
            yield connection
        finally:
            with errors_named(self.path):
                connection.close()

    def _transact(self, connection: apsw.Connection, write: Callable[[Additions], None]) -> None:
        writer = SqliteWriter(connection, self.path)
        try:
            with self._spool.held() as anything_waits:
                additions = Additions(writer, connection, self._encoders)
                folded = []
                for one in self._spool.waiting() if anything_waits else ():
                    if isinstance(one, Waiting):
                        additions.fold(one)
                        folded.append(one.path)
                with errors_named(self.path):
                    write(additions)
                    additions.settle()
                writer.finish()
                if anything_waits:
                    self._spool.remove(folded)
        except BaseException:
            writer.abandon()
            raise

    def _fold_log(self, connection: apsw.Connection) -> None:
        """SQLite would fold it when the last connection closes, but ours stay open."""
        with suppress(OSError, apsw.Error):  # the entry is safe; another may fold it
            if os.path.getsize(self.path + "-wal") > _LOG_BYTES:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def list(self, wanted: Filter) -> Iterator[Answer | DamagedError]:
        """Entries of the database, then those that wait beside it and are not in it."""
        self.fold()
        waiting = {}
        for one in self._spool.waiting(wanted.file_hash):
            if isinstance(one, DamagedError):
                yield one
            elif wanted.accepts(answer := Answer.from_entry(one.entry)):
                waiting[answer.identity] = answer
        for stored in self._stored(wanted):
            if isinstance(stored, DamagedError):
                yield stored
                continue
            newer = waiting.get(stored.identity)
            if newer is None or newer.analyzed_at < stored.analyzed_at:
                waiting.pop(stored.identity, None)
                yield stored
        yield from waiting.values()

    def _stored(self, wanted: Filter) -> Iterator[Answer | DamagedError]:
        for sharing in (False, True):
            after = 0
            while True:
                try:
                    reader = self._sessions.take()
                except NotFoundError:
                    return
                try:
                    found, after = reader.page(wanted, sharing=sharing, after=after)
                finally:
                    self._sessions.give_back(reader)
                if not found:
                    break
                yield from found

    def claim(self, key: bytes) -> FileClaim | None:
        """The claim to a key, or None while another holds it."""
        return claim(self.path, key)

    def count(self, uses: Mapping[int, Use], traffic: Mapping[Question, Traffic]) -> None:
        """Add to what was counted. Raises LockedError rather than wait."""
        if not os.path.exists(self.path):
            return
        with (
            self._sessions.writing(),
            self._connected(_COUNT_SECONDS) as db,
            errors_named(self.path),
        ):
            add_uses(db, uses, traffic)

    def traffic(self) -> Traffic:
        """Sums of all that was counted."""
        try:
            reader = self._sessions.take()
        except NotFoundError:
            return Traffic()
        try:
            with errors_named(self.path):
                return traffic_sums(reader.connection)
        finally:
            self._sessions.give_back(reader)

    def close(self, *exc_info: Any) -> None:
        """Close what is open, for good."""
        self.fold()
        self._sessions.close()
        self._memory.clear()
        sweep(self.path)

    def __repr__(self) -> str:
        return f"sqlite:{printable(self.path)}"
