"""``rustassistant cache sync``, as it is called."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rustassistant.cli.app import run
from sync.pairs import Database, Tree


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
    """`rustassistant cache sync …` in this process: quick, with its true exit code."""

    def call(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", "sync", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)

    return call


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path / "repos")
    for number in range(4):
        made.analyse(f"{number}.rs", 1)
    return made


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "cache.db")


@pytest.fixture
def places(tree: Tree, database: Database) -> tuple[Path, Path]:
    return tree.path, database.path


def history(tree: Tree, database: Database) -> None:
    """Of each kind of thing, one."""
    tree.analyse("0.rs", 2)
    tree.delete("1.rs")
    tree.analyse("2.rs", 3, note="of the tree")
    database.analyse("2.rs", 4, note="of the database")
    database.analyse("new.rs", 5)


def test_every_sign_and_the_totals(
    call: Call, places: tuple[Path, Path], tree: Tree, database: Database
) -> None:
    first = call(*places)
    assert first.code == 0
    assert "+ A→B docs 3.rs" in first.out
    assert "B: + 4 added, ~ 0 replaced, - 0 deleted" in first.out
    history(tree, database)
    rehearsed = call(*places, "--dry-run", "--resolve", "fail")
    assert rehearsed.code == 5
    for line in (
        "~ A→B docs 0.rs",
        "=     docs 1.rs",
        "!     docs 2.rs",
        "+ B→A docs new.rs",
        "✓ Nothing was written.",
        "A: + 1 would be added, ~ 0 would be replaced, - 0 would be deleted",
        "B: + 0 would be added, ~ 1 would be replaced, - 0 would be deleted",
        "= Equal: 3",
        "Conflicts left: 1",
    ):
        assert line in rehearsed.out
    assert database.notes("0.rs") == ["0.rs at 1"]
    done = call(*places, "--delete")
    assert done.code == 0
    assert "- A→B docs 1.rs" in done.out
    assert "! B→A docs 2.rs" in done.out
    assert "(changed on both sides: that of B replaces that of A)" in done.out
    assert f"What had to go is in {tree.path}.trash.backup-" in done.out
    again = call(*places)
    assert "→" not in again.out
    assert "= Equal: 4" in again.out


def test_json_has_every_step_and_one_summary(
    call: Call, places: tuple[Path, Path], tree: Tree, database: Database
) -> None:
    call(*places)
    history(tree, database)
    done = call(*places, "--json")
    steps = {line["file_path"]: line for line in done.lines if line["message_type"] == "status"}
    assert {path: (step["sign"], step["to"]) for path, step in steps.items()} == {
        "0.rs": ("~", "b"),
        "1.rs": ("=", ""),
        "2.rs": ("!", "a"),
        "new.rs": ("+", "a"),
    }
    summary = done.summary
    assert summary["a"]["location"] == str(tree.path)
    assert (summary["a"]["added"], summary["a"]["changed"], summary["b"]["changed"]) == (1, 1, 1)
    assert (summary["kept"], summary["resolved"], summary["left"]) == (1, 1, 0)
    (trash,) = summary["trash"]
    assert "of the tree" in next(Path(trash).rglob("2_rs.json")).read_text()


@pytest.mark.parametrize(
    ("prepare", "arguments", "code", "said"),
    [
        ("nothing", ("--resolve", "fail"), 5, ""),
        ("garbage", (), 3, "0_rs.json"),
        ("empty", ("--delete",), 1, "is empty; it held 4 results"),
        ("vanish", ("--delete",), 1, "vanished from"),
        ("nothing", ("--max-delete", "half"), 2, "not a number of results"),
        ("nothing", ("--watch", "--dry-run"), 2, "would never write"),
    ],
)
def test_exit_code_says_how_it_ended(
    prepare: str,
    arguments: tuple[str, ...],
    code: int,
    said: str,
    call: Call,
    places: tuple[Path, Path],
    tree: Tree,
    database: Database,
) -> None:
    call(*places)
    if prepare == "garbage":
        tree.file("0.rs").write_bytes(b"{")
    elif prepare == "nothing":
        history(tree, database)
    else:
        for path in tree.paths()[: 4 if prepare == "empty" else 3]:
            tree.delete(path)
    before = database.live()
    ran = call(*places, *arguments)
    assert ran.code == code
    assert said in ran.err
    if code in (1, 2):
        assert database.live() == before


def test_nothing_to_sync_is_not_found(call: Call, tmp_path: Path) -> None:
    assert call(tmp_path / "a", tmp_path / "b").code == 10


def test_database_that_is_locked_is_told_with_who_has_it(
    call: Call, places: tuple[Path, Path]
) -> None:
    code = (
        "import sys; from rustassistant.stores.sqlite.store import SqliteStore\n"
        "with SqliteStore(sys.argv[1]).writer():\n"
        "    print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, places[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        ran = call(*places)
        assert holder.stdin is not None
        holder.stdin.close()
    assert ran.code == 11
    assert f"process {holder.pid}" in ran.err
    assert call(*places).code == 0


def test_filters_are_those_of_a_migration(call: Call, places: tuple[Path, Path]) -> None:
    ran = call(*places, "--include", "1.rs", "--json")
    assert (ran.summary["b"]["added"], ran.summary["filtered"]) == (1, 3)


def test_quiet_says_nothing(call: Call, places: tuple[Path, Path]) -> None:
    assert call(*places, "--quiet") == Ran(0, "", "")


def test_on_a_terminal_each_conflict_is_asked_about(
    call: Call, places: tuple[Path, Path], tree: Tree, database: Database
) -> None:
    call(*places)
    history(tree, database)
    tree.analyse("3.rs", 3, note="mine")
    database.analyse("3.rs", 2, note="theirs")
    ours, theirs = pty.openpty()
    options = ["--resolve", "ask"]
    command = [sys.executable, "-m", "rustassistant", "cache", "sync", *map(str, places), *options]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        for answer in (b"what?\n", b"a\n", b"s\n"):
            while not said.endswith(b"[s]kip? "):
                said += os.read(ours, 4096)
            os.write(ours, answer)
            said += b"\n"
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:
            pass  # the other end was closed
    os.close(ours)
    text = said.decode()
    assert 'note: "mine" | "theirs"' in text
    assert 'note: "of the tree" | "of the database"' in text
    assert "analysed 2026-02-04T00:00:04+00:00, the newer" in text
    assert process.returncode == 5
    notes = database.notes("2.rs") + database.notes("3.rs")
    assert notes in (["of the tree", "theirs"], ["of the database", "mine"])


def test_help_names_every_sign(call: Call) -> None:
    told = call("--help").out
    for sign in ("+ added", "~ replaced", "- deleted", "= deleted on one side", "! changed"):
        assert sign in told
