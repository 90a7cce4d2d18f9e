"""Runs in a child process that may be killed, and what it could still tell."""

from __future__ import annotations

import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

from rustassistant.errors import RustAssistantError
from rustassistant.migrate import CacheMigrator
from rustassistant.records import Record
from rustassistant.stores.base import Folder
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.sqlite import writer as sqlite_writer
from rustassistant.transfer import engine

_PATIENCE: Final = 100
"""Seconds after which a child hangs for good, and is killed as a failure."""

COMMIT_ROWS: Final = 5
CHECKPOINT_BYTES: Final = 300_000
PARTITION_FILES: Final = 5

Say = Callable[[str, Any], None]
Acknowledged = frozenset[tuple[str, str, str]]
"""Type, path and digest of the result of entries that a commit has reported as safe."""


class Told(NamedTuple):
    """How a child ended, and what it said: each word with the values it came with."""

    status: int
    said: dict[str, list[Any]]

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def acknowledged(self) -> Acknowledged:
        return frozenset(tuple(one) for many in self.said.get("safe", ()) for one in many)

    def value(self, word: str) -> Any:
        """What came last with a word; None if it was never said."""
        return self.said.get(word, [None])[-1]


class Child:
    """A fork of this process that runs ``action``, from when ``gate`` is closed, if there is one.

    ``gate`` is the reading end of a pipe: many children that wait at one begin together.
    """

    def __init__(self, action: Callable[[Say], None], gate: tuple[int, int] | None = None) -> None:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Of other threads: they don't use SQLite, and the child has but this one.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            if gate is not None:
                os.close(gate[1])
                os.read(gate[0], 1)
            _run(action, writer)
        os.close(writer)
        self._pipe = os.fdopen(reader, encoding="utf-8")

    def wait_for_word(self) -> Any:
        """The next word it says, with its value; None if it has ended."""
        line = self._pipe.readline()
        return json.loads(line) if line else None

    def end(self) -> Told:
        """Wait for it. Raises if it raised anything, or hung."""
        with self._pipe:
            lines = self._pipe.readlines()
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        said: dict[str, list[Any]] = {}
        for line in lines:
            word, value = json.loads(line)
            said.setdefault(word, []).append(value)
        told = Told(status, said)
        ended = told.value("raised") or f"the child ended with {status}"
        assert status in (0, -signal.SIGKILL), ended
        return told


def in_child(action: Callable[[Say], None]) -> Told:
    """Run ``action`` in a child, and wait for it."""
    return Child(action).end()


def together(actions: Sequence[Callable[[Say], None]]) -> list[Told]:
    """Run all of these at once, each in a child."""
    gate = os.pipe()
    children = [Child(action, gate) for action in actions]
    os.close(gate[1])
    os.close(gate[0])
    return [child.end() for child in children]


def _run(action: Callable[[Say], None], writer: int) -> None:
    status = 1

    def say(word: str, value: Any) -> None:
        os.write(writer, json.dumps((word, value)).encode() + b"\n")

    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_PATIENCE)
        action(say)
        status = 0
    except BaseException:
        say("raised", traceback.format_exc())
    finally:
        os._exit(status)


def die() -> None:
    """As by kill -9: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def made_small(*sizes: tuple[ModuleType, str, int]) -> None:
    """Let a few results take as many steps as thousands do. Changes this process for good."""
    for module, name, value in sizes:
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, value)


class Commits:
    """Tells after each commit of this process which entries it made durable.

    Commits are many and small, each folded into the file soon. Changes this process for good.
    """

    def __init__(
        self, say: Say, *, commit_rows: int = COMMIT_ROWS, partition_files: int = PARTITION_FILES
    ) -> None:
        self._say = say
        self._waiting: list[tuple[str, str, str]] = []
        made_small(
            (engine, "COMMIT_ROWS", commit_rows),
            (json_store, "PARTITION_FILES", partition_files),
            (sqlite_writer, "_CHECKPOINT_BYTES", CHECKPOINT_BYTES),
        )
        self._listen()

    def _listen(self) -> None:
        writer: Any = sqlite_writer.SqliteWriter
        put, commit = writer.put, writer.commit

        def putting(
            this: Any, folder: Folder, records: Sequence[Record], *args: Any, **options: Any
        ) -> Any:
            answer = put(this, folder, records, *args, **options)
            self._waiting.extend(
                (folder.cache_type, one.file_path, one.result_digest.hex()) for one in records
            )
            return answer

        def committing(this: Any) -> None:
            commit(this)
            self.acknowledge()

        writer.put, writer.commit = putting, committing

    def acknowledge(self) -> None:
        """All that was put is safe."""
        self._say("safe", self._waiting)
        self._waiting = []

    def forget(self) -> None:
        """What was put since the last commit is undone."""
        self._waiting = []


def migrate(source: str | Sequence[str], database: str, say: Say, commits: Commits) -> None:
    """Migrate, telling how it ended.

    An error of ours is an answer like any other; no other may come out.
    """
    try:
        result = CacheMigrator(source, database, jobs=1).migrate()
    except RustAssistantError as error:
        commits.forget()
        say("refused", [type(error).__name__, error.message])
    else:
        commits.acknowledge()
        say("done", [result.total_entries, result.total_failed])
