from __future__ import annotations

from pathlib import Path

import pytest

from retention_support import Caller, at_a_terminal, live
from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.stores.sqlite import SqliteStore
from support import SHARED, Cache, snapshot


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "repos")
    for number in range(4):
        repository = "/r/even" if number % 2 == 0 else "/r/odd"
        cache.add(f"{number}.rs", repository=repository, content=b"%d" % number)
    return cache


@pytest.fixture
def database(cache: Cache, tmp_path: Path) -> Path:
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    return tmp_path / "cache.db"


def test_filters_choose_what_goes_to_the_trash(call: Caller, database: Path) -> None:
    done = call("clear", "--repo", "/r/odd", "-d", database, "--yes", "--json")
    assert done.code == 0
    assert done.summary["entries"] == 2
    assert done.summary["size_after"] < done.summary["size_before"]
    assert done.summary["cost"]["seconds"] == 60
    assert live(database) == {"0.rs", "2.rs"}
    assert call("check", "-d", database).code == 0


def test_dry_run_says_the_same_and_undoes_it(call: Caller, database: Path) -> None:
    before = snapshot(database.parent)
    rehearsed = call("clear", "--all", "-d", database, "-n", "--json").summary
    assert snapshot(database.parent) == before
    real = call("clear", "--all", "-d", database, "--yes", "--json").summary
    assert rehearsed | {"dry_run": False} == real


@pytest.mark.parametrize("arguments", [(), ("--all", "--type", "docs")])
def test_it_has_to_be_said_what_goes(
    call: Caller, database: Path, arguments: tuple[str, ...]
) -> None:
    assert call("clear", "-d", database, "--yes", *arguments).code == 2
    assert len(live(database)) == 4


def test_it_asks(call: Caller, database: Path) -> None:
    before = snapshot(database.parent)
    done = call("clear", "--all", "-d", database)
    assert (done.code, "--yes" in done.err) == (2, True)
    assert at_a_terminal("\n", "clear", "--all", "-d", database)[0] == 1
    assert snapshot(database.parent) == before
    code, seen = at_a_terminal("y\n", "clear", "--all", "-d", database)
    assert (code, "Put 4 entries into the trash" in seen) == (0, True)
    assert live(database) == set()


def test_nothing_to_clear_leaves_no_trace(call: Caller, database: Path) -> None:
    before = snapshot(database.parent)
    assert call("clear", "--type", "none", "-d", database).code == 0
    assert snapshot(database.parent) == before


def test_migrating_again_brings_it_back(call: Caller, cache: Cache, database: Path) -> None:
    call("clear", "--repo", "/r/odd", "-d", database, "--yes")
    assert call("migrate", "-s", cache.root, "-d", database).code == 0
    assert len(live(database)) == 4
    assert call("trash", "list", "-d", database, "--json").summary["total"] == 0


@pytest.mark.parametrize("repository", ["/r/one", "/r/two", "/r/three"])
def test_entry_of_another_repository_that_shares_the_row_stays(
    call: Caller, tmp_path: Path, repository: str
) -> None:
    cache = Cache(tmp_path / "repos")
    repositories = {"/r/one", "/r/two", "/r/three"}
    for one in repositories:
        cache.add("same.rs", repository=one, content=b"same")
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database, dedup=True).migrate()
    assert call("clear", "--repo", repository, "-d", database, "--yes").code == 0
    with AnalysisCache(database) as opened:
        assert {entry.repository for entry in opened} == repositories - {repository}
    assert call("trash", "empty", "-d", database, "--yes").code == 0
    with AnalysisCache(database) as opened:
        assert {entry.repository for entry in opened} == repositories - {repository}
    assert call("check", "-d", database).code == 0


def test_lock_is_respected(call: Caller, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rustassistant.stores.sqlite.connection.BUSY_TIMEOUT_MS", 1)
    with SqliteStore(database).writer():
        assert call("clear", "--all", "-d", database, "--yes").code == 11
    assert len(live(database)) == 4


def test_database_that_does_not_exist_is_not_made(call: Caller, tmp_path: Path) -> None:
    assert call("clear", "--all", "--yes", "-d", tmp_path / "no.db").code == 10
    assert not list(tmp_path.glob("no*"))


@pytest.mark.shared
def test_real_entries_can_be_cleared_and_had_back(call: Caller, tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    call("migrate", "-s", SHARED / "real-2026-02" / "repo", "-d", database)
    before = live(database)
    assert before
    call("clear", "--type", "todos", "-d", database, "--yes")
    assert call("trash", "restore", "--reason", "cleared", "-d", database).code == 0
    assert live(database) == before
