"""Threads, processes, forks and kills, against real files."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.cache.serving import Served
from rustassistant.stores.live import Answer, Wanted
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.sqlite.serving.live_reader import LiveReader
from support import Cache

SET: dict[str, Any] = {
    "type": "docs", "content": "x", "file_path": "a.py", "provider": "p", "model": "m",
    "repository": "/r",
}  # fmt: skip
ASKED: dict[str, Any] = {"type": "docs", "content": "x", "model": "m"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def cache(database: Path) -> Iterator[AnalysisCache]:
    with AnalysisCache(database) as opened:
        yield opened


def start(source: str, *arguments: object) -> subprocess.Popen[str]:
    head = "import os, sys, time\nfrom rustassistant import AnalysisCache\n"
    words = "SET = " + repr(SET) + "\nASKED = " + repr(ASKED) + "\n"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", head + words + source, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def ended(*processes: subprocess.Popen[str]) -> list[str]:
    answers = []
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        answers.append(out)
    return answers


def test_threads_that_ask_for_the_same_at_once_pay_once(cache: AnalysisCache) -> None:
    paid = []

    def pay() -> None:
        paid.append(1)
        time.sleep(0.05)  # the others have time to come

    everyone = threading.Barrier(20)

    def ask(_: int) -> Any:
        everyone.wait()
        return cache.get_or_compute(**SET, compute=pay).computed

    with ThreadPoolExecutor(20) as threads:
        computed = list(threads.map(ask, range(20)))
    assert len(paid) == sum(computed) == 1
    assert (cache.statistics().hits, cache.statistics().misses) == (19, 1)


def test_processes_that_ask_for_the_same_at_once_pay_once(database: Path, tmp_path: Path) -> None:
    source = """
def compute():
    with open(sys.argv[2], "a") as log:
        log.write("paid\\n")
    time.sleep(0.05)
    return "result"

with AnalysisCache(sys.argv[1]) as cache:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(20):
        got = cache.get_or_compute(**(SET | {"content": str(number)}), compute=compute)
        assert got.result == "result"
"""
    log = tmp_path / "log"
    processes = [start(source, database, log) for _ in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended(*processes)
    assert log.read_text().count("paid") == 20
    with AnalysisCache(database) as cache:
        found = cache.statistics()
        assert (found.hits, found.misses) == (100, 20)


def test_what_was_set_just_before_the_claim_was_had_is_not_paid_for_again(
    cache: AnalysisCache, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(cache._served, Served)
    claim = cache._served.store.claim

    def claim_too_late(key: bytes) -> Any:
        with AnalysisCache(database) as other:
            other.set(**SET, result="of the other")
        return claim(key)

    monkeypatch.setattr(cache._served.store, "claim", claim_too_late)
    got = cache.get_or_compute(**SET, compute=lambda: pytest.fail("paid for again"))
    assert got.result == "of the other"


def test_claim_of_a_killed_process_lapses(cache: AnalysisCache, database: Path) -> None:
    source = """
def compute():
    print("computing", flush=True)
    sys.stdin.readline()

AnalysisCache(sys.argv[1]).get_or_compute(**SET, compute=compute)
"""
    process = start(source, database)
    assert process.stdout is not None
    assert process.stdout.readline() == "computing\n"
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as threads:

        def ask() -> Any:
            waiting.set()
            return cache.get_or_compute(**SET, compute=lambda: "mine")

        answer = threads.submit(ask)
        waiting.wait()
        assert cache.get(**ASKED) is None
        process.kill()
        process.communicate()
        got = answer.result(timeout=60)
    assert (got.result, got.computed) == ("mine", True)


def test_waiting_for_one_that_hangs_has_an_end(database: Path) -> None:
    with AnalysisCache(database, claim_timeout=0.05) as cache:
        held = cache.get_or_compute(
            **SET, compute=lambda: ThreadPoolExecutor(1).submit(
                lambda: cache.get_or_compute(**SET, compute=lambda: "mine").result
            ).result()
        )  # fmt: skip
    assert held.result == "mine"


def test_acknowledged_result_survives_a_kill(database: Path) -> None:
    source = """
cache = AnalysisCache(sys.argv[1])
number = 0
while True:
    cache.set(**(SET | {"content": str(number)}), result=number)
    print(number, flush=True)
    number += 1
