from __future__ import annotations

from pathlib import Path

import pytest

from retention_support import Caller, live
from rustassistant import AnalysisCache, CacheMigrator
from support import Cache, snapshot


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    cache = Cache(tmp_path / "repos")
    for number in range(4):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    cache.add("src/0.rs", content=b"0", cache_type="todos", result=[])
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    return tmp_path / "cache.db"


def pinned(call: Caller, database: Path, *arguments: str) -> list[tuple[str, str]]:
    done = call("pin", "--list", "-d", database, "--json", *arguments)
    assert done.code == 0
    return sorted((one["file_path"], one["cache_type"]) for one in done.entries)


def test_file_stands_for_all_entries_about_it(call: Caller, database: Path) -> None:
    assert "Nothing is pinned" in call("pin", "--list", "-d", database).out
    done = call("pin", "src/0.rs", "-d", database, "--json")
    assert (done.code, done.summary["changed"]) == (0, 2)
    assert pinned(call, database) == [("src/0.rs", "docs"), ("src/0.rs", "todos")]
    again = call("pin", "src/0.rs", "-d", database)
    assert "Pinned 0 entries (2 were already)" in again.out
    assert "src/0.rs" in call("pin", "-l", "-d", database).out


def test_entries_are_pinned_and_unpinned_by_id_and_filter(call: Caller, database: Path) -> None:
    ids = [str(one["id"]) for one in call("list", "-d", database, "--json").entries]
    assert call("pin", *ids[:2], "-d", database, "--json").summary["changed"] == 2
    assert call("pin", "--type", "todos", "-d", database).code == 0
    assert call("pin", "--remove", "--type", "docs", "-d", database).code == 0
    assert pinned(call, database) == [("src/0.rs", "todos")]
    assert pinned(call, database, "--type", "docs") == []
    assert call("pin", "--remove", "src/0.rs", "-d", database, "--json").summary["changed"] == 1
    assert pinned(call, database) == []


@pytest.mark.parametrize("unknown", ["77", "src/none.rs", "99999999999999999999999"])
def test_unknown_name_pins_nothing(call: Caller, database: Path, unknown: str) -> None:
    before = snapshot(database.parent)
    done = call("pin", "src/1.rs", unknown, "-d", database)
    assert done.code == 10
    assert unknown in done.err
    assert snapshot(database.parent) == before


def test_something_has_to_be_named(call: Caller, database: Path) -> None:
    assert call("pin", "-d", database).code == 2
    assert call("pin", "--list", "--remove", "-d", database).code == 2


def test_pinned_entries_are_not_cleared(call: Caller, database: Path) -> None:
    call("pin", "src/2.rs", "-d", database)
    done = call("clear", "--all", "--yes", "-d", database)
    assert "1 pinned entry stay" in done.out
    assert live(database) == {"src/2.rs"}
    call("pin", "--remove", "src/2.rs", "-d", database)
    call("clear", "--all", "--yes", "-d", database)
    assert live(database) == set()


def test_pin_is_on_a_result_and_keeps_it_in_the_trash(call: Caller, database: Path) -> None:
    call("pin", "src/1.rs", "-d", database)
    with AnalysisCache(database, repository="/home/dev/project") as opened:
        opened.set(
            type="docs", content="1", file_path="src/1.rs", provider="xai", model="grok-beta",
            prompt_hash="b56f6b9b1ff77eac", schema_version=1, result="new",
        )  # fmt: skip
    (one,) = call("pin", "--list", "-d", database, "--json").entries
    assert one["reason"] == "superseded"
    call("trash", "empty", "-d", database, "--yes")
    assert call("trash", "list", "-d", database, "--json").summary["total"] == 1
    call("clear", "--all", "--yes", "-d", database)
    assert live(database) == set()


def test_entries_that_share_a_row_are_pinned_together(call: Caller, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for repository in ("/r/one", "/r/two"):
        cache.add("same.rs", repository=repository, content=b"same")
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database, dedup=True).migrate()
    assert call("pin", "--repo", "/r/two", "-d", database, "--json").summary["changed"] == 1
    assert call("clear", "--repo", "/r/one", "--yes", "-d", database).code == 0
    with AnalysisCache(database) as opened:
        assert len(list(opened)) == 2
