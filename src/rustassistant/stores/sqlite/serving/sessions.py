"""Connections that a process keeps open for lookups, and how they come through a fork.

A connection must not be used across a fork, and it is not enough for the child to open one of its
own: SQLite keeps what it has locked in tables of the process, which the child inherits without the
locks, so that it would read a file that others think unread.
https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
So nothing is open at the moment of a fork: what is idle is closed before, what is at work is
waited for, and both sides open anew what they need.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

from rustassistant.errors import RustAssistantError, UsageError
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import is_alone, open_for_reading
from rustassistant.stores.sqlite.serving.live_reader import LiveReader

_FORK_PATIENCE: Final = 10.0
"""Seconds that a fork waits for lookups and writes to end. They take milliseconds."""

_READER_CACHE_KIB: Final = 16 * 1024
"""For the first connection, which is used most; the n-th has an n-th of it: a hundred together
have no more than five times as much. The system's own cache is behind them."""

_NEVER: Final = -1
"""The generation of a reader that is closed when it is given back."""


class Sessions:
    """Readers of one database, as many as threads look up at once; each is reused.

    A thread takes one and gives it back: threads that come and go cost nothing. ``begin_anew`` is
    called in the child of a fork, where locks may be held by threads that are gone.
    """

    def __init__(self, path: str, begin_anew: Callable[[], None]) -> None:
        self.path = path
        self._begin_anew = begin_anew
        self._idle: list[LiveReader] = []
        self._open: WeakSet[LiveReader] = WeakSet()
        self._writing: set[int] = set()
        self._gate = threading.Lock()
        self._gate_held = False
        self._inode: tuple[int, int] | None = None
        self._generation = 0
        self._closed = False
        self._torn = False
        _all_sessions.add(self)

    def take(self) -> LiveReader:
        """A reader that is this thread's until it is given back. Raises NotFoundError, …"""
        try:
            return self._idle.pop()
        except IndexError:
            with self._gate:
                self._check_open()
                connection = open_for_reading(self.path)
                # One that shuts others out is not kept: for each lookup there is another.
                generation = _NEVER if is_alone(connection) else self._generation
                reader = LiveReader(connection, self.path, generation)
                cache = _READER_CACHE_KIB // (len(self._open) + 1)
                reader.connection.pragma("cache_size", -cache)
                if self._inode is None:
                    self._inode = self._inode_there()
                self._open.add(reader)
                return reader

    def give_back(self, reader: LiveReader) -> None:
        """For the next one; what was taken from a file that was replaced is closed instead."""
        if reader.generation == self._generation:
            self._idle.append(reader)
        else:
            self.discard(reader)

    def discard(self, reader: LiveReader) -> None:
        """After an error."""
        self._open.discard(reader)
        reader.connection.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Within it, another connection to the same file is open, which a fork waits for."""
        with self._gate:
            self._check_open()
            token = object()
            self._writing.add(id(token))
        try:
            yield
        finally:
            self._writing.discard(id(token))

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the cache is closed", hint="Open it again.")
        if self._torn:
            raise RustAssistantError(
                f"this process was forked while {printable(self.path)} was being written",
                hint="Start the process in another way, such as multiprocessing's 'spawn'.",
            )

    def renew_if_replaced(self) -> bool:
        """Forget all readers if another file lies there now; whether it does."""
        with self._gate:
            if self._inode is None or self._inode == self._inode_there():
                return False
            self._generation += 1
            self._inode = None
            self._close_idle()
            return True

    def _inode_there(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _close_idle(self) -> None:
        while self._idle:
            self.discard(self._idle.pop())

    def close(self) -> None:
        """For good. Lookups that are under way end well."""
        with self._gate:
            self._closed = True
            self._generation += 1
            self._close_idle()

    def before_fork(self) -> None:
        """Let nothing begin, and wait until nothing is open."""
        self._gate_held = self._gate.acquire(timeout=_FORK_PATIENCE)
        deadline = time.monotonic() + _FORK_PATIENCE
        while True:
            self._close_idle()
            if not self._open and not self._writing:
                return
            if time.monotonic() > deadline:
                self._torn = True  # the child's copy of this is told; the parent's is set right
                return
            time.sleep(0.001)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._torn = False
        if self._gate_held:
            self._gate.release()

    def after_fork_in_child(self) -> None:
        """Begin anew. Threads that held anything are gone here."""
        _left_behind.extend(self._open)
        self._idle, self._open = [], WeakSet()
        self._writing = set()
        self._gate = threading.Lock()
        self._generation += 1
        self._inode = None
        self._begin_anew()


_all_sessions: Final[WeakSet[Sessions]] = WeakSet()
_left_behind: Final[list[LiveReader]] = []
"""Connections that a fork was made over all the same: closing them would touch the parent's."""


def _for_all(method: str) -> None:
    for sessions in list(_all_sessions):
        getattr(sessions, method)()


os.register_at_fork(
    before=lambda: _for_all("before_fork"),
    after_in_parent=lambda: _for_all("after_fork_in_parent"),
    after_in_child=lambda: _for_all("after_fork_in_child"),
)
