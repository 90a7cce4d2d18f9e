from __future__ import annotations

import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec
import pytest

from rustassistant.codec import Encoder
from rustassistant.entry import Entry
from rustassistant.entry_json import render
from rustassistant.errors import (
    InterruptedRunError,
    LockedError,
    OutOfSpaceError,
    RustAssistantError,
)
from rustassistant.stores.base import Destination, Found, Taker
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.json_tree.reading import read_file
from rustassistant.stores.json_tree.store import JsonPartition
from rustassistant.stores.memory import MemoryStore
from rustassistant.stores.outcomes import Failure
from rustassistant.stores.sqlite import SqliteStore, connection
from rustassistant.stores.sqlite.writer import SqliteWriter
from rustassistant.transfer import encoding, engine, workers
from rustassistant.transfer.encoding import Terms, encode_partition
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.plan import Options
from rustassistant.transfer.report import Progress
from rustassistant.transfer.verify import compare
from support import Cache, dump, fields_of, snapshot

ONE: Final = Options(jobs=1)
TWO: Final = Options(jobs=2)
JOBS: Final = pytest.mark.parametrize("options", [ONE, TWO], ids=["one job", "two jobs"])

DOCS, OTHERS, OLD, BAD, COPIES = 160, 40, 20, 5, 3
ENTRIES = DOCS + OTHERS + OLD + COPIES
FILES = ENTRIES + COPIES + BAD
WORDS = ["parses", "the", "configuration", "file", "error", "missing", "async", "handler", "when"]
LONG_AGO = 1_600_000_000 * 10**9

Tables = dict[str, list[tuple[Any, ...]]]


def fill(cache: Cache) -> None:
    """Everything that occurs: enough alike for a dictionary, and of each oddity a few."""
    for number in range(DOCS):
        chosen = random.Random(number)
        cache.add(
            f"src/{number:03}.rs",
            content=b"%d" % number,
            result={
                "summary": " ".join(chosen.choices(WORDS, k=150)),
                "complexity_score": chosen.random(),
                "suggestions": chosen.choices(WORDS, k=30),
            },
        )
    for number in range(OTHERS):
        # The same results, keys and contents in another repository, some with unknown fields.
        unknown: dict[str, Any] = {} if number % 4 else {"note": number}
        cache.add(
            f"src/{number:03}.rs",
            repository="/home/dev/other",
            content=b"%d" % (number // 2),
            result={"same": number % 3},
            model="gpt-4" if number % 5 else "a:b",
            **unknown,
        )
    for number in range(OLD):
        cache.add(f"old/{number}.rs", old=True, content=b"%d" % number, cache_type="todos")
    for number in range(BAD):
        cache.add(f"src/bad{number}.rs", text=b'{"file_path": "src/bad')
    for number in range(COPIES):
        text = cache.add(f"copied/{number}.rs", content=b"c%d" % number).read_bytes()
        cache.add(f"copied/{number}.rs", name=f"copy_of_{number}.json", text=text)


def age(root: Path) -> None:
    """Make the files old enough for their times to be trusted."""
    for path in root.rglob("*.json"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))


def tables(path: Path) -> Tables:
    """Everything in a database, and SQLite's word that it is sound."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'run%'"
        ).fetchall()
        return {
            str(name): connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            for (name,) in names
        }
    finally:
        connection.close()


def entries_in(path: Path) -> int:
    """How many entries others can see."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("SELECT count(*) FROM entries").get)
    finally:
        connection.close()


def children() -> set[int]:
    """Processes whose parent is this one."""
    found = set()
    for directory in Path("/proc").iterdir():
        try:
            status = (directory / "stat").read_text() if directory.name.isdigit() else ""
        except OSError:
            continue  # it ended meanwhile
        if status and int(status.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(directory.name))
    return found


