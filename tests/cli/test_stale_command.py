from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from looking import MILLION, Filled, Ran, Run, filled, runner
from support import snapshot

__all__ = ["filled"]


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("stale", monkeypatch, capfdbinary)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    root = tmp_path / "here"
    (root / "src").mkdir(parents=True)
    return root


def states(ran: Ran) -> dict[str, int]:
    return {name: one["entries"] for name, one in ran.summary["states"].items()}


def write(root: Path, path: str, content: bytes) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def test_entries_are_current_changed_deleted_or_not_here(
    stale: Run, filled: Filled, here: Path
) -> None:
    write(here, "src/a.rs", b"same")
    write(here, "src/b.rs", b"new")
    for kind in ("docs", "todos"):
        filled.add("src/a.rs", content=b"same", repository=str(here), cache_type=kind)
    filled.add("src/b.rs", content=b"old", repository=str(here), tokens_used=MILLION)
    filled.add("src/c.rs", content=b"gone", repository=str(here))
    filled.add("d.rs", repository="/home/nobody/there")
    filled.migrate()
    before = snapshot(here)
    ran = stale()
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split()[:2] for line in ran.lines]
    for expected in (["current", "2"], ["changed", "1"], ["deleted", "1"], ["not", "here"]):
        assert expected in rows
    assert ran.row("changed")[4] == "$10.00"
    assert ran.row(str(here))[1:] == ["2", "1", "1"]
    assert "Not on this machine: /home/nobody/there" in ran.out
    assert snapshot(here) == before
    assert states(stale("--json")) == {"current": 2, "changed": 1, "deleted": 1, "not here": 1}


def test_older_entry_of_a_current_file_is_changed(stale: Run, filled: Filled, here: Path) -> None:
    write(here, "a.rs", b"new")
    for content in (b"new", b"old"):
        filled.add("a.rs", content=content, repository=str(here))
        filled.migrate()
    assert states(stale("--json")) == {"current": 1, "changed": 1}


def test_repository_is_looked_for_where_it_lies_now(stale: Run, filled: Filled, here: Path) -> None:
    write(here, "a.rs", b"same")
    filled.add("a.rs", content=b"same", repository="/old/one")
    filled.add("a.rs", content=b"same", repository="/old/two")
    filled.migrate()
    ran = stale("--repo", "/old/one", "--at", here, "--json")
    assert states(ran) == {"current": 1}
    assert ran.summary["repositories"][0]["looked_at"] == str(here)
    assert stale("--at", here).code == 2
    assert stale("--repo", "/old/*", "--at", here).code == 2
    assert stale("--repo", "/old/one", "--at", here / "no").code == 10
    assert stale("--repo", "/old/three").code == 10


def test_links_are_followed_in_the_repository_and_never_out_of_it(
    stale: Run, filled: Filled, here: Path, tmp_path: Path
) -> None:
    write(here, "real.rs", b"same")
    write(tmp_path, "outside.rs", b"same")
    (here / "in.rs").symlink_to("real.rs")
    (here / "out.rs").symlink_to(tmp_path / "outside.rs")
    (here / "up").symlink_to(tmp_path)
    (here / "broken.rs").symlink_to("nothing")
    (here / "loop.rs").symlink_to("loop.rs")
    for path in ("in.rs", "out.rs", "up/outside.rs", "broken.rs", "loop.rs", "../outside.rs",
                 str(tmp_path / "outside.rs")):  # fmt: skip
        filled.add(path, content=b"same", repository=str(here))
    filled.migrate()
    ran = stale("--json")
    assert ran.code == 3
    (repository,) = ran.summary["repositories"]
    reasons = {one["file"]: one["reason"] for one in repository["unreadable"]}
    away = {"out.rs", "up/outside.rs", "../outside.rs", str(tmp_path / "outside.rs")}
    assert {path for path, why in reasons.items() if why == "leads out of the repository"} == away
    assert states(ran)["current"] == 1
    assert states(ran)["deleted"] == 1
    assert "✗ out.rs in " in ran.err


def test_nothing_is_read_but_regular_files(stale: Run, filled: Filled, here: Path) -> None:
    os.mkfifo(here / "pipe.rs")
    (here / "dir.rs").mkdir()
    write(here, "file.rs", b"x")
    for path in ("pipe.rs", "dir.rs", "file.rs/below.rs", "nul\x00.rs"):
        filled.add(path, repository=str(here), name=path.replace("/", "_")[:3] + ".json")
    filled.migrate()
    ran = stale("--json")
    assert ran.code == 3
    assert states(ran) == {"deleted": 1, "unreadable": 3}


