from __future__ import annotations

from typing import Any

import pytest

from looking import MILLION, REPOSITORY, Filled, Run, filled, runner

__all__ = ["filled"]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("list", monkeypatch, capfdbinary)


def day(number: int) -> str:
    return f"2026-02-{number:02d}T10:00:00+00:00"


@pytest.fixture
def four(filled: Filled) -> Filled:
    filled.add("src/b.rs", tokens_used=1000, analyzed_at=day(3), model="gpt-4", provider="openai")
    filled.add("src/a.rs", tokens_used=3000, analyzed_at=day(1))
    filled.add("lib/c.rs", tokens_used=None, analyzed_at=day(4), result={"t": list(range(999))})
    filled.add("d.rs", tokens_used=2000, analyzed_at=day(2), cache_type="todos")
    filled.migrate()
    return filled


def files(objects: list[dict[str, Any]]) -> list[str]:
    return [one["file_path"] for one in objects if one["message_type"] == "entry"]


@pytest.mark.parametrize(
    ("order", "paths"),
    [
        ("newest", ["lib/c.rs", "src/b.rs", "d.rs", "src/a.rs"]),
        ("oldest", ["src/a.rs", "d.rs", "src/b.rs", "lib/c.rs"]),
        ("tokens", ["src/a.rs", "d.rs", "src/b.rs", "lib/c.rs"]),
        ("cost", ["src/b.rs", "src/a.rs", "d.rs", "lib/c.rs"]),
        ("file", ["d.rs", "lib/c.rs", "src/a.rs", "src/b.rs"]),
    ],
)
def test_order_is_as_asked(listed: Run, four: Filled, order: str, paths: list[str]) -> None:
    assert files(listed("--json", "--sort", order).objects) == paths


def test_largest_is_first_if_asked_for(listed: Run, four: Filled) -> None:
    assert files(listed("--json", "--sort", "largest").objects)[0] == "lib/c.rs"


def test_newest_come_first_and_how_many_more_is_said(listed: Run, four: Filled) -> None:
    ran = listed("--limit", "3")
    assert (ran.code, ran.err) == (0, "")
    head, *rows, last = ran.lines
    assert head.split()[0] == "ID"
    assert [row.split()[4] for row in rows] == ["lib/c.rs", "src/b.rs", "d.rs"]
    assert last == "… and 1 more of 4 entries; --limit 0 lists all"
    assert rows[1].split()[1:] == [
        "2026-02-03", "10:00", "docs", "src/b.rs", "project", "gpt-4", "1,000", "$0.045", "0"
    ]  # fmt: skip
    assert len(listed("--limit", "0").lines) == 5


def test_json_has_a_line_for_each_and_a_summary(listed: Run, four: Filled) -> None:
    ran = listed("--json", "--limit", "2")
    assert ran.summary == {
        "message_type": "summary", "total": 4, "listed": 2, "more": 2, "damaged": 0,
        "order": "newest",
    }  # fmt: skip
    one = ran.objects[1]
    assert (one["repository"], one["usd"], one["tokens_used"]) == (REPOSITORY, 0.045, 1000)
    assert one["analyzed_at"] == "2026-02-03T10:00:00+00:00"
    assert len(one["cache_key"]) == 64


@pytest.mark.parametrize(
    ("filters", "paths"),
    [
        (["--type", "todos"], ["d.rs"]),
        (["--model", "gpt-4"], ["src/b.rs"]),
        (["--include", "src/*", "--exclude", "a.rs"], ["src/b.rs"]),
        (["--since", "2026-02-02", "--until", "2026-02-03"], ["src/b.rs", "d.rs"]),
        (["--min-tokens", "2000"], ["d.rs", "src/a.rs"]),
        (["--repo", "/home/dev/nonesuch"], []),
    ],
)
def test_filters_choose(listed: Run, four: Filled, filters: list[str], paths: list[str]) -> None:
    ran = listed("--json", *filters)
    assert files(ran.objects) == paths
    assert ran.summary["total"] == len(paths)


def test_entries_that_share_a_row_are_listed_under_their_own_path(
    listed: Run, filled: Filled
) -> None:
    for number, path in enumerate(("a.rs", "b.rs", "c.rs")):
        filled.add(path, result={"same": True}, analyzed_at=day(number + 1))
    filled.migrate(dedup=True)
    ran = listed("--json", "--sort", "oldest")
    assert files(ran.objects) == ["a.rs", "b.rs", "c.rs"]
    assert len({one["id"] for one in ran.objects[:3]}) == 1
    assert ran.summary["total"] == 3
    assert files(listed("--json", "--include", "b.rs").objects) == ["b.rs"]
    assert files(listed("--json", "--since", "2026-02-03").objects) == ["c.rs"]


def test_what_is_in_the_trash_is_not_listed(listed: Run, filled: Filled) -> None:
    for version in (1, 2):
        filled.add("a.rs", result={"v": version}, analyzed_at=day(version))
        filled.migrate()
    ran = listed("--json")
    assert (ran.summary["total"], len(ran.objects)) == (1, 2)
    assert ran.objects[0]["analyzed_at"] == day(2)


def test_damaged_entry_is_named_and_hides_no_other(listed: Run, four: Filled) -> None:
    four.execute("UPDATE files SET path = CAST(x'73ff2e7273' AS TEXT) WHERE path = 'src/b.rs'")
    for order in ("newest", "file"):
        ran = listed("--json", "--sort", order)
        assert ran.code == 3
        assert sorted(files(ran.objects)) == ["d.rs", "lib/c.rs", "src/a.rs"]
        assert (ran.summary["total"], ran.summary["damaged"]) == (4, 1)
        assert "is damaged" in ran.err


def test_results_are_not_read(listed: Run, four: Filled) -> None:
    four.execute("UPDATE entries SET result = x'00'")
    assert listed("--json", "--sort", "cost").summary["listed"] == 4


def test_columns_fit_the_screen_and_the_end_of_a_path_stays(
    listed: Run, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.add("src/" + "deep/" * 30 + "错误.rs", tokens_used=MILLION)
    filled.migrate()
    for width in (60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        head, row = listed().lines
        assert len(head) <= width
        assert "deep/错误.rs" in row
        assert "$10.00" in row
    monkeypatch.delenv("COLUMNS")
    assert "src/" + "deep/" * 30 in listed().out


def test_nothing_to_list_is_said(listed: Run, four: Filled) -> None:
    ran = listed("--type", "nonesuch")
    assert (ran.code, ran.out) == (0, f"No such entries in {four.database}.\n")
    assert listed("--sort", "colour").code == 2
    assert listed("-d", four.database.parent / "absent.db").code == 10


@pytest.mark.parametrize("width", [20, 27, 40, 50, 62])
def test_columns_fit_a_narrow_screen_too(
    listed: Run, filled: Filled, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    filled.add("src/" + "deep/" * 30 + "a.rs", tokens_used=MILLION, cache_type="refactor")
    filled.migrate()
    monkeypatch.setenv("COLUMNS", str(width))
    head, row = listed().lines
    assert max(len(head), len(row)) <= width
    assert head.split()[0] == "ID"
    assert "/a.rs" in row


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**20])
def test_numbers_beyond_all_that_can_be_stored_are_numbers(
    listed: Run, four: Filled, number: int
) -> None:
    assert len(files(listed("--json", "--limit", str(number)).objects)) == 4
    assert listed("--json", "--min-tokens", str(number)).summary["total"] == 0
