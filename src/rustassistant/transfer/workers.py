"""Executors to run partitions in: this process, or a pool of others.

The pool is our own rather than ``ProcessPoolExecutor`` for two reasons. Its workers never import
the caller's main module, so a script without an ``if __name__ == "__main__"`` guard is not run a
second time, with all its side effects, in every worker. And each worker lives by a pipe from its
parent: whatever kills the parent, the pipe closes and the workers end with it.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import IO, Any, Final, ParamSpec, TypeVar

from rustassistant.errors import WorkerDiedError

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LENGTH: Final = struct.Struct("<Q")
_MAIN: Final = "import rustassistant.transfer.workers as w; w.serve()"


class InlineExecutor(Executor):
    """Runs each call at once, in the thread that submits it: no start-up, no copying."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run it now."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerPool(Executor):
    """A fixed number of worker processes, one thread each to feed it.

    A worker that dies fails the one call it was working on with WorkerDiedError, and another is
    started in its place.
    """

    def __init__(self, workers: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._feed, name=f"worker-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Queue a call for the next free worker. All of it must be picklable."""
        future: Future[_T] = Future()
        self._calls.put((future, pickle.dumps((fn, args, kwargs), pickle.HIGHEST_PROTOCOL)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers end: after what is queued, or only what they are at."""
        if cancel_futures:
            while True:
                try:
                    call = self._calls.get_nowait()
                except queue.Empty:
                    break
                if call is not None:
                    call[0].cancel()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _feed(self) -> None:
        worker = _Worker()
        try:
            while (call := self._calls.get()) is not None:
                future, request = call
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    succeeded, value = worker.call(request)
                except (OSError, EOFError):
                    status = worker.stop()
                    future.set_exception(WorkerDiedError(f"a worker died ({_how(status)})"))
                    worker = _Worker()
                    continue
                if succeeded:
                    future.set_result(value)
                else:
                    future.set_exception(value)
        finally:
            worker.stop()


def _how(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit code {status}"


class _Worker:
    """One worker process, spoken to over its own standard input and output."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def call(self, request: bytes) -> tuple[bool, Any]:
        """Send a call, wait for its answer. Raises OSError or EOFError if the worker is gone."""
        _send(self._pipe(self._process.stdin), request)
        answer: tuple[bool, Any] = pickle.loads(  # noqa: S301 - from our own child
            _receive(self._pipe(self._process.stdout))
        )
        return answer

    def stop(self) -> int:
        """Close its input, which ends it, and return its exit status."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                self._pipe(pipe).close()
            except OSError:
                continue  # it died with a request half sent
        return self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None  # noqa: S101 - both are asked for above
        return pipe


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes:
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    message = pipe.read(length)
    if len(message) < length:
        raise EOFError
    return message


def serve() -> None:
    """A worker's whole life: answer calls until the parent closes the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    calls = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up between the answers
    while True:
        try:
            request = _receive(calls)
        except EOFError:
            return
        try:
            fn, args, kwargs = pickle.loads(request)  # noqa: S301 - from our own parent
            answer: tuple[bool, Any] = (True, fn(*args, **kwargs))
        except Exception as error:
            answer = (False, error)
        try:
            _send(answers, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))
        except BrokenPipeError:
            return
