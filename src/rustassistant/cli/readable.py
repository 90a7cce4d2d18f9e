"""Sizes, money, times and counts as people read them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Final

_SMALLEST_USD: Final = Decimal("0.000001")
_SIZES: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def dollars(usd: Decimal) -> str:
    """US dollars: ``$12.34`` from a dollar on, below that two digits that count: ``$0.0021``.

    What is not nothing never looks like nothing: ``<$0.000001`` is the least that is said.
    """
    sign, amount = ("-", -usd) if usd < 0 else ("", usd)
    if amount == 0:
        return "$0.00"
    if amount < _SMALLEST_USD:
        return f"{'>-' if sign else '<'}${_SMALLEST_USD}"
    places = 2 if amount >= 1 else min(1 - amount.adjusted(), 6)
    text = f"{amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"
    whole, _, decimals = text.partition(".")
    return f"{sign}${whole}.{decimals.rstrip('0').ljust(2, '0')}"


def size(count: int) -> str:
    """Bytes: ``512 B``, ``1.5 KiB``, ``40.7 MiB``."""
    if abs(count) < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in _SIZES:
        amount /= 1024
        if abs(amount) < 1023.95 or unit == _SIZES[-1]:
            break
    return f"{amount:.1f} {unit}"


def duration(seconds: float | Decimal) -> str:
    """A time span in its two largest units: ``0.4 s``, ``28 s``, ``3 min 5 s``, ``166 h 40 min``.

    Hours are the largest: what analyses cost is counted in them.
    """
    seconds = float(seconds)
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole, 60, "min", 1, "s")
    return _two(round(whole / 60) * 60, 3600, "h", 60, "min")


def _two(seconds: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = seconds % large // small
    whole = f"{seconds // large:,} {large_name}"
    return f"{whole} {rest} {small_name}" if rest else whole


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: ``1 entry``, ``20,000 entries``."""
    if number == 1:
        return f"1 {noun}"
    if plural is None:
        plural = noun[:-1] + "ies" if noun[-1:] == "y" and noun[-2] not in "aeiou" else noun + "s"
    return f"{number:,} {plural}"


def percent(part: Decimal | float) -> str:
    """A percentage given as 0 to 100 and more: ``75.1%``, ``90%``."""
    return f"{part:.1f}".removesuffix(".0") + "%"
