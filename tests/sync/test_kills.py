"""A sync that is killed at any moment loses nothing, and a rerun ends as if it had not been."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from sync.pairs import Database, Side, Tree, side_of, sync

EVENTS: Final = frozenset(
    ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
)
KILLS: Final = 10
KINDS: Final = [("tree", "database"), ("tree", "tree"), ("database", "database")]


def killed(at: int, a: Side, b: Side, options: dict[str, Any]) -> int:
    """Sync in a child that dies at its so-manieth step; the number of steps, if it lived."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def step(event: str = "open", arguments: object = None) -> None:
            nonlocal count
            if event in EVENTS:
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        def statement(*_: object) -> bool:
            step()
            return True

        def traced(connection: apsw.Connection) -> None:
            connection.exec_trace = statement

        status = 1
        try:
            apsw.connection_hooks.append(traced)
            sys.addaudithook(step)
            sync(a.path, b.path, **options)
            os.write(write, str(count).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return int(told) if code == 0 else 0


def history(a: Side, b: Side) -> None:
    for number in range(8):
        a.analyse(f"{number}.rs", 1)
    sync(a.path, b.path)
    a.analyse("0.rs", 2)
    b.analyse("1.rs", 2)
    a.analyse("2.rs", 3, note="of a")
    b.analyse("2.rs", 4, note="of b")
    a.delete("3.rs")
    b.delete("4.rs")
    a.analyse("new_a.rs", 5)
    b.analyse("new_b.rs", 5)
    b.analyse("5.rs", 6, content=6)


def put_back(place: Path, kept: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(kept, place, symlinks=True)


@pytest.mark.parametrize("resolve", ["newest", "keep-both"])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_killed_anywhere_a_rerun_finishes_and_nothing_is_doubled(
    kinds: tuple[str, str], resolve: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setenv("RUSTASSISTANT_HOME", str(place / "home"))
    a, b = (side_of(kind, place / name) for kind, name in zip(kinds, "ab", strict=True))
    options = {"delete": True, "resolve": resolve}
    history(a, b)
    known = a.live() | b.live()
    shutil.copytree(place, tmp_path / "kept")
    steps = killed(0, a, b, options)
    wanted = a.live(), b.live()
    assert known <= a.kept() | b.kept()
    assert steps > KILLS
    for at in range(1, steps, max(1, steps // KILLS)):
        put_back(place, tmp_path / "kept")
        assert killed(at, a, b, options) == 0
        assert known <= a.kept() | b.kept()
        sync(a.path, b.path, **options)
        assert (a.live(), b.live()) == wanted
        assert known <= a.kept() | b.kept()
        assert sync(a.path, b.path, **options)[1] == []
        for side in (a, b):
            if isinstance(side, Tree):
                assert not list(side.path.glob(".*"))
            if isinstance(side, Database):
                assert len(side.live()) == side.count()
