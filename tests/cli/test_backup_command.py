from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apsw
import pytest

from rustassistant import CacheMigrator
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
        last = self.lines[-1]
        assert last["message_type"] == "summary"
        return last


class Call(Protocol):
    def __call__(self, *arguments: str | Path) -> Ran: ...


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """`rustassistant cache …` in this process, with its true exit code."""

    def act(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)

    return act


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path / "repos")
    for number in range(5):
        made.add(f"src/{number}.rs", content=b"%d" % number)
    return made


@pytest.fixture
def database(own_home: Path, cache: Cache) -> Path:
    """Where the commands look unless told otherwise."""
    place = own_home / "cache.db"
    CacheMigrator(cache.root, place, jobs=1).migrate()
    return place


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "rustassistant", "cache", *map(str, arguments)]


# --- Backup.


def test_backup_copies_the_database_unless_told_otherwise(call: Call, database: Path) -> None:
    ran = call("backup")
    assert (ran.code, ran.err) == (0, "")
    size = os.path.getsize(f"{database}.backup") / 1024
    assert ran.out == (
        f"💾 Creating backup at {database}.backup\n✓ Backup created\n  5 entries, {size:.1f} KiB\n"
    )


def test_backup_beside_an_older_one_says_where_it_is(call: Call, database: Path) -> None:
    call("backup")
    older = Path(f"{database}.backup").read_bytes()
    ran = call("backup")
    assert ran.code == 0
    assert f"That name was taken: the backup is {database}.backup-2" in ran.out
    assert Path(f"{database}.backup").read_bytes() == older


def test_backup_of_a_tree_as_directory_and_as_archive(
    call: Call, cache: Cache, tmp_path: Path
) -> None:
    before = snapshot(cache.root)
    ran = call("backup", "--source", cache.root)
    assert ran.code == 0
    assert "6 files, " in ran.out
    assert snapshot(tmp_path / "repos.backup") == before
    ran = call("backup", "-s", cache.root, "--to", tmp_path / "packed.tar.zst")
    assert ran.code == 0
    assert " in " in ran.out
    assert (tmp_path / "packed.tar.zst").is_file()
    assert snapshot(cache.root) == before


@pytest.mark.parametrize(
    ("arguments", "environment", "kind"),
    [
        ([], {}, "database"),
        ([], {"RUSTASSISTANT_SOURCE": "repos"}, "directory"),
        ([], {"RUSTASSISTANT_SOURCE": "repos", "RUSTASSISTANT_DESTINATION": "x.db"}, "database"),
        (["-s", "repos"], {"RUSTASSISTANT_DESTINATION": "x.db"}, "directory"),
        (["-d", "x.db"], {"RUSTASSISTANT_SOURCE": "repos"}, "database"),
        (["-s", "x.db"], {}, "database"),
    ],
)
def test_which_of_two_is_meant(
    call: Call,
    cache: Cache,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    kind: str,
) -> None:
    monkeypatch.chdir(cache.root.parent)
    database.with_name("x").mkdir()
    (cache.root.parent / "x.db").write_bytes(database.read_bytes())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert call("backup", "--json", *arguments).summary["kind"] == kind


def test_both_at_once_are_wrong_usage(call: Call, cache: Cache, database: Path) -> None:
    ran = call("backup", "-s", cache.root, "-d", database)
    assert ran.code == 2
    assert "run the command twice" in ran.err


def test_json_of_a_backup(call: Call, database: Path) -> None:
    ran = call("backup", "--json")
    assert ran.code == 0
    summary = ran.summary
    assert summary.pop("seconds") >= 0
    size = os.path.getsize(f"{database}.backup")
    assert summary == {
        "message_type": "summary",
        "kind": "database",
        "source": str(database),
        "backup": f"{database}.backup",
        "files": 0,
        "entries": 5,
        "size": size,
        "stored_size": size,
        "damaged": 0,
    }
    assert {line["message_type"] for line in ran.lines[:-1]} == {"status"}


def test_quiet_backup_says_nothing(call: Call, database: Path) -> None:
    assert call("backup", "--quiet") == (0, "", "")
    assert Path(f"{database}.backup").exists()


def test_nothing_to_copy_exits_with_ten(call: Call, own_home: Path) -> None:
    ran = call("backup")
    assert ran.code == 10
    assert "cache.db does not exist" in ran.err
    assert "--source" in ran.err
    assert not own_home.exists()


def test_damaged_entry_exits_with_four_though_the_copy_is_made(call: Call, database: Path) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        frame = connection.execute("SELECT max(result) FROM entries").get
    data = database.read_bytes()
    start = data.index(frame) + 20
    database.write_bytes(data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :])
    ran = call("backup")
    assert ran.code == 4
    assert "1 of its entries are damaged" in ran.err
    assert Path(f"{database}.backup").exists()
    ran = call("backup", "--json")
    assert ran.code == 4
    assert ran.summary["damaged"] == 1
    assert any(line["message_type"] == "error" for line in ran.lines)


