"""RFC 3339 text to integer nanoseconds and back, without losing a digit.

The Rust program prints times as chrono's ``to_rfc3339`` does: UTC as ``+00:00``, and the fraction
with 0, 3, 6 or 9 digits, the fewest that lose nothing.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = date(1970, 1, 1)
_DAY: Final = 86_400
_NANOSECONDS: Final = 10**9
_INT64: Final = 2**63
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 UTC. Digits past the ninth are beyond what an integer holds here.

    Raises ValueError for anything that is no RFC 3339 time or lies outside the years 1678 to
    2261, which is what 64 bits of nanoseconds span.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    day, hour, minute, second, fraction, zone = match.groups()
    hours, minutes, seconds = int(hour), int(minute), int(second)
    if hours > 23 or minutes > 59 or seconds > 60:  # 60: RFC 3339 allows a leap second
        raise ValueError(f"{text!r} is not a time of day")
    seconds += _day_start(day) + hours * 3600 + minutes * 60
    if zone not in ("+00:00", "Z"):
        seconds -= _offset_seconds(zone)
    nanoseconds = seconds * _NANOSECONDS + (int(fraction.ljust(9, "0")) if fraction else 0)
    if not -_INT64 <= nanoseconds < _INT64:
        raise ValueError(f"{text!r} lies outside the years that can be kept")
    return nanoseconds


@lru_cache(maxsize=1024)  # a cache is filled on few days: both directions cost half as much
def _day_start(day: str) -> int:
    return (date.fromisoformat(day) - _EPOCH).days * _DAY


@lru_cache(maxsize=1024)
def _day_text(days: int) -> str:
    return (_EPOCH + timedelta(days=days)).isoformat()


def _offset_seconds(zone: str) -> int:
    if zone in "zZ":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(f"{zone!r} is not an offset from UTC")
    return (-1 if zone[0] == "-" else 1) * (hours * 3600 + minutes * 60)


def format_rfc3339(nanoseconds: int) -> str:
    """The text the Rust program would print for that moment."""
    seconds, fraction = divmod(nanoseconds, _NANOSECONDS)
    days, second = divmod(seconds, _DAY)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    whole = f"{_day_text(days)}T{hour:02d}:{minute:02d}:{second:02d}"
    if fraction == 0:
        return whole + "+00:00"
    if fraction % 1_000_000 == 0:
        return f"{whole}.{fraction // 1_000_000:03d}+00:00"
    if fraction % 1_000 == 0:
        return f"{whole}.{fraction // 1_000:06d}+00:00"
    return f"{whole}.{fraction:09d}+00:00"


_AGE: Final = re.compile(r"(\d{1,6})\s*([smhdwy])", re.ASCII)
_AGE_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY, "y": 365 * _DAY}


def parse_moment(text: str, *, now: int, end: bool = False) -> int:
    """Nanoseconds since 1970 for a day (``2026-02-04``, UTC), a time, or an age such as ``30d``.

    An age counts back from ``now``: s, m (minutes), h, d, w, y (365 days). ``end`` makes a day mean
    its last nanosecond, not its first. Raises ValueError for anything else.
    """
    age = _AGE.fullmatch(text.strip())
    if age is not None:
        return max(now - int(age[1]) * _AGE_SECONDS[age[2]] * _NANOSECONDS, -_INT64)
    try:
        start = _day_start(text.strip()) * _NANOSECONDS
    except ValueError:
        return parse_rfc3339(text.strip())
    if not -_INT64 <= start < _INT64 - _DAY * _NANOSECONDS:
        raise ValueError(f"{text!r} lies outside the years that can be kept")
    return start + (_DAY * _NANOSECONDS - 1 if end else 0)