"""
    process = start(source, database)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(30)]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate()
    acknowledged = [int(line) for line in [*said, *rest.splitlines()] if line.strip()]
    with AnalysisCache(database) as cache:
        for number in acknowledged:
            got = cache.get(type="docs", content=str(number))
            assert got is not None
            assert got.result == number


def test_set_waits_for_the_disk(cache: AnalysisCache, database: Path) -> None:
    """An entry is acknowledged only after a commit with synchronous=FULL."""
    seen = []

    class Watched(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("watched", "")

        def xOpen(self, name: Any, flags: Any) -> Any:
            return WatchedFile(name, flags)

    class WatchedFile(apsw.VFSFile):
        def __init__(self, name: Any, flags: Any) -> None:
            super().__init__("", name, flags)
            self.name = name if isinstance(name, str) else name.filename()

        def xSync(self, flags: int) -> None:
            seen.append(Path(self.name).name)
            super().xSync(flags)

    cache.set(**SET, result=0)
    cache.get(**ASKED)  # its connection stays open, so that closing another folds no log
    cache.set(**SET, result=1)
    watched = Watched()
    with pytest.MonkeyPatch.context() as patch:
        connection = apsw.Connection
        patch.setattr(
            "rustassistant.stores.sqlite.connection.apsw.Connection",
            lambda path, **options: connection(path, vfs="watched", **options),
        )
        cache.set(**SET, result=2)
    assert seen == ["cache.db-wal"]
    del watched


def test_hundred_threads_read_at_once(cache: AnalysisCache) -> None:
    for number in range(50):
        cache.set(**(SET | {"content": str(number)}), result={"number": number})

    def read(start: int) -> None:
        for step in range(200):
            number = (start + step) % 50
            got = cache.get(type="docs", content=str(number))
            assert got is not None
            assert got.result == {"number": number}

    with ThreadPoolExecutor(100) as threads:
        list(threads.map(read, range(100)))
    assert cache.statistics().hits == 20_000


def test_a_lookup_whose_disk_does_not_answer_holds_up_no_other(
    cache: AnalysisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set(**SET, result=1)
    cache.set(**(SET | {"content": "slow"}), result=2)
    reads, answers, found = threading.Event(), threading.Event(), LiveReader._found

    def slow(reader: LiveReader, wanted: Wanted) -> Answer | None:
        if wanted.file_hash == hashlib.sha256(b"slow").digest():
            reads.set()
            assert answers.wait(60)
        return found(reader, wanted)

    monkeypatch.setattr(LiveReader, "_found", slow)
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(cache.get, type="docs", content="slow")
        try:
            assert reads.wait(60)
            others = [cache.get(**ASKED) for _ in range(3)]
            assert not late.done()
        finally:
            answers.set()
        assert [one and one.result for one in (late.result(60), *others)] == [2, 1, 1, 1]


def test_threads_that_set_at_once_lose_nothing(cache: AnalysisCache) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(
            threads.map(
                lambda number: cache.set(**(SET | {"content": str(number)}), result=number),
                range(200),
            )
        )
    assert sorted(one.result for one in cache) == list(range(200))


def test_forked_children_read_and_write_beside_their_parent(
    cache: AnalysisCache, database: Path
) -> None:
    cache.set(**SET, result="of the parent")
    assert cache.get(**ASKED) is not None
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            cache.get(**ASKED)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        children = []
        for number in range(8):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    got = cache.get(**ASKED)
                    assert got is not None
                    assert got.result == "of the parent"
                    cache.set(**(SET | {"content": f"child {number}"}), result=number)
                    cache.flush()
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
            cache.set(**(SET | {"content": f"parent {number}"}), result=-number)
        for child in children:
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        busy.join()
    for number in range(8):
        for who, result in (("child", number), ("parent", -number)):
            got = cache.get(type="docs", content=f"{who} {number}")
            assert got is not None
            assert got.result == result
    with closing(apsw.Connection(str(database))) as connection:
        assert connection.pragma("integrity_check") == "ok"


def _in_a_pool(number: int) -> Any:
    got = _shared.get_or_compute(**(SET | {"content": str(number % 5)}), compute=lambda: number % 5)
    return got.result


_shared: AnalysisCache


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_cache_opened_before_a_pool_was_forked_works_in_it(cache: AnalysisCache) -> None:
    global _shared  # noqa: PLW0603 - what a fork inherits
    _shared = cache
    cache.set(**SET, result=1)
    cache.get(**ASKED)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(_in_a_pool, range(30)) == [number % 5 for number in range(30)]


def test_parents_counts_are_not_counted_again_by_its_children(cache: AnalysisCache) -> None:
    cache.set(**SET, result=1)
    cache.get(**ASKED)
    child = os.fork()
    if child == 0:
        cache.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert cache.statistics().hits == 1


def test_nothing_is_open_at_the_moment_of_a_fork(cache: AnalysisCache, database: Path) -> None:
    cache.set(**SET, result=1)
    cache.get(**ASKED)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        os.write(writing, json.dumps([link for link in links if str(database) in link]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as pipe:
        assert json.load(pipe) == []


def test_result_waits_beside_a_database_that_is_held_and_is_got_meanwhile(database: Path) -> None:
    with (
        AnalysisCache(database, write_timeout=0.05) as cache,
        AnalysisCache(database) as other,
    ):
        cache.set(**SET, result="first")
        with SqliteStore(database).writer():
            cache.set(**SET, result="second")
            cache.set(**(SET | {"type": "todos"}), result="todo")
            for one in (cache, other):
                got = one.get(**ASKED, repository="/r", file_path="a.py")
                assert got is not None
                assert got.result == "second"
                assert sorted(entry.result for entry in one) == ["second", "todo"]
            waiting = list(Path(f"{database}.pending").iterdir())
            assert len(waiting) == 2
            assert {path.stat().st_mode & 0o777 for path in waiting} == {0o600}
        other.set(**(SET | {"content": "y"}), result="third")
        assert not Path(f"{database}.pending").exists()
        assert sorted(entry.result for entry in cache) == ["second", "third", "todo"]


def test_result_that_waits_is_found_after_a_kill_and_folded_in(database: Path) -> None:
    with AnalysisCache(database) as cache:
        cache.set(**(SET | {"content": "before"}), result=0)
    source = """
