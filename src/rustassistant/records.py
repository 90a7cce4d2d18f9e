"""Entries ready to be stored, and how they travel from those that make them to the one writer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final, Protocol, overload
from zlib import crc32

import msgspec

from rustassistant.entry import Producer


class Record(msgspec.Struct, array_like=True, gc=False):
    """One entry ready to be stored: its columns, its compressed texts, and where it lay.

    ``result`` and ``original`` are frames; ``result_digest`` is `text_digest` of the former;
    ``name`` is the source file's name where that is not the one its path implies; ``stamp`` tells
    the file's state apart (see ``stores.base``), None where it can't be trusted; ``usage`` is input
    and output tokens, where the result states them.
    """

    file_path: str
    file_hash: bytes
    file_size: int | None
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    analyzed_at: int
    tokens_used: int | None
    result: bytes
    result_digest: bytes
    result_size: int
    dictionary_id: int | None
    original: bytes | None
    name: bytes | None
    stamp: int | None
    seal: int
    usage: tuple[int, int] | None


pack: Final = msgspec.msgpack.Encoder().encode
"""What records and what they are sealed over are packed with."""

_ARRAY_4: Final = 0x90
_ARRAY_16: Final = 0xDC
"""How arrays begin in msgpack whose length takes four bits, and sixteen; 32 bits have the next."""

_unpack: Final = msgspec.msgpack.Decoder(list[Record]).decode


def seal(
    cache_type: str,
    file_path: str,
    file_hash: bytes,
    file_size: int | None,
    producer: Producer | tuple[str, str, str | None, int | None],
    analyzed_at: int,
    tokens_used: int | None,
    result_digest: bytes,
) -> int:
    """CRC-32 over what an entry says of itself, as a msgpack array.

    A damaged database can join a row with another file's or another producer's: the digest of the
    result would be right, and the answer wrong. Nothing here is secret, so 32 bits are enough:
    signed ones, which SQLite keeps in four bytes.
    """
    columns = (cache_type, file_path, file_hash, file_size, *producer, analyzed_at, tokens_used,
               result_digest)  # fmt: skip
    return (crc32(pack(columns)) ^ 2**31) - 2**31


class PackedRecords(Sequence[Record]):
    """Records as they travelled, ``packed`` as a msgpack array; unpacked when one is asked for."""

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    @cached_property
    def _unpacked(self) -> list[Record]:
        return _unpack(self.packed)

    def __len__(self) -> int:
        head = self.packed[0]
        if head < _ARRAY_16:
            return head - _ARRAY_4
        return int.from_bytes(self.packed[1 : 3 if head == _ARRAY_16 else 5], "big")

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self._unpacked[index]


class Packing(Protocol):
    """Records that come together, to travel as one message.

    ``size`` is the bytes that their entries take in the source.
    """

    @property
    def size(self) -> int: ...  # noqa: D102 - said above

    def take(self, directory: int, names: tuple[str, ...], start: int, now: int) -> int:
        """As of `rustassistant.stores.base.Taker`."""

    def append(self, record: Record, size: int) -> None:
        """Add a record whose entry takes so many bytes in the source."""

    def packed(self) -> bytes:
        """All of them, in order, for `PackedRecords`."""


class RecordList:
    """Records that Python makes, each of its own: it takes no file."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self.size = 0

    def take(self, directory: int, names: tuple[str, ...], start: int, now: int) -> int:
        """None of them."""
        return start

    def append(self, record: Record, size: int) -> None:
        """Add one."""
        self._records.append(record)
        self.size += size

    def packed(self) -> bytes:
        """All of them."""
        return pack(self._records)
