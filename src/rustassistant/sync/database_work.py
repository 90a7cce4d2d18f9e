"""Changing a database of ours that is one side of a sync."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol

import apsw

from rustassistant.codec import Encoder
from rustassistant.entry import Entry
from rustassistant.errors import EntryError
from rustassistant.stores.base import Folder, Found, Repository
from rustassistant.stores.outcomes import Outcome
from rustassistant.stores.sqlite.serving.additions import DELETED
from rustassistant.stores.sqlite.standings import (
    EMPTY,
    Rows,
    Standing,
    Standings,
    pinned_rows,
    split,
)
from rustassistant.stores.sqlite.trash import SUPERSEDED
from rustassistant.stores.sqlite.writer import SqliteWriter
from rustassistant.sync.elements import Columns, Element, columns_of, element_of
from rustassistant.sync.side import CHANGED, Failed, Incoming, KeyOf, Leaving
from rustassistant.sync.state import State
from rustassistant.transfer.audit import DONE, Audit
from rustassistant.transfer.report import Report

_OTHERS: Final = -1
"""No data version of SQLite's: somebody else has written."""


class Database(Protocol):
    """What is changed. ``promoted`` are entries that got rows of their own in this run, by the ids
    that they had in ``copies`` when it was listed."""

    key_of: KeyOf
    promoted: dict[int, int]

    def row_of(self, name: bytes) -> Rows:
        """The row that a result has now."""


class _Content(NamedTuple):
    """What file, with what content, an entry is about."""

    folder: Folder
    file_path: str
    file_hash: bytes


class _Added(NamedTuple):
    """What was put, and whether that made a new row as far as the writer says."""

    element: Element
    content: _Content
    is_new: bool


