"""One paid-for result with its provenance, and the only derivation of keys."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

JSON_KEY_DIGITS: Final = 32
DEFAULT_SCHEMA_VERSION: Final = 1


class CacheType(StrEnum):
    """The kinds of analysis the Rust program makes. Entries of any other kind are kept too."""

    ANALYSIS = "analysis"
    DOCS = "docs"
    REFACTOR = "refactor"
    TODOS = "todos"


class Producer(NamedTuple):
    """What made a result. ``prompt_hash`` and ``schema_version`` are None in old entries."""

    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None


def full_key(
    file_hash: str, model: str, prompt_hash: str | None, schema_version: int | None
) -> str:
    """The 64 hex digits that make two requests the same.

    SHA-256 of ``file_hash:model:prompt_hash:schema_version``; an absent prompt hash counts as
    empty and an absent schema version as 1. The JSON cache uses the first 32 digits.
    """
    version = DEFAULT_SCHEMA_VERSION if schema_version is None else schema_version
    return sha256(f"{file_hash}:{model}:{prompt_hash or ''}:{version}".encode()).hexdigest()


def content_hash(content: bytes) -> bytes:
    """The 32-byte hash by which entries name the text they analysed."""
    return sha256(content).digest()


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One result and where it came from.

    ``result`` is the JSON text, each token as it stands in the cache file, without white space
    between them; ``file_hash`` is 32 bytes, ``analyzed_at`` nanoseconds since 1970 UTC,
    ``file_size`` bytes.
    ``original`` holds the whole file where the fields and the result, printed as the Rust program
    prints them, would not reproduce it: unknown fields, other spelling, other indentation.
    """

    repository: str
    cache_type: str
    file_path: str
    file_hash: bytes
    analyzed_at: int
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    result: bytes
    tokens_used: int | None
    file_size: int | None
    original: bytes | None = None

    @property
    def producer(self) -> Producer:
        """What made this result."""
        return Producer(self.provider, self.model, self.prompt_hash, self.schema_version)

    @property
    def key(self) -> str:
        """The full key, 64 hex digits."""
        return full_key(self.file_hash.hex(), self.model, self.prompt_hash, self.schema_version)

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells entries apart: repository, type, file path, and what the key is made of.

        The parts, not the key: with a ``:`` in a model's name, different parts give one key.
        """
        version = DEFAULT_SCHEMA_VERSION if self.schema_version is None else self.schema_version
        return (
            self.repository,
            self.cache_type,
            self.file_path,
            self.file_hash.hex(),
            self.model,
            self.prompt_hash or "",
            str(version),
        )


def differing_fields(one: Entry, other: Entry) -> list[str]:
    """Names of the fields in which two entries differ; none means equal to the last byte."""
    return [name for name in Entry.__struct_fields__ if getattr(one, name) != getattr(other, name)]