def in_child(action: Callable[[], object]) -> int:
    """Run ``action`` in a process of its own; return its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> JsonTree:
    cache = Cache(tmp_path_factory.mktemp("source") / "repos")
    fill(cache)
    age(cache.root)
    return JsonTree(cache.root)


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many partitions of few files, so that much can happen between them."""
    monkeypatch.setattr(json_store, "PARTITION_FILES", 8)


@pytest.fixture
def frequent_commits(monkeypatch: pytest.MonkeyPatch) -> int:
    rows = 20
    monkeypatch.setattr(engine, "COMMIT_ROWS", rows)
    return rows


@pytest.fixture(scope="module")
def undisturbed(source: JsonTree, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """What a run that nothing happened to leaves."""
    path = tmp_path_factory.mktemp("undisturbed") / "cache.db"
    transfer(source, SqliteStore(path), options=ONE)
    return tables(path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def counter() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


# --- What arrives.


@JOBS
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_every_entry_arrives_and_the_report_adds_up(
    source: JsonTree, database: Path, options: Options, kind: str
) -> None:
    destination: Destination = MemoryStore() if kind == "memory" else SqliteStore(database)
    report = transfer(source, destination, options=options)
    assert report.found == FILES
    assert report.outcomes.migrated == ENTRIES
    assert report.outcomes.duplicate == COPIES
    assert report.outcomes.unchanged == report.filtered == 0
    assert report.failed == BAD
    assert {os.path.basename(failure.path) for failure in report.failures} == {
        f"src_bad{number}_rs.json" for number in range(BAD)
    }
    assert report.source_size == sum(
        path.stat().st_size for path in Path(source.path).rglob("cache/*/*.json")
    )
    assert report.destination_size == destination.info().size > 0
    comparison = compare(source, destination, options=options)
    assert comparison.passed
    assert comparison.compared == FILES - BAD


@JOBS
def test_every_file_can_be_had_back_to_the_byte(
    source: JsonTree, database: Path, options: Options
) -> None:
    destination = SqliteStore(database)
    transfer(source, destination, options=options)
    seen = 0
    with destination.finder() as finder:
        for partition in source.partitions():
            assert isinstance(partition, JsonPartition)
            for item in partition.read():
                if not isinstance(item, Found):
                    continue
                found = finder.find(partition.folder, item.entry)
                texts = [render(entry) for entry in found if isinstance(entry, Entry)]
                assert Path(item.path).read_bytes() in texts
                seen += 1
    assert seen == FILES - BAD


def test_one_job_and_two_write_the_same_rows(
    source: JsonTree, database: Path, undisturbed: Tables
) -> None:
    transfer(source, SqliteStore(database), options=TWO)
    written = tables(database)
    assert written == undisturbed
    assert len(written["entries"]) == ENTRIES
    assert len(written["copies"]) == COPIES
    assert len(written["dictionaries"]) == 1, "or a dictionary's part in it is not tested here"


@JOBS
def test_failures_and_problems_are_told_in_the_listings_order(
    tmp_path: Path, options: Options
) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(30):
        cache.add(f"src/{number:02}.rs", text=b"" if number % 10 == 5 else None)
    docs = cache.repository() / "cache" / "docs"
    (docs / "aside.txt").touch()
    (docs / "src_12_rs.json").unlink()
    (docs / "src_12_rs.json").symlink_to("src_11_rs.json")
    (cache.repository("/home/dev/other") / "meta.json").write_bytes(b"")
    in_one = transfer(JsonTree(cache.root), MemoryStore(), options=ONE)
    report = transfer(JsonTree(cache.root), MemoryStore(), options=options)
    assert report.failures == in_one.failures
    assert report.problems == in_one.problems
    assert (report.failed, report.problem_count) == (4, 2)


def test_nothing_is_written_to_the_source(source: JsonTree, database: Path) -> None:
    before = snapshot(Path(source.path))
    destination = SqliteStore(database)
    for _ in range(2):
        transfer(source, destination, options=TWO)
        compare(source, destination, options=TWO)
    assert snapshot(Path(source.path)) == before


def test_an_empty_source_is_migrated_in_no_time(tmp_path: Path, database: Path) -> None:
    told: list[Progress] = []
    source = JsonTree(Cache(tmp_path / "repos").root)
    report = transfer(source, SqliteStore(database), progress=told.append)
    assert report.found == report.failed == report.problem_count == 0
    assert entries_in(database) == 0
    assert told == []


def test_odd_entries_survive(tmp_path: Path, database: Path) -> None:
    cache = Cache(tmp_path / "repos")
    oddities: list[dict[str, Any]] = [
        {"path": "nul\0inside"},
        {"path": ""},
        {"path": "x" * 100_000},
        {"path": "\U0001f980/\u202e/\x7f\x01'\"; DROP TABLE entries"},
        {"model": "a:b", "prompt_hash": "c"},
        {"model": "a", "prompt_hash": "b:c"},
        {"model": "", "provider": "", "prompt_hash": "\0"},
        {"schema_version": 2**63 - 1},
        {"schema_version": -(2**63)},
        {"tokens_used": 2**63 - 1},
        {"tokens_used": -(2**63)},
        {"file_size": 2**63 - 1},
        {"file_size": None},
        {"analyzed_at": "1677-09-21T00:12:43.145224192+00:00"},
        {"analyzed_at": "2262-04-11T23:47:16.854775807+00:00"},
        {"analyzed_at": "2016-12-31T23:59:60+14:00"},
        {"result": "just text"},
        {"result": None},
        {"result": [10**400, -0.0, "\0\ud83e\udd80".encode("utf-16", "surrogatepass").hex()]},
        {"result": "a" * 3_000_000},
        {"cache_key": "x" * 64},
        {"old": True, "prompt_hash": ""},
        {"unknown\0": "\0"},
    ]
    for number, odd in enumerate(oddities):
        cache.add(**({"path": f"{number}.rs", "name": f"{number}.json"} | odd))
    source = JsonTree(cache.root)
    destination = SqliteStore(database)
    report = transfer(source, destination)
    assert report.failures == []
    assert report.outcomes.migrated == report.found == len(oddities)
    comparison = compare(source, destination)
    assert comparison.passed
    assert comparison.compared == len(oddities)


# --- Options.


def test_without_dictionaries_none_are_made_and_all_arrives(
    source: JsonTree, database: Path
) -> None:
    options = Options(jobs=1, dictionaries=False)
    transfer(source, SqliteStore(database), options=options)
    written = tables(database)
    assert written["dictionaries"] == []
    assert compare(source, SqliteStore(database), options=ONE).passed


def test_a_dictionary_makes_it_smaller(source: JsonTree, tmp_path: Path) -> None:
    sizes = [
        transfer(
            source,
            SqliteStore(tmp_path / f"{dictionaries}.db"),
            options=Options(jobs=1, dictionaries=dictionaries),
        ).destination_size
        for dictionaries in (False, True)
    ]
    assert sizes[1] < sizes[0]


def test_the_level_reaches_the_workers(source: JsonTree, tmp_path: Path) -> None:
    sizes = {}
    for level in (1, 19):
        store = SqliteStore(tmp_path / f"{level}.db")
        transfer(source, store, options=Options(jobs=2, level=level, dictionaries=False))
        results = tables(Path(store.path))["entries"]
        sizes[level] = sum(len(part) for row in results for part in row if type(part) is bytes)
    assert sizes[19] < sizes[1]


# --- Running again.


@JOBS
def test_a_second_run_finds_everything_unchanged_and_changes_nothing(
    source: JsonTree, database: Path, options: Options
) -> None:
    destination = SqliteStore(database)
    first = transfer(source, destination, options=options)
    before = tables(database)
    again = transfer(source, destination, options=options)
    assert again.found == first.found
    assert again.outcomes.unchanged == FILES - BAD
    assert again.outcomes.migrated == again.outcomes.duplicate == 0
    assert again.failures == first.failures, "what is broken stays told"
    assert again.source_size == first.source_size
    assert tables(database) == before


def test_a_second_run_does_not_read_what_has_not_changed(
    source: JsonTree, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(jobs=1, dictionaries=False)
    transfer(source, SqliteStore(database), options=options)
    read: list[str] = []

    def spy(path: str, **how: Any) -> Any:
        read.append(path)
        return read_file(path, **how)

    monkeypatch.setattr(json_store, "read_file", spy)
    transfer(source, SqliteStore(database), options=options)
    assert sorted(read) == [f"src_bad{number}_rs.json" for number in range(BAD)]


def test_files_too_young_to_be_trusted_are_read_again(tmp_path: Path, database: Path) -> None:
    # Their times could stay the same if they were changed right now.
    cache = Cache(tmp_path / "repos")
    file = cache.add(result={"n": 1})
    now = file.stat().st_mtime_ns + 3600 * 10**9
    os.utime(file, ns=(now, now))
    transfer(JsonTree(cache.root), SqliteStore(database), options=ONE)
    cache.add(result={"n": 2})  # as many bytes
    os.utime(file, ns=(now, now))
    again = transfer(JsonTree(cache.root), SqliteStore(database), options=ONE)
    assert again.outcomes.migrated == 1
    assert compare(JsonTree(cache.root), SqliteStore(database)).passed


def test_a_new_analysis_is_added_and_the_old_one_stays(tmp_path: Path, database: Path) -> None:
    cache = Cache(tmp_path / "repos")
    older, newer = fields_of(), fields_of(analyzed_at="2026-03-01T00:00:00+00:00", tokens_used=7)
    cache.add(text=dump(older))
    transfer(JsonTree(cache.root), SqliteStore(database), options=ONE)
    cache.add(text=dump(newer))
    report = transfer(JsonTree(cache.root), SqliteStore(database), options=ONE)
    assert (report.outcomes.migrated, report.found) == (1, 1)
    assert entries_in(database) == 2


# --- Commits on the way.


def test_rows_are_committed_on_the_way(
    source: JsonTree, database: Path, frequent_commits: int
) -> None:
    visible: list[int] = []
    waiting: list[int] = []

    def look(now: Progress) -> None:
        visible.append(entries_in(database))
        waiting.append(now.migrated - visible[-1])

    transfer(source, SqliteStore(database), options=ONE, progress=look)
    assert 5 < len(set(visible)) <= 1 + ENTRIES / frequent_commits, "and no more often than that"
    assert max(waiting) < frequent_commits, "no more than that is lost to a power cut"
    assert min(waiting) == 0
    assert entries_in(database) == ENTRIES


def test_rows_are_committed_when_time_is_up(
    source: JsonTree, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "COMMIT_SECONDS", -1.0)

    def look(now: Progress) -> None:
        assert entries_in(database) == now.migrated

    transfer(source, SqliteStore(database), options=ONE, progress=look)


def test_nobody_else_can_write_while_a_run_is_under_way(
    source: JsonTree, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 0)
    refused: list[str] = []

    def intrude(_: Progress) -> None:
        with pytest.raises(LockedError) as caught:
            transfer(source, SqliteStore(database), options=ONE)
        refused.append(caught.value.message)

    report = transfer(source, SqliteStore(database), options=ONE, progress=intrude)
    assert report.outcomes.migrated == ENTRIES
    assert refused


# --- Stopping.


@JOBS
@pytest.mark.parametrize("after", [0, 1, 7, 20])
def test_a_cancelled_run_keeps_what_it_did_and_a_rerun_completes_it(
    source: JsonTree,
    database: Path,
    undisturbed: Tables,
    frequent_commits: int,
    options: Options,
    after: int,
) -> None:
    before = children()
    asked = counter()
    with pytest.raises(InterruptedRunError) as caught:
        transfer(
            source,
            SqliteStore(database),
            options=options,
            cancelled=lambda: next(asked) > after,
        )
    assert caught.value.exit_code == 130
    assert "Run the same command again" in caught.value.hint
    told = re.fullmatch(
        r"stopped after (\d+) of (\d+) entries; (\d+) were migrated and are safe",
        caught.value.message,
    )
    assert told is not None
    found, total, safe = map(int, told.groups())
    assert 0 < found < total == FILES
    assert entries_in(database) == safe > 0
    assert not children() - before

    report = transfer(source, SqliteStore(database), options=options)
    assert report.outcomes.migrated == ENTRIES - safe
    assert report.found == FILES
    assert tables(database) == undisturbed


def test_a_run_that_is_not_cancelled_asks_now_and_then(source: JsonTree, database: Path) -> None:
    asked: list[bool] = []
    transfer(
        source,
        SqliteStore(database),
        options=ONE,
        cancelled=lambda: bool(asked.append(False)),  # type: ignore[func-returns-value]
    )
    assert len(asked) >= FILES // 8, "at least once for each partition"


class Interrupted(BaseException):
    """As KeyboardInterrupt, but not one that pytest would take for its own."""


@JOBS
@pytest.mark.parametrize("error", [Interrupted, RuntimeError, OutOfSpaceError])
def test_an_exception_out_of_the_callback_undoes_only_what_was_not_committed(
    source: JsonTree,
    database: Path,
    undisturbed: Tables,
    frequent_commits: int,
    options: Options,
    error: type[BaseException],
) -> None:
    before = children()
    calls = counter()
    seen = 0

    def fail(_: Progress) -> None:
        nonlocal seen
        seen = entries_in(database)
        if next(calls) == 12:
            raise error("stop")

    with pytest.raises(error, match="stop"):
        transfer(source, SqliteStore(database), options=options, progress=fail)
    assert entries_in(database) == seen > 0
    assert not children() - before
    transfer(source, SqliteStore(database), options=options)
    assert tables(database) == undisturbed


@JOBS
def test_a_destination_that_fills_up_midway_keeps_what_was_committed(
    source: JsonTree,
    database: Path,
    undisturbed: Tables,
    frequent_commits: int,
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = children()
    real, puts = SqliteWriter.put, counter()
    seen: list[int] = []

    def put(self: SqliteWriter, *what: Any) -> Any:
        if next(puts) == 12:
            raise OutOfSpaceError("the disk is full")
        return real(self, *what)

    def look(_: Progress) -> None:
        seen.append(entries_in(database))

    with monkeypatch.context() as patch:
        patch.setattr(SqliteWriter, "put", put)
        with pytest.raises(OutOfSpaceError, match="the disk is full"):
            transfer(source, SqliteStore(database), options=options, progress=look)
    assert entries_in(database) == seen[-1] > 0
    assert not children() - before
    transfer(source, SqliteStore(database), options=options)
    assert tables(database) == undisturbed


def test_a_disk_too_full_is_told_before_anything_is_made(
    source: JsonTree, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteStore, "room", lambda _: 1_000)
    with pytest.raises(OutOfSpaceError, match="are missing"):
        transfer(source, SqliteStore(database))
    assert os.listdir(database.parent) == []


# --- Processes that are killed.


@pytest.mark.parametrize(
    ("at", "options"),
    [(at, ONE) for at in (1, 2, 3, 5, 8, 13, 21, 25, 27, 29)] + [(at, TWO) for at in (1, 9, 28)],
    ids=lambda value: f"jobs={value.jobs}" if isinstance(value, Options) else str(value),
)
def test_a_rerun_completes_a_run_that_was_killed(
    source: JsonTree,
    database: Path,
    undisturbed: Tables,
    frequent_commits: int,
    at: int,
    options: Options,
) -> None:
    calls = counter()

    def die(_: Progress) -> None:
        if next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        transfer(source, SqliteStore(database), options=options, progress=die)

    assert in_child(run) == -signal.SIGKILL
    assert entries_in(database) < ENTRIES
    before = entries_in(database)
    report = transfer(source, SqliteStore(database), options=options)
    assert report.found == FILES
    assert report.outcomes.migrated == ENTRIES - before
    assert tables(database) == undisturbed
    assert compare(source, SqliteStore(database), options=ONE).passed


@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_a_rerun_completes_a_run_that_was_killed_in_the_middle_of_a_commit(
    source: JsonTree, database: Path, undisturbed: Tables, frequent_commits: int, at: int
) -> None:
    commits = counter()

    def die() -> bool:
        if next(commits) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def run() -> None:
        apsw.connection_hooks.append(lambda connection: connection.set_commit_hook(die))
        transfer(source, SqliteStore(database), options=ONE)

    assert in_child(run) == -signal.SIGKILL
    transfer(source, SqliteStore(database), options=ONE)
    assert os.listdir(database.parent) == [database.name], "nothing is left beside it"
    assert tables(database) == undisturbed
    assert compare(source, SqliteStore(database), options=ONE).passed


@pytest.mark.parametrize("victims", [1, 2])
@pytest.mark.parametrize("at", [1, 10])
def test_a_killed_worker_loses_nothing(
    source: JsonTree, database: Path, undisturbed: Tables, at: int, victims: int
) -> None:
    before = children()
    calls = counter()
    killed: list[int] = []

    def kill(_: Progress) -> None:
        if next(calls) == at:
            for worker in sorted(children() - before)[:victims]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    report = transfer(source, SqliteStore(database), options=TWO, progress=kill)
    assert len(killed) == victims
    assert report.found == FILES
    assert report.failed == BAD, "those that can't be read, and no other"
    assert tables(database) == undisturbed
    assert not children() - before


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A cache with files that kill whoever reads them, and workers that die of it."""
    monkeypatch.setattr(
        workers,
        "_MAIN",
        "import os, signal\n"
        "import rustassistant.codec as codec\n"
        "import rustassistant.stores.json_tree.store as store\n"
        "import rustassistant.transfer.workers as workers\n"
        "read = store.read_file\n"
        "def deadly(path, **how):\n"
        "    if 'deadly' in path:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return read(path, **how)\n"
        "store.read_file, store.Reader, codec.Packer = deadly, None, None\n"
        "workers.serve()",
    )
    cache = Cache(tmp_path / "repos")
    for number in range(20):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    return cache


def test_a_file_that_kills_workers_is_one_failure_and_no_more(
    deadly: Cache, database: Path
) -> None:
    deadly.add("src/a_deadly.rs", content=b"1")
    deadly.add("src/z_deadly.rs", content=b"2")
    report = transfer(JsonTree(deadly.root), SqliteStore(database), options=TWO)
    assert report.outcomes.migrated == entries_in(database) == 20
    assert report.found == 22
    assert [os.path.basename(failure.path) for failure in report.failures] == [
        "src_a_deadly_rs.json",
        "src_z_deadly_rs.json",
    ]
    for failure in report.failures:
        assert "killed by SIGKILL" in failure.reason
        assert failure.cache_type == "docs"


def test_workers_that_never_start_are_an_error_and_not_a_failure_of_every_file(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_MAIN", "raise SystemExit(3)")
    cache = Cache(tmp_path / "repos")
    for number in range(3):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    with pytest.raises(RustAssistantError) as caught:
        transfer(JsonTree(cache.root), SqliteStore(database), options=TWO)
    assert "jobs 1" in caught.value.hint


# --- Progress.


@JOBS
def test_progress_grows_and_ends_at_the_total(
    source: JsonTree, database: Path, options: Options
) -> None:
    told: list[Progress] = []
    report = transfer(source, SqliteStore(database), options=options, progress=told.append)
    for earlier, later in pairwise(told):
        assert earlier.done < later.done
        assert earlier.migrated <= later.migrated
        assert earlier.failed <= later.failed
        assert later.done <= later.total == FILES
    assert told[0].done > 0
    last = told[-1]
    assert (last.done, last.total) == (FILES, FILES)
    assert (last.migrated, last.failed) == (report.outcomes.migrated, report.failed)
    assert all(Path(now.current).is_file() for now in told)


@JOBS
def test_progress_ends_at_the_total_of_a_second_run_too(
    source: JsonTree, database: Path, options: Options
) -> None:
    transfer(source, SqliteStore(database), options=options)
    told: list[Progress] = []
    transfer(source, SqliteStore(database), options=options, progress=told.append)
    assert (told[-1].done, told[-1].migrated, told[-1].failed) == (FILES, 0, BAD)


@JOBS
def test_progress_counts_what_could_not_even_be_listed(tmp_path: Path, options: Options) -> None:
    cache = Cache(tmp_path / "repos")
    file = cache.add("src/lib.rs")
    (file.parent / "z.json").symlink_to(file)
    (cache.repository() / "cache" / "zzz.json").mkdir()
    (cache.repository() / "cache" / "zzz.json" / "link.json").symlink_to(file)
    told: list[Progress] = []
    report = transfer(JsonTree(cache.root), MemoryStore(), options=options, progress=told.append)
    assert (report.found, report.failed) == (3, 2)
    assert (told[-1].done, told[-1].total, told[-1].failed) == (3, 3, 2)


def test_progress_ends_at_the_total_where_the_last_file_killed_its_worker(deadly: Cache) -> None:
    deadly.add("zzz/deadly.rs", content=b"1")
    told: list[Progress] = []
    transfer(JsonTree(deadly.root), MemoryStore(), options=TWO, progress=told.append)
    assert (told[-1].done, told[-1].total, told[-1].failed) == (21, 21, 1)


# --- Nothing vanishes on the way.


@pytest.fixture
def loses_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Whoever reads a partition gets all of it but one entry."""
    read = JsonPartition.read

    def lossy(partition: JsonPartition, taker: Taker | None = None) -> Iterator[Found | Failure]:
        yield from list(read(partition))[1:]

    with monkeypatch.context() as patched:
        patched.setattr(JsonPartition, "read", lossy)
        yield patched


def test_an_entry_that_is_lost_on_its_way_stops_the_run(
    tmp_path: Path, database: Path, loses_one: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(5):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    with pytest.raises(RustAssistantError, match="of 5 entries 4 came back"):
        transfer(JsonTree(cache.root), SqliteStore(database), options=ONE)
    assert entries_in(database) == 0
    loses_one.undo()
    assert transfer(JsonTree(cache.root), SqliteStore(database)).outcomes.migrated == 5


def test_an_entry_that_is_not_compared_stops_the_comparison(
    tmp_path: Path, database: Path, loses_one: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    source, destination = JsonTree(cache.root), SqliteStore(database)
    lossy = JsonPartition.read
    loses_one.undo()
    transfer(source, destination, options=ONE)
    loses_one.setattr(JsonPartition, "read", lossy)
    with pytest.raises(RustAssistantError, match="of 1 entries 0 came back"):
        compare(source, destination, options=ONE)
    loses_one.undo()
    assert compare(source, destination, options=ONE).compared == 1


# --- Encoders.


def test_threads_that_migrate_share_no_encoder_and_keep_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    [partition] = JsonTree(cache.root).partitions()
    assert isinstance(partition, JsonPartition)
    packed = msgspec.msgpack.encode(Terms(3, []))
    both, encoders = threading.Barrier(2), list[Encoder]()

    def encode() -> None:
        encode_partition(packed, partition)
        encoders.append(encoding._own.encoder)
        both.wait(60)
        transfer(JsonTree(cache.root), MemoryStore(), options=ONE)
        assert not hasattr(encoding._own, "encoder")

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(encode) for _ in range(2)]:
            done.result(60)
    assert encoders[0] is not encoders[1]
