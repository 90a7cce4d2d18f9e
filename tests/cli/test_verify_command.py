from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import apsw
import pytest

from rustassistant.cli import stopping
from rustassistant.cli.app import run
from rustassistant.stores.json_tree import JsonTree, JsonTreeDestination
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.transfer import verify as verify_module
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.plan import Options
from support import Cache, dump, fields_of, snapshot

ENTRIES: Final = 12
LONG_AGO: Final = 1_700_000_000


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    """A command that was interrupted ignores further signals until its end, which is ours here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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

    @property
    def digest(self) -> str:
        [line] = [line for line in self.out.splitlines() if "Digest of" in line]
        return line.rpartition(" ")[2]


class Verify(Protocol):
    def __call__(self, *arguments: str | Path) -> Ran: ...


@pytest.fixture
def verify(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Verify:
    """`rustassistant cache verify` in this process: quick, with its true exit code."""

    def call(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", "verify", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)

    return call


class Migrated(NamedTuple):
    cache: Cache
    database: Path

    @property
    def arguments(self) -> tuple[str | Path, ...]:
        return ("--source", self.cache.root, "--destination", self.database)

    def change(self, sql: str) -> None:
        connection = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.execute(sql)
        assert connection.changes()
        connection.close()

    def age(self) -> None:
        """As some time after all was written: so fresh times are not to be trusted."""
        for file in [*self.cache.root.rglob("*.json"), self.database]:
            os.utime(file, (LONG_AGO, LONG_AGO))


@pytest.fixture
def migrated(tmp_path: Path) -> Migrated:
    cache = Cache(tmp_path / "repos")
    for number in range(ENTRIES):
        cache.add(f"src/{number:02}.rs", content=b"%d" % number)
    database = tmp_path / "cache.db"
    transfer(JsonTree(cache.root), SqliteStore(database), options=Options(jobs=1))
    return Migrated(cache, database)


def test_equal_is_said_with_the_digest_of_all(verify: Verify, migrated: Migrated) -> None:
    ran = verify(*migrated.arguments)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "🔍 Verifying",
        f"  Source: {migrated.cache.root}",
        f"  Destination: {migrated.database}",
        "  Progress: 12/12 (0 failed)",
        "",
        "✓ Verification passed!",
        "  Compared: 12",
        "  Differing: 0",
        "  Unreadable: 0",
        f"  Digest of 12 entries: {ran.digest}",
    ]
    assert len(bytes.fromhex(ran.digest)) == 32


def test_two_machines_see_the_same_digest(
    verify: Verify, migrated: Migrated, tmp_path: Path
) -> None:
    exported = tmp_path / "elsewhere" / "repos"
    transfer(SqliteStore(migrated.database), JsonTreeDestination(exported))
    ours = verify(*migrated.arguments)
    theirs = verify("-s", exported, "-d", migrated.database)
    database = verify("-s", migrated.database, "-d", migrated.database)
    assert [ran.code for ran in (ours, theirs, database)] == [0, 0, 0]
    assert ours.digest == theirs.digest == database.digest


def test_several_sources_are_compared_as_one(
    verify: Verify, migrated: Migrated, tmp_path: Path
) -> None:
    other = Cache(tmp_path / "other")
    other.add("src/other.rs", repository="/home/dev/other")
    transfer(JsonTree(other.root), SqliteStore(migrated.database))
    ran = verify(*migrated.arguments, "--source", other.root, "--json", "--quiet")
    assert ran.code == 0
    assert ran.summary["compared"] == ENTRIES + 1
    assert ran.summary["sources"] == [str(migrated.cache.root), str(other.root)]


def test_defaults_are_those_of_migrate(verify: Verify, migrated: Migrated, own_home: Path) -> None:
    (own_home / "cache").mkdir(parents=True)
    migrated.cache.root.rename(own_home / "cache" / "repos")
    migrated.database.rename(own_home / "cache.db")
    assert verify().code == 0


def test_nothing_is_changed_and_nothing_left(
    verify: Verify, migrated: Migrated, own_home: Path
) -> None:
    before = snapshot(migrated.cache.root), migrated.database.read_bytes()
    assert verify(*migrated.arguments).code == 0
    assert (snapshot(migrated.cache.root), migrated.database.read_bytes()) == before
    assert sorted(os.listdir(migrated.database.parent)) == ["cache.db", "repos"]
    assert not list(own_home.rglob("*.json"))


# --- What is wrong is named.


def test_differences_are_named_and_end_with_4(verify: Verify, migrated: Migrated) -> None:
    migrated.change("DELETE FROM entries WHERE id = 3")
    ran = verify(*migrated.arguments)
    assert ran.code == 4
    assert "✗ 1 entry differs:" in ran.err
    assert "src_02_rs.json: missing from the destination" in ran.err
    assert "migrate it again" in ran.err
    assert "✗ Verification failed!" in ran.out
    assert "  Differing: 1" in ran.out


def test_unreadable_files_are_named_and_end_with_3(verify: Verify, migrated: Migrated) -> None:
    migrated.cache.add("src/bad.rs", text=b"")
    ran = verify(*migrated.arguments)
    assert ran.code == 3
    assert "✗ 1 entry of the source can't be read" in ran.err
    assert "src_bad_rs.json: the file is empty" in ran.err
    assert "  Unreadable: 1" in ran.out
    assert "Digest of 12 entries" in ran.out


def test_a_difference_weighs_more_than_an_unreadable_file(
    verify: Verify, migrated: Migrated
) -> None:
    migrated.cache.add("src/bad.rs", text=b"")
    migrated.cache.add("src/new.rs")
    assert verify(*migrated.arguments).code == 4


def test_superseded_entries_are_counted_with_a_digest_of_the_others(
    verify: Verify, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "repos")
    for number in (1, 2):
        fields = fields_of(analyzed_at=f"2026-02-0{number}T00:00:00+00:00", result={"n": number})
        cache.add(name=f"{number}.json", text=dump(fields))
    database = tmp_path / "cache.db"
    transfer(JsonTree(cache.root), SqliteStore(database))
    ran = verify("-s", cache.root, "-d", database)
    assert ran.code == 0
    assert "  Held, but superseded or removed: 1" in ran.out
    [line] = [line for line in ran.out.splitlines() if "that answer" in line]
    assert line.startswith("  Digest of the 1 that answer: ")
    assert verify("-s", database, "-d", database).digest == line.rpartition(" ")[2]


@pytest.mark.parametrize("missing", ["source", "database"])
def test_what_does_not_exist_ends_with_10(
    verify: Verify, migrated: Migrated, missing: str, tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    places = (absent, migrated.database) if missing == "source" else (migrated.cache.root, absent)
    ran = verify("-s", places[0], "-d", places[1])
    assert ran.code == 10
    assert f"{absent} does not exist" in ran.err
    assert not absent.exists()


def test_a_foreign_database_is_refused(verify: Verify, migrated: Migrated, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"not ours")
    assert verify("-s", migrated.cache.root, "-d", foreign).code == 1
    assert foreign.read_bytes() == b"not ours"


# --- JSON.


def test_json_ends_with_one_summary(verify: Verify, migrated: Migrated) -> None:
    migrated.change("UPDATE entries SET result = x'00' WHERE id = 3")
    migrated.cache.add("src/bad.rs", text=b"")
    ran = verify(*migrated.arguments, "--json")
    assert (ran.code, ran.err) == (4, "")
    summary = ran.summary
    assert summary.pop("seconds") >= 0
    assert len(bytes.fromhex(summary["digest"])) == 32
    assert summary.pop("digest") == summary.pop("digest_answering")
    assert summary == {
        "message_type": "summary",
        "sources": [str(migrated.cache.root)],
        "destination": str(migrated.database),
        "verified": False,
        "compared": 12,
        "resumed": 0,
        "removed": 0,
        "differences": 1,
        "unreadable": 1,
        "sample": None,
    }
    errors = [line for line in ran.lines if line["message_type"] == "error"]
    assert [(one["kind"], os.path.basename(one["file_path"])) for one in errors] == [
        ("unreadable", "src_bad_rs.json"),
        ("difference", "src_02_rs.json"),
    ]
    assert {line["message_type"] for line in ran.lines} == {"status", "error", "summary"}


def test_quiet_says_only_what_is_wrong(verify: Verify, migrated: Migrated) -> None:
    assert verify(*migrated.arguments, "--quiet")[1:] == ("", "")
    migrated.change("DELETE FROM entries WHERE id = 3")
    ran = verify(*migrated.arguments, "--quiet")
    assert (ran.code, ran.out) == (4, "")
    assert "missing from the destination" in ran.err


# --- Samples.


def test_a_sample_is_said_to_be_one(verify: Verify, migrated: Migrated) -> None:
    ran = verify(*migrated.arguments, "--sample", "25%", "--seed", "7")
    assert ran.code == 0
    assert "  Compared: a sample of 3 of 12 entries" in ran.out
    assert "  Seed: 7" in ran.out
    assert "  Digest of 3 sampled entries: " in ran.out
    assert verify(*migrated.arguments, "--sample", "3", "--seed", "7").digest == ran.digest


def test_a_sample_has_no_digest_of_all(verify: Verify, migrated: Migrated) -> None:
    summary = verify(*migrated.arguments, "--sample", "5", "--seed", "7", "--json").summary
    assert (summary["compared"], summary["digest"], summary["digest_answering"]) == (5, None, None)
    sample = summary["sample"]
    assert (sample["asked"], sample["seed"], sample["population"]) == ("5", 7, 12)
    assert len(bytes.fromhex(sample["digest"])) == 32


def test_a_seed_by_chance_is_told_and_gives_the_same_sample_again(
    verify: Verify, migrated: Migrated
) -> None:
    sample = verify(*migrated.arguments, "--sample", "4", "--json").summary["sample"]
    again = verify(
        *migrated.arguments, "--sample", "4", "--seed", str(sample["seed"]), "--json"
    ).summary["sample"]
    assert again == sample


def test_seeds_by_chance_differ(verify: Verify, migrated: Migrated) -> None:
    ran = [verify(*migrated.arguments, "--sample", "4", "--json") for _ in range(2)]
    assert ran[0].summary["sample"]["seed"] != ran[1].summary["sample"]["seed"]


def test_a_difference_in_the_sample_is_found(verify: Verify, migrated: Migrated) -> None:
    migrated.change("UPDATE entries SET tokens_used = 5")
    ran = verify(*migrated.arguments, "--sample", "5")
    assert ran.code == 4
    assert "  Differing: 5" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sample", "0"),
        ("--sample", "5%%"),
        ("--sample", "all"),
        ("--sample", "5", "--seed", "-1"),
    ],
    ids=str,
)
def test_what_is_no_sample_is_wrong_usage(
    verify: Verify, migrated: Migrated, arguments: tuple[str, ...]
) -> None:
    assert verify(*migrated.arguments, *arguments).code == 2


# --- Going on.


def interrupt(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch, *more: str
) -> Ran:
    """Ctrl-C after the first four entries."""
    with monkeypatch.context() as patched:
        patched.setattr(json_store, "PARTITION_FILES", 2)
        original = verify_module._Run._tell

        def tell(self: Any, current: str) -> None:
            original(self, current)
            if self._comparison.compared == 4:
                os.kill(os.getpid(), signal.SIGINT)

        patched.setattr(verify_module._Run, "_tell", tell)
        return verify(*migrated.arguments, "--jobs", "1", *more)


def test_an_interrupted_verification_says_so_and_goes_on(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    migrated.age()
    whole = verify(*migrated.arguments)
    ran = interrupt(verify, migrated, monkeypatch)
    assert ran.code == 130
    assert "stopped after comparing 4 of 12 entries" in ran.err
    assert "it goes on where it stopped" in ran.err
    assert len(os.listdir(own_home / "verify")) == 1
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    ran = verify(*migrated.arguments)
    assert ran.code == 0
    assert "  Going on after 4 of 12 entries that an interrupted run compared" in ran.out
    assert "  Compared: 12" in ran.out
    assert ran.digest == whole.digest
    assert os.listdir(own_home / "verify") == []


def test_json_tells_of_going_on(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrated.age()
    ran = interrupt(verify, migrated, monkeypatch, "--json")
    assert (ran.code, ran.lines[-1]["exit_code"]) == (130, 130)
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    ran = verify(*migrated.arguments, "--json")
    assert ran.summary["resumed"] == 4
    assert {
        "message_type": "status", "phase": "resume", "compared": 4, "total": 12, "why_anew": None,
    } in ran.lines  # fmt: skip


def test_fresh_compares_everything(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    migrated.age()
    interrupt(verify, migrated, monkeypatch)
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    ran = verify(*migrated.arguments, "--fresh", "--json")
    assert (ran.code, ran.summary["resumed"]) == (0, 0)
    assert os.listdir(own_home / "verify") == []


def test_with_a_changed_database_it_says_that_it_begins_anew(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrated.age()
    interrupt(verify, migrated, monkeypatch)
    migrated.change("UPDATE entries SET tokens_used = 5 WHERE id = 1")
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    ran = verify(*migrated.arguments)
    assert ran.code == 4
    assert "Beginning anew after an interrupted run: the destination has changed since" in ran.out


def test_a_sample_is_not_gone_on_with(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    migrated.age()
    ran = interrupt(verify, migrated, monkeypatch, "--sample", "12")
    assert ran.code == 130
    assert "begins anew each time" in ran.err
    assert not (own_home / "verify").exists()


def test_a_second_interruption_stops_at_once(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(self: stopping.Stop) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return False

    monkeypatch.setattr(stopping.Stop, "__call__", impatient)
    ran = verify(*migrated.arguments)
    assert ran.code == 130
    assert "interrupted; nothing was changed" in ran.err


def test_notes_that_cannot_be_written_are_a_note(
    verify: Verify, migrated: Migrated, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    migrated.age()
    own_home.mkdir()
    (own_home / "verify").write_bytes(b"")
    ran = interrupt(verify, migrated, monkeypatch)
    assert ran.code == 130
    assert "could not be remembered" in ran.err
    assert verify(*migrated.arguments).code == 0


# --- As a process of its own.


def test_the_command_runs_with_options_from_the_environment(migrated: Migrated) -> None:
    environment = {
        "RUSTASSISTANT_SOURCE": str(migrated.cache.root),
        "RUSTASSISTANT_DESTINATION": str(migrated.database),
        "RUSTASSISTANT_SAMPLE": "50%",
        "RUSTASSISTANT_SEED": "3",
        "RUSTASSISTANT_JOBS": "2",
        "RUSTASSISTANT_JSON": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "rustassistant", "cache", "verify"],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["compared"], summary["sample"]["seed"]) == (6, 3)