def test_models_and_prompts_that_newer_entries_have_replaced_are_named(
    stale: Run, filled: Filled, here: Path
) -> None:
    write(here, "a.rs", b"same")
    write(here, "b.rs", b"same")

    def add(path: str, model: str, prompt: str, day: int) -> None:
        filled.add(
            path, content=b"same", repository=str(here), model=model, prompt_hash=prompt,
            analyzed_at=f"2026-02-{day:02d}T00:00:00+00:00", name=f"{day}.json",
        )  # fmt: skip

    add("a.rs", "old", "p1", 1)
    add("b.rs", "old", "p1", 2)
    add("a.rs", "new", "p1", 3)
    add("gone.rs", "gone", "p0", 4)
    filled.migrate()
    found = stale("--json").summary
    assert found["unused_models"] == [{"model": "gone", "entries": 1}]  # old answers for b.rs
    assert found["unused_prompts"] == [{"cache_type": "docs", "prompt_hash": "p0", "entries": 1}]
    add("b.rs", "new", "p2", 5)
    add("a.rs", "new", "p2", 6)
    filled.migrate()
    ran = stale()
    assert "  model old: 2 entries\n" in ran.out
    assert "  prompt p1 for docs: 3 entries\n" in ran.out
    found = stale("--json").summary
    assert {one["model"] for one in found["unused_models"]} == {"old", "gone"}
    assert {one["prompt_hash"] for one in found["unused_prompts"]} == {"p0", "p1"}


def test_filters_choose_what_is_counted_but_not_what_is_newer(
    stale: Run, filled: Filled, here: Path
) -> None:
    write(here, "a.rs", b"same")
    for model, day in (("old", 1), ("new", 2)):
        filled.add(
            "a.rs", content=b"same", repository=str(here), model=model, name=f"{day}.json",
            analyzed_at=f"2026-02-0{day}T00:00:00+00:00",
        )  # fmt: skip
    filled.add("b.rs", repository=str(here), cache_type="todos")
    filled.migrate()
    ran = stale("--json", "--model", "old")
    assert states(ran) == {"current": 1}
    assert ran.summary["unused_models"] == [{"model": "old", "entries": 1}]
    assert states(stale("--json", "--type", "todos")) == {"deleted": 1}
    assert states(stale("--json", "--include", "a.*")) == {"current": 2}


def test_each_file_is_read_once_however_many_entries_it_has(
    stale: Run, filled: Filled, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here, "a.rs", b"same")
    for number in range(5):
        filled.add("a.rs", content=b"same", repository=str(here), cache_type=f"kind{number}")
    filled.migrate()
    opened: list[str] = []
    really = os.open

    def counting(path: str, *more: object, **options: object) -> int:
        opened.append(os.fspath(path))
        return really(path, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", counting)
    assert states(stale("--json")) == {"current": 5}
    assert opened.count("a.rs") == 1


def test_shared_rows_count_for_each_of_their_files(stale: Run, filled: Filled, here: Path) -> None:
    write(here, "a.rs", b"same")
    for path in ("a.rs", "b.rs"):
        filled.add(path, content=b"same", repository=str(here), result={"k": 1})
    filled.migrate(dedup=True)
    assert states(stale("--json")) == {"current": 1, "deleted": 1}


def test_wrong_directory_is_pointed_out(stale: Run, filled: Filled, here: Path) -> None:
    filled.add("a.rs", repository=str(here))
    filled.migrate()
    ran = stale()
    assert ran.code == 0
    assert f"None of the files of {here} is in {here}: is it the right directory?" in ran.err


def test_what_is_in_the_trash_does_not_count(stale: Run, filled: Filled, here: Path) -> None:
    filled.add("a.rs", repository=str(here))
    filled.migrate()
    filled.execute("INSERT INTO trash VALUES (1, 'evicted', 0)")
    assert states(stale("--json")) == {}
    assert "No such entries." in stale().out


def test_progress_and_summary_come_as_json_lines(stale: Run, filled: Filled, here: Path) -> None:
    filled.add("a.rs", repository=str(here))
    filled.migrate()
    ran = stale("--json")
    assert {"message_type": "status", "phase": "stale", "done": 1, "total": 1, "failed": 0} in [
        json.loads(line) for line in ran.lines
    ]
    assert stale("--quiet").out == ""
