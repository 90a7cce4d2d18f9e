"""The JSON text of one entry, as the Rust program writes it: parse and render.

Parsing leaves every token of ``result`` as it is, and takes the white space between them away.
Rendering what was parsed gives back the same bytes for every file the Rust program wrote; where it
would not, the parsed entry carries the file's own bytes as ``original``, so that nothing of a file
is ever lost.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from rustassistant.entry import JSON_KEY_DIGITS, Entry, full_key
from rustassistant.errors import EntryError
from rustassistant.native import take_apart
from rustassistant.timestamps import format_rfc3339, parse_rfc3339

if TYPE_CHECKING:
    from rustassistant.native.entries import Parts

MAX_NESTING: Final = 256
"""Levels of arrays and objects. The Rust program writes and reads 128 at most."""

_T = TypeVar("_T")
_INDENT: Final = 2
_DEEPEST: Final = b" " * _INDENT * MAX_NESTING
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_STRING_OR_BRACKET: Final = re.compile(rb'("(?:[^"\\]|\\.)*+")(?=\s*:)|"(?:[^"\\]|\\.)*+"|[\[\]{}]')
"""A name, which a colon follows, in group 1; any other string; a bracket."""

_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _EntryFile(msgspec.Struct, gc=False):
    """The fields of an entry's file. Only those without which it is no entry are required."""

    file_path: str
    file_hash: str
    analyzed_at: str
    provider: str
    model: str
    result: Raw
    cache_key: str | UnsetType = UNSET
    prompt_hash: str | UnsetType | None = UNSET
    schema_version: _Int64 | UnsetType | None = UNSET
    tokens_used: _Int64 | UnsetType | None = UNSET
    file_size: _Size | UnsetType | None = UNSET
    cache_type: str | UnsetType = UNSET


_DECODER: Final = msgspec.json.Decoder(_EntryFile)
_encode: Final = msgspec.json.Encoder().encode


class Parsed(NamedTuple):
    """An entry and what its owner should know about the file it came from."""

    entry: Entry
    notes: tuple[str, ...]


def parse(text: bytes, *, repository: str, cache_type: str) -> Parsed:
    """Read one entry's file. ``cache_type`` is the directory's, which is what readers go by.

    Raises EntryError, saying why, for anything that is not an entry.
    """
    if take_apart is not None:
        parts = take_apart(text)
        if parts is not None and parts[-1] == cache_type:
            entry = _as_printed(parts, repository)
            if entry is not None:
                return Parsed(entry, ())
    return _parsed(text, repository, cache_type)


def _as_printed(parts: Parts, repository: str) -> Entry | None:
    """The entry whose file is just as the Rust program prints it, as far as was not looked at."""
    (file_path, file_hash, analyzed_at, provider, model, prompt_hash, schema_version, result,
     tokens_used, file_size, cache_key, cache_type) = parts  # fmt: skip
    if cache_key is not None:
        derived = full_key(file_hash.hex(), model, prompt_hash, schema_version)
        if derived[:JSON_KEY_DIGITS] != cache_key:
            return None
    return Entry(
        repository=repository,
        cache_type=cache_type,
        file_path=file_path,
        file_hash=file_hash,
        analyzed_at=analyzed_at,
        provider=provider,
        model=model,
        prompt_hash=prompt_hash,
        schema_version=schema_version,
        result=result,
        tokens_used=tokens_used,
        file_size=file_size,
    )


def _parsed(text: bytes, repository: str, cache_type: str) -> Parsed:
    fields = _decode(text)
    try:
        file_hash = bytes.fromhex(fields.file_hash)
    except ValueError:
        file_hash = b""
    if len(file_hash) != 32 or len(fields.file_hash) != 64:
        raise EntryError(f"file_hash {fields.file_hash[:80]!r} is not 64 hex digits")
    try:
        analyzed_at = parse_rfc3339(fields.analyzed_at)
    except ValueError as error:
        raise EntryError(f"analyzed_at: {error}") from None
    entry = Entry(
        repository=repository,
        cache_type=cache_type,
        file_path=fields.file_path,
        file_hash=file_hash,
        analyzed_at=analyzed_at,
        provider=fields.provider,
        model=fields.model,
        prompt_hash=_given(fields.prompt_hash) or None,
        schema_version=_given(fields.schema_version),
        result=compact(fields.result),
        tokens_used=_given(fields.tokens_used),
        file_size=_given(fields.file_size),
    )
    if render(entry) == text:
        # As it is printed, what lies that deep is indented: bytes are found sooner than counted.
        if _DEEPEST in text:
            _check_nesting(text)
        return Parsed(entry, ())
    _check_nesting(text)
    _refuse_repeated_fields(text)
    return Parsed(msgspec.structs.replace(entry, original=text), tuple(_notes(fields, cache_type)))


def _given(value: _T | UnsetType | None) -> _T | None:
    return None if value is UNSET else value


def _decode(text: bytes) -> _EntryFile:
    if not text:
        raise EntryError("the file is empty")
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise EntryError(f"not valid UTF-8: {error.reason} at byte {error.start}") from None
    try:
        return _DECODER.decode(text.removeprefix(_BYTE_ORDER_MARK))
    except msgspec.ValidationError as error:
        raise EntryError(f"not an entry: {error}") from None
    except msgspec.DecodeError as error:
        raise EntryError(_why_not_json(text, error)) from None
    except RecursionError:  # brackets that are never closed
        raise _too_deep() from None


