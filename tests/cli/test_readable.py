from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.cli.readable import counted, dollars, duration, percent, size
from rustassistant.quantities import parse_size


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("0", "$0.00"),
        ("12.34", "$12.34"),
        ("12.345", "$12.35"),
        ("1234567.899", "$1,234,567.90"),
        ("1", "$1.00"),
        ("0.999", "$1.00"),
        ("0.25", "$0.25"),
        ("0.5", "$0.50"),
        ("0.002", "$0.002"),
        ("0.00206", "$0.0021"),
        ("0.0000012", "$0.000001"),
        ("0.0000001", "<$0.000001"),
        ("-3.5", "-$3.50"),
        ("-0.0000001", ">-$0.000001"),
    ],
)
def test_dollars(usd: str, text: str) -> None:
    assert dollars(Decimal(usd)) == text


@given(st.decimals("0.000001", 10**9, places=9))
def test_dollars_are_within_a_twentieth_and_never_nothing(usd: Decimal) -> None:
    shown = Decimal(dollars(usd).removeprefix("$").replace(",", ""))
    assert shown > 0
    assert abs(shown - usd) <= max(usd / 20, Decimal("0.0000005"))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (42_656_317, "40.7 MiB"),
        (10**12, "931.3 GiB"),
        (2**63 - 1, "8.0 EiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@given(st.integers(1, 2**59))
def test_a_size_is_read_back_within_its_last_digit(count: int) -> None:
    assert abs(parse_size(size(count)) - count) <= count / 19


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (28.4, "28 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (3599.7, "1 h"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (600_000, "166 h 40 min"),
        (36_000_000, "10,000 h"),
        (-90, "-1 min 30 s"),
        (Decimal("28.5"), "28 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 10**9))
def test_no_unit_reaches_the_next_one(seconds: float) -> None:
    text = duration(seconds)
    assert "60 s" not in text
    assert "60 min" not in text


def test_counts_have_their_noun() -> None:
    assert counted(1, "entry") == "1 entry"
    assert counted(0, "entry") == "0 entries"
    assert counted(20_000, "entry") == "20,000 entries"
    assert counted(2, "day") == "2 days"
    assert counted(3, "index", "indices") == "3 indices"


def test_percentages_have_one_decimal_where_they_need_it() -> None:
    assert percent(Decimal("75.0")) == "75%"
    assert percent(75.06) == "75.1%"
    assert percent(-3.25) == "-3.2%"
