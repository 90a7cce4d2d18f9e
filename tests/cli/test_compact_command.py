from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from retention_support import Caller, live
from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.stores.sqlite import SqliteStore
from support import SHARED, Cache, snapshot


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Half of it was deleted for good."""
    cache = Cache(tmp_path / "repos")
    for number in range(60):
        text = os.urandom(4000).hex()
        cache.add(f"{number}.rs", content=b"%d" % number, result=text)
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    return tmp_path / "cache.db"


def empty_half(call: Caller, database: Path) -> None:
    call("clear", "--include", "[0-3]*.rs", "-d", database, "--yes")
    call("trash", "empty", "-d", database, "--yes")


def test_room_of_what_was_deleted_is_given_back(call: Caller, database: Path) -> None:
    empty_half(call, database)
    before = database.stat().st_size
    with AnalysisCache(database) as opened:
        expected = {entry.file_path: entry.result for entry in opened}
    done = call("compact", "-d", database, "--json")
    assert done.code == 0
    assert (done.summary["compared"], done.summary["shrunk"]) == (True, True)
    assert done.summary["file_size_before"] == before
    assert done.summary["file_size_after"] == database.stat().st_size < 0.7 * before
    with AnalysisCache(database) as opened:
        assert {entry.file_path: entry.result for entry in opened} == expected
    assert call("check", "-d", database).code == 0
    assert database.stat().st_mode & 0o777 == 0o600


def test_again_is_harmless(call: Caller, database: Path) -> None:
    first = call("compact", "-d", database, "--json").summary["file_size_after"]
    assert call("compact", "-d", database, "--json").summary["file_size_after"] == first
    assert "every row is as it was" in call("compact", "-d", database).out
    assert len(live(database)) == 60


def test_reader_goes_on_with_what_it_sees(call: Caller, database: Path) -> None:
    empty_half(call, database)
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)) as reader:
        reader.execute("BEGIN")
        seen = reader.execute("SELECT * FROM entries ORDER BY id").fetchall()
        done = call("compact", "-d", database, "--json")
        assert done.code == 0
        assert done.summary["shrunk"] is False
        assert reader.execute("SELECT * FROM entries ORDER BY id").fetchall() == seen
        reader.execute("COMMIT")
        assert reader.execute("SELECT * FROM entries ORDER BY id").fetchall() == seen
    assert database.stat().st_size < done.summary["file_size_before"]
    assert call("check", "-d", database).code == 0


def test_programs_that_have_it_open_find_and_keep_things(call: Caller, database: Path) -> None:
    with AnalysisCache(database, repository="/r") as opened:
        assert opened.get(type="docs", content="1") is not None
        empty_half(call, database)
        assert call("compact", "-d", database).code == 0
        assert opened.get(type="docs", content="1") is None
        assert opened.get(type="docs", content="50") is not None
        opened.set(
            type="docs", content="new", file_path="n.rs", provider="p", model="m", result="new"
        )
    assert "n.rs" in live(database)
    assert call("check", "-d", database).code == 0


def test_writer_is_waited_for_and_named(
    call: Caller, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rustassistant.stores.sqlite.connection.BUSY_TIMEOUT_MS", 1)
    with SqliteStore(database).writer():
        done = call("compact", "-d", database)
    assert done.code == 11
    assert "is locked by" in done.err


def test_too_little_room_is_told_before_anything_happens(
    call: Caller, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(database.parent)

    class Full:
        free = 1000

    monkeypatch.setattr(
        "rustassistant.stores.sqlite.upkeep.compaction.shutil.disk_usage", lambda _: Full
    )
    done = call("compact", "-d", database)
    assert done.code == 1
    assert "needs" in done.err
    assert "SQLITE_TMPDIR" in done.err
    assert snapshot(database.parent) == before


def test_damaged_file_is_left_as_it_is(call: Caller, database: Path) -> None:
    with database.open("r+b") as file:
        file.seek(8192 * 30)
        file.write(b"\xa5" * 8192)
    before = database.read_bytes()
    done = call("compact", "-d", database)
    assert done.code == 4
    assert "cache check --repair" in done.err
    assert database.read_bytes() == before


def test_database_that_does_not_exist_is_not_made(call: Caller, tmp_path: Path) -> None:
    assert call("compact", "-d", tmp_path / "no.db").code == 10
    assert not list(tmp_path.glob("no*"))


@pytest.mark.shared
def test_real_entries_are_the_same_afterwards(call: Caller, tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    source = SHARED / "real-2026-02" / "repo"
    call("migrate", "-s", source, "-d", database)
    before = call("verify", "-s", source, "-d", database, "--json").summary
    assert call("compact", "-d", database).code == 0
    after = call("verify", "-s", source, "-d", database, "--json").summary
    assert (after["digest"], after["compared"]) == (before["digest"], before["compared"])
