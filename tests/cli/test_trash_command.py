from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apsw
import pytest

from retention_support import Caller, at_a_terminal, live
from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.retention import Chosen, look_into_trash
from rustassistant.stores.sqlite import SqliteStore
from support import Cache, snapshot


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "repos")
    for number in range(4):
        cache.add(f"src/{number}.rs", content=b"%d" % number, result=os.urandom(300).hex())
    return cache


@pytest.fixture
def database(cache: Cache, tmp_path: Path) -> Path:
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    return tmp_path / "cache.db"


def results(database: Path) -> dict[str, Any]:
    with AnalysisCache(database) as opened:
        return {entry.file_path: entry.result for entry in opened}


def test_what_was_removed_is_listed_with_why_and_when(call: Caller, database: Path) -> None:
    assert "No such entries" in call("trash", "list", "-d", database).out
    call("clear", "--include", "0.rs", "-d", database, "--yes")
    call("evict", "-d", database, "--max-size", "264500", "--policy", "oldest")
    with AnalysisCache(database, repository="/home/dev/project") as opened:
        opened.delete(file_path="src/3.rs")
    listed = call("trash", "list", "-d", database, "--json")
    assert listed.code == 0
    reasons = [(one["file_path"], one["reason"]) for one in listed.entries]
    assert reasons[0] == ("src/3.rs", "deleted")
    assert reasons[-1] == ("src/0.rs", "cleared")
    assert all(one["removed_at"].startswith("20") for one in listed.entries)
    text = call("trash", "list", "-d", database, "--limit", "1")
    assert "src/3.rs" in text.out
    assert "src/0.rs" not in text.out
    assert "more; --limit 0 lists all" in text.out
    cleared = call("trash", "list", "--reason", "cleared", "-d", database, "--json")
    assert [one["file_path"] for one in cleared.entries] == ["src/0.rs"]


def test_everything_comes_back_as_it_was(call: Caller, database: Path) -> None:
    before = results(database)
    call("clear", "--all", "--yes", "-d", database)
    assert results(database) == {}
    done = call("trash", "restore", "--all", "-d", database, "--json")
    assert (done.code, done.summary["restored"]) == (0, 4)
    assert results(database) == before
    assert call("trash", "list", "-d", database, "--json").summary["total"] == 0
    assert call("check", "-d", database).code == 0


def test_entries_come_back_by_id_filter_or_reason(call: Caller, database: Path) -> None:
    call("clear", "--all", "--yes", "-d", database)
    ids = {
        one["file_path"]: str(one["id"])
        for one in call("trash", "list", "-d", database, "--json").entries
    }
    assert call("trash", "restore", ids["src/2.rs"], "-d", database).code == 0
    assert live(database) == {"src/2.rs"}
    assert call("trash", "restore", "--include", "1.rs", "-d", database).code == 0
    assert live(database) == {"src/1.rs", "src/2.rs"}
    assert call("trash", "restore", "--reason", "evicted", "-d", database).code == 0
    assert live(database) == {"src/1.rs", "src/2.rs"}


@pytest.mark.parametrize("extra", ["77", "99999999999999999999999"])
def test_unknown_id_restores_nothing(call: Caller, database: Path, extra: str) -> None:
    call("clear", "--all", "--yes", "-d", database)
    done = call("trash", "restore", "1", extra, "-d", database)
    assert done.code == 10
    assert f"entry {extra} is not in the trash" in done.err
    assert live(database) == set()


def test_restore_has_to_be_told_what(call: Caller, database: Path) -> None:
    call("clear", "--all", "--yes", "-d", database)
    assert call("trash", "restore", "-d", database).code == 2
    assert live(database) == set()


class TestSuperseded:
    @pytest.fixture
    def superseded(self, database: Path) -> Path:
        with AnalysisCache(database, repository="/home/dev/project") as opened:
            opened.set(
                type="docs", content="0", file_path="src/0.rs", provider="xai",
                model="grok-beta", prompt_hash="b56f6b9b1ff77eac", schema_version=1, result="new",
            )  # fmt: skip
        return database

    def answer(self, database: Path) -> Any:
        with AnalysisCache(database) as opened:
            found = opened.get(type="docs", content="0")
            assert found is not None
            return found.result

    def test_they_stay_unless_they_are_meant(self, call: Caller, superseded: Path) -> None:
        assert call("trash", "restore", "--all", "-d", superseded).code == 0
        assert call("trash", "list", "-d", superseded, "--json").summary["total"] == 1

    def test_they_stand_beside_the_newer_which_answers(
        self, call: Caller, superseded: Path
    ) -> None:
        arguments = ("trash", "restore", "--reason", "superseded", "-d", superseded, "--json")
        assert call(*arguments).summary["restored"] == 1
        with AnalysisCache(superseded) as opened:
            assert len(list(opened)) == 5
        assert self.answer(superseded) == "new"
        call("clear", "--since", "2026-03-01", "-d", superseded, "--yes")
        assert self.answer(superseded) != "new"


