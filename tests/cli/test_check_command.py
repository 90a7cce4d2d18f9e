from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apsw
import pytest

from damage import entries_of, make_database, overwrite, pages_of, run_sql, single_entries, value
from rustassistant.cli.app import run
from support import snapshot


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Check(Protocol):
    def __call__(self, *arguments: str | Path) -> Ran: ...


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Check:
    """`rustassistant cache check` in this process: quick, with its true exit code."""

    def call(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", "check", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)

    return call


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def database(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "cache.db"
    shutil.copyfile(sound, copy)
    monkeypatch.setenv("RUSTASSISTANT_DESTINATION", str(copy))
    return copy


def damage_two(database: Path) -> tuple[int, int]:
    one, other = single_entries(database, 2)
    run_sql(
        database,
        f"UPDATE entries SET result = x'28b52ffd' WHERE id IN ({one}, {other})",  # noqa: S608
    )
    return one, other


def test_sound_database_exits_with_0(check: Check, database: Path) -> None:
    done = check()
    count = value(database, "SELECT count(*) FROM entries")
    assert done == Ran(
        0, f"🔍 Checking {database}\n✓ The database is sound: {count} entries looked at\n", ""
    )


def test_damaged_entries_are_named_with_what_they_cost(check: Check, database: Path) -> None:
    damaged = damage_two(database)
    done = check()
    assert done.code == 4
    assert "✓" not in done.out
    for entry_id in damaged:
        path = value(
            database,
            f"SELECT f.path FROM entries e JOIN files f ON f.id = file_id WHERE e.id = {entry_id}",  # noqa: S608
        )
        tokens = value(database, f"SELECT tokens_used FROM entries WHERE id = {entry_id}")  # noqa: S608
        (line,) = [line for line in done.err.splitlines() if f"entry {entry_id}:" in line]
        assert f" of {path} in /home/dev/project-" in line
        assert f"{tokens:,} tokens" in line
    assert "2 entries can't be given back" in done.err
    assert "about $0.0" in done.err
    assert "1 min of waiting" in done.err
    assert "--repair" in done.err


def test_json_has_every_problem_and_a_summary(check: Check, database: Path) -> None:
    one_id, other_id = damage_two(database)
    done = check("--json")
    errors = [line for line in done.lines if line["message_type"] == "error"]
    summary = done.lines[-1]
    assert done.code == 4
    assert [(one["kind"], one["entry_id"], one["lost"]) for one in errors] == [
        ("entry", one_id, True),
        ("entry", other_id, True),
    ]
    assert {"repository", "cache_type", "file_path", "model", "tokens_used"} <= errors[0].keys()
    assert summary["message_type"] == "summary"
    assert (summary["sound"], summary["problems"], summary["lost_entries"]) == (False, 2, 2)
    assert summary["lost_tokens"] == sum(one["tokens_used"] for one in errors)
    assert summary["lost_usd"] > 0
    assert summary["lost_seconds"] == 60
    assert (summary["repaired"], summary["kept"]) == (False, None)


def test_quiet_leaves_only_problems(check: Check, database: Path) -> None:
    assert check("--quiet") == Ran(0, "", "")
    one, _ = damage_two(database)
    done = check("--quiet")
    assert (done.code, done.out) == (4, "")
    assert f"entry {one}" in done.err


def test_check_changes_nothing(check: Check, database: Path) -> None:
    damage_two(database)
    before = snapshot(database.parent)
    check()
    assert snapshot(database.parent) == before


def test_repair_makes_it_sound_and_says_where_the_old_file_is(
    check: Check, database: Path, sound: Path
) -> None:
    damage_two(database)
    done = check("--repair")
    (kept,) = [path for path in database.parent.iterdir() if ".damaged-" in path.name]
    assert done.code == 0
    assert "✓ The database is again sound" in done.out
    assert f"The file as it was: {kept}" in done.out
    assert "2 entries can't be given back" in done.err
    assert check().code == 0
    assert len(entries_of(sound) - entries_of(database)) == 2


def test_repair_without_a_copy(check: Check, database: Path) -> None:
    damage_two(database)
    assert check("--repair", "--no-backup").code == 0
    assert [path.name for path in database.parent.iterdir()] == ["cache.db"]


def test_repair_of_damaged_pages_says_that_it_made_a_new_file(
    check: Check, database: Path, sound: Path
) -> None:
    overwrite(database, pages_of(database, "entries", "internal")[0])
    done = check("--repair", "--no-backup")
    assert done.code == 0
    assert "in a new file now" in done.out
    assert "The file as it was" in done.out
    assert entries_of(database) == entries_of(sound)


def test_lost_entries_are_refilled_from_the_cache(
    check: Check, database: Path, sound: Path
) -> None:
    damage_two(database)
    done = check("--repair", "--from", sound.parent / "cache")
    assert done.code == 0
    assert "Refilled: 2 entries" in done.out
    assert entries_of(database) == entries_of(sound)


def test_sources_are_read_from_the_environment_too(
    check: Check, database: Path, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage_two(database)
    backup = tmp_path / "backup.db"
    shutil.copyfile(sound, backup)
    monkeypatch.setenv("RUSTASSISTANT_FROM", f"{backup}{os.pathsep}{sound.parent / 'cache'}")
    summary = check("--repair", "--json").lines[-1]
    assert (summary["refilled"], summary["not_refilled"]) == (2, [])
    assert entries_of(database) == entries_of(sound)


def test_what_no_source_has_is_named(
    check: Check, database: Path, sound: Path, tmp_path: Path
) -> None:
    one, _ = damage_two(database)
    cache = tmp_path / "cache"
    shutil.copytree(sound.parent / "cache", cache)
    path = value(
        database,
        f"SELECT f.path FROM entries e JOIN files f ON f.id = file_id WHERE e.id = {one}",  # noqa: S608
    )
    for file in cache.rglob(str(path).replace("/", "_").replace(".", "_") + ".json"):
        file.unlink()
    done = check("--repair", "--from", cache)
    assert done.code == 0
    assert "Refilled: 1 entry\n" in done.out
    assert "1 entry could not be refilled" in done.err
    assert f" of {path} in /home/dev/project-" in done.err.splitlines()[-1]


def test_sources_without_repair_are_wrong_usage(check: Check, database: Path) -> None:
    done = check("--from", database.parent)
    assert done.code == 2
    assert "--repair" in done.err


def test_missing_database_or_source(check: Check, database: Path, tmp_path: Path) -> None:
    assert check("-d", tmp_path / "absent.db").code == 10
    assert check("--repair", "-d", tmp_path / "absent.db").code == 10
    damage_two(database)
    before = database.read_bytes()
    assert check("--repair", "--from", tmp_path / "absent").code == 10
    assert database.read_bytes() == before


def test_file_of_another_program_is_left_alone(check: Check, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(apsw.Connection(str(other))) as connection:
        connection.execute("CREATE TABLE letters (id)")
    before = other.read_bytes()
    for arguments in ((), ("--repair",)):
        done = check("-d", other, *arguments)
        assert done.code == 1
        assert "another program" in done.err
    assert other.read_bytes() == before


def test_repair_against_a_writer_exits_with_11_and_names_it(
    check: Check, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rustassistant.stores.sqlite.integrity.repairing.BUSY_TIMEOUT_MS", 0)
    damage_two(database)
    source = (
        "import apsw, sys\n"
        f"connection = apsw.Connection({str(database)!r})\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        repaired, looked = check("--repair"), check()
        writer.stdin.close()
    assert repaired.code == 11
    assert f"process {writer.pid}" in repaired.err
    assert looked.code == 4  # looking does not wait for anybody


def test_terminal_shows_no_more_than_the_result_of_a_quick_check(database: Path) -> None:
    parent, child = pty.openpty()
    source = "from rustassistant.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", source, "cache", "check", "-d", str(database)],
        stdout=child,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(child)
    shown = os.read(parent, 2**16).decode()
    os.close(parent)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "The database is sound" in shown
