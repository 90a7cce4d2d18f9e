"""``rustassistant cache get``: the cached result for a file's content, or why there is none."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from rustassistant.cli.render import emit, visible, warn
from rustassistant.entry import Entry, content_hash
from rustassistant.errors import NotFoundError
from rustassistant.stores import open_destination
from rustassistant.stores.base import Candidate, Query
from rustassistant.timestamps import format_rfc3339

EXIT_MISS: Final = 1
_NEAREST: Final = 5


@dataclass(frozen=True, slots=True)
class GetOptions:
    """What the command line asked for."""

    cache_type: str
    content: str
    model: str | None
    prompt_hash: str | None
    schema_version: int | None
    exact: bool
    database: Path
    as_json: bool


def run_get(options: GetOptions) -> int:
    """Print the result and return 0, or say why there is none and return 1."""
    query = Query(
        cache_type=options.cache_type,
        file_hash=content_hash(_read(options.content)),
        model=options.model,
        prompt_hash=options.prompt_hash,
        schema_version=options.schema_version,
        exact=options.exact,
    )
    with open_destination(str(options.database)).finder() as finder:
        entry = finder.lookup(query)
        near = [] if entry else finder.candidates(query.file_hash)
    if entry is None:
        _explain_miss(query, near, options)
        return EXIT_MISS
    if options.as_json:
        emit("summary", hit=True, **_described(entry), result=msgspec.json.decode(entry.result))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(_indented(entry.result) + b"\n")
        sys.stdout.buffer.flush()
    return 0


def _read(content: str) -> bytes:
    if content == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(content).read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"{content} cannot be read: {error.strerror}",
            hint="Name the file whose analysis is wanted: the cache is asked by its content.",
        ) from None


def _indented(result: bytes) -> bytes:
    """The result's tokens as they are, indented as a document of its own."""
    return msgspec.json.format(result, indent=2)


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "repository": entry.repository,
        "cache_type": entry.cache_type,
        "file_path": entry.file_path,
        "file_hash": entry.file_hash.hex(),
        "cache_key": entry.key,
        "provider": entry.provider,
        "model": entry.model,
        "prompt_hash": entry.prompt_hash,
        "schema_version": entry.schema_version,
        "analyzed_at": format_rfc3339(entry.analyzed_at),
        "tokens_used": entry.tokens_used,
        "file_size": entry.file_size,
    }


def _explain_miss(query: Query, near: Sequence[Candidate], options: GetOptions) -> None:
    nearest = sorted(near, key=lambda one: (len(query.why_not(one)), -one.analyzed_at))[:_NEAREST]
    if options.as_json:
        emit(
            "summary",
            hit=False,
            looked_for={**query._asdict(), "file_hash": query.file_hash.hex()},
            nearest=[
                {**one._asdict(), "file_hash": one.file_hash.hex(), "differs": query.why_not(one)}
                for one in nearest
            ],
        )
    parts = [f"content {query.file_hash.hex()}"]
    for name, value in (
        ("model", query.model),
        ("prompt hash", query.prompt_hash),
        ("schema version", query.schema_version),
    ):
        if value is not None:
            parts.append(f"{name} {value}")
    warn(f"✗ miss: no {query.cache_type!r} result for {visible(', '.join(parts))}")
    if not near:
        warn(f"  Nothing in {visible(str(options.database))} was made from this content.")
        warn("  Hint: the file may have changed since it was analysed, or was never analysed.")
        return
    warn(f"  {len(near)} {'entry was' if len(near) == 1 else 'entries were'} made from it:")
    for one in nearest:
        differs = " and ".join(query.why_not(one))
        warn(
            f"  - {one.cache_type} by {visible(one.model)}, prompt {one.prompt_hash or 'unknown'}, "
            f"{format_rfc3339(one.analyzed_at)}: other {differs}"
        )
