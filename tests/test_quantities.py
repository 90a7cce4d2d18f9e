from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.quantities import parse_age, parse_size, spell_size


@given(st.integers(1, 2**63 - 1))
def test_a_spelled_size_is_read_back_the_same(size: int) -> None:
    assert parse_size(spell_size(size)) == size


@given(st.integers(1, 1000), st.sampled_from(["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"]))
def test_no_text_for_a_size_is_shorter_than_how_it_is_spelled(count: int, unit: str) -> None:
    size = parse_size(f"{count}{unit}")
    assert len(spell_size(size)) <= len(f"{count}{unit}")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("512B", 512),
        ("1k", 1000),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1Ki", 1024),
        ("500MiB", 500 * 2**20),
        ("500 mib", 500 * 2**20),
        (" 500MB ", 500_000_000),
        ("1.5GB", 1_500_000_000),
        ("0.5GiB", 2**29),
        ("2TiB", 2 * 2**40),
        ("1PB", 10**15),
        ("1.9B", 1),
    ],
)
def test_sizes_people_write(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15min", 900), ("12h", 43_200), ("30d", 2_592_000), ("2 w", 1_209_600),
     ("1.5d", 129_600)],
)  # fmt: skip
def test_ages_people_write(text: str, seconds: int) -> None:
    assert parse_age(text) == seconds


WRONG = ["", "x", "-1", "+1", "1e9", "1 2", "MiB", "5 apples", "nan", "inf", "1_000", ".5", "5.",
         "0", "0.4B", "9" * 19, "9" * 4000, "8388608TiB", "٣", "1\n2"]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text[:12]))
def test_what_is_no_size_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="such as 500MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    "text", ["30", "6m", "1y", "0s", "-3d", "0.1s", "3dd", "9300000000s", "99999999999d"]
)
def test_what_is_no_age_is_refused_with_what_is_allowed(text: str) -> None:
    """``6m`` could be months or minutes: nothing is deleted on a guess."""
    with pytest.raises(ValueError, match="such as 30d"):
        parse_age(text)


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert 1 <= parse_size(text) < 2**63
