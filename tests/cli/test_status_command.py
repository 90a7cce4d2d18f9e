from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from looking import MILLION, REPOSITORY, Filled, Run, filled, runner
from rustassistant import AnalysisCache
from rustassistant.inspection import make_database

__all__ = ["filled"]

STATED = {"text": "x", "usage": {"prompt_tokens": 900_000, "completion_tokens": 100_000}}


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("status", monkeypatch, capfdbinary)


def this_month(day: int = 1) -> str:
    return datetime.now(UTC).replace(day=day, hour=0, minute=0, second=1).isoformat()


def configure(home: Path, text: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "config.toml").write_text(text)


def test_entries_tokens_and_costs_are_told_by_type_model_and_repository(
    status: Run, filled: Filled
) -> None:
    filled.add("a.rs", tokens_used=MILLION)
    filled.add(
        "b.rs", tokens_used=2 * MILLION, cache_type="todos", model="gpt-4", provider="openai"
    )
    filled.add("c.rs", tokens_used=MILLION, repository="/home/dev/other")
    filled.migrate()
    ran = status()
    assert (ran.code, ran.err) == (0, "")
    assert "  3 entries, 4.0M tokens\n" in ran.out
    # grok-beta costs 5 and 15 dollars a million, gpt-4 30 and 60
    assert "Cost $110.00 and about 1 min 30 s of waiting to make" in ran.out
    assert "half of the tokens taken as input" in ran.out
    assert ran.row("docs")[1:3] == ["2", "2.0M"]
    assert ran.row("docs")[-1] == "$20.00"
    assert ran.row("todos")[-1] == ran.row("gpt-4")[-1] == "$90.00"
    assert ran.row(REPOSITORY)[-1] == "$100.00"
    assert ran.row("/home/dev/other")[-1] == "$10.00"
    found = status("--json").summary
    assert (found["entries"], found["tokens"], found["usd"]) == (3, 4 * MILLION, 110.0)
    assert found["split"] == "half and half"
    by_model = {one["name"]: one for one in found["by_model"]}
    assert (by_model["grok-beta"]["entries"], by_model["grok-beta"]["usd"]) == (2, 20.0)
    texts = filled.execute("SELECT sum(length(result)) FROM entries")[0][0]
    assert found["stored_bytes"] == texts
    assert found["result_bytes"] > 0


def test_tokens_that_results_tell_apart_are_priced_apart_and_that_is_said(
    status: Run, filled: Filled
) -> None:
    filled.add("a.rs", tokens_used=MILLION, result=STATED)
    filled.migrate()
    ran = status()
    assert "Cost $6.00" in ran.out
    assert "(input and output tokens as the results state them)" in ran.out
    filled.add("b.rs", tokens_used=MILLION)
    filled.migrate()
    ran = status()
    assert "Cost $16.00" in ran.out
    assert "(input and output tokens as the results state them, half and half where not)" in ran.out


def test_entries_without_token_counts_are_guessed_apart(status: Run, filled: Filled) -> None:
    filled.add("a.rs", tokens_used=None)
    filled.migrate()
    ran = status()
    assert "Cost" not in ran.out.partition("\n\n")[0]
    assert "1 entry does not say how many tokens: at a guess $0.002)" in ran.out
    filled.add("b.rs", tokens_used=MILLION)
    filled.migrate()
    assert "1 entry does not say how many tokens: at a guess $10.00 more)" in status().out
    assert status("--json").summary["usd"] == 10.0


def test_own_prices_outweigh_others_and_models_without_one_are_named(
    status: Run, filled: Filled, own_home: Path
) -> None:
    filled.add("a.rs", tokens_used=MILLION, model="house-model", provider="house")
    filled.migrate()
    assert "No price is known for house-model: 1 entry" in status().out
    configure(
        own_home,
        '[prices."house-model"]\ninput_usd_per_million = 1\noutput_usd_per_million = 3\n'
        "[cost]\nseconds_per_entry = 7200\n",
    )
    assert "Cost $2.00 and about 2 h of waiting" in status().out


