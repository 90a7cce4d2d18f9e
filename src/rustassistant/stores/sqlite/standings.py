"""What answers in a database, without its results: for comparing it with another place.

A result's digest stands in its row, so nothing is decompressed but files that were kept whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.entry import Entry, Producer
from rustassistant.errors import DamagedError
from rustassistant.records import seal
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.sqlite.rows import IS_LIVE, EntryReader, checked, copy_sql, entry_sql
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_FOLDERS: Final = """
SELECT d.id, r.path, r.directory, r.meta, d.cache_type, d.layout, d.subfolder
FROM folders d JOIN repositories r ON r.id = d.repository_id ORDER BY d.id
"""
_PRODUCERS: Final = "SELECT id, provider, model, prompt_hash, schema_version FROM producers"
_COLUMNS: Final = """
SELECT {row}.id, f.path, f.hash, f.size, e.producer_id, {analyzed_at}, e.tokens_used,
       e.result_digest, e.original IS NOT NULL, {row}.seal, {row}.source_name
"""
_ENTRIES: Final = _COLUMNS.format(row="e", analyzed_at="e.analyzed_at") + (
    "FROM entries e JOIN files f ON f.id = e.file_id"
)
_COPIES: Final = _COLUMNS.format(row="c", analyzed_at="c.analyzed_at") + (
    # A copy without a file of its own is the entry itself, at another place.
    "FROM copies c JOIN entries e ON e.id = c.entry_id JOIN files f ON f.id = c.file_id"
)
_OF_CONTENT: Final = f"""
WHERE substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.hash = ? AND f.path = ?
  AND e.id {{has}}IN (SELECT entry_id FROM trash)
  AND {{row}}.folder_id IN (SELECT d.id FROM folders d JOIN repositories r ON r.id = d.repository_id
                      WHERE d.cache_type = ? AND r.path = ?)
"""
_MARK: Final = """
SELECT (SELECT ifnull(max(id), 0) FROM entries)
       || ',' || (SELECT ifnull(max(id), 0) FROM copies)
       || ',' || (SELECT count(*) || ',' || ifnull(sum(entry_id), 0) FROM trash)
"""

_LAST: Final = """
SELECT ifnull((SELECT json_array(id, started_at) FROM runs ORDER BY id DESC LIMIT 1), '[0,0]'),
       ifnull((SELECT json_array(id, seal) FROM entries ORDER BY id DESC LIMIT 1), '[0,0]')
"""
_PINNED: Final = """
SELECT 0, entry_id FROM pins
UNION ALL SELECT 1, c.id FROM copies c JOIN pins p ON p.entry_id = c.entry_id
"""

EMPTY: Final = "0,0,0,0"
"""The mark of a database with nothing in it."""

Rows = tuple[bool, int]
"""A row: whether it is one of ``copies``, and its id."""


class Standing(NamedTuple):
    """A row's columns. ``original`` is the SHA-256 of a file that was kept, where it counts."""

    row: Rows
    name: bytes | None
    file_path: str
    file_hash: bytes
    file_size: int | None
    producer: Producer
    analyzed_at: int
    tokens_used: int | None
    result_digest: bytes
    original: bytes | None


class Damaged(NamedTuple):
    """A row that does not say what was stored."""

    row: Rows
    reason: str


class _Row(NamedTuple):
    id: int
    file_path: str
    file_hash: bytes
    file_size: int | None
    producer_id: int
    analyzed_at: int
    tokens_used: int | None
    result_digest: bytes
    has_original: int
    seal: int
    name: bytes | None


class _FolderRow(NamedTuple):
    id: int
    path: str
    directory: str | None
    meta: bytes | None
    cache_type: str
    layout: str
    subfolder: str


DigestOfOriginal = Callable[[Entry], bytes | None]
"""What a kept file counts as, once its whole entry is read."""


