"""Calls that wait for a worker to take them."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What a worker is to do, pickled; ``function`` is the same object for as long as it is one.

    Of calls of one ``kind``, whoever did some does the others best.
    """

    future: Future[Any]
    function: bytes
    arguments: bytes
    kind: int


class Calls:
    """A queue that ``workers`` threads take from, each by its number from 0 on."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._waiting: deque[Call] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, call: Call) -> None:
        """Let a call wait."""
        with self._changed:
            self._waiting.append(call)
            self._changed.notify()

    def take(self, worker: int) -> Call | None:
        """The first call of a kind that is this worker's, or else the first of all, as soon as
        there is one; None if none will come."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return self._first(worker) if self._waiting else None

    def take_further(self, worker: int) -> Call | None:
        """The same for a worker that has one already: only where there are enough for all."""
        with self._changed:
            return self._first(worker) if len(self._waiting) >= self._workers else None

    def _first(self, worker: int) -> Call:
        own = (call for call in self._waiting if call.kind % self._workers == worker)
        call = next(own, self._waiting[0])
        self._waiting.remove(call)
        return call

    def cancel(self) -> None:
        """Let none of them be done."""
        with self._changed:
            for call in self._waiting:
                call.future.cancel()
            self._waiting.clear()

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
