"""The words that programs use, checked and turned into what stores are asked."""

from __future__ import annotations

import operator
import os
import time
from hashlib import sha256
from typing import Any, Final, TypedDict

from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry, content_hash
from rustassistant.errors import UsageError
from rustassistant.stores.live import Filter, Wanted

DEFAULT_PROMPT_HASH: Final = "default"
"""What the Rust program writes where there is no prompt, as for todos."""

_PROMPT_DIGITS: Final = 16
_INT64: Final = 2**63
_NOT_IN_NAMES: Final = frozenset("/\\\0")

Content = str | bytes
Path = str | os.PathLike[str]


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


def as_bytes(content: Content, name: str = "content") -> bytes:
    """A file's content, or a prompt; text as UTF-8."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        try:
            return content.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"the {name} is no Unicode text: {error.reason}") from None
    raise UsageError(f"{name} is a {type(content).__name__}", hint="Give text or bytes.")


def prompt_hash_of(prompt: str | None, prompt_hash: str | None) -> str | None:
    """First 16 hex digits of the SHA-256 of a prompt (``formats``), or the hash as given."""
    if prompt is None:
        if prompt_hash == "":
            raise UsageError("prompt_hash is empty", hint="Leave it out for any prompt.")
        return None if prompt_hash is None else text_of("prompt_hash", prompt_hash)
    if prompt_hash is not None:
        raise UsageError("prompt and prompt_hash were both given", hint="Give one of them.")
    return sha256(as_bytes(prompt, "prompt")).hexdigest()[:_PROMPT_DIGITS]


def text_of(name: str, text: Any) -> str:
    """Text of Python's own type: others may compare in ways of their own, as enumerations do."""
    if type(text) is str and text.isascii():
        return text
    if not isinstance(text, str):
        raise UsageError(f"{name} is a {type(text).__name__}", hint="Give text.")
    plain = text if type(text) is str else str.__str__(text)
    if not plain.isascii():
        try:
            plain.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{name} is no Unicode text: {error.reason}") from None
    return plain


def path_of(name: str, path: Any) -> str:
    """The text of a path."""
    if type(path) is not str and isinstance(path, os.PathLike):
        path = os.fspath(path)
    return text_of(name, path)


def number_of(name: str, number: Any, *, least: int = -_INT64) -> int:
    """A whole number of 64 bits, of Python's own type or such as numpy's."""
    if type(number) is int and least <= number < _INT64:
        return number
    try:
        made = None if isinstance(number, bool) else operator.index(number)
    except TypeError:
        made = None
    if made is None:
        raise UsageError(f"{name} is a {type(number).__name__}", hint="Give a whole number.")
    if not least <= made < _INT64:
        raise UsageError(f"{name} is not a number from {least} to {_INT64 - 1}")
    return made


def optional_text(name: str, text: Any) -> str | None:
    """The same as `text_of`, or None."""
    return None if text is None else text_of(name, text)


def optional_path(name: str, path: Any) -> str | None:
    """The same as `path_of`, or None."""
    return None if path is None else path_of(name, path)


def optional_number(name: str, number: Any, *, least: int = -_INT64) -> int | None:
    """The same as `number_of`, or None."""
    return None if number is None else number_of(name, number, least=least)


def wanted_of(
    type: str,
    content: Content | None,
    file_hash: str | bytes | None,
    model: str | None,
    prompt: str | None,
    prompt_hash: str | None,
    schema_version: int | None,
    exact: bool,
    provider: str | None,
    repository: Path | None,
    file_path: Path | None,
) -> Wanted:
    """What is asked for. What is wrong with it is told: a miss would be paid for.

    Asked for each lookup, so that calls that are not needed are left out.
    """
    return Wanted(
        text_of("type", type),
        required_hash(content, file_hash),
        None if model is None else text_of("model", model),
        prompt_hash_of(prompt, prompt_hash),
        None if schema_version is None else number_of("schema_version", schema_version),
        bool(exact),
        None if provider is None else text_of("provider", provider),
        None if repository is None else path_of("repository", repository),
        None if file_path is None else path_of("file_path", file_path),
    )


class Words(TypedDict, total=False):
    """What entries are chosen by; they have to be equal in every part that is given."""

    type: str | None
    content: Content | None
    file_hash: str | bytes | None
    model: str | None
    prompt: str | None
    prompt_hash: str | None
    schema_version: int | None
    provider: str | None
    repository: Path | None
    file_path: Path | None


def filter_of(
    *,
    type: str | None = None,
    content: Content | None = None,
    file_hash: str | bytes | None = None,
    model: str | None = None,
    prompt: str | None = None,
    prompt_hash: str | None = None,
    schema_version: int | None = None,
    provider: str | None = None,
    repository: Path | None = None,
    file_path: Path | None = None,
) -> Filter:
    """Which entries are meant, in the same words."""
    return Filter(
        cache_type=optional_text("type", type),
        repository=optional_path("repository", repository),
        file_path=optional_path("file_path", file_path),
        file_hash=hash_of(content, file_hash),
        provider=optional_text("provider", provider),
        model=optional_text("model", model),
        prompt_hash=prompt_hash_of(prompt, prompt_hash),
        schema_version=optional_number("schema_version", schema_version),
    )


def entry_of(
    *,
    type: str,
    repository: Path,
    file_path: Path,
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
    version = DEFAULT_SCHEMA_VERSION if schema_version is None else schema_version
    moment = time.time_ns() if analyzed_at is None else analyzed_at
    made = Entry(
        repository=path_of("repository", repository),
        cache_type=text_of("type", type),
        file_path=path_of("file_path", file_path),
        file_hash=required_hash(content, file_hash),
        analyzed_at=number_of("analyzed_at", moment),
        provider=text_of("provider", provider),
        model=text_of("model", model),
        prompt_hash=prompt_hash_of(prompt, prompt_hash) or DEFAULT_PROMPT_HASH,
        schema_version=number_of("schema_version", version),
        result=result,
        tokens_used=optional_number("tokens_used", tokens_used),
        file_size=optional_number("file_size", file_size, least=0),
    )
    if "" in (made.cache_type, made.file_path, made.model):
        raise UsageError("type, file_path and model must not be empty")
    if made.cache_type in (".", "..") or not _NOT_IN_NAMES.isdisjoint(made.cache_type):
        raise UsageError(
            f"type {made.cache_type!r} can be no directory's name",
            hint="Entries lie in a directory of that name where the Rust program keeps them.",
        )
    return made
