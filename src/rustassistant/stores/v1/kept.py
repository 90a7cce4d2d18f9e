"""What a v1 file keeps of an entry."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
import zstandard

from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry, full_key
from rustassistant.entry_json import compact_result
from rustassistant.errors import EntryError
from rustassistant.records import Record
from rustassistant.stores.base import Folder
from rustassistant.stores.v1.schema import NANOSECONDS, to_text

_LEVEL: Final = 3
MAX_NESTING: Final = 127
"""Levels of arrays and objects that the Rust program's JSON reader takes; at more it fails."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_LARGE_NUMBER: Final = re.compile(rb"[eE]\+?\d{3}|\d{309}")

_compressor: Final = zstandard.ZstdCompressor(level=_LEVEL)

Rank = tuple[int, bytes, str, str, str, str]


class Kept(NamedTuple):
    """A row's columns, with the text of the result in place of the blob."""

    cache_type: str
    repo_path: str
    file_path: str
    file_hash: str
    cache_key: str
    provider: str
    model: str
    prompt_hash: str
    schema_version: int
    result: bytes
    tokens_used: int | None
    file_size: int
    created_at: str

    @classmethod
    def of_row(cls, values: Sequence[Any], text: bytes) -> Kept:
        """From a row's columns and the text of its result."""
        return cls(*values)._replace(result=text)

    def values(self) -> tuple[Any, ...]:
        """For the row: a frame of the Rust program's kind, level 3 and no dictionary."""
        return self._replace(result=_compressor.compress(self.result))


def kept_of(folder: Folder, record: Record, text: bytes) -> Kept:
    """The row for a record whose result has that text.

    Raises EntryError for what the Rust program could not read back: there, one such row would fail
    a lookup, or the listing of a whole repository, instead of being a miss.
    """
    version = DEFAULT_SCHEMA_VERSION if record.schema_version is None else record.schema_version
    if not 0 <= version < 2**32:
        raise EntryError(f"schema version {version} is beyond what the Rust program can hold")
    file_hash = record.file_hash.hex()
    return Kept(
        cache_type=folder.cache_type,
        repo_path=folder.repository.path,
        file_path=record.file_path,
        file_hash=file_hash,
        cache_key=full_key(file_hash, record.model, record.prompt_hash, version),
        provider=record.provider,
        model=record.model,
        prompt_hash=record.prompt_hash or "",
        schema_version=version,
        result=readable(text),
        tokens_used=record.tokens_used,
        file_size=record.file_size or 0,
        created_at=to_text(record.analyzed_at),
    )


def readable(text: bytes) -> bytes:
    """A result's text, compact. Raises EntryError where the Rust program would fail to read it."""
    packed = compact_result(text)
    if packed.count(b"[") + packed.count(b"{") > MAX_NESTING:
        _check_nesting(packed)
    if _LARGE_NUMBER.search(packed):
        json.loads(packed, parse_float=_check_number, parse_int=_check_number)
    return packed


def _check_nesting(text: bytes) -> None:
    depth = 0
    for bracket in re.findall(rb"[\[\]{}]", _STRING.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_NESTING:
            raise EntryError(
                f"its result is nested deeper than the Rust program reads: {MAX_NESTING} levels"
            )


def _check_number(spelled: str) -> None:
    if float(spelled) in (float("inf"), float("-inf")):
        raise EntryError(
            f"its result has a number beyond what the Rust program reads: {spelled:.40}"
        )


def rank(analyzed_at: int, kept: Kept) -> Rank:
    """What decides between two entries for one row: the time, then what they say."""
    digest = sha256(kept.result).digest()
    return (analyzed_at, digest, kept.repo_path, kept.cache_type, kept.file_path, repr(kept))


def as_kept(entry: Entry) -> Entry:
    """What reading a v1 file gives back of an entry that was written to it.

    Times lose what is below a second, files what is in no column; an absent size becomes 0. Raises
    EntryError for what such a file can't hold.
    """
    prompt_hash, version = entry.prompt_hash or None, entry.schema_version
    if prompt_hash is not None and version is None:
        version = DEFAULT_SCHEMA_VERSION
    if prompt_hash is None and version == DEFAULT_SCHEMA_VERSION:
        version = None
    return msgspec.structs.replace(
        entry,
        analyzed_at=entry.analyzed_at - entry.analyzed_at % NANOSECONDS,
        prompt_hash=prompt_hash,
        schema_version=version,
        result=readable(entry.result),
        file_size=entry.file_size or 0,
        original=None,
    )
