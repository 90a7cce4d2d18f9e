"""Rows that an incoming entry may be equal to, or in conflict with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from rustassistant.errors import DamagedError
from rustassistant.records import Record
from rustassistant.stores.base import Folder
from rustassistant.stores.outcomes import Conflict
from rustassistant.stores.sqlite.identifiers import Identifiers
from rustassistant.stores.sqlite.rows import EntryReader, checked
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_COLUMNS: Final = """
SELECT e.id, {copy_id}, {file_id}, {place}.folder_id, e.producer_id, {analyzed_at}, e.tokens_used,
       e.result_digest, ifnull(e.result_of, e.id), e.original, e.dictionary_id,
       {place}.source_name, {place}.source_stamp, {place}.seal, t.reason, d.cache_type
"""
_OF_FILES: Final = (
    _COLUMNS.format(copy_id="NULL", place="e", file_id="e.file_id", analyzed_at="e.analyzed_at")
    + """
FROM files f CROSS JOIN folders d ON d.repository_id = f.repository_id
CROSS JOIN entries e ON e.folder_id = d.id AND e.file_id = f.id
LEFT JOIN trash t ON t.entry_id = e.id
WHERE f.id = ?1
UNION ALL
"""
    + _COLUMNS.format(copy_id="c.id", place="c", file_id="c.file_id", analyzed_at="c.analyzed_at")
    + """
FROM copies c JOIN entries e ON e.id = c.entry_id JOIN folders d ON d.id = c.folder_id
LEFT JOIN trash t ON t.entry_id = e.id
WHERE c.file_id = ?1
"""
)
# By the content, since a result such as [] may be that of every second file.
_ALIKE: Final = f"""
SELECT e.id FROM files f CROSS JOIN folders d ON d.repository_id = f.repository_id
CROSS JOIN entries e ON e.folder_id = d.id AND e.file_id = f.id
WHERE substr(f.hash, 1, {HASH_PREFIX}) = substr(?2, 1, {HASH_PREFIX})
  AND (e.id = ?1 OR e.result_of = ?1) AND f.hash = ?2 AND f.size IS ?3 AND d.cache_type = ?4
  AND e.producer_id = ?5 AND e.tokens_used IS ?6 AND e.original IS NULL
  AND e.id NOT IN (SELECT entry_id FROM trash)
LIMIT 1
"""


class Rival(NamedTuple):
    """An entry with the identity of an incoming one. ``copy_id`` if it shares another's row."""

    entry_id: int
    copy_id: int | None
    file_id: int
    folder_id: int
    producer_id: int
    analyzed_at: int
    tokens_used: int | None
    result_digest: bytes
    owner_id: int
    original: bytes | None
    dictionary_id: int | None
    name: bytes | None
    stamp: int | None
    seal: int
    removed: str | None
    cache_type: str

    @property
    def standing(self) -> tuple[int, bytes]:
        """What decides which of two answers."""
        return (self.analyzed_at, self.result_digest)

    @property
    def row(self) -> tuple[str, int]:
        """The table and the row that remember where it lay."""
        return ("entries", self.entry_id) if self.copy_id is None else ("copies", self.copy_id)

    def conflict(self, folder: Folder, record: Record, *, incoming_answers: bool) -> Conflict:
        """For the report: this one and an incoming one of other result."""
        return Conflict(
            folder.repository.path,
            folder.cache_type,
            record.file_path,
            record.analyzed_at,
            self.analyzed_at,
            incoming_answers,
        )


def rivals_of(
    reader: EntryReader,
    ids: Identifiers,
    file_ids: Iterable[int],
    cache_type: str,
    producer_id: int,
) -> list[Rival]:
    """All that have this identity: the file's path and content, the type, and the key's parts."""
    key = ids.key_of[producer_id]
    return [
        rival
        for file_id in file_ids
        for row in reader.connection.execute(_OF_FILES, (file_id,))
        if (rival := checked(row, Rival)).cache_type == cache_type
        and ids.key_of.get(rival.producer_id) == key
    ]


def is_equal(
    reader: EntryReader, rival: Rival, record: Record, file_id: int, producer_id: int
) -> bool:
    """Whether a row is that very entry, in all columns and, where it was kept, the whole file.

    One whose seal is broken is not: it could not be given back.
    """
    same = (
        rival.file_id == file_id
        and rival.producer_id == producer_id
        and rival.analyzed_at == record.analyzed_at
        and rival.tokens_used == record.tokens_used
        and rival.result_digest == record.result_digest
        and rival.seal == record.seal
        and (rival.original is None) == (record.original is None)
    )
    if not same or rival.original is None or record.original is None:
        return same
    try:
        kept = reader.text(rival.original, rival.dictionary_id)
    except DamagedError:
        return False
    return reader.text(record.original, record.dictionary_id) == kept


Likeness = tuple[int, bytes, int | None, str, int, int | None]
"""What entries that can share a row have in common: the row that holds their result, content,
size, type, producer and tokens."""


def alike(reader: EntryReader, wanted: Likeness) -> int | None:
    """A live entry of this likeness, at whatever path, whose row can be shared."""
    found: Any = reader.value(_ALIKE, wanted)
    return None if found is None else int(found)


def find_copy(
    reader: EntryReader, equal: Sequence[Rival], folder_id: int, name: bytes | None
) -> tuple[int, int | None] | None:
    """Row and stamp of the note that one of these entries lay in that folder under that name."""
    for rival in equal:
        row = reader.connection.execute(
            "SELECT id, source_stamp FROM copies"
            " WHERE entry_id = ? AND folder_id = ? AND source_name IS ? AND file_id IS NULL",
            (rival.entry_id, folder_id, name),
        ).fetchone()
        if row is not None:
            return row[0], row[1]
    return None