def test_hits_and_what_they_saved_are_told(status: Run, filled: Filled) -> None:
    asked: dict[str, Any] = {"content": "text", "model": "grok-beta", "prompt": "why?"}
    more: dict[str, Any] = {"file_path": "a.rs", "provider": "xai", "repository": REPOSITORY}
    with AnalysisCache(filled.database) as cache:
        for kind in ("docs", "todos"):
            cache.set(result={"k": 1}, type=kind, tokens_used=MILLION, **asked, **more)
        for _ in range(3):
            assert cache.get(type="docs", **asked)
        assert cache.get(type="docs", **asked | {"content": "other"}) is None
    ran = status()
    assert "3 hits in 4 lookups (75%) saved about $30.00 and 1 min 30 s" in ran.out
    assert ran.row("docs")[-3:] == ["3", "1", "75%"]
    assert ran.row("todos")[-3:] == ["0", "0", "-"]
    assert ran.row("grok-beta")[-3:] == ["3", "1", "75%"]
    assert ran.row(REPOSITORY)[-3:-1] == ["3", "0"]
    found = status("--json", "--type", "todos").summary
    assert (found["hits"], found["misses"], found["saved_usd"]) == (0, 0, 0)
    found = status("--json").summary
    assert (found["hit_rate"], found["saved_usd"], found["saved_seconds"]) == (0.75, 30.0, 90.0)


def test_saved_tokens_are_split_as_the_entries_of_their_model(status: Run, filled: Filled) -> None:
    filled.add("a.rs", tokens_used=MILLION, result=STATED)
    filled.migrate()
    filled.execute(
        "INSERT INTO traffic VALUES (20000, 'docs', 'grok-beta', ?, 1, 0, 1000000)", (REPOSITORY,)
    )
    assert "1 hit in 1 lookup (100%) saved about $6.00" in status().out


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        (100_000, "✓ Budget of {month}: $1.00 of $3.00 spent (33.3%), $2.00 left"),
        (224_999, "✓ Budget of {month}: $2.25 of $3.00 spent (74.9%), $0.75 left"),
        (225_000, "⚠ Budget of {month}, warning: $2.25 of $3.00 spent (75%), $0.75 left"),
        (270_000, "🔶 Budget of {month}, alert: $2.70 of $3.00 spent (90%), $0.30 left"),
        (300_000, "✗ Budget of {month}, exceeded: $3.00 of $3.00 spent (100%), $0.00 left"),
    ],
)
def test_budget_is_that_of_the_month_with_its_marks(
    status: Run, filled: Filled, tokens: int, line: str
) -> None:
    filled.add("a.rs", tokens_used=tokens, analyzed_at=this_month())
    filled.add("b.rs", tokens_used=5 * MILLION)  # long ago
    filled.migrate()
    month = f"{datetime.now(UTC):%Y-%m}"
    for filters in ((), ("--type", "refactor")):
        assert line.format(month=month) in status(*filters).lines


def test_budget_counts_what_was_paid_for_and_is_in_the_trash(status: Run, filled: Filled) -> None:
    filled.add("a.rs", tokens_used=100_000, analyzed_at=this_month(), result={"v": 1})
    filled.migrate()
    filled.add("a.rs", tokens_used=100_000, analyzed_at=this_month(2), result={"v": 2})
    filled.migrate()
    ran = status()
    assert "  1 entry" in ran.out
    assert "1 in the trash" in ran.out
    assert "$2.00 of $3.00 spent" in ran.out
    filled.add("b.rs", tokens_used=None, analyzed_at=this_month())
    filled.migrate()
    assert "at least $2.00 of $3.00 spent" in status().out


def test_growth_is_shown_month_by_month_those_without_entries_too(
    status: Run, filled: Filled
) -> None:
    for number, day in enumerate(("2025-11-30", "2026-01-01", "2026-01-31", "2026-02-01")):
        filled.add(f"{number}.rs", analyzed_at=f"{day}T00:00:00+00:00", tokens_used=MILLION)
    filled.migrate()
    ran = status()
    assert ran.row("2025-11") == ["2025-11", "1", "$10.00", "1", "█████"]
    assert ran.row("2025-12") == ["2025-12", "0", "$0.00", "1", "█████"]
    assert ran.row("2026-01") == ["2026-01", "2", "$20.00", "3", "█" * 15]
    assert ran.row("2026-02") == ["2026-02", "1", "$10.00", "4", "█" * 20]


def _various(filled: Filled) -> None:
    for number in range(12):
        filled.add(
            f"{'src' if number % 2 else 'lib'}/{number}.rs",
            repository=f"/home/dev/{'one' if number < 7 else 'two'}",
            cache_type=("docs", "todos", "refactor")[number % 3],
            model=("grok-beta", "gpt-4")[number % 2],
            tokens_used=None if number % 5 == 0 else 1000 * number,
            analyzed_at=f"2026-0{number % 3 + 1}-{number + 1:02d}T10:00:00+00:00",
        )
    filled.migrate()


FILTERS = [
    [],
    ["--type", "docs"],
    ["--type", "docs", "--type", "todos", "--model", "gpt-4"],
    ["--repo", "/home/dev/one"],
    ["--repo", "/home/*/two", "--provider", "xai"],
    ["--since", "2026-02-01"],
    ["--since", "2026-02-01", "--until", "2026-02-28"],
    ["--model", "nonesuch"],
]


