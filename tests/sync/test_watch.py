"""Watching, as a process of its own: what changes on either side arrives on the other."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from sync.pairs import Database, Side, Tree

PATIENCE: Final = 60.0


class Watch:
    """``cache sync --watch --json``, and what it says."""

    def __init__(self, a: Side, b: Side, *options: str) -> None:
        command = [sys.executable, "-m", "rustassistant", "cache", "sync", str(a.path), str(b.path)]
        self.process = subprocess.Popen(
            [*command, "--watch", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._heard: list[dict[str, Any]] = []
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(json.loads(line))

    def hears(self, **wanted: object) -> dict[str, Any]:
        """The next line with these fields."""
        end = time.monotonic() + PATIENCE
        while True:
            line = self._said.get(timeout=max(0.0, end - time.monotonic()))
            self._heard.append(line)
            if wanted.items() <= line.items():
                return line

    def all_said(self) -> list[dict[str, Any]]:
        """All that it has said so far."""
        while not self._said.empty():
            self._heard.append(self._said.get())
        return self._heard

    def stop(self, number: int = signal.SIGINT) -> dict[str, Any]:
        self.process.send_signal(number)
        summary = self.hears(message_type="summary")
        assert self.process.wait(PATIENCE) == 0
        return summary

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not arrive"
        time.sleep(0.02)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path / "repos")
    made.analyse("first.rs", 1)
    made.analyse("second.rs", 1)
    return made


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "cache.db")


@pytest.fixture
def watched(tree: Tree, database: Database) -> Iterator[Watch]:
    watch = Watch(tree, database, "--delete", "--max-delete", "100%")
    try:
        watch.hears(phase="watch", message="in step: 2 results")
        yield watch
    finally:
        watch.close()


def test_changes_on_either_side_arrive_on_the_other(
    watched: Watch, tree: Tree, database: Database
) -> None:
    tree.analyse("new.rs", 2)
    until(lambda: database.notes("new.rs") == ["new.rs at 2"])
    database.analyse("new.rs", 3)
    until(lambda: tree.notes("new.rs") == ["new.rs at 3"])
    tree.delete("first.rs")
    until(lambda: database.paths() == ["new.rs", "second.rs"])
    summary = watched.stop()
    assert (summary["a"]["changed"], summary["b"]["added"]) == (1, 3)
    assert (summary["b"]["deleted"], summary["equal"]) == (1, 2)


def test_file_that_is_written_over_in_place_arrives(
    watched: Watch, tree: Tree, database: Database
) -> None:
    for second in range(2, 8):
        tree.analyse("first.rs", second)
        until(lambda second=second: database.notes("first.rs") == [f"first.rs at {second}"])  # type: ignore[misc]
    watched.stop(signal.SIGTERM)


def test_side_that_is_gone_for_a_while_is_told_of_once_and_waited_for(
    watched: Watch, tree: Tree, database: Database
) -> None:
    elsewhere = tree.path.with_name("elsewhere")
    tree.path.rename(elsewhere)
    error = watched.hears(message_type="error")
    assert error["error"] == "UnsafeSyncError"
    database.analyse("meanwhile.rs", 4)
    assert not tree.path.exists()
    elsewhere.rename(tree.path)
    watched.hears(phase="watch", message="going on")
    until(lambda: tree.notes("meanwhile.rs") == ["meanwhile.rs at 4"])
    assert [line for line in watched.all_said() if line["message_type"] == "error"] == [error]
    assert len(database.live()) == 3
    watched.stop()


def test_watch_survives_a_writer_who_holds_the_lock(
    watched: Watch, tree: Tree, database: Database
) -> None:
    from rustassistant.stores.sqlite.store import SqliteStore

    with SqliteStore(database.path).writer():
        tree.analyse("new.rs", 2)
        error = watched.hears(message_type="error")
        assert error["error"] == "LockedError"
    until(lambda: database.notes("new.rs") == ["new.rs at 2"])
    watched.stop()


def test_conflict_that_is_left_is_told_once_and_in_the_exit_code(
    tree: Tree, database: Database
) -> None:
    database.analyse("first.rs", 9)
    watch = Watch(tree, database, "--resolve", "fail")
    try:
        watch.hears(sign="!", file_path="first.rs")
        tree.analyse("other.rs", 3)
        watch.hears(sign="+", file_path="other.rs")
        watch.process.send_signal(signal.SIGINT)
        summary = watch.hears(message_type="summary")
        assert summary["left"] == 1
        assert watch.process.wait(PATIENCE) == 5
        assert [line.get("sign") for line in watch.all_said()].count("!") == 1
    finally:
        watch.close()


def test_killed_watch_leaves_nothing_that_hinders_the_next(tree: Tree, database: Database) -> None:
    watch = Watch(tree, database)
    try:
        watch.hears(phase="watch", message="in step: 2 results")
        os.kill(watch.process.pid, signal.SIGKILL)
    finally:
        watch.close()
    again = Watch(database, tree)
    try:
        again.hears(phase="watch", message="in step: 2 results")
        tree.analyse("new.rs", 2)
        until(lambda: len(database.live()) == 3)
        again.stop()
    finally:
        again.close()
