"""The words that programs use, checked and turned into what stores are asked."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from typing import Any, Final

from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry, content_hash
from rustassistant.errors import UsageError
from rustassistant.stores.live import Filter

DEFAULT_PROMPT_HASH: Final = "default"
"""What the Rust program writes where there is no prompt, as for todos."""

_PROMPT_DIGITS: Final = 16
_INT64: Final = 2**63
_NOT_IN_NAMES: Final = frozenset("/\\\0")

Content = str | bytes


def hash_of(content: Content | None, file_hash: str | bytes | None) -> bytes | None:
    """The 32 bytes by which a file's content is known; None if neither is given."""
    if file_hash is None:
        return None if content is None else content_hash(as_bytes(content))
    if content is not None:
        raise UsageError("content and file_hash were both given", hint="Give one of them.")
    if type(file_hash) is bytes and len(file_hash) == 32:
        return file_hash
    if isinstance(file_hash, str) and len(file_hash) == 64:
        try:
            return bytes.fromhex(file_hash)
        except ValueError:
            pass
    raise UsageError(f"file_hash {file_hash!r:.80} is neither 64 hex digits nor 32 bytes")


def required_hash(content: Content | None, file_hash: str | bytes | None) -> bytes:
    """The same, where one must be given."""
    if type(file_hash) is bytes and len(file_hash) == 32 and content is None:
        return file_hash  # lookups are quicker for it
    found = hash_of(content, file_hash)
    if found is None:
        raise UsageError("neither content nor file_hash was given", hint="Give one of them.")
    return found


def as_bytes(content: Content) -> bytes:
    """A file's content; text as UTF-8."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        try:
            return content.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"the content is no Unicode text: {error.reason}") from None
    raise UsageError(f"content is a {type(content).__name__}", hint="Give text or bytes.")


def prompt_hash_of(prompt: str | None, prompt_hash: str | None) -> str | None:
    """First 16 hex digits of the SHA-256 of a prompt (``formats``), or the hash as given."""
    if prompt is None:
        if prompt_hash == "":
            raise UsageError("prompt_hash is empty", hint="Leave it out for any prompt.")
        return prompt_hash
    if prompt_hash is not None:
        raise UsageError("prompt and prompt_hash were both given", hint="Give one of them.")
    return sha256(as_bytes(prompt)).hexdigest()[:_PROMPT_DIGITS]


def filter_of(
    *,
    type: str | None,
    content: Content | None,
    file_hash: str | bytes | None,
    prompt: str | None,
    prompt_hash: str | None,
    file_path: str | os.PathLike[str] | None,
    **parts: Any,
) -> Filter:
    """Which entries are meant, in the same words."""
    made = Filter(
        cache_type=type,
        file_hash=hash_of(content, file_hash),
        prompt_hash=prompt_hash_of(prompt, prompt_hash),
        file_path=None if file_path is None else os.fspath(file_path),
        **parts,
    )
    _check_texts(made._asdict())
    return made


def entry_of(
    *,
    type: str,
    repository: str,
    file_path: str | os.PathLike[str],
    content: Content | None,
    file_hash: str | bytes | None,
    file_size: int | None,
    provider: str,
    model: str,
    prompt: str | None,
    prompt_hash: str | None,
    schema_version: int | None,
    tokens_used: int | None,
    analyzed_at: int | None,
    result: bytes,
) -> Entry:
    """An entry to be kept. ``result`` is JSON text."""
    if content is not None and file_size is None:
        file_size = len(as_bytes(content))
    made = Entry(
        repository=repository,
        cache_type=str(type),
        file_path=os.fspath(file_path),
        file_hash=required_hash(content, file_hash),
        analyzed_at=time.time_ns() if analyzed_at is None else analyzed_at,
        provider=provider,
        model=model,
        prompt_hash=prompt_hash_of(prompt, prompt_hash) or DEFAULT_PROMPT_HASH,
        schema_version=DEFAULT_SCHEMA_VERSION if schema_version is None else schema_version,
        result=result,
        tokens_used=tokens_used,
        file_size=file_size,
    )
    _check_texts(
        {
            "type": made.cache_type,
            "repository": repository,
            "file_path": made.file_path,
            "provider": provider,
            "model": model,
            "prompt_hash": made.prompt_hash,
        }
    )
    if "" in (made.cache_type, made.file_path, made.model):
        raise UsageError("type, file_path and model must not be empty")
    if made.cache_type in (".", "..") or not _NOT_IN_NAMES.isdisjoint(made.cache_type):
        raise UsageError(
            f"type {made.cache_type!r} can be no directory's name",
            hint="Entries lie in a directory of that name where the Rust program keeps them.",
        )
    _check_numbers(made)
    return made


def _check_texts(parts: dict[str, Any]) -> None:
    for name, text in parts.items():
        if text is None or name in ("file_hash", "schema_version"):
            continue
        if not isinstance(text, str):
            raise UsageError(f"{name} is a {type(text).__name__}", hint="Give text.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{name} is no Unicode text: {error.reason}") from None


def _check_numbers(entry: Entry) -> None:
    numbers = {
        "schema_version": entry.schema_version,
        "tokens_used": entry.tokens_used,
        "analyzed_at": entry.analyzed_at,
        "file_size": entry.file_size,
    }
    for name, number in numbers.items():
        least = 0 if name == "file_size" else -_INT64
        if number is not None and (
            not isinstance(number, int) or isinstance(number, bool) or not least <= number < _INT64
        ):
            raise UsageError(f"{name} {number!r} is not a number that can be kept")
