"""Hits and misses, gathered in memory and written many at a time: never a write for a hit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from rustassistant.cache.warning import LOGGER
from rustassistant.errors import LockedError
from rustassistant.stores.live import Answer, Question, Traffic, Use, Wanted
from rustassistant.usage import MAX_TOKENS

FLUSH_SECONDS: Final = 30.0
"""The age at which counts are written."""

_MANY: Final = 10_000
"""So many different ones are written at once, however young they are."""

_MOST_FAILURES: Final = 10
"""If so many in a row can't be written, it is not they that are wrong."""

_DAY_NS: Final = 86_400 * 10**9

Write = Callable[[Mapping[int, Use], Mapping[Question, Traffic]], None]


class Tally:
    """Counts for one cache. ``write`` adds them to the store; where it is locked, they wait.

    A thread of its own writes them, so that nobody who reads has to.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._today: dict[Any, list[Any]] = {}
        self._day_ends = 0
        self._uses: dict[int, tuple[int, int]] = {}
        self._traffic: dict[Question, Traffic] = {}
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._then: Callable[[], None] | None = None

    def count(self, answer: Answer | None, wanted: Wanted) -> None:
        """Count an answer, or that there was none."""
        now = time.time_ns()
        repository = wanted.repository
        key: Any
        if answer is None:
            key = (wanted.cache_type, wanted.model, repository)
        elif answer.id and (repository is None or repository == answer.repository):
            key = answer.id  # all else follows from it
        else:
            key = (answer.id, answer.cache_type, answer.model, repository, answer.tokens_used)
        with self._lock:
            if now >= self._day_ends:
                self._add_up()
                self._day_ends = (now // _DAY_NS + 1) * _DAY_NS
            known = self._today.get(key)
            if known is None:
                self._today[key] = [1, now, answer, wanted]
            else:
                known[0] += 1
                known[1] = now
        if known is None:
            self._see_to_it()

    def _see_to_it(self) -> None:
        if len(self._today) >= _MANY:
            self._wake.put(None)
        if self._thread is None and not self._ended:
            self._start()

    def _add_up(self) -> None:
        """Turn the counts of a day into what is written. To be called with the lock."""
        day = self._day_ends // _DAY_NS - 1
        for number, last, answer, wanted in self._today.values():
            if answer is None:
                sums = Traffic(misses=number)
                question = Question(
                    day, wanted.cache_type, wanted.model or "", wanted.repository or ""
                )
            else:
                tokens = answer.tokens_used or 0
                saved = tokens if 0 <= tokens <= MAX_TOKENS else 0
                sums = Traffic(hits=number, tokens_saved=number * saved)
                repository = wanted.repository or answer.repository
                question = Question(day, answer.cache_type, answer.model, repository)
                if answer.id:
                    self._add_use(answer.id, number, last)
            self._traffic[question] = _added(self._traffic.get(question, _NOTHING), sums)
        self._today.clear()

    def _add_use(self, entry_id: int, hits: int, last: int) -> None:
        before, latest = self._uses.get(entry_id, (0, 0))
        self._uses[entry_id] = (before + hits, max(latest, last))

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="rustassistant-counts", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            with suppress(Empty):
                self._wake.get(timeout=FLUSH_SECONDS)
                while True:  # however often it was told
                    self._wake.get_nowait()
            if self._ended:  # whoever ended it writes
                return
            self.flush()
            if self._then is not None and self._all_is_written():
                self._then()
                return

    def _all_is_written(self) -> bool:
        with self._flushing:  # what another thread is writing may come back
            return not (self._today or self._uses or self._traffic)

    def flush(self) -> None:
        """Write what has come together; what can't be written now is kept for the next time."""
        with self._flushing:
            with self._lock:
                self._add_up()
                uses, self._uses = self._uses, {}
                traffic, self._traffic = self._traffic, {}
            if not uses and not traffic:
                return
            try:
                self._write({entry: Use(*used) for entry, used in uses.items()}, traffic)
            except LockedError:
                self._take_back(uses, traffic)
            except Exception as error:
                if len(uses) + len(traffic) == 1:
                    LOGGER.warning("a use could not be counted: %s", error)
                else:
                    self._write_each(uses, traffic)

    def _write_each(
        self, uses: dict[int, tuple[int, int]], traffic: dict[Question, Traffic]
    ) -> None:
        """One after the other: what can't be written takes nothing else with it."""
        failures = 0
        while (uses or traffic) and failures < _MOST_FAILURES:
            use = dict([uses.popitem()]) if uses else {}
            sums = {} if use else dict([traffic.popitem()])
            try:
                self._write({entry: Use(*used) for entry, used in use.items()}, sums)
            except LockedError:
                self._take_back(use | uses, sums | traffic)
                return
            except Exception as error:
                failures += 1
                LOGGER.warning("a use could not be counted: %s", error)
            else:
                failures = 0
        if uses or traffic:
            LOGGER.warning("%d more were not tried", len(uses) + len(traffic))

    def _take_back(
        self, uses: dict[int, tuple[int, int]], traffic: dict[Question, Traffic]
    ) -> None:
        with self._lock:
            for entry_id, (hits, last) in uses.items():
                self._add_use(entry_id, hits, last)
            for question, sums in traffic.items():
                newer_sums = self._traffic.get(question, _NOTHING)
                self._traffic[question] = _added(sums, newer_sums)

    def pending(self) -> Traffic:
        """Sums of what is not written yet."""
        with self._lock:
            self._add_up()
            total = _NOTHING
            for sums in self._traffic.values():
                total = _added(total, sums)
            return total

    def end(self) -> None:
        """Write what there is, and count no more."""
        self._ended = True
        self._wake.put(None)
        self.flush()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def abandon(self, then: Callable[[], None]) -> bool:
        """Whoever counted is gone. What there is will be written, as soon as nobody else writes,
        and ``then`` called; False if there is nothing to write, nor anybody to do it.

        This may be called by the garbage collector, in the midst of anything: it takes no lock.
        """
        self._then = then
        self._wake.put(None)
        return self._thread is not None

    def begin_anew_in_child(self) -> None:
        """After a fork: the parent writes what it has counted."""
        ended = self._ended
        self._begin()
        self._ended = ended


_NOTHING: Final = Traffic()


def _added(one: Traffic, other: Traffic) -> Traffic:
    return Traffic(
        one.hits + other.hits, one.misses + other.misses, one.tokens_saved + other.tokens_saved
    )
