"""``rustassistant cache get``: the cached result for a file's content, or why there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from rustassistant.cli.exits import EXIT_MISS
from rustassistant.cli.render import emit, visible, warn
from rustassistant.entry import Entry, content_hash
from rustassistant.errors import NotFoundError
from rustassistant.stores import open_destination
from rustassistant.stores.base import Candidate, Query, printable
from rustassistant.timestamps import format_rfc3339

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
    database: str
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
    with open_destination(_absolute(options.database)).finder() as finder:
        entry = finder.lookup(query)
        near = [] if entry else finder.candidates(query.file_hash)
    if entry is None:
        _explain_miss(query, near, options)
        return EXIT_MISS
    laid_out = msgspec.json.format(entry.result, indent=2)
    _print_bytes(_as_json(entry) if options.as_json else laid_out)
    return 0


def _print_bytes(text: bytes) -> None:
    """As they are, whatever the screen's own encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.buffer.flush()


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path)) if path else path


def _read(content: str) -> bytes:
    if content == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(content).expanduser().read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"{printable(content)} cannot be read: {error.strerror}",
            hint="Name the file whose analysis is wanted: the cache is asked by its content.",
        ) from None


def _as_json(entry: Entry) -> bytes:
    facts = {
        "message_type": "summary",
        "hit": True,
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
        "result": msgspec.Raw(entry.result),
    }
    return msgspec.json.encode(facts)


def _explain_miss(query: Query, near: Sequence[Candidate], options: GetOptions) -> None:
    nearest = sorted(near, key=lambda one: (len(query.why_not(one)), -one.analyzed_at))[:_NEAREST]
    if options.as_json:
        emit(
            "summary",
            hit=False,
            looked_for={**query._asdict(), "file_hash": query.file_hash.hex()},
            nearest=[
                {
                    **one._asdict(),
                    "file_hash": one.file_hash.hex(),
                    "analyzed_at": format_rfc3339(one.analyzed_at),
                    "differs": query.why_not(one),
                }
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
    kind = visible(query.cache_type)
    warn(f"✗ miss: no {kind!r} result for {visible(', '.join(parts))}")
    if not near:
        warn(f"  Nothing in {visible(options.database)} was made from this content.")
        warn("  Hint: the file may have changed since it was analysed, or was never analysed.")
        return
    warn(f"  {len(near)} {'entry was' if len(near) == 1 else 'entries were'} made from it:")
    for one in nearest:
        differs = " and ".join(query.why_not(one))
        warn(
            f"  - {visible(one.cache_type)} by {visible(one.model)}, "
            f"prompt {visible(one.prompt_hash or 'unknown')}, "
            f"{format_rfc3339(one.analyzed_at)}: other {differs}"
        )
