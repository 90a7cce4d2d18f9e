"""Entries that programs set and remove, in the transaction of the one writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Final

import apsw
import msgspec

from rustassistant.codec import Dictionary, Encoder
from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.live import Filter
from rustassistant.stores.sqlite.schema import HASH_PREFIX, place_of
from rustassistant.stores.sqlite.serving.search_sql import matching
from rustassistant.stores.sqlite.serving.spool import Waiting
from rustassistant.stores.sqlite.trash import SUPERSEDED
from rustassistant.stores.sqlite.writer import SqliteWriter

DELETED: Final = "deleted"
"""Why an entry is in the trash: a program or a person said so."""

LAST_MOMENT: Final = 2**63 - 1
"""The latest that can be kept, in nanoseconds since 1970: in the year 2262."""

_NEVER: Final = -(2**63) - 1

_DIRECTORY_DIGITS: Final = 8
_REPOSITORIES: Final = """
SELECT r.id, r.path, r.directory, d.layout, d.cache_type FROM repositories r
LEFT JOIN folders d ON d.repository_id = r.id AND d.subfolder = ''
WHERE r.path = ? ORDER BY r.id
"""
_LIVE: Final = "e.id NOT IN (SELECT entry_id FROM trash)"
_SAME: Final = f"""
SELECT e.id, e.analyzed_at, e.result_digest FROM files f
CROSS JOIN folders d ON d.repository_id = f.repository_id
CROSS JOIN entries e ON e.folder_id = d.id AND e.file_id = f.id
CROSS JOIN producers p ON p.id = e.producer_id
WHERE substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.place = ? AND f.hash = ? AND f.path = ?
  AND d.cache_type = ? AND p.model = ? AND ifnull(p.prompt_hash, '') = ?
  AND ifnull(p.schema_version, 1) = ? AND {_LIVE}
