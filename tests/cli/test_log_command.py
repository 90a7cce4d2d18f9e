from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rustassistant import CacheMigrator
from rustassistant.cli.app import run
from support import Cache

Called = tuple[int, str, str]


@pytest.fixture
def log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Called]:
    def call(*arguments: str | Path) -> Called:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", "log", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        return (int(exited.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def database(tmp_path: Path) -> Path:
    cache = Cache(tmp_path / "repos")
    cache.add("src/one.rs")
    cache.add("src/broken.rs", text=b"")
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    cache.add("src/two.rs")
    CacheMigrator([cache.root, tmp_path / "repos"], tmp_path / "cache.db", dedup=True).migrate()
    return tmp_path / "cache.db"


def test_runs_are_listed_the_newest_first(log: Callable[..., Called], database: Path) -> None:
    code, out, err = log("-d", database)
    assert (code, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split()[0] == "ID"
    assert [row.split()[0] for row in rows] == ["2", "1"]
    assert all(row.split()[4] == "done" and str(database.parent / "repos") in row for row in rows)


def test_run_is_shown_with_all_that_failed(log: Callable[..., Called], database: Path) -> None:
    code, out, err = log("1", "-d", database)
    assert (code, err) == (0, "")
    assert "Run 1: migrate, done" in out
    assert f"  Source: {database.parent / 'repos'}\n" in out
    assert "Found: 2, migrated 1, unchanged 0, duplicates 0, filtered 0, failed 1" in out
    assert "src_broken_rs.json (docs): the file is empty" in out
    assert "Option: dedup = True" in log("2", "-d", database)[1]


def test_runs_come_as_json(log: Callable[..., Called], database: Path) -> None:
    summary = json.loads(log("-d", database, "--json")[1])
    assert [run["id"] for run in summary["runs"]] == [2, 1]
    one = json.loads(log("1", "-d", database, "--json")[1])
    assert (one["migrated"], one["failed"], one["outcome"]) == (1, 1, "done")
    assert one["notes"][0]["kind"] == "failure"


def test_run_that_does_not_exist_is_named(log: Callable[..., Called], database: Path) -> None:
    for run_id in ("9", "99999999999999999999"):
        code, out, err = log(run_id, "-d", database)
        assert (code, out) == (10, "")
        assert f"no run {run_id}" in err
    assert log("-d", database.parent / "absent.db")[0] == 10
