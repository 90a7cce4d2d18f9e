from __future__ import annotations

from pathlib import Path

import pytest

from damage import make_database, value
from rustassistant import CacheMigrator
from rustassistant.errors import NotFoundError, UsageError
from rustassistant.levels import DEFAULT_LEVEL
from rustassistant.tuning import (
    LEVELS,
    RecompressOptions,
    TypeCompression,
    measure_compression,
    recompress,
)
from support import Cache


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("sound"))


def by_type(database: Path) -> dict[str, TypeCompression]:
    return {one.cache_type: one for one in measure_compression(database).types}


def test_sums_are_those_of_the_database(database: Path) -> None:
    found = by_type(database)
    assert set(found) == {"analysis", "docs"}
    for column in ("entries", "text_bytes", "stored_bytes"):
        total = value(database, f"SELECT sum({column}) FROM totals")  # noqa: S608
        assert sum(getattr(one, column) for one in found.values()) == total
    docs = found["docs"]
    frames = value(
        database,
        "SELECT sum(length(result)) FROM entries e JOIN folders d ON d.id = e.folder_id"
        " WHERE d.cache_type = 'docs'",
    )
    assert docs.result_bytes == frames
    assert docs.mean_frame == docs.result_bytes / docs.results
    assert docs.ratio == docs.text_bytes / docs.stored_bytes > 1


def test_dictionaries_are_shown_with_who_uses_them(database: Path) -> None:
    (use,) = by_type(database)["docs"].dictionaries
    assert use.id == value(database, "SELECT id FROM dictionaries WHERE cache_type = 'docs'")
    assert use.size == value(
        database, "SELECT length(data) FROM dictionaries WHERE cache_type = 'docs'"
    )
    assert use.entries > 70
    assert [one.id for one in by_type(database)["analysis"].dictionaries] == [None]


def test_trials_tell_what_recompressing_gives(tmp_path: Path) -> None:
    database = make_database(tmp_path)
    before = by_type(database)["docs"]
    present = {one.level: one for one in before.trials if not one.trained}
    assert set(present) == set(LEVELS)
    assert present[DEFAULT_LEVEL].mean_bytes == before.sample_bytes
    assert present[19].mean_bytes < present[1].mean_bytes
    assert all(one.microseconds > 0 for one in before.trials)
    recompress(database, RecompressOptions(level=19))
    after = by_type(database)["docs"]
    assert after.sample_bytes <= present[19].mean_bytes
    assert after.sampled == before.sampled


def test_advice_is_taken_once(tmp_path: Path) -> None:
    """What it promised comes about, and then there is nothing more to advise."""
    cache = Cache(tmp_path / "repos")
    for number in range(400):
        words = " ".join(f"{part * 7919 % 1009:x}" for part in range(number, number + 200))
        cache.add(f"{number}.rs", content=b"%d" % number, result={"words": words})
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database, level=1).migrate()
    advice = measure_compression(database).advice
    assert advice is not None
    assert advice.is_worth_it
    done = recompress(database, RecompressOptions(level=advice.level, train=advice.train))
    spent = done.after.dictionaries - done.before.dictionaries
    assert done.saved - spent == pytest.approx(advice.before - advice.after, rel=0.2)
    again = measure_compression(database).advice
    assert again is not None
    assert not again.is_worth_it


def test_nothing_is_written(database: Path) -> None:
    before = database.read_bytes()
    assert measure_compression(database, sample=10).types[0].sampled <= 10
    assert database.read_bytes() == before


def test_empty_or_missing_database(tmp_path: Path) -> None:
    CacheMigrator(Cache(tmp_path / "repos").root, tmp_path / "cache.db").migrate()
    found = measure_compression(tmp_path / "cache.db")
    assert (found.types, found.advice) == ((), None)
    with pytest.raises(NotFoundError):
        measure_compression(tmp_path / "no.db")
    with pytest.raises(UsageError):
        measure_compression(tmp_path / "cache.db", sample=0)
