"""One line of a JSON Lines export: all that is known of an entry, to be read back exactly.

``result`` is the paid-for JSON itself, token for token. ``original`` is the whole file where the
columns would not give it back. Bytes that are no UTF-8 stand as base64 under the field's name and
``_base64``.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from rustassistant.entry import Entry, full_key
from rustassistant.entry_json import compact, compact_result, parse
from rustassistant.errors import EntryError
from rustassistant.stores.base import Folder, Repository
from rustassistant.timestamps import format_rfc3339, parse_rfc3339

_Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Line(msgspec.Struct, kw_only=True):
    """The fields of a line, in their order; those that are unset are absent."""

    repository: str
    directory: str | None = None
    cache_type: str
    layout: Literal["centralized", "flat", "local"]
    subfolder: str = ""
    file_path: str
    file_hash: str
    cache_key: str | UnsetType = UNSET
    analyzed_at: str
    provider: str
    model: str
    prompt_hash: str | None = None
    schema_version: _Int64 | None = None
    tokens_used: _Int64 | None = None
    file_size: _Int64 | None = None
    result: Raw
    original: str | UnsetType = UNSET
    original_base64: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    name_base64: str | UnsetType = UNSET
    meta: str | UnsetType = UNSET
    meta_base64: str | UnsetType = UNSET


FIELDS: Final = frozenset(Line.__struct_fields__)
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


class _Place(msgspec.Struct):
    """What tells where a line's entry lay: enough to list a file."""

    repository: str
    cache_type: str
    layout: Literal["centralized", "flat", "local"]
    directory: str | None = None
    subfolder: str = ""
    name: str | UnsetType = UNSET
    meta: str | UnsetType = UNSET
    meta_base64: str | UnsetType = UNSET


_decode_place: Final = msgspec.json.Decoder(_Place).decode


def line_of(folder: Folder, entry: Entry, name: bytes | None) -> bytes:
    """The line for an entry, without a line break. Raises EntryError if its result is no JSON."""
    file_hash = entry.file_hash.hex()
    repository = folder.repository
    line = Line(
        repository=repository.path,
        directory=repository.directory,
        cache_type=folder.cache_type,
        layout=folder.layout,  # type: ignore[arg-type]  # there are no others
        subfolder=folder.subfolder,
        file_path=entry.file_path,
        file_hash=file_hash,
        cache_key=full_key(file_hash, entry.model, entry.prompt_hash, entry.schema_version),
        analyzed_at=format_rfc3339(entry.analyzed_at),
        provider=entry.provider,
        model=entry.model,
        prompt_hash=entry.prompt_hash,
        schema_version=entry.schema_version,
        tokens_used=entry.tokens_used,
        file_size=entry.file_size,
        result=Raw(compact_result(entry.result)),
        **_text_fields("original", entry.original),
        **_text_fields("name", name),
        **_text_fields("meta", repository.meta),
    )
    return _encode(line)


def _text_fields(name: str, text: bytes | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        return {name: text.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(text).decode()}


def folder_in(text: bytes) -> Folder:
    """The folder that a line belongs to. Raises EntryError, saying why, for any other line."""
    place = _checked(_decode_place, text)
    meta = _bytes(place.meta, place.meta_base64)
    repository = Repository(place.repository, place.directory, meta)
    return Folder(repository, place.cache_type, place.layout, place.subfolder)


def entry_in(text: bytes) -> tuple[Entry, bytes | None, tuple[str, ...]]:
    """The entry in a line, the name of its file, and notes. Raises EntryError, saying why."""
    line: Line = _checked(_decode, text)
    entry = Entry(
        repository=line.repository,
        cache_type=line.cache_type,
        file_path=line.file_path,
        file_hash=_hash(line.file_hash),
        analyzed_at=_time(line.analyzed_at),
        provider=line.provider,
        model=line.model,
        prompt_hash=line.prompt_hash,
        schema_version=line.schema_version,
        result=compact(line.result),
        tokens_used=line.tokens_used,
        file_size=line.file_size,
        original=_bytes(line.original, line.original_base64),
    )
    _check_original(entry)
    return entry, _bytes(line.name, line.name_base64), _notes(text)


def _checked(decode: Any, text: bytes) -> Any:
    try:
        text.decode()
        return decode(text)
    except UnicodeDecodeError as error:
        raise EntryError(f"not valid UTF-8: {error.reason} at byte {error.start}") from None
    except msgspec.ValidationError as error:
        raise EntryError(f"not an entry: {error}") from None
    except msgspec.DecodeError as error:
        raise EntryError(f"not valid JSON: {error}") from None
    except RecursionError:
        raise EntryError("the JSON is nested too deeply") from None


def _bytes(text: str | UnsetType, coded: str | UnsetType) -> bytes | None:
    if coded is not UNSET:
        try:
            return base64.b64decode(coded, validate=True)
        except binascii.Error as error:
            raise EntryError(f"not valid base64: {error}") from None
    return None if text is UNSET else text.encode()


def _hash(text: str) -> bytes:
    try:
        file_hash = bytes.fromhex(text)
    except ValueError:
        file_hash = b""
    if len(file_hash) != 32 or len(text) != 64:
        raise EntryError(f"file_hash {text[:80]!r} is not 64 hex digits")
    return file_hash


def _time(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise EntryError(f"analyzed_at: {error}") from None


def _check_original(entry: Entry) -> None:
    """A file that says something else than its columns can't be kept with them."""
    if entry.original is not None:
        parsed = parse(entry.original, repository=entry.repository, cache_type=entry.cache_type)
        if parsed.entry != entry:
            raise EntryError("its columns and its original disagree")


def _notes(text: bytes) -> tuple[str, ...]:
    names: set[str] = set(msgspec.json.decode(text, type=dict[str, Raw]))
    unknown = sorted(names - FIELDS)
    return (f"unknown fields are not kept: {', '.join(unknown)}",) if unknown else ()
