from __future__ import annotations

from pathlib import Path

import pytest

from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.errors import NotFoundError, UnreachableSizeError
from rustassistant.pricing import Prices
from rustassistant.retention import (
    Chosen,
    Policy,
    Worth,
    evict,
    keep_within,
    plan_eviction,
    restore,
)
from support import Cache, snapshot

WORTH = Worth(Prices())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    cache = Cache(tmp_path / "repos")
    for number in range(20):
        moment = f"2026-01-{number + 1:02d}T00:00:00+00:00"
        cache.add(f"{number}.rs", content=b"%d" % number, analyzed_at=moment)
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    return tmp_path / "cache.db"


def test_what_fits_is_left_without_asking_for_prices(database: Path) -> None:
    before = snapshot(database.parent)

    def worth() -> Worth:
        raise AssertionError

    assert keep_within(database, 2**30, worth) is None
    assert snapshot(database.parent) == before


def test_what_does_not_fit_is_brought_to_the_size(database: Path) -> None:
    size = plan_eviction(database, 2**30, WORTH).size_before
    done = keep_within(database, size - 1000, lambda: WORTH)
    assert done is not None
    assert done.size_after <= size - 1000
    assert keep_within(database, size - 1000, lambda: WORTH) is None
    with AnalysisCache(database) as cache:
        assert len(list(cache)) == 20 - done.entries


@pytest.mark.parametrize("policy", Policy)
def test_same_entries_go_every_time(database: Path, policy: Policy) -> None:
    target = plan_eviction(database, 2**30, WORTH).size_before - 1000
    first = plan_eviction(database, target, WORTH, policy=policy)
    assert first == plan_eviction(database, target, WORTH, policy=policy)
    done = evict(database, target, WORTH, policy=policy)
    assert (done.first, done.size_after) == (first.first, first.size_after)
    assert restore(database, Chosen(reason="evicted")) == done.entries
    assert plan_eviction(database, target, WORTH, policy=policy) == first


def test_size_out_of_reach_leaves_everything(database: Path) -> None:
    before = snapshot(database.parent)
    with pytest.raises(UnreachableSizeError, match="bytes stay"):
        evict(database, 1000, WORTH)
    assert snapshot(database.parent) == before


def test_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        keep_within(tmp_path / "no.db", 1000, lambda: WORTH)
    assert not list(tmp_path.iterdir())
