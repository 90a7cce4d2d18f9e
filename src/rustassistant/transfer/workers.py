"""Executors to run partitions in: this process, or a pool of others.

The pool is our own rather than ``ProcessPoolExecutor`` for two reasons. Its workers never import
the caller's main module, so a script without an ``if __name__ == "__main__"`` guard is not run a
second time, with all its side effects, in every worker. And each worker lives by a pipe from its
parent: whatever kills the parent, the pipe closes and the workers end with it.
"""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import lru_cache
from typing import IO, Any, Final, ParamSpec, TypeVar, cast

from rustassistant.errors import (
    RustAssistantError,
    WorkerDiedError,
    WorkersUnavailableError,
)
from rustassistant.transfer.calls import Call, Calls

_P = ParamSpec("_P")
_T = TypeVar("_T")
_LENGTH: Final = struct.Struct("<Q")
_READY: Final = b"ready"
_PIPE_BYTES: Final = 2**20
_STARTS: Final = 3
"""Attempts at starting a worker that is killed before it is ready."""

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
    """So many worker processes at most, started as calls need them; one thread each to feed it.

    What is called is sent to a worker once for as long as it is the same object, however often it
    is called: a `functools.partial` may hold much that all calls share, and must not change.
    A worker that dies fails the one call it was working on with WorkerDiedError, and another is
    started in its place. Where none can be started, every call fails with
    WorkersUnavailableError. While there are calls enough for all, a worker finds its next one in
    its pipe, and need not wait for this process to get round to it.

    ``kind_of`` tells from its arguments what kind a call is of, by a number: calls of one kind go
    to one worker, unless another has nothing else to do.
    """

    def __init__(self, workers: int, kind_of: Callable[..., int] | None = None) -> None:
        self._calls = Calls(workers)
        self._kind_of = kind_of
        self._function: tuple[object, bytes] = (None, b"")
        self._cancels = False
        self._closing = threading.Lock()
        self._closed = False
        self._most = workers
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start all workers now, for calls that are sure to come."""
        with self._closing:
            while len(self._threads) < self._most and not self._closed:
                self._add_worker()

    def _add_worker(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(
            target=self._feed, args=(number,), name=f"worker-{number}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Queue a call for the next free worker. All of it must be picklable."""
        arguments = pickle.dumps((args, kwargs), pickle.HIGHEST_PROTOCOL)
        kind = 0 if self._kind_of is None else self._kind_of(*args)
        future: Future[_T] = Future()
        with self._closing:
            if self._closed:
                raise RuntimeError("the pool has been shut down")
            if fn is not self._function[0]:
                self._function = (fn, pickle.dumps(fn, pickle.HIGHEST_PROTOCOL))
            self._calls.put(Call(future, self._function[1], arguments, kind))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                self._add_worker()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers end: after what is queued, or only what they are at."""
        with self._closing:
            self._closed = True
        if cancel_futures:
            self._cancels = True
            self._calls.cancel()
        self._calls.close()
        if wait:
            for thread in self._threads:
                thread.join()

    def _feed(self, number: int) -> None:
        worker: _Worker | WorkersUnavailableError | None = _start()
        while (call := self._calls.take(number)) is not None:
            calls = deque([call])
            while calls:
                if len(calls) == 1 and (further := self._calls.take_further(number)) is not None:
                    calls.append(further)
                worker = self._answer_first(calls, worker or _start())
        if isinstance(worker, _Worker):
            worker.stop()

    def _answer_first(
        self, calls: deque[Call], worker: _Worker | WorkersUnavailableError
    ) -> _Worker | WorkersUnavailableError | None:
        """Answer the first of some calls, while the next waits where the worker finds it.

        Returns the worker, or None if it died.
        """
        future = calls[0].future
        living: _Worker | WorkersUnavailableError | None = worker
        succeeded, value = False, cast("Any", worker)
        if self._cancels:
            future.cancel()
        is_wanted = future.set_running_or_notify_cancel()
        if isinstance(worker, _Worker) and (is_wanted or worker.has(calls[0])):
            try:
                worker.send(calls)
                succeeded, value = worker.receive()
            except (OSError, EOFError):
                value, living = WorkerDiedError(f"a worker died ({_how(worker.stop())})"), None
            except Exception as error:  # an answer that can't be rebuilt here
                value = error
        calls.popleft()
        self._idle.release()  # before anybody waits no longer, and comes with another call
        if is_wanted and succeeded:
            future.set_result(value)
        elif is_wanted:
            future.set_exception(value)
        return living


def _how(status: int) -> str:
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _start() -> _Worker | WorkersUnavailableError:
    for _ in range(_STARTS):
        try:
            worker = _Worker()
        except OSError as error:
            return WorkersUnavailableError(f"worker processes can't be started: {error}")
        if worker.is_ready():
            return worker
        status = worker.stop()
        if status >= 0:
            break  # nobody killed it: it would end the same way again
    return WorkersUnavailableError(f"a worker process ended before it was ready ({_how(status)})")


class _Worker:
    """One worker process, spoken to over its own standard input and output.

    It is in a process group of its own: Ctrl-C in a terminal is for the parent to handle.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _MAIN],  # -P: run nothing that lies where we stand
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            process_group=0,
        )
        self._function = b""
        self._sent: deque[Call] = deque()
        for pipe in (self._process.stdin, self._process.stdout):
            _widen(self._pipe(pipe))
        self._room = _pipe_size(self._pipe(self._process.stdin)) // 2

    def is_ready(self) -> bool:
        """Wait until it has started; False if it never will."""
        return self._pipe(self._process.stdout).read(len(_READY)) == _READY

    def has(self, call: Call) -> bool:
        """Whether a call was sent, and has no answer yet."""
        return call in self._sent

    def send(self, calls: Iterable[Call]) -> None:
        """Send the first of some calls, and of the others those that can wait in the pipe.

        Raises OSError if the worker is gone.
        """
        for call in calls:
            if self.has(call):
                continue
            function = b"" if call.function is self._function else call.function
            # While it writes an answer that we don't read yet, it reads no call: none may be larger
            # than what the pipe holds.
            if self._sent and len(function) + len(call.arguments) > self._room:
                return
            self._function = call.function
            stdin = self._pipe(self._process.stdin)
            _send(stdin, function)
            _send(stdin, call.arguments)
            self._sent.append(call)

    def receive(self) -> tuple[bool, Any]:
        """The answer to the first call that has none. Raises OSError or EOFError if it is gone."""
        message = _receive(self._pipe(self._process.stdout))
        self._sent.popleft()
        answer: tuple[bool, Any] = pickle.loads(message)  # noqa: S301 - from our own child
        return answer

    def stop(self) -> int:
        """Close its input, which ends it, and return its exit status."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # it died with a request half sent
                self._pipe(pipe).close()
        return self._process.wait()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None  # noqa: S101 - both are asked for above
        return pipe


def _widen(pipe: IO[bytes]) -> None:
    """Let calls and answers wait in it: most are larger than the 64 KiB that it holds at first."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # users have a share of such memory
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _pipe_size(pipe: IO[bytes]) -> int:
    """Bytes that a pipe holds; 0 where that can't be told."""
    if hasattr(fcntl, "F_GETPIPE_SZ"):
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    return 0


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
    gc.set_threshold(50_000, 20, 20)  # as in the command itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # a library that reads must not find the calls
    os.dup2(2, 1)  # whatever one prints must not end up between the answers
    try:
        answers.write(_READY)
        answers.flush()
        function = b""
        while True:
            function = _receive(calls) or function  # nothing: the one of the call before
            _send(answers, _answer(function, _receive(calls)))
    except EOFError:
        gc.freeze()  # nothing that is left needs to be looked through
    except BrokenPipeError:
        os._exit(0)  # from 3.13 on, Python complains of what cannot be flushed at exit


@lru_cache(maxsize=1)
def _unpacked(function: bytes) -> Callable[..., Any]:
    unpacked: Callable[..., Any] = pickle.loads(function)  # noqa: S301 - from our own parent
    return unpacked


def _answer(function: bytes, arguments: bytes) -> bytes:
    try:
        args, kwargs = pickle.loads(arguments)  # noqa: S301 - from our own parent
        value = _unpacked(function)(*args, **kwargs)
        return pickle.dumps((True, value), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return _packed(WorkerDiedError("a worker ran out of memory"))
    except Exception as error:
        return _packed(error)


def _packed(error: Exception) -> bytes:
    """An answer that the parent can raise, whatever the error is made of."""
    try:
        message = pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)
        pickle.loads(message)  # noqa: S301 - our own; some pickle but do not unpickle
    except Exception:
        told = RustAssistantError(f"{type(error).__name__} in a worker: {error}")
        return pickle.dumps((False, told), pickle.HIGHEST_PROTOCOL)
    return message