import signal
cache = AnalysisCache(sys.argv[1], write_timeout=0.05)
cache.set(**SET, result="paid for")
os.kill(os.getpid(), signal.SIGKILL)
"""
    with SqliteStore(database).writer():
        process = start(source, database)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert Path(f"{database}.pending").exists()
    with AnalysisCache(database) as cache:
        assert not Path(f"{database}.pending").exists()
        got = cache.get(**ASKED)
        assert got is not None
        assert got.result == "paid for"


def test_damaged_file_that_waits_is_left_there_and_hides_nothing(database: Path) -> None:
    with AnalysisCache(database, write_timeout=0.05) as cache:
        cache.set(**(SET | {"content": "before"}), result=0)
        with SqliteStore(database).writer():
            cache.set(**SET, result="torn")
            (torn,) = Path(f"{database}.pending").iterdir()
            cache.set(**(SET | {"content": "y"}), result="whole")
            torn.write_bytes(torn.read_bytes()[:-5])
            assert cache.get(**ASKED) is None
        cache.flush()
        assert list(Path(f"{database}.pending").iterdir()) == [torn]
        assert cache.get(**ASKED) is None
        got = cache.get(type="docs", content="y")
        assert got is not None
        assert got.result == "whole"


def test_programs_and_a_migration_together_lose_nothing(database: Path, tmp_path: Path) -> None:
    """Each process checks its own keys against a model; all of them are there in the end."""
    tree = Cache(tmp_path / "repos")
    for number in range(300):
        tree.add(f"src/{number}.rs", content=str(number).encode())
    source = """
import random, json
me = int(sys.argv[2])
chance = random.Random(me)
model = {}
with AnalysisCache(sys.argv[1], write_timeout=0.2) as cache:
    for step in range(60):
        key = f"{me} {chance.randrange(6)}"
        words = SET | {"content": key}
        what = chance.random()
        if what < 0.35:
            model[key] = step
            cache.set(**words, result=step)
        elif what < 0.45:
            try:
                cache.delete(content=key)
            except Exception as error:
                assert type(error).__name__ == "LockedError"
            else:
                model.pop(key, None)
        elif what < 0.6:
            got = cache.get_or_compute(**words, compute=lambda: step)
            assert got.result == model.setdefault(key, step), (got, model)
        else:
            got = cache.get(type="docs", content=key)
            assert (None if got is None else got.result) == model.get(key), (key, got, model)
print(json.dumps(model))
"""
    processes = [start(source, database, number) for number in range(8)]
    for _ in range(3):
        assert CacheMigrator(tree.root, database, jobs=1).migrate().total_failed == 0
    models = [json.loads(answer) for answer in ended(*processes)]
    with AnalysisCache(database) as cache:
        expected = {
            hashlib.sha256(key.encode()).hexdigest(): result
            for model in models
            for key, result in model.items()
        }
        kept = {one.file_hash: one.result for one in cache.entries(repository="/r")}
        assert kept == expected
        assert len(list(cache.entries(repository="/home/dev/project"))) == 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.db", "repos"]