def test_emptying_deletes_for_good(call: Caller, database: Path) -> None:
    before = results(database)
    call("clear", "--include", "[01].rs", "-d", database, "--yes")
    rehearsed = call("trash", "empty", "-d", database, "--dry-run", "--json").summary
    assert (rehearsed["entries"], rehearsed["deleted"]) == (2, 0)
    assert rehearsed["cost"]["usd"] > 0
    done = call("trash", "empty", "-d", database, "--yes", "--json").summary
    assert done["deleted"] == 2
    assert done["cost"] == rehearsed["cost"]
    assert call("trash", "list", "-d", database, "--json").summary["total"] == 0
    kept = {path: result for path, result in before.items() if path[4] in "23"}
    assert results(database) == kept
    with apsw.Connection(str(database)) as connection:
        assert connection.execute("SELECT count(*) FROM files").get == 2
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
    assert call("check", "-d", database).code == 0


def test_what_was_emptied_can_be_migrated_again(call: Caller, cache: Cache, database: Path) -> None:
    call("clear", "--all", "-d", database, "--yes")
    call("trash", "empty", "-d", database, "--yes")
    with apsw.Connection(str(database)) as connection:
        for table in ("entries", "files", "folders", "repositories", "totals", "trash", "copies"):
            assert connection.execute(f"SELECT count(*) FROM {table}").get == 0, table  # noqa: S608
    connection.close()
    assert call("migrate", "-s", cache.root, "-d", database, "--verify").code == 0
    assert len(live(database)) == 4
    assert call("check", "-d", database).code == 0


def test_emptying_asks(call: Caller, database: Path) -> None:
    call("clear", "--include", "0.rs", "-d", database, "--yes")
    before = snapshot(database.parent)
    for arguments in ((), ("--json",)):
        done = call("trash", "empty", "-d", database, *arguments)
        assert done.code == 2
        assert "--yes" in done.err
    code, seen = at_a_terminal("no\n", "trash", "empty", "-d", database)
    assert (code, "Nothing was changed" in seen) == (1, True)
    assert snapshot(database.parent) == before
    code, seen = at_a_terminal("yes\n", "trash", "empty", "-d", database)
    assert (code, "Deleted 1 entry for good" in seen) == (0, True)


def test_only_what_is_old_enough_goes(call: Caller, database: Path) -> None:
    call("clear", "--include", "0.rs", "-d", database, "--yes")
    with apsw.Connection(str(database)) as connection:
        connection.execute("UPDATE trash SET removed_at = removed_at - 31 * 86400 * 1000000000")
    connection.close()
    call("clear", "--include", "1.rs", "-d", database, "--yes")
    arguments = ("trash", "empty", "-d", database, "--older-than", "30d", "--yes", "--json")
    assert call(*arguments).summary["deleted"] == 1
    left = call("trash", "list", "-d", database, "--json").entries
    assert [one["file_path"] for one in left] == ["src/1.rs"]
    assert call("trash", "empty", "-d", database, "--older-than", "old", "--yes").code == 2


def test_pinned_entries_stay_in_the_trash(call: Caller, database: Path) -> None:
    call("clear", "--include", "[01].rs", "-d", database, "--yes")
    first, second = call("trash", "list", "-d", database, "--json").entries
    assert call("pin", str(first["id"]), "-d", database).code == 0
    done = call("trash", "empty", "-d", database, "--yes")
    assert done.code == 0
    assert "1 pinned entry stay" in done.out
    left = call("trash", "list", "-d", database, "--json").entries
    assert [one["id"] for one in left] == [first["id"]] != [second["id"]]


