from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.stores.base import Folder, Repository
from rustassistant.timestamps import parse_moment, parse_rfc3339
from rustassistant.transfer.selection import ALL, Selection
from support import sample_entry

DAY = 86_400 * 10**9
NOW = parse_rfc3339("2026-03-01T12:00:00Z")
HOME = Repository("/home/dev/project", "6b1e9f3a")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.rs", "lib.rs", True),
        ("*.rs", "src/deep/lib.rs", True),  # no slash: about the name
        ("*.rs", "lib.rs.py", False),
        ("src/*.rs", "src/lib.rs", True),
        ("src/*.rs", "src/deep/lib.rs", False),
        ("src/*.rs", "old/src/lib.rs", False),
        ("src/**/*.rs", "src/lib.rs", True),
        ("src/**/*.rs", "src/a/b/lib.rs", True),
        ("src/**", "src/a/b/lib.rs", True),
        ("src/**", "srcs/lib.rs", False),
        ("**/mod.rs", "mod.rs", True),
        ("**/mod.rs", "a/b/mod.rs", True),
        ("**/mod.rs", "a/xmod.rs", False),
        ("src/?.rs", "src/a.rs", True),
        ("src?a.rs", "src/a.rs", False),
        ("src/[ab].rs", "src/b.rs", True),
        ("src/[!ab].rs", "src/b.rs", False),
        ("src/[!ab].rs", "src/c.rs", True),
        ("src[!a]lib.rs", "src/lib.rs", False),
        ("src/a+b(1).rs", "src/a+b(1).rs", True),
        ("[z-a].rs", "[z-a].rs", True),
        ("a[", "a[", True),
        ("x\n*", "x\ny", True),
    ],
)
def test_globs_mean_what_people_expect(pattern: str, path: str, matches: bool) -> None:
    entry = sample_entry(file_path=path)
    assert Selection(include=(pattern,)).admits(entry) is matches
    assert Selection(exclude=(pattern,)).admits(entry) is not matches


@given(pattern=st.text(alphabet="ab/*?[]!-\\^.é", max_size=8), path=st.text(max_size=8))
def test_any_glob_is_answered(pattern: str, path: str) -> None:
    assert Selection(include=(pattern,)).admits(sample_entry(file_path=path)) in (True, False)


@given(path=st.text(alphabet="ab/.+() é$", min_size=1, max_size=12))
def test_a_path_without_wildcards_is_a_glob_for_itself(path: str) -> None:
    assert Selection(include=(path,)).admits(sample_entry(file_path=path))


@pytest.mark.parametrize(
    ("chosen", "admitted"),
    [
        ({}, True),
        ({"providers": ("xai",)}, True),
        ({"providers": ("openai",)}, False),
        ({"models": ("gpt-4", "grok-beta")}, True),
        ({"models": ("grok",)}, False),
        ({"since": 100}, True),
        ({"since": 101}, False),
        ({"until": 100}, True),
        ({"until": 99}, False),
        ({"min_tokens": 50}, True),
        ({"min_tokens": 51}, False),
        ({"include": ("*.py", "*.rs")}, True),
        ({"include": ("*.rs",), "exclude": ("lib.*",)}, False),
        ({"providers": ("xai",), "models": ("other",)}, False),
    ],
)
def test_each_filter_counts_and_all_must_agree(chosen: dict[str, Any], admitted: bool) -> None:
    entry = sample_entry(analyzed_at=100, tokens_used=50)
    assert Selection(**chosen).admits(entry) is admitted


def test_entry_that_does_not_say_its_tokens_took_none() -> None:
    assert not Selection(min_tokens=1).admits(sample_entry(tokens_used=None))
    assert Selection(min_tokens=0).admits(sample_entry(tokens_used=None))


@pytest.mark.parametrize(
    ("chosen", "admitted"),
    [
        ({"types": ("docs",)}, True),
        ({"types": ("todos", "refactor")}, False),
        ({"repositories": ("/home/dev/project",)}, True),
        ({"repositories": ("/home/dev/project/",)}, True),
        ({"repositories": ("6b1e9f3a",)}, True),
        ({"repositories": ("/home/dev/*",)}, True),
        ({"repositories": ("proj*",)}, True),
        ({"repositories": ("/home/dev",)}, False),
        ({"repositories": ("/home/*",)}, False),
        ({"types": ("docs",), "repositories": ("/other",)}, False),
    ],
)
def test_folders_are_chosen_without_reading(chosen: dict[str, Any], admitted: bool) -> None:
    selection = Selection(**chosen)
    assert selection.admits_folder(Folder(HOME, "docs", "centralized")) is admitted
    assert not selection.reads_entries


def test_repository_is_found_by_a_relative_path(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Folder(Repository(os.getcwd()), "docs", "local")
    assert Selection(repositories=(".",)).admits_folder(here)
    assert not Selection(repositories=("..",)).admits_folder(here)


@pytest.mark.parametrize(
    "chosen",
    [
        {"include": ("x",)},
        {"exclude": ("x",)},
        {"providers": ("x",)},
        {"models": ("x",)},
        {"since": 0},
        {"until": 0},
        {"min_tokens": 0},
    ],
    ids=str,
)
def test_only_what_needs_it_reads_entries(chosen: dict[str, Any]) -> None:
    assert Selection(**chosen).reads_entries
    assert not ALL.reads_entries


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-02-04", "2026-02-04T00:00:00Z", "2026-02-04T23:59:59.999999999Z"),
        ("2026-02-04T03:13:54.5Z", "2026-02-04T03:13:54.5Z", "2026-02-04T03:13:54.5Z"),
        (" 30d ", "2026-01-30T12:00:00Z", "2026-01-30T12:00:00Z"),
        ("12h", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
        ("2w", "2026-02-15T12:00:00Z", "2026-02-15T12:00:00Z"),
        ("90m", "2026-03-01T10:30:00Z", "2026-03-01T10:30:00Z"),
        ("1y", "2025-03-01T12:00:00Z", "2025-03-01T12:00:00Z"),
    ],
)
def test_moments_are_days_times_and_ages(text: str, start: str, end: str) -> None:
    assert parse_moment(text, now=NOW) == parse_rfc3339(start)
    assert parse_moment(text, now=NOW, end=True) == parse_rfc3339(end)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "30", "2026-02-30", "2026-13-01", "9999-12-31", "1600-01-01", "5x"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which text it says is the command's matter
        parse_moment(text, now=NOW)


def test_an_age_before_all_times_means_the_first() -> None:
    assert parse_moment("999999y", now=NOW) == -(2**63)