class DatabaseWork:
    """Changes to one database."""

    def __init__(
        self,
        database: Database,
        writer: SqliteWriter,
        connection: apsw.Connection,
        state: State,
        side: int,
        other: str,
    ) -> None:
        self._database = database
        self._writer = writer
        self._connection = connection
        self._state = state
        self._side = side
        self._version: int | None = None
        self._encode = Encoder(dictionaries=writer.dictionaries()).encode
        self._leaving: dict[Rows, tuple[Leaving, str]] = {}
        self._added: list[_Added] = []
        self._first = self._next_id()
        self._audit = Audit("sync", "{}", json.dumps([other]))
        self._report = Report()
        self._homes: dict[str, tuple[Repository, str]] = {}
        for one in state.containers(side):
            folder = one.folder
            key = database.key_of(folder.repository)
            self._homes.setdefault(key, (folder.repository, folder.layout))

    def add(self, incoming: Incoming, found: Found, folder: Folder) -> None:
        """Put one result, in the transaction."""
        home, entry = self._home(folder), found.entry
        self._check(incoming, entry, home)
        content = _Content(home, entry.file_path, entry.file_hash)
        put = self._writer.put(home, [self._encode(entry, name=found.name, stamp=None)])
        self._report.outcomes.add(put.outcomes)
        if put.each[0] in (Outcome.UNCHANGED, Outcome.DUPLICATE):
            self._revive(incoming.element, content)
        self._added.append(_Added(incoming.element, content, put.each[0] is Outcome.MIGRATED))
        for leaving in () if incoming.beside else incoming.replaces:
            is_older = leaving.element.analyzed_at <= incoming.element.analyzed_at
            self._leave(leaving, SUPERSEDED if is_older else DELETED)

    def remove(self, leaving: Leaving) -> None:
        """Put a result into the trash with the next `commit`."""
        self._leave(leaving, DELETED if leaving.is_deleted else SUPERSEDED)

    def _leave(self, leaving: Leaving, reason: str) -> None:
        self._leaving[self._database.row_of(leaving.place.name)] = (leaving, reason)

    def commit(self) -> list[Failed]:
        """Make everything durable."""
        doubtful = self._doubtful()
        failed = self._throw_away()
        standings = self._standings()
        for one in doubtful:
            if not self._answers(one.element, one.content, standings):
                failed.append(Failed(one.element, CHANGED))
        self._leaving.clear()
        self._added.clear()
        self._audit.write(self._writer, self._report)
        self._writer.commit()
        self._first = self._next_id()
        return failed

    def _next_id(self) -> int:
        following: int = self._connection.execute("SELECT ifnull(max(id), 0) + 1 FROM entries").get
        return following

    def _doubtful(self) -> list[_Added]:
        """Those of what was put that have to be looked for, to see whether they answer. New rows
        do if none of them is in the trash, which is quickly told."""
        answering: int = self._connection.execute(
            "SELECT count(*) FROM entries WHERE id >= ? AND id NOT IN (SELECT entry_id FROM trash)",
            (self._first,),
        ).get
        if answering == sum(one.is_new for one in self._added):
            return [one for one in self._added if not one.is_new]
        return list(self._added)

    def finish(self) -> None:
        """Note how it ended."""
        self._audit.write(self._writer, self._report, DONE)

    def _home(self, folder: Folder) -> Folder:
        """The folder as it is here: of the repository that has its path here already."""
        home = self._homes.get(self._database.key_of(folder.repository))
        if home is None:
            return folder
        repository, layout = home
        return Folder(repository, folder.cache_type, layout, folder.subfolder)

    def _throw_away(self) -> list[Failed]:
        """Put those into the trash that are still what they were; return the others."""
        wanted = self._leaving
        by_folder: defaultdict[Folder, list[Rows]] = defaultdict(list)
        for row, (one, _) in wanted.items():
            by_folder[self._state.container_of(one.place).folder].append(row)
        standings = self._standings()
        found: list[Rows] = []
        for folder, rows in by_folder.items():
            for standing in standings.of_rows(folder, rows):
                if isinstance(standing, Standing):
                    there = self._element(standing, folder)
                    if there == wanted[standing.row][0].element:
                        found.append(standing.row)
        if any(wanted[row][0].is_deleted for row in found):
            pinned = set(pinned_rows(self._connection))
            found = [row for row in found if row not in pinned or not wanted[row][0].is_deleted]
        # All that share rows first, whyever they go, and those that stay: an owner that goes gives
        # them rows of their own, and then nobody would find them by the ids that were listed.
        entries, copies = split(found)
        made = self._promote([*copies, *self._sharing(entries)])
        by_reason: defaultdict[str, list[int]] = defaultdict(list)
        for row in found:
            copied, row_id = row
            by_reason[wanted[row][1]].append(made[row_id] if copied else row_id)
        for reason, ids in by_reason.items():
            self._writer.throw_away(ids, reason=reason)
        return [Failed(wanted[row][0].element, CHANGED) for row in wanted.keys() - set(found)]

    def _sharing(self, entries: Iterable[int]) -> list[int]:
        sql = (
            "SELECT id FROM copies WHERE file_id IS NOT NULL"
            " AND entry_id IN (SELECT value FROM json_each(?)) ORDER BY id"
        )
        return [row_id for (row_id,) in self._connection.execute(sql, (json.dumps([*entries]),))]

    def _promote(self, copies: Iterable[int]) -> dict[int, int]:
        made = self._writer.promote(sorted(set(copies)))
        self._database.promoted |= made
        return made

    def _revive(self, element: Element, content: _Content) -> None:
        """What was put may be there already, but in the trash: now it is to answer again."""
        standings = self._standings()
        if self._answers(element, content, standings):
            return
        for row, there in self._about(content, standings, in_trash=True):
            if there == element:
                self._writer.take_back([row[1]])
                return

    def _answers(self, element: Element, content: _Content, standings: Standings) -> bool:
        return any(there == element for _, there in self._about(content, standings, in_trash=False))

    def _check(self, incoming: Incoming, entry: Entry, folder: Folder) -> None:
        """Raise EntryError if others have changed what answers since it was listed."""
        if self._is_as_listed():
            return
        content = _Content(folder, entry.file_path, entry.file_hash)
        live = {
            there.digest
            for _, there in self._about(content, self._standings(), in_trash=False)
            if there.identity == incoming.element.identity
        }
        replaced = {
            one.element.digest
            for one in incoming.replaces
            if one.element.identity == incoming.element.identity
        }
        if not replaced <= live or not live <= incoming.present | {incoming.element.digest}:
            raise EntryError(CHANGED)

    def _is_as_listed(self) -> bool:
        """Whether nobody has written since the listing but we."""
        version = self._connection.pragma("data_version")
        if self._version is None:
            listed = self._state.fact(f"mark {self._state.number(self._side)}") or EMPTY
            self._version = version if self._standings().mark() == listed else _OTHERS
        return bool(version == self._version)

    def _about(
        self, content: _Content, standings: Standings, *, in_trash: bool
    ) -> Iterator[tuple[Rows, Element]]:
        for one in standings.of_content(*content, in_trash=in_trash):
            if isinstance(one, Standing):
                yield one.row, self._element(one, content.folder)

    def _standings(self) -> Standings:
        return Standings(self._connection, digest_of_original)

    def _element(self, standing: Standing, folder: Folder) -> Element:
        key = self._database.key_of(folder.repository)
        return element_of(key, folder.cache_type, columns_of_row(standing))


def columns_of_row(row: Standing) -> Columns:
    """What an element is made of."""
    return Columns(
        row.file_path,
        row.file_hash,
        row.file_size,
        *row.producer,
        row.analyzed_at,
        row.tokens_used,
        row.result_digest,
        row.original,
    )


def digest_of_original(entry: Entry) -> bytes | None:
    """What a kept file counts as: None where it is what we would write anyway."""
    return columns_of(entry).original_digest
