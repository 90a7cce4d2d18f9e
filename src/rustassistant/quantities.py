"""Sizes and ages as people write them: ``500MiB``, ``1.5 GB``, ``30d``."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_NUMBER: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]*)", re.ASCII)
_LONGEST: Final = 40
"""No size or age takes more characters; digits without end would take time without end."""

_SPELLED: Final = {
    "B": 1,
    **{f"{prefix}B": 1000**n for n, prefix in enumerate("kMGTP", 1)},
    **{f"{prefix}iB": 1024**n for n, prefix in enumerate("KMGTP", 1)},
}
_SIZES: Final = {
    "": 1,
    "b": 1,
    **{f"{prefix}{end}": 1024**n for n, prefix in enumerate("kmgtp", 1) for end in ("i", "ib")},
    **{f"{prefix}{end}": 1000**n for n, prefix in enumerate("kmgtp", 1) for end in ("", "b")},
}
_AGES: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""No ``m``: some would mean months, and what is older might go."""
_MOST: Final = 2**63 - 1
_OLDEST: Final = _MOST // 10**9
"""Seconds: moments are counted in nanoseconds, and no further back."""

SIZE_FORM: Final = "a number of bytes with or without a unit, such as 500MiB, 1.5GB or 65536"
AGE_FORM: Final = "a number with a unit, s, min, h, d or w, such as 30d or 12h"


def parse_size(text: str) -> int:
    """Bytes that a text names, whole ones: ``kB``, ``MB``, … by 1000, ``KiB``, ``MiB``, … by 1024.

    Case does not matter, a unit of one letter counts by 1000, and none means bytes. Raises
    ValueError, saying what is allowed, for anything else and for what is below one byte.
    """
    return _quantity(text, _SIZES, SIZE_FORM, _MOST)


def spell_size(size: int) -> str:
    """The shortest exact text for a size of 1 or more; `parse_size` reads it back the same."""
    exact = (
        f"{size // scale}{unit}" for unit, scale in reversed(_SPELLED.items()) if size % scale == 0
    )
    return min(exact, key=len)


def parse_age(text: str) -> int:
    """Seconds that a text names, whole ones: ``90s``, ``15min``, ``12h``, ``30d``, ``2w``.

    Raises ValueError, saying what is allowed, for anything else, for what is below a second and for
    more than 292 years.
    """
    return _quantity(text, _AGES, AGE_FORM, _OLDEST)


def _quantity(text: str, units: dict[str, int], form: str, most: int) -> int:
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    scale = None if match is None else units.get(match["unit"].lower())
    if match is None or scale is None:
        raise ValueError(f"{text[:_LONGEST]!r} is not {form}")
    amount = int(Decimal(match["number"]) * scale)
    if not 1 <= amount <= most:
        raise ValueError(f"{text!r} is out of range: {form}")
    return amount
