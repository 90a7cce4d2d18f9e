from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rustassistant.errors import WorkersUnavailableError
from rustassistant.stores.base import Partition, Source
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.json_tree.reading import read_file
from rustassistant.stores.outcomes import Failure, Outcome, Problem
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.transfer import engine, workers
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.flow import Answer
from rustassistant.transfer.looking import Looking
from rustassistant.transfer.plan import Options
from rustassistant.transfer.report import Progress
from rustassistant.transfer.selection import Selection
from support import Cache, dump, fields_of

LONG_AGO = 1_600_000_000 * 10**9
NAMES = "abcdefghijkl"
TWO = Options(jobs=2)


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_store, "PARTITION_FILES", 4)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    cache = Cache(tmp_path / "repos")
    return {name: aged(cache.add(f"{name}.rs", content=name.encode())) for name in NAMES}


@pytest.fixture
def source(tmp_path: Path, files: dict[str, Path]) -> JsonTree:
    return JsonTree(tmp_path / "repos")


@pytest.fixture
def destination(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "cache.db")


def aged(path: Path, nanoseconds: int = LONG_AGO) -> Path:
    os.utime(path, ns=(nanoseconds, nanoseconds))
    return path


def rewrite(path: Path, name: str) -> None:
    path.write_bytes(dump(fields_of(f"{name}.rs", content=b"new " + name.encode())))
    aged(path, LONG_AGO + 1)


def sorted_out(source: Source, destination: SqliteStore) -> list[tuple[type, list[str]]]:
    """What comes of a listing: names that are answered for, and names to be read."""
    came: list[tuple[type, list[str]]] = []
    with destination.writer() as writer:
        for item in Looking(writer, names_paths=False).sort_out(source.partitions()):
            if isinstance(item, Failure | Problem):
                came.append((type(item), []))
            elif isinstance(item, Answer):
                came.append((Answer, letters(item.partition)))
            else:
                came.append((Partition, letters(item)))
    return came


def letters(partition: Partition) -> list[str]:
    return [name[0] for name in partition.names]


def test_only_what_has_changed_is_to_be_read_in_the_listings_order(
    source: JsonTree, destination: SqliteStore, files: dict[str, Path]
) -> None:
    assert sorted_out(source, destination) == [
        (Partition, [*"abcd"]), (Partition, [*"efgh"]), (Partition, [*"ijkl"]),
    ]  # fmt: skip
    transfer(source, destination)
    for name in "afh":
        rewrite(files[name], name)
    link = files["a"].with_name("link.json")
    link.symlink_to(files["b"])
    failure, *came = sorted_out(source, destination)
    assert failure == (Failure, [])
    assert came == [
        (Answer, ["b", "c", "d"]), (Partition, ["a"]),
        (Answer, ["e", "g"]), (Partition, ["f", "h"]),
        (Answer, [*"ijkl"]),
    ]  # fmt: skip


def test_what_is_known_of_one_folder_says_nothing_of_another(
    source: JsonTree, destination: SqliteStore, files: dict[str, Path]
) -> None:
    other = files["a"].parent.with_name("refactor")
    other.mkdir()
    os.link(files["a"], other / files["a"].name)  # by its stamp, the very same
    transfer(source, destination, options=Options(selection=Selection(types=("docs",))))
    *_, last = sorted_out(source, destination)
    assert last == (Partition, ["a"])


@pytest.mark.parametrize("options", [Options(jobs=1), TWO], ids=["one job", "two jobs"])
def test_a_rerun_counts_what_is_unchanged_and_moves_what_is_not(
    source: JsonTree, destination: SqliteStore, files: dict[str, Path], options: Options
) -> None:
    transfer(source, destination, options=options)
    for name in "afh":
        rewrite(files[name], name)
    told: list[Progress] = []
    logged: list[tuple[str, Outcome]] = []
    report = transfer(
        source,
        destination,
        options=options,
        progress=told.append,
        entry_told=lambda path, _type, outcome, _reason: logged.append((path, outcome)),
    )
    assert (report.outcomes.unchanged, report.outcomes.migrated, report.failed) == (9, 3, 0)
    assert report.source_size == sum(path.stat().st_size for path in files.values())
    assert [one.done for one in told] == [3, 4, 6, 8, 12]
    assert told[-1].current == str(files["l"])
    assert sorted(logged) == sorted(
        (str(path), Outcome.MIGRATED if name in "afh" else Outcome.UNCHANGED)
        for name, path in files.items()
    )


def test_a_rerun_that_finds_nothing_new_starts_no_worker(
    source: JsonTree, destination: SqliteStore, files: dict[str, Path], monkeypatch: Any
) -> None:
    transfer(source, destination, options=TWO)

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no process is wanted")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert transfer(source, destination, options=TWO).outcomes.unchanged == len(NAMES)
    aged(files["c"], LONG_AGO + 1)
    with pytest.raises(WorkersUnavailableError):
        transfer(source, destination, options=TWO)


@pytest.mark.usefixtures("read_in_python")
def test_checksum_reads_everything_anew(
    source: JsonTree, destination: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def spy(path: str, **how: Any) -> Any:
        read.append(path[0])
        return read_file(path, **how)

    transfer(source, destination)
    monkeypatch.setattr(json_store, "read_file", spy)
    transfer(source, destination, options=Options(jobs=1, checksum=True))
    assert read == [*NAMES]


def test_workers_for_a_new_database_start_before_the_first_partition(
    source: JsonTree, destination: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def choose(*_: Any) -> Sequence[Any]:
        started.append(len(pools[-1]._threads))
        return ()

    pools: list[workers.WorkerPool] = []
    begin = workers.WorkerPool.__init__

    def remembered(pool: workers.WorkerPool, *how: Any) -> None:
        pools.append(pool)
        begin(pool, *how)

    monkeypatch.setattr(workers.WorkerPool, "__init__", remembered)
    monkeypatch.setattr(engine, "choose_dictionaries", choose)
    for options in (TWO, TWO, Options(jobs=2, checksum=True)):
        transfer(source, destination, options=options)
    assert started == [2, 0, 2]


def test_a_database_is_looked_at_by_the_stamps_it_keeps(
    tmp_path: Path, source: JsonTree, destination: SqliteStore, files: dict[str, Path]
) -> None:
    merged = SqliteStore(tmp_path / "merged.db")
    for found in (len(NAMES), 0):
        transfer(source, destination)
        report = transfer(destination, merged)
        assert (report.outcomes.migrated, report.outcomes.unchanged) == (found, len(NAMES) - found)
    rewrite(files["c"], "c")
    transfer(source, destination)
    assert [kind for kind, _ in sorted_out(destination, merged)] == [Answer, Partition]
    assert transfer(destination, merged).outcomes.migrated == 1
