"""Hits and misses, gathered in memory and written many at a time: never a write for a hit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rustassistant.cache.warning import LOGGER
from rustassistant.errors import LockedError, RustAssistantError
from rustassistant.stores.live import Answer, Question, Traffic, Use, Wanted

FLUSH_SECONDS: Final = 30.0
"""The age at which counts are written."""

_MANY: Final = 10_000
"""So many different ones are written at once, however young they are."""

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
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

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
            self._wake.set()
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
                sums = Traffic(hits=number, tokens_saved=number * max(0, answer.tokens_used or 0))
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
        while not self._ended:
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            if not self._ended:
                self.flush()

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
            except RustAssistantError as error:
                LOGGER.warning("uses could not be counted: %s", error)

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
        self._wake.set()
        self.flush()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

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
