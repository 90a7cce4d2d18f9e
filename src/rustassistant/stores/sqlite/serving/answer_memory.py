"""Answers kept in memory for those who ask again, given out only while they are still true.

Finding and checking an entry takes some 20 µs; programs that serve results ask for the same ones
over and over. SQLite tells a connection whether others have committed since it last looked
(``PRAGMA data_version``), at a tenth of that. The numbers mean nothing to another connection, so
each reader remembers since when its own has not changed: an answer that any reader began to read
from that moment on is what it would read itself.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from rustassistant.stores.live import Answer, Wanted
from rustassistant.stores.sqlite.serving.live_reader import LiveReader

_OVERHEAD: Final = 1024
"""Bytes that an answer takes besides its result, about."""


class AnswerMemory:
    """Up to ``limit`` bytes of answers; the oldest go first. For any number of threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._answers: dict[Wanted, tuple[int, Answer]] = {}
        self._size = 0
        self._lock = threading.Lock()

    def lookup(self, reader: LiveReader, wanted: Wanted, now: int) -> Answer | None:
        """What ``reader`` finds. ``now`` is ``time.monotonic_ns()``, taken before."""
        kept = self._answers.get(wanted)
        version = reader.data_version()
        if version != reader.version:
            reader.version = version
            reader.forget()
            reader.since = now = time.monotonic_ns()
        elif kept is not None and kept[0] >= reader.since:
            return kept[1]
        answer = reader.lookup(wanted)
        if answer is not None and self._limit:
            self._keep(wanted, answer, now)
        return answer

    def _keep(self, wanted: Wanted, answer: Answer, began: int) -> None:
        size = len(answer.result) + _OVERHEAD
        if size > self._limit // 8:
            return
        with self._lock:
            replaced = self._answers.pop(wanted, None)
            if replaced is not None:
                self._size -= len(replaced[1].result) + _OVERHEAD
            self._answers[wanted] = (began, answer)
            self._size += size
            while self._size > self._limit:
                oldest = next(iter(self._answers))
                self._size -= len(self._answers.pop(oldest)[1].result) + _OVERHEAD

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._answers.clear()
            self._size = 0
