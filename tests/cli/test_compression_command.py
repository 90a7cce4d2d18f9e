from __future__ import annotations

from pathlib import Path

import pytest

from damage import make_database
from retention_support import Caller


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("sound"))


def test_people_see_types_trials_and_advice(call: Caller, database: Path) -> None:
    done = call("compression", "-d", database)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1].split()[:4] == ["type", "entries", "text", "stored"]
    assert lines[2].startswith("analysis")
    assert lines[3].startswith("docs")
    assert any("level 19" in line for line in lines)
    assert "times are those of this machine" in done.out.lower()
    assert "recompress --level" in lines[-1] or "Nothing to gain" in lines[-1]
    assert call("compression", "-d", database, "--quiet") == (0, "", "")


def test_programs_get_numbers(call: Caller, database: Path) -> None:
    before = database.read_bytes()
    summary = call("compression", "-d", database, "--sample-size", "10", "--json").summary
    docs = next(one for one in summary["types"] if one["cache_type"] == "docs")
    assert docs["sampled"] == 10
    assert docs["ratio"] == docs["text_bytes"] / docs["stored_bytes"]
    assert {trial["level"] for trial in docs["trials"]} == {1, 3, 5, 9, 12, 15, 19}
    assert summary["advice"]["after"] <= summary["advice"]["before"]
    assert isinstance(summary["advice"]["text"], str)
    assert database.read_bytes() == before


def test_empty_and_missing_databases(call: Caller, tmp_path: Path) -> None:
    assert call("init", tmp_path / "cache.db").code == 0
    done = call("compression", "-d", tmp_path / "cache.db")
    assert (done.code, "no results yet" in done.out) == (0, True)
    assert call("compression", "-d", tmp_path / "cache.db", "--json").summary["advice"] is None
    assert call("compression", "-d", tmp_path / "no.db").code == 10
