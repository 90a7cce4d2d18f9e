from __future__ import annotations

import io
import json
import os
import pty
import random
import re
import select
import signal
import stat
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apsw
import pytest

from rustassistant import CacheMigrator, MigrationResult
from rustassistant.cli.app import run
from rustassistant.cli.migrate import MigrateOptions, run_migration
from rustassistant.stores.sqlite import connection
from rustassistant.stores.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from support import Cache, dump, fields_of, snapshot

LONG_AGO = 1_770_000_000


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


class Migrate(Protocol):
    def __call__(self, *arguments: str | Path) -> Ran: ...


@pytest.fixture
def migrate(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Migrate:
    """`rustassistant cache migrate` in this process: quick, with its true exit code."""

    def call(*arguments: str | Path) -> Ran:
        argv = ["rustassistant", "cache", "migrate", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)

    return call


def command(*arguments: str | Path) -> list[str]:
    """The real command, as a process of its own."""
    return [sys.executable, "-m", "rustassistant", "cache", "migrate", *map(str, arguments)]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "repos")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def prose(words: int, seed: int = 0) -> str:
    """Text that compresses about as well as real text does."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 9))) for _ in range(2000)]
    return " ".join(rng.choices(vocabulary, k=words))


def fill(cache: Cache, count: int = 3, **fields: Any) -> None:
    for number in range(count):
        cache.add(f"src/file{number}.rs", content=b"%d" % number, **fields)


def total_size(cache: Cache) -> int:
    return sum(len(content) for name, (_, _, content) in snapshot(cache.root).items()
               if name.endswith(".json") and not name.endswith("meta.json"))  # fmt: skip


def size_of(database: Path) -> int:
    log = Path(f"{database}-wal")
    return database.stat().st_size + (log.stat().st_size if log.exists() else 0)


def stored(database: Path) -> int:
    opened = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(opened.execute("SELECT count(*) FROM entries").get)
    finally:
        opened.close()


def tables(database: Path) -> dict[str, list[Any]]:
    """All that a database holds, but for what tells of the run itself."""
    opened = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        names = opened.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'run%'"
        )
        return {
            str(name): opened.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            for (name,) in names.fetchall()
        }
    finally:
        opened.close()


def change(database: Path, sql: str, *values: Any) -> None:
    """Do to a database what rustassistant never would."""
    opened = apsw.Connection(str(database))
    try:
        opened.execute(sql, values)
        assert opened.changes() > 0
    finally:
        opened.close()


# What it prints


def test_published_lines_come_out_exactly_and_in_order(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    for number in range(80):
        cache.add(f"src/file{number}.rs", result={"summary": prose(2000, number)})
    ran = migrate("--source", cache.root, "--destination", database, "--backup", "--verify")
    source, destination = total_size(cache), size_of(database)
    assert ran.out == textwrap.dedent(
        f"""\
        🔄 Starting cache migration
          Source: {cache.root}
          Destination: {database}

        💾 Creating backup at {cache.root}.backup
        ✓ Backup created

        🔄 Migrating entries...
          Progress: 80/80 (0 failed)

        ✓ Migration complete!
          Total entries: 80
          Migrated: 80
          Failed: 0
          Source size: {source} bytes
          Destination size: {destination} bytes
          Space saved: {source - destination} bytes ({100 * (source - destination) / source:.1f}%)

        🔍 Verifying migration...
        ✓ Verification passed!
        """
    )
    assert (ran.code, ran.err) == (0, "")


def test_neither_backup_nor_verification_unless_asked(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache)
    ran = migrate("-s", cache.root, "-d", database)
    assert ran.code == 0
    assert "  Migrated: 3\n" in ran.out
    assert "💾" not in ran.out
    assert "🔍" not in ran.out
    assert sorted(path.name for path in cache.root.parent.glob("repos*")) == ["repos"]


def test_source_is_never_written_to_and_backup_equals_it(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache)
    cache.add("broken.rs", text=b"{")
    before = snapshot(cache.root)
    assert migrate("-s", cache.root, "-d", database, "-b", "-v").code == 3
    assert snapshot(cache.root) == before
    assert snapshot(cache.root.with_name("repos.backup")) == before


def test_backup_beside_an_older_one_is_said_to_be_elsewhere(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache)
    older = cache.root.with_name("repos.backup")
    older.mkdir()
    (older / "precious").write_bytes(b"kept")
    ran = migrate("-s", cache.root, "-d", database, "-b")
    said = re.search(r"the backup is (\S+)\n", ran.out)
    assert ran.code == 0
    assert said is not None
    assert snapshot(Path(said[1])) == snapshot(cache.root)
    assert [path.name for path in older.iterdir()] == ["precious"]


def test_backup_that_cannot_be_made_stops_before_anything_is_migrated(
    migrate: Migrate, tmp_path: Path, database: Path
) -> None:
    cache = Cache(tmp_path / ("r" * 250))  # no name may have 257 characters
    fill(cache)
    ran = migrate("-s", cache.root, "-d", database, "-b")
    assert ran.code == 1
    assert "backup was not made" in ran.err
    assert "Hint: Nothing was changed." in ran.err
    assert "Backup created" not in ran.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r" * 250]


def test_second_run_leaves_everything_unchanged(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache)
    migrate("-s", cache.root, "-d", database)
    ran = migrate("-s", cache.root, "-d", database, "-v")
    assert ran.code == 0
    assert "  Total entries: 3\n  Migrated: 0\n  Unchanged: 3\n  Failed: 0\n" in ran.out
    assert stored(database) == 3


def test_only_what_is_new_is_migrated_later(migrate: Migrate, cache: Cache, database: Path) -> None:
    fill(cache)
    migrate("-s", cache.root, "-d", database)
    cache.add("src/new.rs")
    ran = migrate("-s", cache.root, "-d", database)
    assert "  Migrated: 1\n  Unchanged: 3\n" in ran.out


def test_empty_cache_is_done_at_once_and_says_it_is_empty(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    ran = migrate("-s", cache.root, "-d", database, "-v")
    assert ran.code == 0
    assert "  Total entries: 0\n" in ran.out
    assert f"Nothing was found in {cache.root}" in ran.out
    assert "--source" in ran.out


def test_destination_larger_than_its_source_is_explained(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache, 1)
    ran = migrate("-s", cache.root, "-d", database)
    assert re.search(r"  Space saved: -\d+ bytes \(-\d+\.\d%\)\n", ran.out)
    assert "fixed part" in ran.out


# Exit codes


def test_unreadable_files_are_named_and_the_rest_is_migrated(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache)
    truncated = cache.add("broken.rs", text=b'{"file_path": "bro')
    empty = cache.add("empty.rs", text=b"")
    ran = migrate("-s", cache.root, "-d", database, "-v")
    assert ran.code == 3
    assert "  Progress: 5/5 (2 failed)\n" in ran.out
    assert "  Total entries: 5\n  Migrated: 3\n  Failed: 2\n" in ran.out
    assert "2 entries could not be migrated, and stay where they are:" in ran.err
    assert f"  {truncated}: not valid JSON" in ran.err
    assert f"  {empty}: the file is empty\n" in ran.err
    assert str(empty) not in ran.out
    assert stored(database) == 3


def test_list_of_failures_has_an_end_on_screen_but_not_as_json(
    migrate: Migrate, cache: Cache, tmp_path: Path
) -> None:
    for number in range(203):
        cache.add(f"{number}.rs", text=b"")
    ran = migrate("-s", cache.root, "-d", tmp_path / "one.db")
    assert ran.code == 3
    assert ran.err.count(": the file is empty") == 200
    assert "… and 3 more; --json lists them" in ran.err
    ran = migrate("-s", cache.root, "-d", tmp_path / "two.db", "--json")
    assert Counter(line["message_type"] for line in ran.lines)["error"] == 203
    assert len(ran.summary["failures"]) == 203


def test_oddities_that_lose_nothing_are_notes_and_no_failure(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    odd = cache.add("odd.rs", cache_key="0" * 32)
    ran = migrate("-s", cache.root, "-d", database)
    assert ran.code == 0
    assert f"Note: {odd}: its cache_key" in ran.err
    ran = migrate("-s", cache.root, "-d", f"{database}2", "--json")
    notes = [line for line in ran.lines if line.get("phase") == "note"]
    assert [note["path"] for note in notes] == [str(odd)]
    assert ran.err == ""


@pytest.mark.parametrize("json_too", [False, True])
def test_difference_found_by_verification_is_named(
    migrate: Migrate, cache: Cache, database: Path, json_too: bool
) -> None:
    fill(cache, 2)
    damaged = cache.add("damaged.rs", result="another", tokens_used=17)
    for path in cache.root.rglob("*.json"):
        os.utime(path, (LONG_AGO, LONG_AGO))  # so that the second run need not read it again
    assert migrate("-s", cache.root, "-d", database).code == 0
    change(database, "UPDATE entries SET tokens_used = 18 WHERE tokens_used = 17")
    ran = migrate("-s", cache.root, "-d", database, "-v", *(["--json"] if json_too else []))
    assert ran.code == 4
    if json_too:
        assert (ran.summary["verified"], ran.summary["differences"]) == (False, 1)
        errors = [line for line in ran.lines if line["message_type"] == "error"]
        assert [error["file_path"] for error in errors] == [str(damaged)]
        assert "damaged" in errors[0]["error"]
    else:
        assert "passed" not in ran.out
        assert "Verification failed: 1 of 3 entries differ" in ran.err
        assert f"{damaged}: damaged in the destination" in ran.err
        assert "Hint:" in ran.err


def test_failed_files_and_a_difference_exit_as_a_difference(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    damaged = cache.add("damaged.rs")
    broken = cache.add("broken.rs", text=b"")
    os.utime(damaged, (LONG_AGO, LONG_AGO))
    assert migrate("-s", cache.root, "-d", database, "-v").code == 3
    change(database, "UPDATE entries SET result_digest = zeroblob(16)")
    ran = migrate("-s", cache.root, "-d", database, "-v")
    assert ran.code == 4
    assert f"{damaged}: damaged in the destination" in ran.err
    assert f"{broken}: the file is empty" in ran.err


def test_missing_source_makes_nothing(migrate: Migrate, tmp_path: Path) -> None:
    ran = migrate("-s", tmp_path / "absent", "-d", tmp_path / "new" / "cache.db", "-b", "-v")
    assert ran.code == 10
    assert f"the source {tmp_path / 'absent'} does not exist" in ran.err
    assert "Hint: " in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["--jobs", "0"], ["--level", "0"], ["--level", "23"], ["--frobnicate"], ["a"]],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_makes_nothing(
    migrate: Migrate, cache: Cache, database: Path, arguments: list[str]
) -> None:
    fill(cache, 1)
    ran = migrate("-s", cache.root, "-d", database, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "--help" in ran.err or "-h" in ran.err
    assert not database.exists()


def test_empty_source_is_wrong_usage_not_the_working_directory(
    migrate: Migrate, cache: Cache, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache)
    monkeypatch.chdir(cache.root)
    ran = migrate("--source", "", "--destination", database)
    assert ran.code == 2
    assert not database.exists()


def test_what_is_no_cache_is_refused_with_what_to_name_instead(
    migrate: Migrate, tmp_path: Path, database: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    for source in (tmp_path / "photos", tmp_path / "photos" / "cat.jpg"):
        ran = migrate("-s", source, "-d", database)
        assert ran.code == 1
        assert str(source) in ran.err
        assert "Hint: Name the directory" in ran.err
        assert not database.exists()


def test_destination_of_another_program_is_left_as_it_is(
    migrate: Migrate, cache: Cache, tmp_path: Path
) -> None:
    fill(cache, 1)
    notes = tmp_path / "notes.txt"
    notes.write_bytes(b"not a database, but long enough to be taken for one" * 20)
    foreign = tmp_path / "foreign.db"
    with apsw.Connection(str(foreign)) as opened:
        opened.execute("CREATE TABLE mine (x)")
    opened.close()
    newer = tmp_path / "newer.db"
    with apsw.Connection(str(newer)) as opened:
        opened.execute(f"PRAGMA application_id={APPLICATION_ID}")
        opened.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    opened.close()
    (cache.root / "1b2c3d4e").mkdir()
    before = snapshot(tmp_path)
    for destination in (notes, foreign, newer, cache.root / "1b2c3d4e"):
        ran = migrate("-s", cache.root, "-d", destination)
        assert ran.code == 1, destination
        assert str(destination) in ran.err
        assert "Hint: " in ran.err
    assert snapshot(tmp_path) == before


def test_locked_destination_names_the_process_that_holds_it(
    migrate: Migrate, cache: Cache, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 20)
    fill(cache, 2)
    migrate("-s", cache.root, "-d", database)
    hold = "import apsw, sys; c = apsw.Connection(sys.argv[1]); c.execute('BEGIN IMMEDIATE'); "
    hold += "print('held', flush=True); sys.stdin.read(); c.close()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        cache.add("new.rs")
        ran = migrate("-s", cache.root, "-d", database)
        assert ran.code == 11
        assert f"{database} is locked by process {holder.pid} " in ran.err
        assert "Hint: Wait until it has finished" in ran.err
        assert holder.stdin is not None
        holder.stdin.close()
        holder.wait()
    assert migrate("-s", cache.root, "-d", database).code == 0
    assert stored(database) == 3


# For programs


def test_json_lines_all_parse_and_the_summary_adds_up(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache)
    cache.add("here.rs", name="one.json")
    cache.add("here.rs", name="two.json")
    broken = cache.add("broken.rs", text=b"[]")
    ran = migrate("-s", cache.root, "-d", database, "--backup", "--verify", "--json")
    assert ran.code == 3
    assert {line["message_type"] for line in ran.lines} == {"status", "error", "summary"}
    phases = [line["phase"] for line in ran.lines if line["message_type"] == "status"]
    assert list(dict.fromkeys(phases)) == ["backup", "migrate", "verify"]
    for line in ran.lines:
        if line["message_type"] == "status":
            assert 0 <= line["done"] <= line["total"]
    (error,) = [line for line in ran.lines if line["message_type"] == "error"]
    assert (error["file_path"], error["cache_type"]) == (str(broken), "docs")
    found = ran.summary
    outcomes = ("migrated", "unchanged", "duplicates", "filtered", "failed")
    assert found["total_entries"] == 6
    assert sum(found[f"total_{name}"] for name in outcomes) == 6
    assert (found["total_migrated"], found["total_duplicates"], found["total_failed"]) == (4, 1, 1)
    assert found["source_size"] == total_size(cache)
    assert found["destination_size"] == size_of(database)
    assert found["space_saved"] == found["source_size"] - found["destination_size"]
    assert (found["verified"], found["differences"]) == (True, 0)
    assert found["backup"] == f"{cache.root}.backup"
    assert found["failures"] == [
        {"file_path": str(broken), "cache_type": "docs", "error": error["error"]}
    ]


def test_json_status_is_said_once_for_each_state(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache)
    ran = migrate("-s", cache.root, "-d", database, "--json")
    states = [json.dumps(line) for line in ran.lines]
    assert len(set(states)) == len(states)


@pytest.mark.parametrize("by", ["option", "environment"])
def test_what_stops_the_run_is_json_too(
    migrate: Migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "environment":
        monkeypatch.setenv("RUSTASSISTANT_JSON", "1")
    absent = tmp_path / "absent"
    ran = migrate("-s", absent, *(["--json"] if by == "option" else []))
    assert ran.code == 10
    (error,) = ran.lines
    assert (error["message_type"], error["exit_code"]) == ("error", 10)
    assert str(absent) in error["message"]
    assert error["hint"]


def test_quiet_prints_nothing_but_problems(migrate: Migrate, cache: Cache, database: Path) -> None:
    fill(cache)
    ran = migrate("-s", cache.root, "-d", database, "-b", "-v", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    broken = cache.add("broken.rs", text=b"")
    ran = migrate("-s", cache.root, "-d", database, "-v", "--quiet")
    assert (ran.code, ran.out) == (3, "")
    assert str(broken) in ran.err


def test_quiet_json_is_the_summary_alone(migrate: Migrate, cache: Cache, database: Path) -> None:
    fill(cache)
    ran = migrate("-s", cache.root, "-d", database, "-b", "-v", "--quiet", "--json")
    assert len(ran.lines) == 1
    assert ran.summary["total_migrated"] == 3


def test_workers_change_neither_outcome_nor_database(
    migrate: Migrate, cache: Cache, tmp_path: Path
) -> None:
    for number in range(6):
        cache.add(f"{number}.rs", repository=f"/home/dev/{number}")
    broken = cache.add("broken.rs", repository="/home/dev/3", text=b"")
    for file in cache.root.rglob("*.json"):
        os.utime(file, (1_700_000_000, 1_700_000_000))  # fresh files are not remembered as read
    alone = migrate("-s", cache.root, "-d", tmp_path / "alone.db", "--jobs", "1", "--json")
    many = migrate("-s", cache.root, "-d", tmp_path / "many.db", "--jobs", "2", "--json", "-v")
    for ran in (alone, many):
        assert (ran.code, ran.summary["total_migrated"]) == (3, 6)
        assert [one["file_path"] for one in ran.summary["failures"]] == [str(broken)]
    assert many.err == ""
    assert tables(tmp_path / "many.db") == tables(tmp_path / "alone.db")


# Where things lie


def test_home_moves_both_defaults(
    migrate: Migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "elsewhere"
    monkeypatch.setenv("RUSTASSISTANT_HOME", str(home))
    fill(Cache(home / "cache" / "repos"))
    ran = migrate()
    assert ran.code == 0
    assert f"  Source: {home}/cache/repos\n  Destination: {home}/cache.db\n" in ran.out
    assert stored(home / "cache.db") == 3


def test_home_directory_is_the_default_home(
    migrate: Migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUSTASSISTANT_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(Cache(tmp_path / ".rustassistant" / "cache" / "repos"))
    assert migrate().code == 0
    assert stored(tmp_path / ".rustassistant" / "cache.db") == 3


def test_tilde_that_no_shell_expanded_is_the_home_directory(
    migrate: Migrate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUSTASSISTANT_HOME", "~/moved")
    fill(Cache(tmp_path / "moved" / "cache" / "repos"))
    fill(Cache(tmp_path / "other" / "repos"), 2)
    assert migrate().code == 0
    assert stored(tmp_path / "moved" / "cache.db") == 3
    assert migrate("--source=~/other/repos", "--destination=~/other/cache.db").code == 0
    assert stored(tmp_path / "other" / "cache.db") == 2


def test_every_option_can_come_from_the_environment(
    migrate: Migrate, cache: Cache, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache)
    for name, value in {
        "SOURCE": str(cache.root),
        "DESTINATION": str(database),
        "BACKUP": "1",
        "VERIFY": "true",
        "JSON": "yes",
        "QUIET": "1",
        "JOBS": "1",
        "LEVEL": "1",
    }.items():
        monkeypatch.setenv(f"RUSTASSISTANT_{name}", value)
    ran = migrate()
    assert len(ran.lines) == 1  # quiet, and JSON
    assert ran.summary["total_migrated"] == 3
    assert ran.summary["verified"] is True
    assert ran.summary["backup"] == f"{cache.root}.backup"
    monkeypatch.setenv("RUSTASSISTANT_LEVEL", "23")
    assert migrate().code == 2


def test_option_wins_over_the_environment(
    migrate: Migrate, cache: Cache, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache)
    monkeypatch.setenv("RUSTASSISTANT_SOURCE", "/nonexistent")
    monkeypatch.setenv("RUSTASSISTANT_LEVEL", "23")
    assert migrate("-s", cache.root, "-d", database, "--level", "1").code == 0


def test_new_database_and_directories_are_for_their_owner_alone(
    migrate: Migrate, cache: Cache, tmp_path: Path
) -> None:
    fill(cache, 1)
    migrate("-s", cache.root, "-d", tmp_path / "new" / "er" / "cache.db")
    modes = [(tmp_path / "new" / path).stat().st_mode for path in ("", "er", "er/cache.db")]
    assert [stat.S_IMODE(mode) for mode in modes] == [0o700, 0o700, 0o600]


# Screens and pipes


def test_path_with_a_newline_stays_on_its_line(migrate: Migrate, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "two\nlines\x1b[31m")
    fill(cache, 1)
    cache.add("broken.rs", name="bro\nken.json", text=b"")
    ran = migrate("-s", cache.root, "-d", tmp_path / "a\tb.db", "-b", "-v")
    assert ran.code == 3
    assert f"  Source: {tmp_path}/two\\nlines\\x1b[31m\n" in ran.out
    assert f"  Destination: {tmp_path}/a\\tb.db\n" in ran.out
    assert "bro\\nken.json: the file is empty\n" in ran.err
    assert "\x1b" not in ran.out + ran.err
    ran = migrate("-s", tmp_path / "ab\nsent")
    assert "ab\\nsent does not exist\n" in ran.err


def test_ascii_screen_gets_escapes_instead_of_a_crash(cache: Cache, database: Path) -> None:
    cache.add("naïve.rs", name="naïve_😀.json", text=b"")
    fill(cache, 1)
    done = subprocess.run(
        command("-s", cache.root, "-d", database, "-v"),
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert b"Verification passed!" in done.stdout
    assert b"na\\xefve_\\U0001f600.json: the file is empty" in done.stderr
    assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_stays_json_on_any_screen(cache: Cache, database: Path, encoding: str) -> None:
    broken = cache.add("naïve.rs", name="naïve_😀_\udcff.json", text=b"")
    done = subprocess.run(
        command("-s", cache.root, "-d", database, "--json"),
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    lines = [json.loads(line.decode(encoding)) for line in done.stdout.splitlines()]
    shown = str(broken).replace("\udcff", "\\xff")  # a byte that is no text is shown as an escape
    assert lines[-1]["failures"][0]["file_path"] == shown


def test_reader_that_has_gone_away_is_no_traceback(cache: Cache, database: Path) -> None:
    fill(cache)
    for options in ([], ["--json"]):
        reading, writing = os.pipe()
        os.close(reading)  # as `| head -0`, but without a race
        try:
            done = subprocess.run(
                command("-s", cache.root, "-d", database, *options),
                stdout=writing,
                stderr=subprocess.PIPE,
                check=False,
            )
        finally:
            os.close(writing)
        assert done.returncode == 1
        assert done.stderr == b""


def on_a_terminal(arguments: list[str], **environment: str) -> tuple[int, str]:
    """Run on a pseudo-terminal; its exit code, and all that the screen got."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        arguments,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
    ) as process:
        os.close(theirs)
        screen = b"".join(_until_closed(ours))
        os.close(ours)
    return process.returncode, screen.decode().replace("\r\n", "\n")


