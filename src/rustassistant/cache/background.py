"""Work that goes on when whoever began it has stopped waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

_T = TypeVar("_T")


class Background:
    """Threads for one cache, each for a piece of work; the program's end waits for them."""

    def __init__(self) -> None:
        self.begin_anew_in_child()

    def begin_anew_in_child(self) -> None:
        """After a fork: the threads are the parent's."""
        self._threads: set[threading.Thread] = set()

    def start(self, work: Callable[[], _T]) -> Future[_T]:
        """Begin work in a thread of its own. What it returns can be waited for, and not cancelled.

        A pool would let it queue behind others, where it could be cancelled before it has begun.
        """
        outcome: Future[_T] = Future()
        outcome.set_running_or_notify_cancel()

        def run() -> None:
            try:
                result = work()
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)
            finally:
                self._threads.discard(thread)

        run_in_context: Any = copy_context().run
        thread = threading.Thread(target=run_in_context, args=(run,), name="rustassistant-work")
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads, or the interpreter is ending
            run()
        return outcome

    def wait(self) -> None:
        """Until all has been done that was begun."""
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join()
