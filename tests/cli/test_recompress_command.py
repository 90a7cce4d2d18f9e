from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from damage import entries_of, make_database, run_sql, single_entries
from retention_support import Caller
from support import SHARED

BREAK = "UPDATE entries SET result = x'28b52ffd' WHERE id = {}"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def database(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "cache.db"
    shutil.copyfile(sound, copy)
    copy.chmod(0o600)
    return copy


def test_people_are_told_what_was_saved(call: Caller, database: Path) -> None:
    expected = entries_of(database)
    done = call("recompress", "--level", "19", "-d", database)
    assert done.code == 0
    assert "at level 19" in done.out
    assert "✓ Rewrote" in done.out
    assert "  Saved " in done.out
    assert "cache compact" in done.out
    assert done.err == ""
    assert entries_of(database) == expected
    assert "recompress" in call("log", "-d", database).out
    again = call("recompress", "--level", "19", "-d", database)
    assert "✓ Rewrote 0 results" in again.out
    assert "cache compact" not in again.out


def test_programs_are_told_the_same(call: Caller, database: Path) -> None:
    done = call("recompress", "--level", "19", "-d", database, "--json")
    summary = done.summary
    assert (done.code, summary["level"], summary["damaged"]) == (0, 19, [])
    assert summary["found"] == summary["replaced"] + summary["kept"]
    assert summary["before"]["frames"] - summary["after"]["frames"] == summary["saved"] > 0
    assert summary["after"]["file"] == database.stat().st_size
    assert call("recompress", "--level", "19", "-d", database, "--quiet") == (0, "", "")


def test_dry_run_writes_nothing(call: Caller, database: Path) -> None:
    before = database.read_bytes()
    told = call("recompress", "-n", "-d", database)
    assert told.code == 0
    assert "Would save about" in told.out
    assert "nothing was written" in told.out
    summary = call(
        "recompress", "-n", "--train", "--type", "docs", "-d", database, "--json"
    ).summary
    assert summary["dry_run"] is True
    assert [one["cache_type"] for one in summary["types"]] == ["docs"]
    assert database.read_bytes() == before


def test_damaged_entries_are_named(call: Caller, database: Path) -> None:
    (entry_id,) = single_entries(database, 1)
    run_sql(database, BREAK.format(entry_id))
    done = call("recompress", "-d", database)
    assert done.code == 4
    assert f"✗ entry {entry_id}: src/part_" in done.err
    assert "check --repair" in done.err
    summary = call("recompress", "-d", database, "--json").summary
    assert len(summary["damaged"]) == 1


def test_wrong_usage(call: Caller, database: Path, tmp_path: Path) -> None:
    assert call("recompress", "--train", "--no-dictionary", "-d", database).code == 2
    assert call("recompress", "--level", "0", "-d", database).code == 2
    assert call("recompress", "-d", tmp_path / "no.db").code == 10
    assert not (tmp_path / "no.db").exists()


@pytest.mark.shared
def test_real_entries_are_the_same_afterwards(call: Caller, tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    source = SHARED / "real-2026-02" / "repo"
    call("migrate", "-s", source, "-d", database)
    before = call("verify", "-s", source, "-d", database, "--json").summary
    for options in (("--train",), ("--no-dictionary",), ("--level", "1", "--force")):
        assert call("recompress", *options, "-d", database).code == 0
        after = call("verify", "-s", source, "-d", database, "--json").summary
        assert (after["digest"], after["compared"]) == (before["digest"], before["compared"])
        assert call("check", "-d", database).code == 0
