"""``rustassistant cache export`` and ``cache import``, as they are called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rustassistant.cli.app import run
from rustassistant.stores.sqlite.serving.spool import Spool
from support import Cache, sample_entry, snapshot


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


# Where something is there already.


@pytest.fixture
def older(tmp_path: Path, call: Call) -> Path:
    """A database of one entry."""
    cache = Cache(tmp_path / "caches" / "older")
    cache.add()
    assert call("migrate", "-s", cache.root, "-d", tmp_path / "older.db").code == 0
    return tmp_path / "older.db"


@pytest.fixture
def newer(tmp_path: Path, call: Call) -> Path:
    """One in which the entry is newer."""
    cache = Cache(tmp_path / "caches" / "newer")
    cache.add(result="new", analyzed_at="2026-05-01T00:00:00+00:00")
    assert call("migrate", "-s", cache.root, "-d", tmp_path / "newer.db").code == 0
    return tmp_path / "newer.db"


@pytest.mark.parametrize("wanted", ["v1", "jsonl"])
def test_replacing_is_told_and_no_number_is_made_up(
    tmp_path: Path, older: Path, newer: Path, call: Call, wanted: str
) -> None:
    place = tmp_path / f"out.{wanted}"
    assert call("export", "-s", older, "-d", place, "--format", wanted).code == 0
    arguments = ("export", "-s", newer, "-d", place, "--format", wanted)
    dry = call(*arguments, "-n")
    assert dry.code == 0
    assert "Would be replaced: 1" in dry.out
    ran = call(*arguments)
    assert ran.code == 0
    assert ran.err.count("Conflict: ") == 1
    assert "more" not in ran.err
    assert "-199" not in ran.err
    if wanted == "v1":
        assert f"Replaced rows: 1, kept in {place}:cache_entries_replaced" in ran.out
    else:
        assert f"Replaced files: 1, kept in {place}.backup-" in ran.out


@pytest.mark.parametrize("wanted", ["v1", "jsonl"])
def test_policies_of_a_file_are_kept_or_refused(
    tmp_path: Path, older: Path, newer: Path, call: Call, wanted: str
) -> None:
    place = tmp_path / f"out.{wanted}"
    assert call("export", "-s", older, "-d", place, "--format", wanted).code == 0
    before = snapshot(tmp_path)
    arguments = ("export", "-s", newer, "-d", place, "--format", wanted, "--on-conflict")
    failed = call(*arguments, "fail")
    assert failed.code == 5
    assert "trash" not in failed.err
    assert call(*arguments, "fail", "-n").code == 5
    refused = call(*arguments, "keep-both")
    assert refused.code == 2
    assert "keep-both" in refused.err
    assert snapshot(tmp_path) == before


def test_what_is_left_out_is_called_what_it_is(
    tmp_path: Path, older: Path, newer: Path, call: Call
) -> None:
    assert call("export", "-s", older, "-d", tmp_path / "out").code == 0
    ran = call("export", "-s", newer, "-d", tmp_path / "out", "--on-conflict", "oldest")
    assert "Newer results left out (--all keeps them): 1" in ran.out
    assert "Older" not in ran.out
    assert call("export", "-s", newer, "-d", tmp_path / "out").code == 0
    ran = call("export", "-s", older, "-d", tmp_path / "out")
    assert "Older results left out (--all keeps them): 1" in ran.out


def test_hints_name_what_this_command_has(tmp_path: Path, cache: Cache, call: Call) -> None:
    for arguments in (("-s", tmp_path / "nope.db"), ()):
        ran = call("export", *arguments, "-d", tmp_path / "out")
        assert ran.code == 10
        assert "--source" in ran.err
        assert "--destination" not in ran.err
    ran = call("import", "-s", cache.root, "-d", tmp_path / "new.db")
    assert ran.code == 1
    assert "cache migrate" in ran.err
    assert "permission" not in ran.err


def test_rehearsed_import_exits_as_the_real_one_does(
    call: Call, cache: Cache, tmp_path: Path
) -> None:
    database, lines = tmp_path / "cache.db", tmp_path / "new.jsonl"
    call("migrate", "-s", cache.root, "-d", database)
    cache.add(result="new", analyzed_at="2026-03-01T00:00:00+00:00")
    call("export", "-s", cache.root, "-d", lines, "--format", "jsonl")
    asked = ("import", "-s", lines, "-d", database, "--on-conflict")
    assert call(*asked, "fail", "-n").code == call(*asked, "fail").code == 5
    assert call(*asked, "newest", "-n").code == call(*asked, "newest").code == 0


def test_entry_that_waits_is_exported_and_told(tmp_path: Path, database: Path, call: Call) -> None:
    Spool(str(database)).add(sample_entry(file_path="waits.rs"), set_now=True)
    ran = call("export", "-s", database, "-d", tmp_path / "out")
    assert ran.code == 0
    assert "  Exported: 4\n" in ran.out
    assert f"Note: {database}.pending: 1 entry waits" in ran.err
    (line,) = [
        line
        for line in call("export", "-s", database, "-d", tmp_path / "out", "--json").lines
        if line.get("phase") == "note"
    ]
    assert line["path"] == f"{database}.pending"


def test_endless_line_ends_at_the_first_request(tmp_path: Path, own_home: Path) -> None:
    with open(tmp_path / "long.jsonl", "wb") as file:
        file.truncate(2**40)
    command = [sys.executable, "-m", "rustassistant", "cache", "import"]
    importing = subprocess.Popen(
        [*command, "-s", tmp_path / "long.jsonl", "-d", tmp_path / "new.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert importing.stdout is not None
    while "Destination:" not in (line := importing.stdout.readline()):
        assert line
    while "long.jsonl" not in _opened_by(importing.pid):
        assert importing.poll() is None
    importing.terminate()
    _, told = importing.communicate()
    assert importing.returncode == 130
    assert "stopped" in told
    assert not (tmp_path / "new.db").exists()


def _opened_by(process: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            found.add(link.readlink().name)
    return found