@pytest.mark.parametrize("filters", FILTERS, ids=" ".join)
def test_sums_and_entries_give_the_same_answer(
    status: Run, filled: Filled, filters: list[str]
) -> None:
    _various(filled)
    summed = status("--json", *filters).summary
    scanned = status("--json", "--include", "**", *filters).summary
    assert (summed["entries_were_read"], scanned["entries_were_read"]) == (False, True)
    assert scanned["result_bytes"] is None
    for one in (summed, scanned):
        for name in ("by_type", "by_model", "by_repository"):
            for share in one[name]:
                share["result_bytes"] = None
    for name in ("entries", "tokens", "usd", "stored_bytes", "by_type", "by_model",
                 "by_repository", "by_month"):  # fmt: skip
        assert summed[name] == scanned[name], name


def test_filters_that_no_sum_answers_go_through_entries_and_say_so(
    status: Run, filled: Filled
) -> None:
    _various(filled)
    for filters, entries in (
        (["--include", "src/**"], 6),
        (["--exclude", "src/**"], 6),
        (["--min-tokens", "7000"], 4),
        (["--since", "2026-01-02", "--until", "2026-01-31"], 3),
    ):
        ran = status(*filters)
        assert ran.lines[1].startswith(f"  {entries} entries that the filters admit"), filters
        assert "go through all entries, though not their results" in ran.out
    assert "Lookups are not counted by what these filters ask for" in status("--include", "*").out


def test_neither_entries_nor_results_are_read(status: Run, filled: Filled) -> None:
    filled.add("a.rs", tokens_used=MILLION)
    filled.migrate()
    filled.execute("UPDATE entries SET result = x'00', tokens_used = 7")
    assert status("--json").summary["tokens"] == MILLION
    assert status("--json", "--include", "*").summary["tokens"] == 7


def test_equal_entries_in_shared_rows_and_free_pages_are_told(status: Run, filled: Filled) -> None:
    for path in ("a.rs", "b.rs"):
        filled.add(path, result={"same": True})
    filled.migrate(dedup=True)
    assert "1 sharing the row of an equal entry" in status().out
    assert status("--json").summary["sharing_a_row"] == 1


def test_tables_fit_the_screen(
    status: Run, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = "/home/dev/" + "very/" * 30 + "deep"
    filled.add("a.rs", repository=repository, model="a-model-of-a-long-name" * 4)
    filled.migrate()
    assert repository in status().out  # a pipe has no width
    monkeypatch.setenv("COLUMNS", "60")
    ran = status()
    tables = ran.out.partition("\n\n")[2]
    assert max(map(len, tables.splitlines())) == 60
    assert "…" in tables
    assert "/very/deep" in tables


def test_what_cannot_be_seen_is_escaped(status: Run, filled: Filled) -> None:
    filled.add("a.rs", model="evil\x1b[31m\nmodel")
    filled.migrate()
    assert r"evil\x1b[31m\nmodel" in status().out


def test_empty_cache_is_no_error(status: Run, filled: Filled) -> None:
    make_database(filled.database)
    ran = status()
    assert (ran.code, ran.err) == (0, "")
    assert "  0 entries\n" in ran.out
    assert status("--json").summary["by_month"] == []


def test_what_is_no_cache_is_said(status: Run, filled: Filled) -> None:
    assert status().code == 10
    filled.database.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    before = filled.database.read_bytes()
    assert status().code == 1
    assert filled.database.read_bytes() == before
    assert status("-d", "").code == 2


def test_damaged_sums_are_damage_not_a_wrong_answer(status: Run, filled: Filled) -> None:
    filled.add("a.rs")
    filled.migrate()
    filled.execute("UPDATE totals SET month = 5")
    ran = status()
    assert ran.code == 4
    assert "5 is no month" in ran.err


def test_ages_filter_too(status: Run, filled: Filled) -> None:
    long_ago = datetime.fromtimestamp(time.time(), UTC) - timedelta(days=400)
    filled.add("a.rs", analyzed_at=long_ago.isoformat())
    filled.add("b.rs", analyzed_at=this_month())
    filled.migrate()
    assert status("--json", "--since", "100d").summary["entries"] == 1
    assert status("--since", "yesterday").code == 2


def test_more_tokens_than_can_be_stored_are_asked_for_in_vain(status: Run, filled: Filled) -> None:
    filled.add("a.rs", tokens_used=MILLION)
    filled.migrate()
    ran = status("--min-tokens", str(2**63))
    assert (ran.code, ran.err) == (0, "")
    assert "  0 entries" in ran.out
