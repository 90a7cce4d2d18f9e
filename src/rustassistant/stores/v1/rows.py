"""Rows of a v1 file as entries, with what was wrong with them put right and said."""

from __future__ import annotations

from hashlib import blake2b, sha256
from typing import Any, Final, NamedTuple

import msgspec
import zstandard

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.entry import DEFAULT_SCHEMA_VERSION, JSON_KEY_DIGITS, Entry, full_key
from rustassistant.entry_json import compact_result, parse, render
from rustassistant.errors import DamagedError, EntryError
from rustassistant.stores.base import Candidate, Folder, Repository
from rustassistant.stores.v1.schema import COLUMNS, Table, from_text

_PIECE: Final = 1024
"""Compressed bytes taken at a time: what they may become, 32 MiB, bounds how far a hostile frame
gets past the limit."""

_INT64: Final = 2**63
_pack: Final = msgspec.msgpack.Encoder().encode


class Row(NamedTuple):
    """A row as it stands, of whatever types; None where the table lacks the column."""

    id: Any
    cache_type: Any
    repo_path: Any
    file_path: Any
    file_hash: Any
    cache_key: Any
    provider: Any
    model: Any
    prompt_hash: Any
    schema_version: Any
    result_blob: Any
    tokens_used: Any
    file_size: Any
    created_at: Any

    @property
    def stamp(self) -> int:
        """64 bits of all that it says of its entry: tells whether it has changed since."""
        digest = blake2b(_pack(self[1:]), digest_size=8).digest()
        return int.from_bytes(digest, "little", signed=True)

    @property
    def size(self) -> int:
        """Bytes that it takes, without what SQLite needs around them."""
        return sum(len(value) for value in self if isinstance(value, str | bytes))


def row_sql(table: Table) -> str:
    """A query for `Row`; a result too long to be one is left out, so that it takes no memory."""
    limit = f"iif(length(result_blob) <= {MAX_TEXT_BYTES}, result_blob, length(result_blob))"
    columns = [limit if name == "result_blob" else table.expression(name) for name in COLUMNS]
    return f"SELECT rowid, {', '.join(columns)} FROM {table.name} "


