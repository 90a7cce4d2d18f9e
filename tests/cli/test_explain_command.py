from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from looking import MILLION, Filled, Run, filled, runner
from support import SHARED

__all__ = ["filled"]

CONTENT = b"fn main() {}\n"
PROMPT = "b56f6b9b1ff77eac"


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("explain", monkeypatch, capfdbinary)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file in a repository that lies elsewhere than when it was analysed."""
    file = tmp_path / "clone" / "src" / "lib.rs"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return file


def verdict(explained: Any, kind: str = "docs") -> Any:
    (found,) = [one for one in explained.summary["types"] if one["cache_type"] == kind]
    return found


def test_hits_of_all_types_are_told(explain: Run, filled: Filled, source: Path) -> None:
    filled.add("src/lib.rs")
    filled.add("src/lib.rs", cache_type="todos")
    filled.migrate()
    ran = explain(source)
    assert (ran.code, ran.err) == (0, "")
    assert "✓ docs: hit, entry 1\n" in ran.out
    assert "✓ todos: hit, entry 2\n" in ran.out
    assert f"by grok-beta, prompt {PROMPT}, made 2026-02-04 03:13 UTC" in ran.out
    assert explain(source, "--json").summary["hit"] is True


def test_changed_byte_is_told_for_each_type_and_what_analysing_anew_costs(
    explain: Run, filled: Filled, source: Path
) -> None:
    filled.add("src/lib.rs", tokens_used=MILLION)
    filled.add("src/lib.rs", cache_type="todos", tokens_used=2 * MILLION)
    filled.migrate()
    source.write_bytes(CONTENT + b"\n")
    ran = explain(source)
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.count(": miss, the content changed\n") == 2
    assert "nearest is entry 1 of 2026-02-04 03:13 UTC, by grok-beta" in ran.out
    assert "(13 bytes), and is" in ran.out
    assert "(14 bytes)\n" in ran.out
    assert "costs about $10.00 and 30 s (by the nearest entry's tokens, half and half)" in ran.out
    assert "Analysing it anew for 2 types costs about $30.00 and 1 min" in ran.out
    found = verdict(explain(source, "--json"), "todos")
    assert (found["hit"], found["differs"], found["same_file"]) == (False, ["content"], True)
    assert found["anew"] == {
        "usd": 20.0, "seconds": 30.0, "basis": "the nearest entry's tokens",
        "split": "half and half",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["--model", "gpt-4"], "model: asked for gpt-4, there is grok-beta"),
        (["--prompt-hash", "0000"], f"prompt: asked for 0000, there is {PROMPT}"),
        (["--schema-version", "2"], "schema version: asked for 2, there is 1"),
    ],
)
def test_part_that_differs_is_named(
    explain: Run, filled: Filled, source: Path, asked: list[str], line: str
) -> None:
    filled.add("src/lib.rs")
    filled.migrate()
    ran = explain(source, *asked)
    assert ran.code == 1
    assert f"    {line}\n" in ran.out
    assert "content:" not in ran.out
    assert explain(source, "--model", "grok-beta", "--prompt-hash", PROMPT).code == 0


def test_entries_from_before_prompts_answer_unless_asked_exactly(
    explain: Run, filled: Filled, source: Path
) -> None:
    filled.add("src/lib.rs", old=True)
    filled.migrate()
    assert explain(source, "--prompt-hash", "0000").code == 0
    ran = explain(source, "--prompt-hash", "0000", "--exact")
    assert ran.code == 1
    assert "prompt: asked for 0000, there is none" in ran.out


def test_nearest_is_the_one_with_the_fewest_differences(
    explain: Run, filled: Filled, source: Path
) -> None:
    filled.add("src/lib.rs", content=b"older", analyzed_at="2026-03-01T00:00:00+00:00")
    filled.add("src/copy.rs", model="gpt-4", provider="openai")
    filled.migrate()
    found = verdict(explain(source, "--json", "--model", "grok-beta"))
    assert (found["nearest"]["file_path"], found["differs"]) == ("src/lib.rs", ["content"])
    found = verdict(explain(source, "--json", "--model", "gpt-4", "--prompt-hash", "0"))
    assert (found["nearest"]["file_path"], found["differs"]) == ("src/copy.rs", ["prompt hash"])


def test_hit_under_another_path_is_told_so(explain: Run, filled: Filled, source: Path) -> None:
    filled.add("other/name.rs")
    filled.migrate()
    ran = explain(source)
    assert ran.code == 0
    assert "analysed as other/name.rs in /home/dev/project" in ran.out


def test_types_are_those_asked_for_or_those_there_are(
    explain: Run, filled: Filled, source: Path
) -> None:
    filled.add("src/lib.rs")
    filled.add("else.rs", content=b"?", cache_type="todos")
    filled.migrate()
    ran = explain(source)
    assert ran.code == 1
    assert "✗ todos: miss, neither this content nor this file was ever analysed for it" in ran.out
    assert explain(source, "--type", "docs").code == 0
    assert explain(source, "--type", "docs", "--type", "new").code == 1


def test_cost_is_as_the_nearest_result_states_it(
    explain: Run, filled: Filled, source: Path
) -> None:
    usage = {"input_tokens": 900_000, "output_tokens": 100_000}
    filled.add("src/lib.rs", content=b"old", tokens_used=MILLION, result=usage)
    filled.migrate()
    assert "costs about $6.00 and 30 s (by the nearest entry's tokens)" in explain(source).out


def test_cost_is_that_of_the_model_asked_for(explain: Run, filled: Filled, source: Path) -> None:
    filled.add("src/lib.rs", tokens_used=MILLION)
    filled.migrate()
    assert "costs about $45.00 and 30 s (by the nearest" in explain(source, "-m", "gpt-4").out
    assert "no price is known" in explain(source, "-m", "nonesuch").out


def test_cost_is_guessed_where_the_nearest_says_nothing(
    explain: Run, filled: Filled, source: Path
) -> None:
    filled.add("src/lib.rs", content=b"old", tokens_used=None)
    filled.migrate()
    ran = explain(source)
    assert "costs about $0.002 and 30 s (by the published figure)" in ran.out
    filled.add("a.rs", content=b"a", tokens_used=MILLION)
    filled.add("b.rs", content=b"b", tokens_used=3 * MILLION)
    filled.add("c.rs", content=b"c", tokens_used=9 * MILLION, cache_type="todos")
    filled.migrate()
    found = verdict(explain(source, "--json"))["anew"]
    assert (found["usd"], found["basis"]) == (20.0, "the model's mean for that type")
    ran = explain(source, "--model", "nonesuch", "--type", "docs")
    assert "takes about 30 s; no price is known" in ran.out


def test_path_in_the_very_repository_outweighs_the_same_path_elsewhere(
    explain: Run, filled: Filled, source: Path
) -> None:
    filled.add(
        "src/lib.rs", content=b"newer", repository="/home/dev/x",
        analyzed_at="2026-03-01T00:00:00+00:00",
    )  # fmt: skip
    filled.add("src/lib.rs", content=b"older", repository=str(source.parents[1]))
    filled.migrate()
    found = verdict(explain(source, "--json"))
    assert found["nearest"]["repository"] == str(source.parents[1])
    found = verdict(explain(source, "--json", "--repo", "/home/dev/x"))
    assert found["nearest"]["repository"] == "/home/dev/x"
    assert explain(source, "--repo", "/home/dev/none").code == 10


def test_entries_that_share_a_row_are_found_by_their_own_path(
    explain: Run, filled: Filled, source: Path
) -> None:
    for path in ("one.rs", "src/lib.rs"):
        filled.add(path, content=b"old", result={"same": 1})
    filled.migrate(dedup=True)
    assert verdict(explain(source, "--json"))["nearest"]["file_path"] == "src/lib.rs"


def test_what_answers_no_more_is_not_nearest(explain: Run, filled: Filled, source: Path) -> None:
    filled.add("src/lib.rs", content=b"old")
    filled.migrate()
    filled.execute("INSERT INTO trash VALUES (1, 'evicted', 0)")
    assert verdict(explain(source, "--json"))["nearest"] is None


def test_file_that_cannot_be_read_is_said_and_nothing_hangs(
    explain: Run, filled: Filled, tmp_path: Path
) -> None:
    filled.add("a.rs")
    filled.migrate()
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "absent", "."):
        ran = explain(tmp_path / name)
        assert (ran.code, ran.out) == (10, ""), name
    assert explain(tmp_path / "absent", "-d", tmp_path / "no.db").code == 10


@pytest.mark.shared
def test_real_file_hits_two_types_until_a_byte_changes(
    explain: Run, filled: Filled, tmp_path: Path
) -> None:
    real = tmp_path / "real"
    shutil.copytree(SHARED / "real-2026-02" / "repo", real, copy_function=shutil.copyfile)
    filled.cache.root = real
    filled.migrate()
    file = real / "src" / "error.rs"
    ran = explain(file)
    assert ran.code == 0
    assert [line for line in ran.lines if line.startswith("✓")] == [
        "✓ docs: hit, entry 1", "✓ refactor: hit, entry 2"
    ]  # fmt: skip
    changed = bytearray(file.read_bytes())
    changed[100] ^= 1
    file.write_bytes(changed)
    ran = explain(file)
    assert ran.code == 1
    assert ran.out.count("miss, the content changed") == 2
