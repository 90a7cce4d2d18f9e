from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from looking import MILLION, REPOSITORY, Filled, Run, filled, runner
from rustassistant import AnalysisCache
from support import fields_of

__all__ = ["filled"]

RESULT = '{"b": 1.50, "a": [true,  "\\u00e9"]}'


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("show", monkeypatch, capfdbinary)


def text_of(result: str, **changes: Any) -> bytes:
    fields = fields_of(**changes) | {"result": "HERE"}
    return json.dumps(fields, indent=2).replace('"HERE"', result).encode()


def test_entry_is_shown_with_all_its_fields(show: Run, filled: Filled) -> None:
    filled.add("src/a.rs", content=b"text", tokens_used=MILLION)
    filled.migrate()
    ran = show("1")
    assert (ran.code, ran.err) == (0, "")
    fields = fields_of("src/a.rs", content=b"text")
    for text in (
        "Entry 1: docs of src/a.rs", REPOSITORY, f"{fields['file_hash']}, 4 B",
        fields["cache_key"], fields["analyzed_at"], "grok-beta of xai", fields["prompt_hash"],
        "1,000,000", "$10.00 (half of the tokens taken as input)", "no hit was counted yet",
        "answers lookups", "src_a_rs.json (centralized)",
    ):  # fmt: skip
        assert text in ran.out, text
    result = ran.out.partition("\n\n")[2]
    assert json.loads(result) == fields["result"]
    assert result.startswith('{\n  "')


def test_raw_result_is_what_stood_in_the_file(show: Run, filled: Filled) -> None:
    filled.add("src/a.rs", text=text_of(RESULT, path="src/a.rs"))
    filled.migrate()
    assert show("1", "--raw").raw == RESULT.encode()
    assert '"b": 1.50' in show("1").out
    assert '"b":1.50' in show("1", "--json").out


def test_cost_is_as_the_result_states_it(show: Run, filled: Filled) -> None:
    usage = {"input_tokens": 900_000, "output_tokens": 100_000}
    filled.add("a.rs", tokens_used=MILLION, result=usage)
    filled.migrate()
    ran = show("1")
    assert "1,000,000 (900,000 in, 100,000 out)" in ran.out
    assert "Cost:       $6.00\n" in ran.out
    (one,) = show("1", "--json").summary["entries"]
    assert (one["usd"], one["split"], one["input_tokens"]) == (6.0, "stated", 900_000)


def test_file_is_found_by_its_path_in_the_repository_and_by_where_it_lies(
    show: Run, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "project"
    filled.add("src/a.rs", repository=str(here))
    filled.add("src/a.rs", repository="/home/dev/other", cache_type="todos")
    filled.add("a.rs", repository="/home/dev/third")
    filled.migrate()
    assert "docs of src/a.rs" in show(here / "src" / "a.rs").out
    (here / "src").mkdir(parents=True)
    monkeypatch.chdir(here / "src")
    assert f"Repository: {here}\n" in show("./a.rs").out
    assert "todos of src/a.rs" in show("/mnt/clone/src/a.rs", "--type", "todos").out
    assert "docs of a.rs" in show("/elsewhere/a.rs").out


def test_several_entries_about_a_file_are_listed_to_choose_from(show: Run, filled: Filled) -> None:
    filled.add("a.rs")
    filled.add("a.rs", cache_type="todos", analyzed_at="2026-02-20T00:00:00+00:00")
    filled.migrate()
    filled.add("a.rs", content=b"new", analyzed_at="2026-03-01T00:00:00+00:00")
    filled.migrate()
    ran = show("a.rs")
    assert (ran.code, ran.lines[0][:9]) == (0, "3 entries")
    assert [line.split()[3] for line in ran.lines[3:]] == ["docs", "todos", "docs"]
    assert show("a.rs", "--raw").code == 2
    newest = show("a.rs", "--type", "docs", "--json").summary["entries"]
    assert [one["analyzed_at"] for one in newest] == ["2026-03-01T00:00:00+00:00"]
    kinds = {one["cache_type"] for one in show("a.rs", "--json").summary["entries"]}
    assert kinds == {"docs", "todos"}


def test_uses_pins_and_the_trash_are_told(show: Run, filled: Filled) -> None:
    for version in (1, 2):
        filled.add("a.rs", result={"v": version}, analyzed_at=f"2026-02-0{version}T00:00:00+00:00")
        filled.migrate()
    filled.execute("INSERT INTO uses VALUES (2, 3, 1770174834878744252)")
    filled.execute("INSERT INTO pins VALUES (2, 1770174834878744252)")
    assert "in the trash since" in show("1").out
    assert "(superseded): does not answer" in show("1").out
    ran = show("2")
    assert "3 hits, the last at 2026-02-04 03:13 UTC" in ran.out
    assert "answers lookups, pinned at 2026-02-04 03:13 UTC" in ran.out
    (one,) = show("2", "--json").summary["entries"]
    assert (one["hits"], one["pinned"], one["in_trash"]) == (3, True, None)
    assert "Entry 2" in show("a.rs").out


def test_all_places_of_an_entry_are_told(show: Run, filled: Filled) -> None:
    for path in ("a.rs", "b.rs"):
        filled.add(path, result={"same": True})
    filled.migrate(dedup=True)
    ran = show("b.rs")
    assert "a_rs.json (centralized), for a.rs in /home/dev/project" in ran.out
    assert "b_rs.json (centralized), for b.rs in /home/dev/project" in ran.out


def test_result_that_another_entry_holds_is_shown(show: Run, filled: Filled) -> None:
    for path in ("a.rs", "b.rs"):
        filled.add(path, content=path.encode(), result={"same": "y" * 400})
    filled.migrate()
    ran = show("2")
    assert "the same as that of entry 1, stored there" in ran.out
    assert "yyyy" in ran.out


def test_damaged_entry_is_not_shown_as_sound(show: Run, filled: Filled) -> None:
    filled.add("a.rs")
    filled.migrate()
    filled.execute("UPDATE entries SET tokens_used = 5")
    ran = show("1")
    assert (ran.code, ran.out) == (4, "")
    assert "its columns are not what was stored" in ran.err


def test_what_is_not_there_is_said(show: Run, filled: Filled) -> None:
    filled.add("a.rs")
    filled.migrate()
    for target in ("9", "9" * 30, "b.rs", "/no/such/file"):
        ran = show(target)
        assert (ran.code, ran.out) == (10, ""), target
    assert "no todos entry about a.rs" in show("a.rs", "--type", "todos").err
    assert show("1", "--raw", "--json").code == 2


def test_file_whose_name_is_a_number_can_be_named(show: Run, filled: Filled) -> None:
    with AnalysisCache(filled.database) as cache:
        cache.set(
            result={}, type="docs", content="x", model="m", prompt="p", file_path="42",
            provider="p", repository="/r",
        )  # fmt: skip
    assert show("42").code == 10
    assert "docs of 42" in show("./42").out


def test_entry_of_another_type_than_asked_for_is_not_shown(show: Run, filled: Filled) -> None:
    filled.add("a.rs")
    filled.migrate()
    assert show("1", "--type", "docs").code == 0
    for extra in ((), ("--raw",), ("--json",)):
        ran = show("1", "--type", "bogus", *extra)
        assert ran.code == 10
        assert "entry 1 is of type docs, not bogus" in ran.out + ran.err