def folder_of(repo_path: str, cache_type: str, database: str) -> Folder:
    """Where the Rust program would look for these entries in its JSON cache.

    Rows that name no repository get the database's own path for one: as with a cache directory
    whose ``meta.json`` cannot be read, it says where they came from.
    """
    path = repo_path or database
    directory = sha256(path.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return Folder(Repository(path, directory), cache_type, "centralized")


class Provenance(NamedTuple):
    """What a row says besides its result, repaired; ``notes`` say what was."""

    folder: Folder
    file_path: str
    file_hash: bytes
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    tokens_used: int | None
    file_size: int | None
    analyzed_at: int
    notes: list[str]

    def candidate(self, number: int) -> Candidate:
        """For a lookup."""
        return Candidate(
            number,
            self.folder.repository.path,
            self.folder.cache_type,
            self.file_path,
            self.file_hash,
            self.provider,
            self.model,
            self.prompt_hash,
            self.schema_version,
            self.analyzed_at,
        )


def provenance_of(row: Row, table: Table, database: str) -> Provenance:
    """Everything but the result. Raises EntryError for a row that cannot be told apart."""
    notes: list[str] = []
    for name in ("cache_type", "file_path", "file_hash", "model"):
        if not isinstance(getattr(row, name), str):
            raise EntryError(f"its {name} is no text")
    try:
        file_hash = bytes.fromhex(row.file_hash)
    except ValueError:
        file_hash = b""
    if len(file_hash) != 32 or len(row.file_hash) != 64:
        raise EntryError(f"its file_hash {row.file_hash[:80]!r} is not 64 hex digits")
    prompt_hash, version = _request(row)
    optional = _Optional(row, table, notes)
    repo_path = optional.text("repo_path")
    provenance = Provenance(
        folder=folder_of(repo_path, row.cache_type, database),
        file_path=row.file_path,
        file_hash=file_hash,
        provider=optional.text("provider"),
        model=row.model,
        prompt_hash=prompt_hash,
        schema_version=version,
        tokens_used=optional.number("tokens_used", least=-_INT64),
        file_size=optional.number("file_size", least=0),
        analyzed_at=optional.moment("created_at"),
        notes=notes,
    )
    if "cache_key" in table.columns:
        derived = full_key(file_hash.hex(), row.model, prompt_hash, version)
        notes.extend(_about_key(row.cache_key, derived))
    return provenance


def _request(row: Row) -> tuple[str | None, int | None]:
    """Prompt hash and schema version; both None in what the Rust program made before keys.

    It writes such an entry with an empty prompt hash and the version 1, which it then means.
    """
    prompt_hash, version = row.prompt_hash, row.schema_version
    if prompt_hash is not None and not isinstance(prompt_hash, str):
        raise EntryError("its prompt_hash is no text")
    if version is not None and not isinstance(version, int):
        raise EntryError("its schema_version is no whole number")
    if prompt_hash:
        return prompt_hash, DEFAULT_SCHEMA_VERSION if version is None else version
    return None, None if version == DEFAULT_SCHEMA_VERSION else version


def _about_key(key: object, derived: str) -> list[str]:
    """A key that is cut short is not told of here: where one row has such a key, all have."""
    if key in (derived, derived[:JSON_KEY_DIGITS]):
        return []
    if not key:
        return ["its cache_key is empty: repaired"]
    shown = repr(key[:64]) if isinstance(key, str) else "of another type"
    return [f"its cache_key {shown} does not follow from its columns: repaired"]


class _Optional:
    """Columns without which an entry is still worth its price."""

    def __init__(self, row: Row, table: Table, notes: list[str]) -> None:
        self._row = row
        self._table = table
        self._notes = notes

    def _odd(self, name: str, instead: str) -> None:
        if name in self._table.columns:
            self._notes.append(f"its {name} can't be used: {instead}")

    def text(self, name: str) -> str:
        value = getattr(self._row, name)
        if isinstance(value, str):
            return value
        self._odd(name, "left empty")
        return ""

    def number(self, name: str, *, least: int) -> int | None:
        value = getattr(self._row, name)
        if value is None or (isinstance(value, int) and value >= least):
            return value
        self._odd(name, "left out")
        return None

    def moment(self, name: str) -> int:
        value = getattr(self._row, name)
        try:
            return from_text(value)
        except (TypeError, ValueError):
            self._odd(name, "counts as analysed in 1970, so that any other result answers first")
            return 0


def entry_of(row: Row, provenance: Provenance) -> Entry:
    """The entry. Raises EntryError, saying why, if the result can't be given back."""
    entry = Entry(
        repository=provenance.folder.repository.path,
        cache_type=provenance.folder.cache_type,
        file_path=provenance.file_path,
        file_hash=provenance.file_hash,
        analyzed_at=provenance.analyzed_at,
        provider=provenance.provider,
        model=provenance.model,
        prompt_hash=provenance.prompt_hash,
        schema_version=provenance.schema_version,
        result=compact_result(result_text(row.result_blob)),
        tokens_used=provenance.tokens_used,
        file_size=provenance.file_size,
    )
    if entry.prompt_hash is None and entry.schema_version is not None:
        # An entry without a prompt hash is printed without a version: this one has to keep it.
        text = render(msgspec.structs.replace(entry, prompt_hash=""))
        entry = msgspec.structs.replace(entry, original=text)
    # What can't be read in a JSON cache could not be exported into one.
    parse(render(entry), repository=entry.repository, cache_type=entry.cache_type)
    return entry


def result_text(blob: object) -> bytes:
    """What a ``result_blob`` holds: zstd frames, whose headers need not tell a size.

    Raises DamagedError for anything else, and for what becomes longer than any result is.
    """
    if isinstance(blob, int):
        raise DamagedError(f"its result takes {blob} bytes, more than can be right")
    if not isinstance(blob, bytes):
        raise DamagedError("its result is missing" if blob is None else "its result is no blob")
    parts: list[bytes] = []
    length = 0
    rest = memoryview(blob)
    try:
        while rest:  # the Rust program's reader takes several frames for one text too
            frame = zstandard.ZstdDecompressor(max_window_size=MAX_TEXT_BYTES).decompressobj()
            while not frame.eof:
                if not rest:
                    raise DamagedError("its result ends in the middle")
                piece = rest[:_PIECE]
                parts.append(frame.decompress(piece))
                rest = rest[len(piece) - len(frame.unused_data) :]
                length += len(parts[-1])
                if length > MAX_TEXT_BYTES:
                    raise DamagedError(f"its result becomes longer than {MAX_TEXT_BYTES} bytes")
    except zstandard.ZstdError as error:
        raise DamagedError(f"its result does not decompress: {error}") from None
    return b"".join(parts)