"""
_SUPERSEDED: Final = _SAME.replace(
    _LIVE, f"e.id IN (SELECT entry_id FROM trash WHERE reason = '{SUPERSEDED}')"
)
# The same where a row is shared: then the time is that of the place.
_SHARING: Final = (
    _SAME.replace("e.id, e.analyzed_at", "c.id, c.analyzed_at")
    .replace("entries e ON", "copies c ON")
    .replace(
        " e.folder_id = d.id AND e.file_id = f.id",
        " c.file_id = f.id AND c.folder_id = d.id CROSS JOIN entries e ON e.id = c.entry_id",
    )
)
_Same = tuple[int, int, bytes]


class Additions:
    """Puts entries of programs into the tables, each into the folder that is its own.

    What they supersede goes to the trash at the end, by `settle`, before the commit.
    """

    def __init__(
        self, writer: SqliteWriter, connection: apsw.Connection, encoders: Encoders
    ) -> None:
        self._writer = writer
        self._execute = connection.execute
        self._encode = encoders.encoder(writer.dictionaries()).encode
        self._put: dict[tuple[str, ...], Entry] = {}

    def add(self, entry: Entry, *, set_now: bool) -> None:
        """Put an entry. With ``set_now`` it is made newer than all with its identity.

        A clock that was set back must not make what a program sets now lose to what it set before.
        """
        if set_now:
            latest = max(self._make_way(entry))
            if latest >= entry.analyzed_at:
                entry = msgspec.structs.replace(entry, analyzed_at=latest + 1)
        self._add(entry)

    def fold(self, waited: Waiting) -> None:
        """Put an entry that has waited: as of when it was set, since newer may be there now."""
        entry = waited.entry
        if waited.set_now:
            live, superseded = self._make_way(entry)
            if live < entry.analyzed_at <= superseded:
                entry = msgspec.structs.replace(entry, analyzed_at=superseded + 1)
        self._add(entry)

    def _add(self, entry: Entry) -> None:
        self._writer.put(self._folder(entry), [self._encode(entry, name=None, stamp=None)])
        self._put[entry.identity] = entry

    def _make_way(self, entry: Entry) -> tuple[int, int]:
        """When the latest with its identity were analysed, of those that answer, and of those that
        were superseded: these would answer again if what comes were older.

        What claims the last moment that can be kept counts as deleted: nothing could be newer.
        """
        found = [self._same(entry, sql) for sql in (_SAME, _SHARING, _SUPERSEDED)]
        own, sharing, superseded = (
            [row_id for row_id, time_, _ in same if time_ >= LAST_MOMENT] for same in found
        )
        if own or sharing:
            self._writer.throw_away(own, sharing, reason=DELETED)
        for row_id in superseded:
            self._execute("UPDATE trash SET reason = ? WHERE entry_id = ?", (DELETED, row_id))
        times = [[time_ for _, time_, _ in same if time_ < LAST_MOMENT] for same in found]
        return max(times[0] + times[1], default=_NEVER), max(times[2], default=_NEVER)

    def settle(self) -> None:
        """Leave one entry under each identity: the newest, as for any two that differ."""
        for entry in self._put.values():
            found = [
                (time_, digest, is_copy, row_id)
                for is_copy, sql in ((False, _SAME), (True, _SHARING))
                for row_id, time_, digest in self._same(entry, sql)
            ]
            found.remove(max(found))
            copies = [row_id for _, _, is_copy, row_id in found if is_copy]
            entries = [row_id for _, _, is_copy, row_id in found if not is_copy]
            if found:
                self._writer.throw_away(entries, copies, reason=SUPERSEDED)
        self._put.clear()

    def remove(self, wanted: Filter) -> int:
        """Put these entries into the trash."""
        ids: list[list[int]] = []
        for sharing in (False, True):
            sql, values = matching(wanted, sharing=sharing)
            found: Iterable[Any] = self._execute(sql, values)
            ids.append([row[0] for row in found])
        entries, copies = ids
        self._writer.throw_away(entries, copies, reason=DELETED)
        return len(entries) + len(copies)

    def _folder(self, entry: Entry) -> Folder:
        return folder_for(entry, self._folders_of(entry))

    def _same(self, entry: Entry, sql: str) -> Sequence[_Same]:
        """Live entries with that one's identity, whatever directory their repository has: by
        `_SAME` those with rows of their own, by `_SHARING` those that share another's."""
        ids = {row[0] for row in self._folders_of(entry)}
        version = entry.schema_version
        found: list[Any] = [
            row
            for repository_id in ids
            for row in self._execute(
                sql,
                (
                    entry.file_hash[:HASH_PREFIX],
                    place_of(repository_id, entry.file_path),
                    entry.file_hash,
                    entry.file_path,
                    entry.cache_type,
                    entry.model,
                    entry.prompt_hash or "",
                    DEFAULT_SCHEMA_VERSION if version is None else version,
                ),
            ).fetchall()
        ]
        return found

    def _folders_of(self, entry: Entry) -> list[Any]:
        return folders_of(self._execute, entry)


def folders_of(execute: Callable[..., Any], entry: Entry) -> list[Any]:
    """Rows for `folder_for`: the folders of an entry's repository."""
    rows: list[Any] = execute(_REPOSITORIES, (entry.repository,)).fetchall()
    return rows


def folder_for(entry: Entry, rows: Sequence[Any]) -> Folder:
    """Where other entries of its repository lie; else where the Rust program would look."""
    digits = sha256(entry.repository.encode()).hexdigest()[:_DIRECTORY_DIGITS]
    directory: str | None = digits
    layout: str | None = "centralized"
    if rows:
        _, _, directory, layout, _ = max(
            rows, key=lambda row: (row[4] == entry.cache_type, row[2] == digits, -row[0])
        )
    if layout is None:
        layout = "local" if directory is None else "centralized"
    return Folder(Repository(entry.repository, directory), entry.cache_type, layout)


class Encoders:
    """Keeps the compressor of the dictionaries that were last in use: making one takes long."""

    def __init__(self) -> None:
        self._dictionaries: Sequence[Dictionary] | None = None
        self._encoder = Encoder()

    def encoder(self, dictionaries: Iterable[Dictionary]) -> Encoder:
        """One for these dictionaries."""
        dictionaries = list(dictionaries)
        if dictionaries != self._dictionaries:
            self._encoder = Encoder(dictionaries=dictionaries)
            self._dictionaries = dictionaries
        return self._encoder