@pytest.mark.parametrize("spelled_out", [False, True])
def test_result_that_others_share_outlives_its_owner(
    call: Caller, tmp_path: Path, spelled_out: bool
) -> None:
    """The heir of the result may need another dictionary for the file that is kept with it."""
    cache = Cache(tmp_path / "repos")
    for number in range(400):
        text = f"this is what the documentation of the function number {number} says" * 6
        cache.add(f"d{number}.rs", content=b"%d" % number, result={"summary": text})
        cache.add(
            f"t{number}.rs", content=b"%d" % number, cache_type="todos", result={"todo": text}
        )
    shared = {"summary": "equal " * 50}
    cache.add("a.rs", content=b"a", result=shared)
    extra: dict[str, Any] = {"more": "unknown"} if spelled_out else {}
    cache.add("b.rs", content=b"b", cache_type="todos", result=shared, **extra)
    cache.add("c.rs", content=b"c", cache_type="todos", result=shared, **extra)
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database).migrate()
    with apsw.Connection(str(database)) as connection:
        rows = connection.execute(
            "SELECT dictionary_id, original IS NOT NULL, result_of FROM entries e"
            " JOIN files f ON f.id = e.file_id WHERE f.path IN ('a.rs', 'b.rs') ORDER BY f.path"
        ).fetchall()
    connection.close()
    assert rows[0][0] != rows[1][0]
    assert rows[1][1] == spelled_out
    before = results(database)
    call("clear", "--include", "a.rs", "--include", "c.rs", "-d", database, "--yes")
    assert call("trash", "empty", "--include", "a.rs", "-d", database, "--yes").code == 0
    assert call("check", "-d", database).code == 0
    assert call("trash", "restore", "--all", "-d", database).code == 0
    del before["a.rs"]
    assert results(database) == before
    assert call("check", "-d", database).code == 0
    call("clear", "--include", "b.rs", "-d", database, "--yes")
    call("trash", "empty", "-d", database, "--yes")
    assert results(database)["c.rs"] == shared
    assert call("check", "-d", database).code == 0


def test_more_than_a_batch_ends_and_leaves_its_row_in_the_log(
    call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(25):
        cache.add(f"{number}.rs", content=b"%d" % (number % 3), result="equal")
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database, dedup=True).migrate()
    monkeypatch.setattr("rustassistant.stores.sqlite.upkeep.removal._BATCH", 4)
    call("clear", "--all", "-d", database, "--yes")
    assert call("trash", "empty", "-d", database, "--yes", "--json").summary["deleted"] == 25
    runs = call("log", "-d", database, "--json").summary["runs"]
    assert [run["command"] for run in runs] == ["trash empty", "clear", "migrate"]
    assert runs[0]["found"] == 25
    assert call("check", "-d", database).code == 0


def test_lock_is_respected(call: Caller, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("clear", "--include", "0.rs", "-d", database, "--yes")
    monkeypatch.setattr("rustassistant.stores.sqlite.connection.BUSY_TIMEOUT_MS", 1)
    with SqliteStore(database).writer():
        assert call("trash", "empty", "-d", database, "--yes").code == 11
        assert call("trash", "restore", "--all", "-d", database).code == 11
        assert call("trash", "list", "-d", database).code == 0


def test_database_that_does_not_exist_is_named(call: Caller, tmp_path: Path) -> None:
    for command in ("list", "restore", "empty"):
        more = ("--all",) if command == "restore" else ()
        assert call("trash", command, "-d", tmp_path / "no.db", *more).code == 10
    assert not list(tmp_path.glob("no*"))


def test_limit_beyond_all_numbers_lists_all(call: Caller, database: Path) -> None:
    call("clear", "--include", "*.rs", "-d", database, "--yes")
    listed = call("trash", "list", "-d", database, "--json", "--limit", "99999999999999999999")
    assert len(listed.entries) == 4


def test_age_from_before_all_moments_is_refused(call: Caller, database: Path) -> None:
    call("clear", "--include", "*.rs", "-d", database, "--yes")
    ran = call("trash", "empty", "-d", database, "--older-than", "99999999999d", "-n")
    assert ran.code == 2
    assert "out of range" in ran.err
    assert call("trash", "empty", "-d", database, "--older-than", "15000w", "-n").code == 0


def test_any_age_can_be_asked_for_in_programs(call: Caller, database: Path) -> None:
    call("clear", "--include", "*.rs", "-d", database, "--yes")
    with look_into_trash(database, Chosen(older_than=10**20)) as found:
        assert found.size.entries == 0
