"""Commands that are killed at random moments, with the processes that they have started."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import IO, Final

from faults.children import Acknowledged, Say
from rustassistant.cli import main

CAN_WATCH: Final = hasattr(os, "pidfd_open") and os.path.exists("/proc/self/stat")
"""Children of other processes are found in Linux's /proc."""

_PATIENCE: Final = 60
_HUNG: Final = 99


class Victim:
    """A command line in a process of its own, whose worker processes are as real as ever.

    It is a fork of this process, which saves it from loading the program again. ``before`` is run
    in it first; what it says to be ``safe`` comes out as `acknowledged`.
    """

    def __init__(self, arguments: Sequence[str], before: Callable[[Say], object]) -> None:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Of other threads: they don't use SQLite, and the child has but this one.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _run(arguments, before, writer)
        os.close(writer)
        self._descriptor = os.pidfd_open(self.pid)
        self._pipe: IO[str] = os.fdopen(reader, encoding="utf-8")
        self._safe: set[tuple[str, str, str]] = set()
        self._workers: dict[int, int] = {}

    def wait_for_commits(self, count: int) -> bool:
        """Whether it came so far; it may have ended before."""
        return all(self._read() for _ in range(count))

    def _read(self) -> bool:
        line = self._pipe.readline()
        if not line.endswith("\n"):
            return False
        word, value = json.loads(line)
        if word == "safe":
            self._safe.update((a, b, c) for a, b, c in value)
        return True

    def kill(self, whom: str, random: Random, seconds: float) -> bool:
        """Kill it, a worker or all of them, within so many seconds; False if it has ended."""
        if _ends(self._descriptor, random.random() * seconds):
            return False
        for pid in _children(self.pid):
            with suppress(ProcessLookupError):  # it has just ended
                self._workers[pid] = os.pidfd_open(pid)
        workers = list(self._workers)
        random.shuffle(workers)
        victims = {"parent": [], "group": workers, "worker": workers[:1]}[whom]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if whom != "worker":
            os.kill(self.pid, signal.SIGKILL)
        return whom == "parent" or bool(workers)

    def end(self) -> int:
        """Wait until it and its workers are gone; its exit status."""
        while self._read():
            pass
        assert _ends(self._descriptor, _PATIENCE), "hangs"
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        for pid, descriptor in self._workers.items():
            assert _ends(descriptor, _PATIENCE), f"worker {pid} outlives its parent"
        return status

    @property
    def acknowledged(self) -> Acknowledged:
        return frozenset(self._safe)

    def close(self) -> None:
        """Leave nothing open, whatever happened."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._pipe.close()
        for descriptor in (self._descriptor, *self._workers.values()):
            os.close(descriptor)


def _run(arguments: Sequence[str], before: Callable[[Say], object], writer: int) -> None:
    """The child's whole life."""
    status = _HUNG
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        sys.stdout = sys.stderr = open(nothing, "w", closefd=False)  # noqa: SIM115 - to the end
        before(partial(_say, writer))
        sys.argv = ["rustassistant", *arguments]
        main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        os._exit(status)


def _say(writer: int, word: str, value: object) -> None:
    os.write(writer, json.dumps((word, value)).encode() + b"\n")


def _ends(descriptor: int, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def _children(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                facts = Path("/proc", name, "stat").read_text(errors="replace")
            except OSError:
                continue
            state, owner = facts.rpartition(")")[2].split()[:2]
            if int(owner) == parent and state != "Z":
                found.append(int(name))
    return found
