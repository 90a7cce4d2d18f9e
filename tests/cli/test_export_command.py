"""``rustassistant cache export`` and ``cache import``, as they are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rustassistant.cli.app import run
from support import Cache, snapshot


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        assert [line["message_type"] for line in self.lines].count("summary") == 1
        assert self.lines[-1]["message_type"] == "summary"
        return self.lines[-1]


Call = Callable[..., Ran]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """`rustassistant cache …` in this process: quick, with its true exit code."""

    def call(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)

    return call


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "repos")
    cache.add()
    cache.add(cache_type="todos")
    cache.add("src/tab.rs", reviewed_by="Zoë")
    return cache


@pytest.fixture
def database(tmp_path: Path, cache: Cache, call: Call) -> Path:
    assert call("migrate", "-s", cache.root, "-d", tmp_path / "cache.db").code == 0
    return tmp_path / "cache.db"


def same(one: Path, other: Path) -> None:
    done = subprocess.run(["diff", "-r", one, other], capture_output=True, check=False)
    assert done.stdout == b""


def test_export_gives_the_files_back_and_says_so(
    tmp_path: Path, cache: Cache, database: Path, call: Call
) -> None:
    ran = call("export", "-s", database, "-d", tmp_path / "out")
    assert ran.code == 0
    assert "  Exported: 3\n  Failed: 0\n" in ran.out
    assert ran.err == ""
    same(cache.root, tmp_path / "out")
    again = call("export", "-s", database, "-d", tmp_path / "out")
    assert "  Exported: 0\n  Unchanged: 3\n" in again.out


def test_database_of_migrations_is_the_source_by_default(
    tmp_path: Path, own_home: Path, cache: Cache, call: Call
) -> None:
    assert call("migrate", "-s", cache.root).code == 0
    assert (own_home / "cache.db").exists()
    assert call("export", "-d", tmp_path / "out").code == 0
    same(cache.root, tmp_path / "out")


def test_configured_source_of_migrations_is_not_exported(
    tmp_path: Path, own_home: Path, cache: Cache, database: Path, call: Call
) -> None:
    own_home.mkdir(exist_ok=True)
    (own_home / "config.toml").write_text(
        f"[cache]\nsource = {json.dumps(str(tmp_path / 'elsewhere'))}\n"
        f"destination = {json.dumps(str(database))}\n"
    )
    ran = call("export", "-d", tmp_path / "out")
    assert ran.code == 0
    assert f"Source: {database}" in ran.out
    same(cache.root, tmp_path / "out")


def test_json_summary_adds_up(tmp_path: Path, database: Path, call: Call) -> None:
    arguments = ("export", "-s", database, "-d", tmp_path / "out", "--type", "docs", "--json")
    summary = call(*arguments).summary
    assert summary["total_entries"] == 3
    assert summary["total_exported"] == 2
    assert summary["total_filtered"] == 1
    assert summary["destination_size"] == sum(
        path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()
    )


def test_dry_run_makes_nothing(tmp_path: Path, database: Path, call: Call) -> None:
    before = snapshot(tmp_path)
    ran = call("export", "-s", database, "-d", tmp_path / "out", "--dry-run")
    assert "Would be exported: 3" in ran.out
    assert snapshot(tmp_path) == before


def test_quiet_says_nothing(tmp_path: Path, database: Path, call: Call) -> None:
    assert call("export", "-s", database, "-d", tmp_path / "out", "-q") == (0, "", "")


def test_conflict_is_told_and_resolved(
    tmp_path: Path, cache: Cache, database: Path, call: Call
) -> None:
    call("export", "-s", database, "-d", tmp_path / "out", "-q")
    (place,) = (tmp_path / "out").rglob("todos/*.json")
    place.write_text("my notes")
    failed = call("export", "-s", database, "-d", tmp_path / "out", "--on-conflict", "fail")
    assert failed.code == 5
    assert "Conflicts left: 1" in failed.out
    assert str(place) in failed.err
    assert place.read_text() == "my notes"
    ran = call("export", "-s", database, "-d", tmp_path / "out", "--json")
    assert ran.code == 0
    assert (ran.summary["total_replaced"], ran.summary["total_conflicts"]) == (1, 1)
    kept = [path for path in Path(ran.summary["replaced_in"]).rglob("*") if path.is_file()]
    assert [path.read_text() for path in kept] == ["my notes"]


def test_entry_that_can_not_be_written_is_named(
    tmp_path: Path, cache: Cache, database: Path, call: Call
) -> None:
    (place,) = cache.root.rglob("todos/*.json")
    target = tmp_path / "out" / place.relative_to(cache.root)
    target.mkdir(parents=True)
    ran = call("export", "-s", database, "-d", tmp_path / "out")
    assert ran.code == 3
    assert f"{target}: not a regular file" in ran.err
    assert "Exported: 2\n  Failed: 1" in ran.out
    again = call("export", "-s", database, "-d", tmp_path / "out", "--json")
    assert [one["file_path"] for one in again.summary["failures"]] == [str(target)]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
def test_json_lines_go_out_and_come_in(
    tmp_path: Path, cache: Cache, database: Path, call: Call, name: str
) -> None:
    assert call("export", "-s", database, "-d", tmp_path / name, "--format", "jsonl").code == 0
    ran = call("import", "-s", tmp_path / name, "-d", tmp_path / "new.db")
    assert ran.code == 0
    assert "  Imported: 3\n  Failed: 0\n" in ran.out
    again = call("import", "-s", tmp_path / name, "-d", tmp_path / "new.db", "--json").summary
    assert (again["total_imported"], again["total_unchanged"]) == (0, 3)
    assert call("export", "-s", tmp_path / "new.db", "-d", tmp_path / "out").code == 0
    same(cache.root, tmp_path / "out")


def test_bad_line_is_named_and_costs_no_other(tmp_path: Path, database: Path, call: Call) -> None:
    call("export", "-s", database, "-d", tmp_path / "a.jsonl", "--format", "jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text("".join([lines[0], "oops\n", *lines[1:]]))
    dry = call("import", "-s", tmp_path / "a.jsonl", "-d", tmp_path / "new.db", "-n")
    assert "Would be imported: 3\n  Failed: 1" in dry.out
    assert not (tmp_path / "new.db").exists()
    ran = call("import", "-s", tmp_path / "a.jsonl", "-d", tmp_path / "new.db")
    assert ran.code == 3
    assert f"{tmp_path / 'a.jsonl'}/line 2: not valid JSON" in ran.err
    assert "Imported: 3\n  Failed: 1" in ran.out


def test_parquet_has_a_row_for_each_entry(tmp_path: Path, database: Path, call: Call) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    place = tmp_path / "a.parquet"
    assert call("export", "-s", database, "-d", place, "--format", "parquet").code == 0
    assert parquet.read_metadata(place).num_rows == 3


def test_exit_codes_of_what_stops_it(tmp_path: Path, database: Path, call: Call) -> None:
    for code, arguments in (
        (10, ("export", "-s", tmp_path / "absent.db", "-d", tmp_path / "out")),
        (10, ("import", "-s", tmp_path / "absent.jsonl", "-d", tmp_path / "new.db")),
        (1, ("export", "-s", database, "-d", database)),
        (2, ("export", "-s", database, "-d", database, "--format", "jsonl")),
        (2, ("export", "-s", database)),
        (2, ("export", "-s", database, "-d", tmp_path / "a", "--format", "jsonl", "--all")),
        (2, ("export", "-s", database, "-d", tmp_path / "a", "--layout", "sideways")),
        (2, ("export", "-s", database, "-d", tmp_path / "a", "--since", "whenever")),
    ):
        before = database.read_bytes()
        assert call(*arguments).code == code, arguments
        assert database.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["cache.db", "repos"]
