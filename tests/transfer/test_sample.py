from __future__ import annotations

from pathlib import Path

import pytest

from rustassistant.errors import UsageError
from rustassistant.stores.base import Found, Source
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.sample import Sample, Sampled
from support import Cache

ENTRIES = 200


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    made = Cache(tmp_path_factory.mktemp("sampled") / "repos")
    for number in range(ENTRIES):
        made.add(
            f"src/{number}.rs",
            content=b"%d" % number,
            cache_type="docs" if number % 2 else "todos",
            repository="/home/dev/other" if number % 5 else "/home/dev/project",
        )
    return made


def drawn(store: Source, sample: Sample) -> set[tuple[str, str, str]]:
    """What the entries of a sample are about; each is drawn once."""
    sampled = Sampled(store, sample)
    total = sampled.survey().total
    found = [
        (item.entry.repository, item.entry.cache_type, item.entry.file_path)
        for partition in sampled.partitions()
        if not isinstance(partition, Failure | Problem)
        for item in partition.read()
        if isinstance(item, Found)
    ]
    assert len(found) == len(set(found)) == total
    return set(found)


@pytest.mark.parametrize(
    ("text", "total", "size"),
    [
        ("5%", 200, 10),
        ("5%", 201, 11),
        ("0.5%", 200, 1),
        ("0.5%", 100, 1),
        ("100%", 200, 200),
        ("7", 200, 7),
        (" 7 ", 200, 7),
        ("5% ", 200, 10),
        ("300", 200, 200),
        ("5%", 0, 0),
        ("7", 0, 0),
    ],
)
def test_a_sample_is_so_large(text: str, total: int, size: int) -> None:
    assert Sample.of(text, 1).size(total) == size


@pytest.mark.parametrize(
    "text", ["", "%", "0", "0%", "-1", "-5%", "101%", "5%%", "1.5", "nan%", "inf%", "many",
             "1e3", "²"]
)  # fmt: skip
def test_what_is_no_sample_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no sample") as caught:
        Sample.of(text, 1)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["1", "13", "5%", "50%"])
def test_a_sample_has_exactly_the_size_asked_for(cache: Cache, text: str) -> None:
    sample = Sample.of(text, 42)
    assert len(drawn(JsonTree(cache.root), sample)) == sample.size(ENTRIES)


def test_the_same_seed_draws_the_same_and_another_does_not(cache: Cache) -> None:
    store = JsonTree(cache.root)
    assert drawn(store, Sample.of("20", 1)) == drawn(store, Sample.of("20", 1))
    assert drawn(store, Sample.of("20", 1)) != drawn(store, Sample.of("20", 2))


def test_a_larger_sample_of_one_seed_holds_the_smaller(cache: Cache) -> None:
    store = JsonTree(cache.root)
    assert drawn(store, Sample.of("10", 1)) < drawn(store, Sample.of("40", 1))


def test_a_sample_is_the_same_however_it_is_parted(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = drawn(JsonTree(cache.root), Sample.of("20", 1))
    monkeypatch.setattr(json_store, "PARTITION_FILES", 3)
    assert drawn(JsonTree(cache.root), Sample.of("20", 1)) == whole


def test_a_database_gives_the_same_sample_as_the_tree_it_was_made_of(
    cache: Cache, tmp_path: Path
) -> None:
    database = SqliteStore(tmp_path / "cache.db")
    transfer(JsonTree(cache.root), database)
    sample = Sample.of("20", 1)
    assert drawn(database, sample) == drawn(JsonTree(cache.root), sample)


def test_each_entry_is_drawn_about_as_often_as_any_other(cache: Cache) -> None:
    store = JsonTree(cache.root)
    times = dict.fromkeys(drawn(store, Sample.of("100%", 0)), 0)
    for seed in range(60):
        for one in drawn(store, Sample.of("50%", seed)):
            times[one] += 1
    # Binomial, of 60 with one half: six standard deviations are 23.
    assert min(times.values()) > 7
    assert max(times.values()) < 53


def test_what_cannot_be_listed_is_told_in_any_sample(cache: Cache, tmp_path: Path) -> None:
    own = Cache(tmp_path / "repos")
    own.add()
    file = own.add("src/link.rs")
    file.unlink()
    file.symlink_to("src_lib_rs.json")
    sampled = Sampled(JsonTree(own.root), Sample.of("1", 1))
    assert sampled.survey().total == 1
    assert [type(item) for item in sampled.partitions()].count(Failure) == 1


def test_an_empty_source_has_an_empty_sample(tmp_path: Path) -> None:
    sampled = Sampled(JsonTree(Cache(tmp_path / "none").root), Sample.of("5%", 1))
    assert (sampled.survey().total, list(sampled.partitions())) == (0, [])
