"""What a sync compares: one result of one side, named so that the other side gives the same names.

An element is immutable: a result that changes is one element gone and another come. Its names are
BLAKE2b digests of 16 bytes over MessagePack arrays::

    slot     = repository key, cache_type, file_path          the file that it is about
    identity = slot, file_hash, model, prompt_hash, version    the request that it answers
    digest   = identity, size, provider, analyzed_at, tokens_used, SHA-256 of the result,
               SHA-256 of the kept file or nil                 everything

An absent prompt hash counts as empty and an absent schema version as 1, as files leave them out. A
kept file that is what we would write anyway counts as none.
"""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import Any, Final, NamedTuple

import msgspec

from rustassistant.codec import text_digest
from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry
from rustassistant.errors import EntryError
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.json_tree.meta import path_in
from rustassistant.stores.json_tree.writing import file_of

_DIGEST_BYTES: Final = 16
_encode: Final = msgspec.msgpack.Encoder().encode


class Element(NamedTuple):
    """The names of a result; ``analyzed_at`` in nanoseconds."""

    slot: bytes
    identity: bytes
    digest: bytes
    analyzed_at: int


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What people and filters ask about an element. ``key`` is that of its repository; without
    ``has_owner`` it only stands for a directory, of which nobody can tell whose it is."""

    key: str
    has_owner: bool
    repository: str
    directory: str | None
    cache_type: str
    file_path: str
    provider: str
    model: str
    tokens_used: int | None


class Columns(NamedTuple):
    """An entry without its result: the digests are a `text_digest` and a SHA-256."""

    file_path: str
    file_hash: bytes
    file_size: int | None
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    analyzed_at: int
    tokens_used: int | None
    result_digest: bytes
    original_digest: bytes | None = None


def repository_key(repository: Repository) -> str:
    """What names a repository on both sides: its path, whatever the cache's directory is called.

    Where ``meta.json`` can't tell, the name of the cache's directory stands for it.
    """
    if repository.directory is None or has_owner(repository):
        return repository.path
    return repository.directory


def has_owner(repository: Repository) -> bool:
    """Whether the path is a repository's own: where ``meta.json`` tells none, it is that of the
    cache's directory, wherever that lies."""
    directory = repository.directory
    if directory is None or not repository.path.endswith(f"/{directory}"):
        return True
    return repository.meta is not None and path_in(repository.meta) == repository.path


def _name(*parts: Any) -> bytes:
    return blake2b(_encode(parts), digest_size=_DIGEST_BYTES).digest()


def element_of(key: str, cache_type: str, columns: Columns) -> Element:
    """The names of an entry in the repository of that key."""
    slot = _name(key, cache_type, columns.file_path)
    version = columns.schema_version
    identity = _name(
        slot,
        columns.file_hash,
        columns.model,
        columns.prompt_hash or "",
        DEFAULT_SCHEMA_VERSION if version is None else version,
    )
    digest = _name(
        identity,
        columns.file_size,
        columns.provider,
        columns.analyzed_at,
        columns.tokens_used,
        columns.result_digest,
        columns.original_digest,
    )
    return Element(slot, identity, digest, columns.analyzed_at)


def columns_of(entry: Entry) -> Columns:
    """An entry's columns, with what has to be hashed hashed."""
    original = entry.original
    if original is not None and original == _plain_file(entry):
        original = None
    return Columns(
        entry.file_path,
        entry.file_hash,
        entry.file_size,
        entry.provider,
        entry.model,
        entry.prompt_hash,
        entry.schema_version,
        entry.analyzed_at,
        entry.tokens_used,
        text_digest(entry.result),
        None if original is None else sha256(original).digest(),
    )


def _plain_file(entry: Entry) -> bytes | None:
    try:
        return file_of(msgspec.structs.replace(entry, original=None))
    except EntryError:
        return None


def facts_of(key: str, folder: Folder, columns: Columns) -> Facts:
    """What there is to tell of an entry in that folder, whose repository has that key."""
    repository = folder.repository
    return Facts(
        key,
        has_owner(repository),
        repository.path,
        repository.directory,
        folder.cache_type,
        columns.file_path,
        columns.provider,
        columns.model,
        columns.tokens_used,
    )
