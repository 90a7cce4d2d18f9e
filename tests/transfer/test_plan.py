from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rustassistant.errors import OutOfSpaceError
from rustassistant.stores.base import Survey
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.memory import MemoryStore
from rustassistant.transfer.plan import Options, check_room, choose_dictionaries, executor_for
from rustassistant.transfer.workers import InlineExecutor, WorkerPool
from support import Cache

MIB = 2**20
WORDS = ["parses", "the", "configuration", "file", "error", "missing", "async", "handler", "when"]


class Disk(MemoryStore):
    """A destination on a disk with so much room left."""

    def __init__(self, room: int | None) -> None:
        super().__init__()
        self._room = room

    def room(self) -> int | None:
        return self._room


def survey_of(files: int, mean_size: float, samples: Sequence[Any] = ()) -> Survey:
    return Survey({"docs": files}, mean_size, samples)


def fill(cache: Cache, cache_type: str, count: int) -> None:
    """Entries with results much like each other."""
    for number in range(count):
        chosen = random.Random(f"{cache_type} {number}")
        cache.add(
            f"src/{number}.rs",
            content=b"%d" % number,
            cache_type=cache_type,
            result={
                "summary": " ".join(chosen.choices(WORDS, k=150)),
                "complexity_score": chosen.random(),
                "suggestions": chosen.choices(WORDS, k=30),
            },
        )


@pytest.fixture(scope="module")
def similar(tmp_path_factory: pytest.TempPathFactory) -> JsonTree:
    """Two types of entries that a dictionary pays for, and one with too few."""
    cache = Cache(tmp_path_factory.mktemp("similar") / "repos")
    fill(cache, "docs", 150)
    fill(cache, "todos", 150)
    fill(cache, "refactor", 5)
    return JsonTree(cache.root)


# --- Where to run.


@pytest.mark.parametrize(("jobs", "total"), [(1, 10**6), (1, 0), (None, 0), (None, 100)])
def test_small_work_or_one_job_stays_in_this_process(jobs: int | None, total: int) -> None:
    executor, window = executor_for(Options(jobs=jobs), total)
    assert isinstance(executor, InlineExecutor)
    assert window == 1, "nothing is gained by reading ahead in one process"