def _until_closed(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            text = os.read(terminal, 65536)
        except OSError:  # what Linux answers when the last process has closed its end
            return
        if not text:
            return
        yield text


def test_terminal_shows_a_bar_with_a_rate(cache: Cache, database: Path) -> None:
    fill(cache)
    code, screen = on_a_terminal(command("-s", cache.root, "-d", database, "-b", "-v"))
    assert code == 0
    assert re.search(r"━.*3/3.*\d entries/s", screen)
    assert "  Progress: 3/3 (0 failed)\n" in screen  # which stays when the bar has gone
    assert "Traceback" not in screen
    assert screen.rstrip().endswith("✓ Verification passed!")


def test_terminal_bar_is_left_out_when_quiet_or_json(cache: Cache, database: Path) -> None:
    fill(cache)
    code, screen = on_a_terminal(command("-s", cache.root, "-d", database, "--quiet"))
    assert (code, screen) == (0, "")
    code, screen = on_a_terminal(command("-s", cache.root, "-d", database, "--json"))
    assert code == 0
    assert [json.loads(line)["message_type"] for line in screen.splitlines()][-1] == "summary"


# Ctrl-C


@pytest.fixture
def slow_cache(cache: Cache) -> Cache:
    """Twelve entries, each of which takes a tenth of a second at the level used below."""
    for number in range(12):
        repository = f"/home/dev/{number}"
        cache.add(repository=repository, result={"summary": prose(40_000, number)})
    return cache


def interrupt_at(first: str, arguments: list[str], number: signal.Signals = signal.SIGINT) -> Ran:
    """Send a signal when a line with that text has come, and read on to the end."""
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if first in line:
                process.send_signal(number)
                break
        out, err = process.communicate()
    return Ran(process.returncode, "".join([*seen, out]), err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_keeps_what_is_done_and_a_rerun_completes_it(
    migrate: Migrate, slow_cache: Cache, database: Path, number: signal.Signals
) -> None:
    before = snapshot(slow_cache.root)
    arguments = command("-s", slow_cache.root, "-d", database, "--level", "19", "--jobs", "1")
    ran = interrupt_at("Migrating entries", arguments, number)
    assert ran.code == 130
    said = re.search(r"stopped after (\d+) of 12 entries; (\d+) were migrated", ran.err)
    assert said is not None, ran.err
    assert 1 <= int(said[1]) < 12
    assert stored(database) == int(said[2])
    assert "Hint: Run the same command again" in ran.err
    assert "Migration complete" not in ran.out
    assert "Traceback" not in ran.err
    assert snapshot(slow_cache.root) == before

    again = migrate("-s", slow_cache.root, "-d", database, "-v", "--json", "--level", "1")
    assert again.code == 0
    assert again.summary["total_unchanged"] == int(said[2])
    assert again.summary["total_migrated"] == 12 - int(said[2])


def test_interrupted_run_says_so_as_json(slow_cache: Cache, database: Path) -> None:
    arguments = command("-s", slow_cache.root, "-d", database, "--level", "19", "--json", "-j1")
    ran = interrupt_at('"status"', arguments)
    assert ran.code == 130
    last = ran.lines[-1]
    assert (last["message_type"], last["exit_code"]) == ("error", 130)
    assert "12 entries" in last["message"]


def test_interrupted_backup_leaves_nothing_half_done(cache: Cache, database: Path) -> None:
    fill(cache)
    with (cache.root / "large.bin").open("wb") as large:
        large.truncate(96 * 2**20)  # takes a while to copy, and no room here
    ran = interrupt_at("Creating backup", command("-s", cache.root, "-d", database, "--backup"))
    assert ran.code == 130
    assert [path.name for path in cache.root.parent.iterdir()] == ["repos"]
    assert "Traceback" not in ran.err
    assert "interrupted" in ran.err or "stopped" in ran.err


def test_second_interrupt_stops_at_once_and_loses_nothing_committed(
    migrate: Migrate, slow_cache: Cache, database: Path
) -> None:
    arguments = command("-s", slow_cache.root, "-d", database, "--level", "19", "--jobs", "1")
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "Migrating entries" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        while "once more to stop at once" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert "Migration complete" not in out
    assert "Traceback" not in err
    assert "stopped" in err or "interrupted" in err
    again = migrate("-s", slow_cache.root, "-d", database, "-v", "--json", "--level", "1")
    assert (again.code, again.summary["verified"]) == (0, True)
    assert stored(database) == 12


def test_interrupt_while_the_run_ends_does_not_change_how_it_ends(
    slow_cache: Cache, database: Path
) -> None:
    arguments = command("-s", slow_cache.root, "-d", database, "--level", "19", "--jobs", "1")
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "Migrating entries" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        while "Hint: Run the same command again" not in process.stderr.readline():
            pass
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "")


_PAUSE_WORKERS = """
import os, sys
if "serve()" in sys.orig_argv[-1]:
    os.write(os.open(os.environ["STARTING"], os.O_WRONLY), b".")
    os.read(os.open(os.environ["RELEASED"], os.O_RDONLY), 1)
"""


def test_ctrl_c_while_workers_start_is_no_traceback(
    slow_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipes = {}
    for name in ("STARTING", "RELEASED"):
        os.mkfifo(tmp_path / name)
        pipes[name] = os.open(tmp_path / name, os.O_RDWR)  # both ends, so that nobody waits
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_PAUSE_WORKERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    arguments = command("-s", slow_cache.root, "-d", tmp_path / "cache.db", "--jobs", "2")
    with subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        for _ in range(2):
            if not select.select([pipes["STARTING"]], [], [], 60)[0]:
                process.kill()
                pytest.fail("no worker starts")
            os.read(pipes["STARTING"], 1)
        os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C goes to the whole group
        os.write(pipes["RELEASED"], b"." * 100)
        _, err = process.communicate()
    for pipe in pipes.values():
        os.close(pipe)
    assert process.returncode == 130
    assert "were migrated and are safe" in err
    assert "KeyboardInterrupt" not in err


def test_standard_output_is_flushed_line_by_line_into_a_pipe(cache: Cache, database: Path) -> None:
    fill(cache, 1)
    with subprocess.Popen(
        command("-s", cache.root, "-d", database, "--jobs", "1"), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        reader = io.TextIOWrapper(process.stdout, encoding="utf-8")
        assert reader.readline() == "🔄 Starting cache migration\n"
        reader.read()
    assert process.returncode == 0


def test_files_that_vanish_before_the_verification_do_not_pass_it(
    cache: Cache, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of what could not be compared, nobody can say that it is equal.
    file = cache.add()
    options = MigrateOptions((str(cache.root),), "", str(database), verify=True, jobs=1)
    migrate = CacheMigrator.migrate

    def spoiling(self: CacheMigrator, progress: Any = None) -> MigrationResult:
        result = migrate(self, progress)
        file.write_bytes(b"")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CacheMigrator, "migrate", spoiling)
        assert run_migration(options) == 3
    out, err = capsys.readouterr()
    assert "Verification passed" not in out
    assert "could not be compared" in err
    assert str(file) in err


# Several sources, filters, rehearsals, runs


def test_several_sources_are_named_and_merged(
    migrate: Migrate, tmp_path: Path, database: Path
) -> None:
    one, other = Cache(tmp_path / "one"), Cache(tmp_path / "other")
    one.add("src/one.rs")
    other.add("src/other.rs")
    ran = migrate("-s", one.root, "-s", other.root, "-d", database, "--backup", "--verify")
    assert (ran.code, ran.err) == (0, "")
    assert f"  Source: {one.root}\n  Source: {other.root}\n" in ran.out
    assert "  Migrated: 2\n" in ran.out
    for root in (one.root, other.root):
        assert snapshot(Path(f"{root}.backup")) == snapshot(root)


def test_sources_and_types_can_stand_in_the_environment(
    migrate: Migrate, tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Cache(tmp_path / "one with a space"), Cache(tmp_path / "other")
    one.add("src/one.rs")
    other.add("src/other.rs", cache_type="todos")
    other.add("src/more.rs", cache_type="refactor")
    monkeypatch.setenv("RUSTASSISTANT_SOURCE", f"{one.root}{os.pathsep}{other.root}")
    monkeypatch.setenv("RUSTASSISTANT_TYPE", "docs,todos")
    ran = migrate("-d", database, "--json")
    assert (ran.summary["total_migrated"], ran.summary["total_filtered"]) == (2, 1)
    assert ran.summary["sources"] == [str(one.root), str(other.root)]


def test_conflicts_are_listed_with_their_times(
    migrate: Migrate, cache: Cache, tmp_path: Path, database: Path
) -> None:
    cache.add(result="old", analyzed_at="2026-02-04T03:00:00+00:00")
    other = Cache(tmp_path / "other")
    other.add(result="new", analyzed_at="2026-02-05T03:00:00+00:00")
    failing = migrate("-s", cache.root, "-s", other.root, "-d", database, "--on-conflict", "fail")
    assert failing.code == 5
    assert "1 entry conflicts" in failing.err
    rehearsed = migrate("-s", cache.root, "-s", other.root, "-d", database, "-n",
                        "--on-conflict", "fail")  # fmt: skip
    assert rehearsed.code == failing.code == 5
    assert "--on-conflict newest" in failing.err
    assert not database.exists()
    ran = migrate("-s", cache.root, "-s", other.root, "-d", database)
    assert ran.code == 0
    assert "1 entry has two results; both are kept:" in ran.err
    assert "2026-02-05T03:00:00+00:00 answers, not that of 2026-02-04T03:00:00+00:00" in ran.err
    again = migrate("-s", cache.root, "-s", other.root, "-d", database, "--json")
    assert (again.summary["total_unchanged"], again.summary["conflicts"]) == (2, [])


def test_filters_choose_and_the_rest_is_counted(
    migrate: Migrate, cache: Cache, database: Path
) -> None:
    fill(cache, 4)
    cache.add("src/late.rs", analyzed_at="2026-03-01T10:00:00+00:00")
    chosen = migrate("-s", cache.root, "-d", database, "--include", "src/file[01].rs", "--json")
    assert (chosen.summary["total_migrated"], chosen.summary["total_filtered"]) == (2, 3)
    dated = migrate(
        "-s", cache.root, "-d", database, "--since", "2026-03-01", "--until", "2026-03-01"
    )
    assert "  Migrated: 1\n" in dated.out
    assert "  Filtered: 4\n" in dated.out
    wrong = migrate("-s", cache.root, "-d", database, "--since", "yesterday")
    assert wrong.code == 2
    assert "neither a date, a time nor an age" in wrong.err


def test_dry_run_says_what_would_happen_and_writes_nothing(
    migrate: Migrate, cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache, 10, model="grok-beta", tokens_used=1_000_000)
    broken = cache.add("src/broken.rs", text=b"")
    before = snapshot(tmp_path)
    ran = migrate("-s", cache.root, "-d", database, "--dry-run")
    assert snapshot(tmp_path) == before
    assert ran.code == 3
    assert "nothing is written" in ran.out
    assert "  Would be migrated: 10\n" in ran.out
    assert "  Would fail: 1\n" in ran.out
    assert "(an estimate)" in ran.out
    assert "$" in ran.out
    assert "5 min" in ran.out  # half a minute each
    assert f"{broken}: the file is empty" in ran.err
    told = migrate("-s", cache.root, "-d", database, "-n", "--json").summary
    assert (told["dry_run"], told["total_migrated"]) == (True, 10)
    assert told["cost"]["by_model"][0]["assumed_tokens"] == 10_000_000
    assert told["cost"]["usd"] == pytest.approx(100.0)  # Grok: 5 in and 15 out for a million
    real = migrate("-s", cache.root, "-d", database, "--json").summary
    assert told["destination_size"] == pytest.approx(real["destination_size"], rel=0.05)


def test_plan_is_made_shown_and_carried_out(
    migrate: Migrate, cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache, 4)
    plan = tmp_path / "plan.json"
    made = migrate("-s", cache.root, "-d", database, "--plan", plan)
    assert f"--apply {plan}" in made.out
    assert not database.exists()
    done = migrate("--apply", plan)
    assert (done.code, "  Migrated: 4\n" in done.out) == (0, True)
    cache.add("src/new.rs")
    late = migrate("--apply", plan)
    assert late.code == 1
    assert "has changed since the plan was made" in late.err


@pytest.mark.parametrize(
    "options",
    [
        ["--apply", "p.json", "--source", "x"],
        ["--apply", "p.json", "--dry-run"],
        ["--apply", "p.json", "--type", "docs"],
        ["--apply", "p.json", "--destination", "x.db"],
        ["--apply", "p.json", "--retry-failed", "1"],
        ["--plan", "p.json", "--retry-failed", "1"],
        ["--dry-run", "--backup"],
        ["--plan", "p.json", "--verify"],
        ["--dry-run", "--log", "x.log"],
        ["-s", "a", "-s", "b", "--backup-to", "c"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_together_are_refused(
    migrate: Migrate, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = migrate(*options)
    assert ran.code == 2
    assert "Hint: " in ran.err
    assert list(tmp_path.iterdir()) == []


def test_only_what_failed_is_retried(migrate: Migrate, cache: Cache, database: Path) -> None:
    fill(cache)
    broken = cache.add("src/broken.rs", text=b"")
    migrate("-s", cache.root, "-d", database)
    broken.write_bytes(dump(fields_of("src/broken.rs")))
    ran = migrate("-d", database, "--retry-failed", "1", "--json")
    assert (ran.summary["total_entries"], ran.summary["total_migrated"]) == (1, 1)
    gone = migrate("-d", database, "--retry-failed", "7")
    assert gone.code == 10


def test_log_of_entries_is_appended_to(
    migrate: Migrate, cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache)
    log = tmp_path / "entries.log"
    migrate("-s", cache.root, "-d", database, "--log", log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["migrated"] * 3
    migrate("-s", cache.root, "-d", database, "--log", log)
    assert len(log.read_text().splitlines()) == 6
    refused = migrate("-s", cache.root, "-d", database, "--log", tmp_path)
    assert refused.code == 1
    assert "cannot be written" in refused.err


def test_shared_rows_are_reported(migrate: Migrate, cache: Cache, database: Path) -> None:
    for number in range(3):
        cache.add(f"pkg{number}/__init__.py", content=b"", result={})
    ran = migrate("-s", cache.root, "-d", database, "--dedup", "--verify")
    assert ran.code == 0
    assert "  Duplicates: 2 (2 share the row of an equal entry" in ran.out
