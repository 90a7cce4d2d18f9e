"""Answers kept in memory for those who ask again, given out only while they are still true.

Finding and checking an entry takes some 15 µs; programs that serve results ask for the same ones
over and over. SQLite tells a connection whether others have committed since it last looked
(``PRAGMA data_version``), at a seventh of that. The numbers mean nothing to another connection, so
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

    def lookup(self, reader: LiveReader, wanted: Wanted) -> Answer | None:
        """What ``reader`` finds."""
        kept = self._answers.get(wanted)
        if kept is not None and reader.is_unchanged_since(kept[0]):
            return kept[1]
        began = time.monotonic_ns()
        answer = reader.lookup(wanted)
        if answer is not None and self._limit:
            self._keep(wanted, answer, began)
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