@pytest.mark.parametrize("total", [0, 1, 10**6])
def test_two_jobs_are_two_processes_however_little_there_is(total: int) -> None:
    executor, window = executor_for(Options(jobs=2), total)
    with executor:
        assert isinstance(executor, WorkerPool)
        pids = {future.result() for future in [executor.submit(os.getpid) for _ in range(50)]}
        assert 1 <= len(pids) <= 2
        assert os.getpid() not in pids
    assert window > 2, "each worker has its next partition waiting"


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the pools that would have been started."""
    sizes: list[int] = []
    monkeypatch.setattr(
        "rustassistant.transfer.plan.WorkerPool", lambda count, _: sizes.append(count)
    )
    return sizes


def test_large_work_uses_the_cpus_that_this_process_may_use(
    pools: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    executor_for(Options(), 100_000)
    assert pools == [3]


@pytest.mark.parametrize(("cpus", "expected"), [(6, [6]), (1, []), (None, [])])
def test_where_affinity_is_unknown_all_cpus_count(
    pools: list[int], monkeypatch: pytest.MonkeyPatch, cpus: int | None, expected: list[int]
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    executor_for(Options(), 100_000)
    assert pools == expected, "one process is no pool"


def test_the_jobs_asked_for_are_used_whatever_the_cpus(pools: list[int]) -> None:
    executor_for(Options(jobs=17), 10)
    assert pools == [17]


# --- Room.


def test_a_disk_too_full_is_refused_with_what_is_missing() -> None:
    with pytest.raises(OutOfSpaceError, match="memory may need") as caught:
        check_room(survey_of(1_000, 2 * MIB), Disk(100 * MIB))
    # Half of what the source takes is asked for.
    assert "1,000.0 MiB, but" in caught.value.message
    assert "only 100.0 MiB free" in caught.value.message
    assert "900.0 MiB are missing" in caught.value.message
    assert "Free some space" in caught.value.hint


@pytest.mark.parametrize(("files", "size"), [(0, 0.0), (1_000, 2.0 * MIB)])
def test_a_disk_with_just_enough_room_will_do(files: int, size: float) -> None:
    check_room(survey_of(files, size), Disk(int(files * size / 2)))


def test_a_byte_less_will_not_do() -> None:
    with pytest.raises(OutOfSpaceError):
        check_room(survey_of(1_000, 2 * MIB), Disk(1_000 * MIB - 1))


def test_room_that_is_not_known_is_taken_to_be_there() -> None:
    check_room(survey_of(10**9, 2 * MIB), Disk(None))


# --- Dictionaries.


def test_a_dictionary_is_made_for_each_type_that_it_pays_for(similar: JsonTree) -> None:
    store = MemoryStore()
    with store.writer() as writer:
        chosen = choose_dictionaries(similar.survey(), writer, Options())
        assert sorted(one.cache_type for one in chosen) == ["docs", "todos"]
        assert list(writer.dictionaries()) == list(chosen)


def test_dictionaries_are_made_of_results_alone(similar: JsonTree) -> None:
    with MemoryStore().writer() as writer:
        for one in choose_dictionaries(similar.survey(), writer, Options()):
            assert b"complexity_score" in one.data
            assert b"file_hash" not in one.data


def test_a_second_run_reuses_the_dictionaries_of_the_first(
    similar: JsonTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    with store.writer() as writer:
        first = choose_dictionaries(similar.survey(), writer, Options())
    trained: list[int] = []

    def train(samples: Sequence[bytes], *, expected: int) -> None:
        trained.append(len(samples))

    monkeypatch.setattr("rustassistant.transfer.plan.train_dictionary", train)
    with store.writer() as writer:
        second = choose_dictionaries(similar.survey(), writer, Options())
        assert sorted(second) == sorted(first)
        assert len(writer.dictionaries()) == 2
    assert trained == [], "one type has too few results to be read for it, the others have theirs"


def test_types_that_are_new_get_theirs_beside_those_that_are_there(
    similar: JsonTree, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "repos")
    fill(cache, "analysis", 150)
    with MemoryStore().writer() as writer:
        choose_dictionaries(similar.survey(), writer, Options())
        chosen = choose_dictionaries(JsonTree(cache.root).survey(), writer, Options())
    assert sorted(one.cache_type for one in chosen) == ["analysis", "docs", "todos"]


def test_dictionaries_survive_a_run_that_gets_no_further(similar: JsonTree) -> None:
    # A second run must not train others: the first one's may be in use already.
    store = MemoryStore()

    def train_and_fail() -> None:
        with store.writer() as writer:
            choose_dictionaries(similar.survey(), writer, Options())
            raise OutOfSpaceError("full")

    with pytest.raises(OutOfSpaceError):
        train_and_fail()
    with store.writer() as writer:
        assert len(writer.dictionaries()) == 2


def test_no_dictionaries_where_they_are_not_wanted(similar: JsonTree) -> None:
    with MemoryStore().writer() as writer:
        assert (
            list(choose_dictionaries(similar.survey(), writer, Options(dictionaries=False))) == []
        )
        assert list(writer.dictionaries()) == []


def test_no_dictionaries_for_an_empty_source(tmp_path: Path) -> None:
    source = JsonTree(Cache(tmp_path / "repos").root)
    with MemoryStore().writer() as writer:
        assert list(choose_dictionaries(source.survey(), writer, Options())) == []


def test_samples_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    fill(cache, "docs", 150)
    for number in range(0, 150, 3):
        cache.add(f"src/{number}.rs", text=b"not json")
    with MemoryStore().writer() as writer:
        chosen = choose_dictionaries(JsonTree(cache.root).survey(), writer, Options())
    assert [one.cache_type for one in chosen] == ["docs"]
    assert b"not json" not in chosen[0].data
    assert json.dumps("suggestions").encode() in chosen[0].data
