"""Results as JSON text: compact, and refused where text would differ.

What comes back equals what went in: integers of any size, floats to the last bit, -0.0, text in
any script. Tuples come back as lists, which is all that JSON has.
"""

from __future__ import annotations

import json
from typing import Any, Final

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.entry_json import MAX_NESTING
from rustassistant.errors import UnsuitableResultError

_SCALARS: Final = (str, int, float, bool, type(None))


def to_text(result: Any) -> bytes:
    """The JSON text of a result, as an entry has it.

    Raises UnsuitableResultError for what JSON can't give back as it was: NaN and infinities, keys
    that are not text, text that is no Unicode, other types than JSON's own, more than 255 levels,
    more than 64 MiB.
    """
    _check(result, "result", 1)
    try:
        text = json.dumps(
            result,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
            check_circular=False,
        )
    except ValueError as error:  # NaN, or an integer longer than Python prints
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
    """What a result's JSON text says."""
    return json.loads(text)


def _check(value: Any, place: str, depth: int) -> None:
    if depth > MAX_NESTING:
        raise UnsuitableResultError(
            f"the result is nested more than {MAX_NESTING - 1} levels deep, or holds itself",
            value=value,
        )
    if isinstance(value, dict):
        for key, below in value.items():
            if not isinstance(key, str):
                raise UnsuitableResultError(
                    f"{place} has the key {key!r}, and JSON only knows text as keys", value=value
                )
            _check(below, f"{place}[{key!r}]" if depth < 8 else place, depth + 1)
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            _check(below, f"{place}[{number}]" if depth < 8 else place, depth + 1)
    elif not isinstance(value, _SCALARS):
        raise UnsuitableResultError(
            f"{place} is a {type(value).__name__}, which JSON does not know",
            hint="Turn it into dictionaries, lists, text, numbers, booleans and None.",
            value=value,
        )