def _too_deep() -> EntryError:
    return EntryError(f"the JSON is nested too deeply: more than {MAX_NESTING} levels")


def _check_nesting(text: bytes) -> None:
    """Raise EntryError if brackets lie deeper in each other than `MAX_NESTING`.

    Readers recurse, so what is read today could overflow a deeper stack tomorrow; a fixed limit
    makes it fail now or never.
    """
    if text.count(b"[") + text.count(b"{") <= MAX_NESTING:
        return
    depth = 0
    for bracket in _STRING.sub(b"", text).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_NESTING:
            raise _too_deep()


def _why_not_json(text: bytes, error: msgspec.DecodeError) -> str:
    if not text.strip(b"\0"):
        return "the file holds only NUL bytes, as after a power cut"
    if not text.strip():
        return "the file holds only white space"
    return f"not valid JSON: {error}"


def _refuse_repeated_fields(text: bytes) -> None:
    """A field given twice has no one meaning: the Rust program refuses such a file, so do we."""
    seen = set()
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):  # it is valid JSON, or we would not be here
        first = token[0][0]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and token[1] is not None:
            name = msgspec.json.decode(token[1], type=str)
            if name in seen:
                raise EntryError(f"not an entry: the field {name!r} is given twice")
            seen.add(name)


def _notes(fields: _EntryFile, cache_type: str) -> list[str]:
    notes = []
    if fields.cache_type is not UNSET and fields.cache_type != cache_type:
        notes.append(
            f"says it is of type {fields.cache_type!r} but lies under {cache_type!r}: "
            "kept as the latter, which is what readers go by"
        )
    if fields.cache_key is not UNSET:
        derived = full_key(
            fields.file_hash.lower(),
            fields.model,
            _given(fields.prompt_hash),
            _given(fields.schema_version),
        )
        if not fields.cache_key or not derived.startswith(fields.cache_key):
            notes.append(
                f"its cache_key {fields.cache_key[:64]!r} does not follow from its fields "
                f"(that would be {derived[:JSON_KEY_DIGITS]}): kept, and found by its fields"
            )
    return notes


def compact(text: bytes | Raw) -> bytes:
    """A valid JSON text without white space between its tokens, which stay as they are.

    Raises EntryError if it is nested too deeply.
    """
    try:
        return msgspec.json.format(text, indent=-1)
    except RecursionError:
        raise _too_deep() from None


def compact_result(text: bytes) -> bytes:
    """The same of what may be anything. Raises EntryError, saying why it is no JSON text."""
    try:
        text.decode()
        return compact(text)
    except UnicodeDecodeError as error:
        raise EntryError(f"its result is not UTF-8: {error.reason} at byte {error.start}") from None
    except msgspec.DecodeError as error:
        raise EntryError(f"its result is not JSON: {error}") from None


def file_name(file_path: str) -> str:
    """The name the Rust program gives an entry's file: lossy, so the path inside is the truth."""
    # Four passes in C take a quarter of one through a table.
    flat = file_path.replace("/", "_").replace("\\", "_").replace(".", "_").replace(":", "_")
    return flat + ".json"


def render(entry: Entry) -> bytes:
    """The file for an entry: its own bytes where they were kept, else as the Rust program prints,
    two spaces a level.

    An entry without a prompt hash is of the old kind, which has no key and no schema version.
    Raises EntryError if its result is no JSON.
    """
    if entry.original is not None:
        return entry.original
    file_hash = entry.file_hash.hex()
    if entry.prompt_hash is None:
        key = request = ""
    else:
        version = entry.schema_version
        derived = full_key(file_hash, entry.model, entry.prompt_hash, version)
        key = f'"cache_key":"{derived[:JSON_KEY_DIGITS]}",'
        request = (
            f'"prompt_hash":{_quote_again(entry.prompt_hash)},'
            f'"schema_version":{1 if version is None else version},'
        )
    head = (
        f'{{"file_path":{_quote(entry.file_path)},"file_hash":"{file_hash}",{key}'
        f'"analyzed_at":"{format_rfc3339(entry.analyzed_at)}",'
        f'"provider":{_quote_again(entry.provider)},'
        f'"model":{_quote_again(entry.model)},{request}"result":'
    )
    tail = (
        f',"tokens_used":{_number(entry.tokens_used)},"file_size":{_number(entry.file_size)},'
        f'"cache_type":{_quote_again(entry.cache_type)}}}'
    )
    text = b"".join((head.encode(), entry.result, tail.encode()))
    try:
        return msgspec.json.format(text, indent=_INDENT)
    except msgspec.DecodeError as error:
        raise EntryError(f"its result is not valid JSON: {error}") from None
    except RecursionError:
        raise _too_deep() from None


def result_in_file(entry: Entry) -> bytes:
    """An entry's result to the byte as its file has it, white space between tokens included."""
    return bytes(_DECODER.decode(render(entry).removeprefix(_BYTE_ORDER_MARK)).result)


def _quote(text: str) -> str:
    return _encode(text).decode()


_quote_again: Final = lru_cache(maxsize=256)(_quote)
"""For what many entries have in common."""


def _number(value: int | None) -> str:
    return "null" if value is None else str(value)
