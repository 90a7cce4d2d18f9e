"""Hits are counted however a cache, or the process that has it, comes to its end."""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from rustassistant import AnalysisCache
from rustassistant.cache import tally
from rustassistant.stores.sqlite import SqliteStore

SET: dict[str, Any] = {
    "type": "docs", "content": "x", "file_path": "a.py", "provider": "p", "model": "m",
    "repository": "/r",
}  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with AnalysisCache(tmp_path / "cache.db") as cache:
        cache.set(**SET, result=1)
    return tmp_path / "cache.db"


def hits(database: Path) -> int:
    with AnalysisCache(database) as cache:
        return cache.statistics().hits


def ask(cache: AnalysisCache) -> None:
    for _ in range(10):
        assert cache.get(type="docs", content="x") is not None


def ask_locally(database: Path) -> None:
    cache = AnalysisCache(database)
    ask(cache)


_kept: list[AnalysisCache] = []


def ask_and_keep(database: Path) -> None:
    """As programs do that have their cache in a module."""
    _kept.append(AnalysisCache(database))
    ask(_kept[0])


def test_cache_that_is_dropped_at_the_programs_end_is_counted(database: Path) -> None:
    source = """
import sys
from rustassistant import AnalysisCache

def main():
    cache = AnalysisCache(sys.argv[1])
    for _ in range(10):
        assert cache.get(type="docs", content="x") is not None

main()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", source, database], check=True)
    assert hits(database) == 10


def test_cache_that_is_dropped_is_counted_while_the_program_goes_on(database: Path) -> None:
    ask_locally(database)
    while any(one.name == "rustassistant-counts" for one in threading.enumerate()):
        threading.Event().wait(0.001)
    assert hits(database) == 10


def test_cache_that_is_dropped_in_a_cycle_is_counted(database: Path) -> None:
    cache = AnalysisCache(database)
    cycle: list[Any] = [cache]
    cycle.append(cycle)
    ask(cache)
    del cache, cycle
    gc.collect()
    while any(one.name == "rustassistant-counts" for one in threading.enumerate()):
        threading.Event().wait(0.001)
    assert hits(database) == 10


def test_cache_that_is_dropped_while_somebody_else_writes_is_counted_later(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_vain = threading.Event()
    take_back = tally.Tally._take_back

    def tell(*args: Any) -> None:
        take_back(*args)
        in_vain.set()

    monkeypatch.setattr(tally.Tally, "_take_back", tell)
    monkeypatch.setattr(tally, "FLUSH_SECONDS", 0.001)
    with SqliteStore(database).writer():
        ask_locally(database)
        in_vain.wait()
    while any(one.name == "rustassistant-counts" for one in threading.enumerate()):
        threading.Event().wait(0.001)
    assert hits(database) == 10


def test_cache_that_is_dropped_leaves_nothing_open(database: Path) -> None:
    ask_locally(database)
    while any(one.name == "rustassistant-counts" for one in threading.enumerate()):
        threading.Event().wait(0.001)
    gc.collect()
    with closing(apsw.Connection(str(database))) as only:
        only.pragma("locking_mode", "exclusive")
        only.execute("BEGIN EXCLUSIVE; COMMIT")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("target", [ask_locally, ask_and_keep])
def test_cache_of_a_child_process_is_counted(
    database: Path, method: str, target: Callable[[Path], None]
) -> None:
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=target, args=(database,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert hits(database) == 10


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_inherited_cache_is_counted_in_child_and_parent(database: Path) -> None:
    with AnalysisCache(database) as cache:
        ask(cache)
        child = multiprocessing.get_context("fork").Process(target=ask, args=(cache,))
        child.start()
        child.join()
        assert child.exitcode == 0
        ask(cache)
    assert hits(database) == 30


def test_cache_that_was_opened_before_multiprocessing_was_imported_is_counted(
    database: Path,
) -> None:
    source = """
import sys
from rustassistant import AnalysisCache

cache = AnalysisCache(sys.argv[1])
import multiprocessing

def ask():
    assert cache.get(type="docs", content="x") is not None

child = multiprocessing.get_context("fork").Process(target=ask)
child.start()
child.join()
assert child.exitcode == 0
"""
    subprocess.run([sys.executable, "-c", source, database], check=True)
    assert hits(database) == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_threads_of_a_child_process_find_its_cache_open_to_their_end(database: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=_ask_later, args=(database,))
    child.start()
    child.join()
    assert child.exitcode == 0
    with AnalysisCache(database) as cache:
        assert [one.result for one in cache.entries(content="late")] == [1]


def _ask_later(database: Path) -> None:
    """Its thread goes on when it has returned, and even when all is told that the end has come."""
    from multiprocessing import util

    cache = AnalysisCache(database)
    ended = threading.Event()
    util.Finalize(None, ended.set, exitpriority=-1000)

    def work() -> None:
        ended.wait()
        ask(cache)
        cache.set(**(SET | {"content": "late"}), result=1)

    threading.Thread(target=work).start()
