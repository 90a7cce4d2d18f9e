from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.timestamps import format_rfc3339, parse_rfc3339

SECOND = 10**9
INSTANTS = st.integers(-(2**63), 2**63 - 1)
REAL = "2026-02-04T03:13:54.878744252+00:00"
REAL_NS = 1_770_174_834_878_744_252


@given(INSTANTS)
def test_every_instant_survives_being_printed(nanoseconds: int) -> None:
    assert parse_rfc3339(format_rfc3339(nanoseconds)) == nanoseconds


@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
    st.sampled_from([0, 3, 6, 9]),
    st.integers(0, 10**9 - 1),
)
def test_what_the_rust_program_prints_is_printed_again(
    moment: datetime, digits: int, fraction: int
) -> None:
    # chrono prints the fewest of 0, 3, 6, 9 digits: a fraction that could do with fewer is not
    # what it would print, so make the last group of digits one that is needed.
    whole = moment.replace(microsecond=0).isoformat()
    shown = f"{fraction:09d}"[:digits]
    if digits:
        shown = shown[:-3] + (shown[-3:] if shown[-3:] != "000" else "001")
    text = whole + (f".{shown}" if digits else "") + "+00:00"
    assert format_rfc3339(parse_rfc3339(text)) == text


def test_a_time_of_the_rust_program_is_exact_to_the_nanosecond() -> None:
    assert parse_rfc3339(REAL) == REAL_NS
    assert format_rfc3339(REAL_NS) == REAL


@pytest.mark.parametrize(
    ("fraction", "printed"),
    [
        (0, ""),
        (500_000_000, ".500"),
        (1_000_000, ".001"),
        (999_000_000, ".999"),
        (1_000, ".000001"),
        (123_456_000, ".123456"),
        (1, ".000000001"),
        (123_456_789, ".123456789"),
        (100, ".000000100"),
    ],
)
def test_the_fraction_has_the_fewest_of_0_3_6_or_9_digits(fraction: int, printed: str) -> None:
    assert format_rfc3339(fraction) == f"1970-01-01T00:00:00{printed}+00:00"


@pytest.mark.parametrize("digits", range(1, 10))
def test_any_number_of_digits_is_read(digits: int) -> None:
    text = f"1970-01-01T00:00:00.{'123456789'[:digits]}Z"
    assert parse_rfc3339(text) == int("123456789"[:digits].ljust(9, "0"))


def test_digits_past_the_ninth_are_dropped_not_rounded() -> None:
    assert parse_rfc3339("1970-01-01T00:00:00.9999999999999Z") == 999_999_999


def test_before_1970_the_fraction_still_counts_forward() -> None:
    assert parse_rfc3339("1969-12-31T23:59:59.25Z") == -750_000_000
    assert format_rfc3339(-750_000_000) == "1969-12-31T23:59:59.250+00:00"


@given(
    st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_an_offset_names_the_same_moment(moment: datetime, minutes: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}{offset}"
    micros = (there - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_rfc3339(text) == micros * 1000


@pytest.mark.parametrize("zone", ["Z", "z", "+00:00", "-00:00"])
@pytest.mark.parametrize("separator", ["T", "t", " "])
def test_every_spelling_of_utc_is_read(zone: str, separator: str) -> None:
    assert parse_rfc3339(f"2026-02-04{separator}03:13:54.878744252{zone}") == REAL_NS


def test_a_leap_second_is_the_moment_after_the_59th() -> None:
    before = parse_rfc3339("2016-12-31T23:59:59Z")
    assert parse_rfc3339("2016-12-31T23:59:60Z") == before + SECOND
    assert parse_rfc3339("2017-01-01T00:59:60.5+01:00") == before + SECOND + SECOND // 2


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1677-09-21T00:12:43.145224192+00:00", -(2**63)),
        ("2262-04-11T23:47:16.854775807+00:00", 2**63 - 1),
    ],
)
def test_the_first_and_last_moments_that_fit(text: str, nanoseconds: int) -> None:
    assert parse_rfc3339(text) == nanoseconds
    assert format_rfc3339(nanoseconds) == text


@pytest.mark.parametrize(
    "text",
    [
        "1677-09-21T00:12:43.145224191Z",
        "2262-04-11T23:47:16.854775808Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:60-23:59",
    ],
)
def test_times_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="years that can be kept"):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-02-04",
        "2026-02-04T03:13:54",
        "2026-02-04T03:13Z",
        "2026-02-04T03:13:54.Z",
        "2026-02-04T03:13:54,5Z",
        "2026-02-04T03:13:54+0000",
        "2026-02-04T03:13:54+00",
        "2026-02-04T03:13:54+24:00",
        "2026-02-04T03:13:54+00:60",
        "2026-02-04T24:00:00Z",
        "2026-02-04T03:60:00Z",
        "2026-02-04T03:13:61Z",
        "2026-02-30T03:13:54Z",
        "2026-13-01T03:13:54Z",
        "0000-01-01T00:00:00Z",
        "2026-2-4T03:13:54Z",
        " 2026-02-04T03:13:54Z",
        "2026-02-04T03:13:54Z\n",
        "2026-02-04T03:13:54ZZ",
        "+2026-02-04T03:13:54Z",
        "٢٠٢٦-02-04T03:13:54Z",
        "2026-02-04T03:13:54.\u0665Z",
        "2026-02-04T03:13:54+\u0660\u0660:\u0660\u0660",
        "2026-W06-3T03:13:54Z",
        "1770174834",
    ],
)
def test_what_is_no_rfc_3339_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


@given(st.text(max_size=40))
def test_garbage_is_refused_and_nothing_worse(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)
