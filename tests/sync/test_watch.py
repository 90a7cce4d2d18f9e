"""Watching, as a process of its own: what changes on either side arrives on the other."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rustassistant.sync.memory import opened
from sync.pairs import Database, Side, Tree

PATIENCE: Final = 60.0


class Watch:
    """``cache sync --watch --json``, and what it says."""

    def __init__(self, a: Side, b: Side, *options: str, **environment: str) -> None:
        command = [sys.executable, "-m", "rustassistant", "cache", "sync", str(a.path), str(b.path)]
        self.process = subprocess.Popen(
            [*command, "--watch", "--json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
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


def until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
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


def test_news_outlast_another_sync_of_the_pair(
    watched: Watch, tree: Tree, database: Database
) -> None:
    with opened((str(tree.path), str(database.path)), keep=True):
        tree.analyse("new.rs", 2)
        assert watched.hears(message_type="error")["error"] == "LockedError"
    # Sooner than by the next look at everything.
    until(lambda: database.notes("new.rs") == ["new.rs at 2"], patience=PATIENCE / 2)
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


def test_many_changes_at_once_are_synced_together(
    watched: Watch, tree: Tree, database: Database
) -> None:
    for number in range(400):
        tree.analyse(f"{number}.rs", 1)
    until(lambda: len(database.live()) == 402)
    summary = watched.stop()
    assert summary["b"]["added"] == 402
    said = [line for line in watched.all_said() if line.get("phase") == "watch"]
    assert len(said) < 100


def test_directory_that_is_removed_is_judged_as_one_deletion(
    watched: Watch, tree: Tree, database: Database
) -> None:
    tree.cache.add("x.rs", cache_type="todos")
    for number in range(30):
        tree.cache.add(f"{number}.rs", cache_type="refactor")
    until(lambda: len(database.live()) == 33)
    shutil.rmtree(tree.file("x.rs").parent.with_name("refactor"))
    until(lambda: len(database.live()) == 3)
    tree.analyse("later.rs", 1)
    until(lambda: len(database.live()) == 4)
    assert watched.stop()["b"]["deleted"] == 30


def test_kernel_that_tells_nothing_is_no_hindrance(
    tree: Tree, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "inotify_simple.py").write_text("raise ImportError")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    watch = Watch(tree, database, "--delete", PYTHONPATH=path)
    try:
        watch.hears(phase="watch", message="in step: 2 results")
        tree.analyse("new.rs", 2, note="longer than any before")
        until(lambda: database.notes("new.rs") == ["longer than any before"])
        database.analyse("new.rs", 3)
        until(lambda: tree.notes("new.rs") == ["new.rs at 3"])
        database.delete("first.rs")
        until(lambda: tree.paths() == ["new.rs", "second.rs"])
        said = [line["message"] for line in watch.all_said() if line.get("phase") == "watch"]
        assert sum("is looked at again and again" in text for text in said) == 1
        watch.stop()
    finally:
        watch.close()


def test_watch_that_ends_while_it_is_stuck_is_no_success(watched: Watch, tree: Tree) -> None:
    tree.path.rename(tree.path.with_name("elsewhere"))
    first = watched.hears(message_type="error")
    watched.process.send_signal(signal.SIGINT)
    assert watched.hears(message_type="error") == first  # again, at the end
    watched.hears(message_type="summary")
    assert watched.process.wait(PATIENCE) == first["exit_code"] == 1


def test_watch_that_was_stuck_and_has_recovered_is_a_success(watched: Watch, tree: Tree) -> None:
    elsewhere = tree.path.rename(tree.path.with_name("elsewhere"))
    watched.hears(message_type="error")
    elsewhere.rename(tree.path)
    watched.hears(phase="watch", message="going on")
    watched.stop()