class Standings:
    """Reads rows over one connection, within one read transaction."""

    def __init__(self, connection: apsw.Connection, original: DigestOfOriginal) -> None:
        self._connection = connection
        self._reader = EntryReader(connection)
        self._original = original
        self._producers = {
            row[0]: checked(row[1:], Producer) for row in connection.execute(_PRODUCERS)
        }

    def folders(self) -> Iterator[tuple[int, Folder]]:
        """Every folder with its id."""
        for row in self._connection.execute(_FOLDERS).fetchall():
            found = checked(row, _FolderRow)
            repository = Repository(found.path, found.directory, found.meta)
            yield found.id, Folder(repository, found.cache_type, found.layout, found.subfolder)

    def of_folder(self, folder_id: int, folder: Folder) -> Iterator[Standing | Damaged]:
        """All that answers in a folder."""
        for copied, sql in ((False, _ENTRIES), (True, _COPIES)):
            where = f"{sql} WHERE {'c' if copied else 'e'}.folder_id = ? AND {IS_LIVE}"
            for row in self._connection.execute(where, (folder_id,)):
                yield self._standing(row, folder, copied=copied)

    def of_rows(self, folder: Folder, rows: Iterable[Rows]) -> Iterator[Standing | Damaged]:
        """Those of these rows that still answer."""
        wanted = list(rows)
        for copied, sql in ((False, _ENTRIES), (True, _COPIES)):
            ids = json.dumps([row_id for is_copy, row_id in wanted if is_copy == copied])
            where = (
                f"{sql} WHERE {'c' if copied else 'e'}.id IN (SELECT value FROM json_each(?))"
                f" AND {IS_LIVE}"
            )
            for row in self._connection.execute(where, (ids,)).fetchall():
                yield self._standing(row, folder, copied=copied)

    def of_content(
        self, folder: Folder, path: str, file_hash: bytes, *, in_trash: bool
    ) -> Iterator[Standing | Damaged]:
        """Entries of the folder's type and repository about that content at that path, which
        answer, or do no more."""
        owner = (folder.cache_type, folder.repository.path)
        values = (file_hash[:HASH_PREFIX], file_hash, path, *owner)
        # What shares a row with another at another file is never in the trash.
        for copied in (False,) if in_trash else (False, True):
            sql = (_COPIES if copied else _ENTRIES) + _OF_CONTENT.format(
                has="" if in_trash else "NOT ", row="c" if copied else "e"
            )
            for row in self._connection.execute(sql, values).fetchall():
                yield self._standing(row, folder, copied=copied)

    def mark(self) -> str:
        """A text that is another when an entry has come, or has gone to the trash."""
        return str(self._connection.execute(_MARK).get)

    def _standing(
        self, row: tuple[Any, ...], folder: Folder, *, copied: bool
    ) -> Standing | Damaged:
        try:
            return self._checked(checked(row, _Row), folder, copied=copied)
        except DamagedError as error:
            return Damaged((copied, int(row[0])), error.message)

    def _checked(self, row: _Row, folder: Folder, *, copied: bool) -> Standing:
        producer = self._producers.get(row.producer_id)
        if producer is None or row.seal != seal(
            folder.cache_type, row.file_path, row.file_hash, row.file_size, producer,
            row.analyzed_at, row.tokens_used, row.result_digest,
        ):  # fmt: skip
            raise DamagedError("its columns are not what was stored")
        return Standing(
            (copied, row.id),
            row.name,
            row.file_path,
            row.file_hash,
            row.file_size,
            producer,
            row.analyzed_at,
            row.tokens_used,
            row.result_digest,
            self._digest_of_original(row.id, copied=copied) if row.has_original else None,
        )

    def _digest_of_original(self, row_id: int, *, copied: bool) -> bytes | None:
        sql = copy_sql() + "WHERE c.id = ?" if copied else entry_sql() + "WHERE e.id = ?"
        for entry in self._reader.select(sql, (row_id,)):
            if isinstance(entry, DamagedError):
                raise entry
            return self._original(entry)
        raise DamagedError("is in an index only")


def last_rows(connection: apsw.Connection) -> str:
    """A text that names the newest rows, for `has_rows` of a later state."""
    return ";".join(map(str, connection.execute(_LAST).fetchall()[0]))


def has_rows(connection: apsw.Connection, last: str) -> bool:
    """Whether a database once had these newest rows: an older state of it has not.

    Runs stay for good. An entry may have ended since, which leaves a run.
    """
    (run, started_at), (entry, sealed) = (json.loads(part) for part in last.split(";"))
    execute = connection.execute
    if run and execute("SELECT started_at FROM runs WHERE id = ?", (run,)).get != started_at:
        return False
    if not entry or execute("SELECT seal FROM entries WHERE id = ?", (entry,)).get == sealed:
        return True
    return bool(execute("SELECT EXISTS (SELECT 1 FROM runs WHERE id > ?)", (run,)).get)


def pinned_rows(connection: apsw.Connection) -> list[Rows]:
    """All that is pinned. Who shares a row that is, is pinned too."""
    return [(bool(copied), row_id) for copied, row_id in connection.execute(_PINNED)]


def split(rows: Sequence[Rows]) -> tuple[list[int], list[int]]:
    """Ids of entries, and of copies."""
    return (
        [row_id for copied, row_id in rows if not copied],
        [row_id for copied, row_id in rows if copied],
    )
