"""Records of a damaged database: https://www.sqlite.org/fileformat2.html#record_format

A length that makes no sense ends the reading, and what stands before it is kept.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Final, TypeAlias

Value: TypeAlias = int | float | str | bytes | None
"""What a record may hold. A text that is not UTF-8 comes as its bytes."""

_MAX_COLUMNS: Final = 200
_REAL: Final = 7
_NUMBER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8, 8)
_ZERO, _ONE = 8, 9
_FIRST_BLOB: Final = 12


class NonsenseError(ValueError):
    """Bytes that are not what they should be."""


def varint(data: memoryview | bytes, at: int) -> tuple[int, int]:
    """A variable-length integer of one to nine bytes, signed; and where the next thing begins."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    value = value << 8 | data[at]
    return (value - 2**64 if value >= 2**63 else value), at + 1


def record(payload: bytes) -> tuple[tuple[Value, ...], bool]:
    """The values of a record, and whether all of it is as its header says, to the last byte.

    Raises NonsenseError, or IndexError, where it has no header.
    """
    header_bytes, at = varint(payload, 0)
    if not at <= header_bytes <= len(payload):
        raise NonsenseError
    kinds = []
    while at < header_bytes:
        kind, at = varint(payload, at)
        kinds.append(kind)
    if len(kinds) > _MAX_COLUMNS:
        raise NonsenseError
    is_whole = at == header_bytes and bool(kinds)
    at = header_bytes  # where SQLite goes on, even if the last of the header reaches beyond
    values: list[Value] = []
    for kind in kinds:
        try:
            value, at = _value(payload, at, kind)
        except NonsenseError:  # what stands before it may be right, and all that matters
            values += [None] * (len(kinds) - len(values))
            is_whole = False
            break
        values.append(value)
    return tuple(values), is_whole and at == len(payload)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in (0, _ZERO, _ONE):
        return (None if kind == 0 else kind - _ZERO), at
    if kind < 0 or kind in (10, 11):
        raise NonsenseError
    length = _NUMBER_BYTES[kind] if kind <= _REAL else (kind - _FIRST_BLOB) // 2
    data = payload[at : at + length]
    if len(data) != length:
        raise NonsenseError
    value: Value = data
    if kind < _REAL:
        value = int.from_bytes(data, "big", signed=True)
    elif kind == _REAL:
        (value,) = struct.unpack(">d", data)
    elif kind % 2:
        with suppress(UnicodeDecodeError):
            value = data.decode()
    return value, at + length
