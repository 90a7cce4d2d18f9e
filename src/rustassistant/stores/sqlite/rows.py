"""Rows of a cache database as entries, each checked as it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeVar

import apsw
import msgspec

from rustassistant.codec import Decoder
from rustassistant.entry import Entry, Producer
from rustassistant.entry_json import parse
from rustassistant.errors import DamagedError, EntryError
from rustassistant.records import seal
from rustassistant.stores.base import Candidate

_T = TypeVar("_T")

_ENTRY: Final = """
SELECT {row_id}, r.path, d.cache_type, f.path, f.hash, {analyzed_at},
       p.provider, p.model, p.prompt_hash, p.schema_version, e.tokens_used, f.size,
       ifnull(e.result, o.result), e.result_digest,
       iif(e.result IS NULL, o.dictionary_id, e.dictionary_id),
       e.original, e.dictionary_id, {seal}{more}
FROM {source}
JOIN folders d ON d.id = {folder}
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
LEFT JOIN entries o ON o.id = e.result_of
"""

ENTRIES_OF_FILE: Final = (
    "CROSS JOIN folders w ON w.repository_id = f.repository_id"
    " CROSS JOIN entries e ON e.folder_id = w.id AND e.file_id = f.id"
)
"""Joins those of the table ``f``, by way of the folders of its repository, ``w``."""

FILES_FIRST: Final = f"files f {ENTRIES_OF_FILE}"
ENTRIES_FIRST: Final = "entries e JOIN files f ON f.id = e.file_id"
USES_OF_FILE: Final = """
SELECT 1 FROM entries WHERE folder_id IN (SELECT id FROM folders) AND file_id = ?1
UNION ALL SELECT 1 FROM copies WHERE file_id = ?1 LIMIT 1
"""
"""Whether anything is about a file, wherever it lies."""

_COPIES: Final = "copies c JOIN entries e ON e.id = c.entry_id JOIN files f ON f.id = "
FILES_OF_COPIES_FIRST: Final = (
    "files f CROSS JOIN copies c ON c.file_id = f.id JOIN entries e ON e.id = c.entry_id"
)
IS_LIVE: Final = "e.id NOT IN (SELECT entry_id FROM trash)"
IS_KEPT: Final = "e.id NOT IN (SELECT entry_id FROM trash WHERE reason <> 'superseded')"
"""Live, or in the trash only because another result is preferred: nobody has removed it."""
IS_KNOWN: Final = (
    "e.id NOT IN (SELECT entry_id FROM trash WHERE reason NOT IN ('superseded', 'evicted'))"
)
"""Of these, its file need not be read again: a migration would not bring it back."""


def entry_sql(source: str = ENTRIES_FIRST, *, more: str = "") -> str:
    """A query for entries, from the tables ``e`` and ``f`` joined as ``source`` says."""
    return _ENTRY.format(
        source=source,
        row_id="e.id",
        analyzed_at="e.analyzed_at",
        seal="e.seal",
        folder="e.folder_id",
        more=more,
    )


def copy_sql(source: str = _COPIES + "ifnull(c.file_id, e.file_id)", *, more: str = "") -> str:
    """The same for further places of entries, table ``c``, each as the entry it was there."""
    return _ENTRY.format(
        source=source,
        row_id="e.id",
        analyzed_at="ifnull(c.analyzed_at, e.analyzed_at)",
        seal="c.seal",
        folder="c.folder_id",
        more=more,
    )


CANDIDATE_SQL: Final = """
SELECT e.id, r.path, d.cache_type, f.path, f.hash, p.provider, p.model, p.prompt_hash,
       p.schema_version, e.analyzed_at
FROM {source}
JOIN folders d ON d.id = e.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
"""


class _Row(NamedTuple):
    """What `entry_sql` and `copy_sql` select."""

    entry_id: int
    repository: str
    cache_type: str
    file_path: str
    file_hash: bytes
    analyzed_at: int
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    tokens_used: int | None
    file_size: int | None
    result: bytes | None
    result_digest: bytes
    dictionary_id: int | None
    original: bytes | None
    own_dictionary_id: int | None
    seal: int


_COLUMNS: Final = len(_Row._fields)


def checked(row: tuple[Any, ...] | list[Any] | dict[str, Any], types: type[_T]) -> _T:
    """A row, or a list of them, if the values are of these types: in a damaged file a value may be
    of any."""
    try:
        return msgspec.convert(row, types)
    except msgspec.ValidationError as error:
        raise DamagedError(f"a column is not what was stored: {error}") from None


class EntryReader:
    """Reads entries over one connection. Not for two threads at once."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.text = Decoder(self._dictionary).decode
        """The text of a frame, held against its digest if there is one: see `Decoder.decode`."""

    def _dictionary(self, dictionary_id: int) -> bytes:
        row = self.connection.execute(
            "SELECT data FROM dictionaries WHERE id = ?", (dictionary_id,)
        ).fetchone()
        if row is None:
            raise DamagedError(f"dictionary {dictionary_id} is missing")
        if not isinstance(row[0], bytes):
            raise DamagedError(f"dictionary {dictionary_id} is damaged")
        return row[0]

    def select(self, sql: str, values: Iterable[Any]) -> Iterator[Entry | DamagedError]:
        """Entries that a query of `entry_sql` or `copy_sql` finds.

        One that is damaged comes as the error, so that it hides no other.
        """
        for row in self.connection.execute(sql, tuple(values)):
            yield self.entry(row)

    def candidates(self, source: str, condition: str, values: Iterable[Any]) -> list[Candidate]:
        """Provenance of entries, without results."""
        sql = CANDIDATE_SQL.format(source=source) + condition
        rows = self.connection.execute(sql, tuple(values))
        return [checked(row, Candidate) for row in rows]

    def value(self, sql: str, values: Iterable[Any]) -> Any:
        """The first column of the first row, None if there is none."""
        return self.connection.execute(sql, tuple(values)).get

    def entry(self, row: tuple[Any, ...]) -> Entry | DamagedError:
        """What a row of such a query stands for."""
        entry_id, repository, cache_type, file_path = row[:4]
        try:
            return self._checked(row)
        except (DamagedError, EntryError) as error:
            return DamagedError(
                f"entry {entry_id} ({cache_type} of {file_path} in {repository}): {error}"
            )

    def _checked(self, columns: tuple[Any, ...]) -> Entry:
        row = checked(columns[:_COLUMNS], _Row)
        if row.result is None:
            raise DamagedError("its result is missing")
        producer = Producer(row.provider, row.model, row.prompt_hash, row.schema_version)
        if row.seal != seal(
            row.cache_type,
            row.file_path,
            row.file_hash,
            row.file_size,
            producer,
            row.analyzed_at,
            row.tokens_used,
            row.result_digest,
        ):
            raise DamagedError("its columns are not what was stored")
        entry = Entry(
            repository=row.repository,
            cache_type=row.cache_type,
            file_path=row.file_path,
            file_hash=row.file_hash,
            analyzed_at=row.analyzed_at,
            provider=row.provider,
            model=row.model,
            prompt_hash=row.prompt_hash,
            schema_version=row.schema_version,
            result=self.text(row.result, row.dictionary_id, row.result_digest),
            tokens_used=row.tokens_used,
            file_size=row.file_size,
        )
        if row.original is None:
            return entry
        text = self.text(row.original, row.own_dictionary_id)
        entry = msgspec.structs.replace(entry, original=text)
        if parse(text, repository=row.repository, cache_type=row.cache_type).entry != entry:
            raise DamagedError("its columns and the file kept with it disagree")
        return entry
