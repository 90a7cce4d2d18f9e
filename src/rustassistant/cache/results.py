"""Results as JSON text: compact, and refused where text would differ.

What comes back equals what went in: integers of any size, floats to the last bit, -0.0, text in
any script. Tuples come back as lists, which is all that JSON has.
"""

from __future__ import annotations

import json
from typing import Any, Final

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.entry_json import MAX_NESTING
from rustassistant.errors import DamagedError, UnsuitableResultError

_SCALARS: Final = (str, int, float, bool, type(None))
_MAX_DIGITS: Final = 10**6
"""They take two seconds to read."""

_DIGITS_AT_ONCE: Final = 500
"""Below the lowest limit that Python can be given."""


def to_text(result: Any) -> bytes:
    """The JSON text of a result, as an entry has it.

    Raises UnsuitableResultError for what JSON can't give back as it was: NaN and infinities, keys
    that are not text or are spelled alike, text that is no Unicode, other types than JSON's own,
    more than 255 levels, more than 64 MiB.
    """
    try:
        _check(result, "result", 1)
    except _UnsuitableError as error:
        message, hint = error.args
        raise UnsuitableResultError(message, hint=hint, value=result) from None
    try:
        text = json.dumps(
            result,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
            check_circular=False,
        )
    except (ValueError, TypeError) as error:  # NaN, or an integer longer than Python prints
        raise UnsuitableResultError(f"the result is not JSON: {error}", value=result) from None
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        surrogate = error.object[error.start]
        raise UnsuitableResultError(
            f"the result holds {surrogate!r}, half of a surrogate pair, which no UTF-8 text can",
            value=result,
        ) from None
    if len(encoded) > MAX_TEXT_BYTES:
        raise UnsuitableResultError(
            f"the result takes {len(encoded)} bytes as JSON, more than {MAX_TEXT_BYTES}",
            value=result,
        )
    return encoded


def from_text(text: bytes) -> Any:
    """What a result's JSON text says. Raises DamagedError for integers of over a million digits.

    Migrated results may have longer integers than Python reads by itself (4,300 digits).
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=_long_integer)


def _long_integer(digits: str) -> int:
    sign = -1 if digits.startswith("-") else 1
    digits = digits.removeprefix("-")
    if len(digits) > _MAX_DIGITS:
        raise DamagedError(
            f"the result has an integer of {len(digits)} digits, more than {_MAX_DIGITS}",
            hint="Its JSON text is there as it was stored: read that, the hit's `text`.",
        )
    return sign * _joined(digits)


def _joined(digits: str) -> int:
    """By halves, which takes less than the square of their number."""
    if len(digits) <= _DIGITS_AT_ONCE:
        return int(digits)
    half = len(digits) // 2
    shift: int = 10**half
    return _joined(digits[:-half]) * shift + _joined(digits[-half:])


class _UnsuitableError(Exception):
    """Why a part is unsuitable, and a hint or None."""


def _check(value: Any, place: str, depth: int) -> None:
    if depth > MAX_NESTING:
        raise _UnsuitableError(
            f"the result is nested more than {MAX_NESTING - 1} levels deep, or holds itself", None
        )
    if isinstance(value, dict):
        spelled = set()
        for key, below in value.items():
            if not isinstance(key, str):
                raise _UnsuitableError(
                    f"{place} has the key {key!r}, and JSON only knows text as keys", None
                )
            plain = str.__str__(key)
            if plain in spelled:
                raise _UnsuitableError(f"{place} has the key {plain!r} twice", None)
            spelled.add(plain)
            _check(below, f"{place}[{key!r}]" if depth < 8 else place, depth + 1)
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            _check(below, f"{place}[{number}]" if depth < 8 else place, depth + 1)
    elif not isinstance(value, _SCALARS):
        raise _UnsuitableError(
            f"{place} is a {type(value).__name__}, which JSON does not know",
            "Turn it into dictionaries, lists, text, numbers, booleans and None.",
        )