# --- Restore.


def test_restore_brings_a_database_back(call: Call, database: Path, cache: Cache) -> None:
    call("backup")
    database.unlink()
    ran = call("restore", f"{database}.backup", "--to", database)
    assert (ran.code, ran.err) == (0, "")
    assert f"✓ Restored to {database}\n  5 entries, " in ran.out
    assert CacheMigrator(cache.root, database, jobs=1).verify()


def test_restore_refuses_to_overwrite_and_says_how(
    call: Call, cache: Cache, tmp_path: Path
) -> None:
    call("backup", "-s", cache.root)
    before = snapshot(cache.root)
    ran = call("restore", tmp_path / "repos.backup", "--to", cache.root)
    assert ran.code == 1
    assert "exists already; nothing was overwritten" in ran.err
    assert "--force" in ran.err
    assert snapshot(cache.root) == before
    cache.add("src/later.rs")
    later = snapshot(cache.root)
    ran = call("restore", tmp_path / "repos.backup", "--to", cache.root, "--force", "--json")
    assert ran.code == 0
    assert snapshot(cache.root) == before
    assert snapshot(Path(ran.summary["kept"])) == later


def test_restore_says_where_what_lay_there_is_now(call: Call, database: Path) -> None:
    call("backup")
    ran = call("restore", f"{database}.backup", "--to", database, "--force")
    assert ran.code == 0
    [line] = [line for line in ran.out.splitlines() if "What lay there" in line]
    assert os.path.exists(line.partition(" is now ")[2])


def test_json_of_a_restore(call: Call, cache: Cache, tmp_path: Path) -> None:
    packed = tmp_path / "packed.tar.zst"
    call("backup", "-s", cache.root, "--to", packed)
    summary = call("restore", packed, "--to", tmp_path / "back", "--json").summary
    assert summary.pop("seconds") >= 0
    assert summary == {
        "message_type": "summary",
        "kind": "archive",
        "backup": str(packed),
        "restored": str(tmp_path / "back"),
        "kept": None,
        "files": 6,
        "entries": 0,
        "size": sum(path.stat().st_size for path in cache.root.rglob("*.json")),
    }


@pytest.mark.parametrize(("spoilt", "code"), [("cut", 4), ("missing", 10), ("other", 1)])
def test_what_cannot_be_restored_has_its_own_exit_code(
    call: Call, cache: Cache, tmp_path: Path, spoilt: str, code: int
) -> None:
    packed = tmp_path / "packed.tar.zst"
    call("backup", "-s", cache.root, "--to", packed)
    if spoilt == "cut":
        os.truncate(packed, packed.stat().st_size - 1)
    elif spoilt == "missing":
        packed.unlink()
    else:
        packed.write_bytes(b"other")
    ran = call("restore", packed, "--to", tmp_path / "back")
    assert ran.code == code
    assert "Hint: " in ran.err
    assert not (tmp_path / "back").exists()


def test_restore_without_a_place_is_wrong_usage(call: Call) -> None:
    assert call("restore", "x").code == 2


def test_database_in_use_exits_with_eleven(call: Call, database: Path) -> None:
    call("backup")
    code = (
        "import sys, apsw; connection = apsw.Connection(sys.argv[1]);"
        "connection.execute('BEGIN IMMEDIATE'); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        ran = call("restore", f"{database}.backup", "--to", database, "--force")
        holder.communicate()
    assert ran.code == 11
    assert f"process {holder.pid}" in ran.err


# --- Interrupted.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["backup", "restore"])
def test_interrupted_it_leaves_nothing_half_done(
    call: Call, cache: Cache, tmp_path: Path, number: signal.Signals, what: str
) -> None:
    for size in range(12):
        (cache.root / f"large{size}.bin").write_bytes(os.urandom(8 * 2**20))
    packed = tmp_path / "packed.tar.zst"
    arguments: list[str | Path] = ["backup", "-s", cache.root, "--to", packed]
    if what == "restore":
        assert call(*arguments).code == 0
        arguments = ["restore", packed, "--to", tmp_path / "back"]
    before = set(os.listdir(tmp_path))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command(*arguments), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # the first status: it is in the middle
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == 130
    assert "interrupted" in err
    assert set(os.listdir(tmp_path)) == before


def test_a_terminal_gets_a_bar_and_the_same_report(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(command("backup"), stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    os.close(master)
    assert process.wait() == 0
    assert "✓ Backup created" in shown.decode()
