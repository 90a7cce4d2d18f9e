"""A database of ours as one side of a sync."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

import apsw

from rustassistant.codec import Encoder
from rustassistant.entry import Entry
from rustassistant.errors import EntryError
from rustassistant.stores.base import Folder, Found, Repository, Survey, printable
from rustassistant.stores.outcomes import Failure, OnConflict, Outcome, Rules
from rustassistant.stores.sqlite.connection import open_for_reading, open_for_writing
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.partitions import SqlitePartition
from rustassistant.stores.sqlite.serving.additions import DELETED
from rustassistant.stores.sqlite.standings import EMPTY, Damaged, Rows, Standing, Standings, split
from rustassistant.stores.sqlite.store import SqliteStore
from rustassistant.stores.sqlite.surroundings import file_state
from rustassistant.stores.sqlite.trash import SUPERSEDED
from rustassistant.stores.sqlite.writer import SqliteWriter
from rustassistant.sync.elements import (
    Columns,
    Element,
    columns_of,
    element_of,
    facts_of,
    repository_key,
)
from rustassistant.sync.side import CHANGED, Failed, Incoming, KeyOf, Leaving, Listed
from rustassistant.sync.state import Container, Item, State
from rustassistant.transfer.audit import DONE, Audit
from rustassistant.transfer.plan import Options, choose_dictionaries
from rustassistant.transfer.report import Report

_RULES: Final = Rules(on_conflict=OnConflict.KEEP_BOTH, restamp=False)
"""What answers is decided here, by what happened on both sides, not by the writer."""

_BATCH: Final = 2_000
_OTHERS: Final = -1
"""No data version of SQLite's: somebody else has written."""


class DatabaseSide:
    """The database at ``path``, which is made if need be."""

    kind = "database"
    is_narrow = False
    is_single = False
    trash: str | None = None

    def __init__(self, path: str) -> None:
        self.store = SqliteStore(path)
        self.path = self.store.path
        self.location = printable(self.path)
        self.place = self.path
        self.key_of: KeyOf = repository_key

    def exists(self) -> bool:
        """Whether there is anything."""
        return os.path.lexists(self.path)

    def own_key(self, folders: Iterable[Folder]) -> str | None:
        """None: it holds entries of any repository."""
        return None

    # Looking.

    def glance(self) -> bytes:
        """Of the times and sizes of the file and its log."""
        digest = blake2b(digest_size=16)
        for suffix in ("", "-wal"):
            try:
                status = os.stat(self.path + suffix)
            except OSError as error:
                digest.update(b"!%d" % (error.errno or 0))
                continue
            if suffix and not status.st_size:
                continue  # a reader makes one too
            for fact in (status.st_ino, status.st_size, status.st_mtime_ns):
                digest.update(b"%d," % fact)
        return digest.digest()

    def list(self, state: State, side: int) -> Listed:
        """Bring what is remembered of the database up to date, unless it is as it was."""
        listed = Listed()
        before = file_state(self.path)
        fact = f"state {state.number(side)}"
        if before is not None and state.fact(fact) == before.hex():
            return listed
        connection = open_for_reading(self.path)
        try:
            with errors_named(self.path):
                connection.execute("BEGIN")
                standings = Standings(connection, _digest_of_original)
                state.begin_listing()
                for folder_id, folder in standings.folders():
                    path = str(folder_id).encode()
                    container = state.container(side, path, folder)
                    self._list_folder(
                        state, side, container, standings.of_folder(folder_id, folder), listed
                    )
                state.end_listing(side)
                state.note(f"mark {state.number(side)}", standings.mark())
        finally:
            connection.close()
        after = file_state(self.path)
        known = before is not None and before == after and not listed.failures
        state.note(fact, before.hex() if known and before is not None else "")
        return listed

    def _list_folder(
        self,
        state: State,
        side: int,
        container: Container,
        rows: Iterator[Standing | Damaged],
        listed: Listed,
    ) -> None:
        gone = state.known(container)
        items: list[Item] = []
        for row in rows:
            name = _name(row.row)
            known = gone.pop(name, None)
            if isinstance(row, Damaged):
                path = f"{self.location}:{container.folder.repository.path}"
                listed.failures.append(Failure(path, container.folder.cache_type, row.reason))
                continue
            item = self._item(name, row, container.folder)
            if item.stamp == known:
                continue
            items.append(item)
            listed.read += 1
            if len(items) >= _BATCH:
                state.put(side, container, items)
                items.clear()
        state.put(side, container, items)
        state.drop(container, gone)

    def _item(self, name: bytes, row: Standing, folder: Folder) -> Item:
        columns = _columns(row)
        element = element_of(self.key_of(folder.repository), folder.cache_type, columns)
        stamp = int.from_bytes(element.digest[:8], "little", signed=True)
        return Item(name, stamp, element, facts_of(folder, columns))

    def read(
        self, container: Container, names: Iterable[bytes]
    ) -> Iterator[tuple[bytes, Found | Failure]]:
        """Read rows of one folder."""
        wanted = list(names)
        for copied in (False, True):
            some = [name for name in wanted if _row(name)[0] == copied]
            if not some:
                continue
            partition = SqlitePartition(
                container.folder,
                self.path,
                tuple(_row(name)[1] for name in some),
                tuple(map(os.fsdecode, some)),
                copied,
            )
            for name, found in zip(some, partition.read({}), strict=True):
                if isinstance(found, Found | Failure):
                    yield name, found

    def survey(self) -> Survey:
        """How many of which type, with samples."""
        return self.store.survey()

    # Changing.

    def tidy(self) -> None:
        """SQLite does that."""

    def prepare(self, source: Survey) -> None:
        """Make the database if need be, with dictionaries trained on what is about to come."""
        with self.store.writer(_RULES) as writer:
            if not writer.dictionaries():
                choose_dictionaries(source, writer, Options())

    @contextmanager
    def changes(self, state: State, side: int, *, other: str) -> Iterator[DatabaseWork]:
        """Hold the writer's lock; raises LockedError, naming who has it."""
        connection = open_for_writing(self.path)
        try:
            writer = SqliteWriter(connection, self.path, _RULES)
            try:
                work = DatabaseWork(self, writer, connection, state, side, other)
                yield work
                work.finish()
                writer.finish()
            except BaseException:
                writer.abandon()
                raise
        finally:
            with errors_named(self.path):
                connection.close()


class DatabaseWork:
    """Changes to one database."""

    def __init__(
        self,
        database: DatabaseSide,
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
        self._leaving: defaultdict[str, list[Leaving]] = defaultdict(list)
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
        put = self._writer.put(home, [self._encode(entry, name=found.name, stamp=None)])
        self._report.outcomes.add(put.outcomes)
        if put.each[0] is Outcome.UNCHANGED:
            self._revive(incoming.element, entry, home)
        for leaving in () if incoming.beside else incoming.replaces:
            is_older = leaving.element.analyzed_at <= incoming.element.analyzed_at
            self._leaving[SUPERSEDED if is_older else DELETED].append(leaving)

    def remove(self, leaving: Leaving) -> None:
        """Put a result into the trash with the next `commit`."""
        self._leaving[DELETED if leaving.is_deleted else SUPERSEDED].append(leaving)

    def commit(self) -> list[Failed]:
        """Make everything durable."""
        failed = []
        for reason, leaving in self._leaving.items():
            failed += self._throw_away(leaving, reason)
        self._leaving.clear()
        self._audit.write(self._writer, self._report)
        self._writer.commit()
        return failed

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

    def _throw_away(self, leaving: Iterable[Leaving], reason: str) -> list[Failed]:
        """Put those into the trash that are still what they were; return the others."""
        wanted = {_row(one.place.name): one for one in leaving}
        by_folder: defaultdict[Folder, list[Rows]] = defaultdict(list)
        for row, one in wanted.items():
            by_folder[self._state.container_of(one.place).folder].append(row)
        standings = self._standings()
        found: list[Rows] = []
        for folder, rows in by_folder.items():
            for standing in standings.of_rows(folder, rows):
                if isinstance(standing, Standing):
                    there = self._element(standing, folder)
                    if there == wanted[standing.row].element:
                        found.append(standing.row)
        if found:
            entries, copies = split(found)
            self._writer.throw_away(entries, copies, reason=reason)
        return [Failed(wanted[row].element, CHANGED) for row in wanted.keys() - set(found)]

    def _revive(self, element: Element, entry: Entry, folder: Folder) -> None:
        """What was put may be there already, but superseded: now it is to answer again."""
        for row, there in self._about(entry, folder, in_trash=True):
            if there == element:
                self._writer.take_back([row[1]])
                return

    def _check(self, incoming: Incoming, entry: Entry, folder: Folder) -> None:
        """Raise EntryError if others have changed what answers since it was listed."""
        if self._is_as_listed():
            return
        live = {
            there.digest
            for _, there in self._about(entry, folder, in_trash=False)
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
        self, entry: Entry, folder: Folder, *, in_trash: bool
    ) -> Iterator[tuple[Rows, Element]]:
        for one in self._standings().of_content(
            folder, entry.file_path, entry.file_hash, in_trash=in_trash
        ):
            if isinstance(one, Standing):
                yield one.row, self._element(one, folder)

    def _standings(self) -> Standings:
        return Standings(self._connection, _digest_of_original)

    def _element(self, standing: Standing, folder: Folder) -> Element:
        key = self._database.key_of(folder.repository)
        return element_of(key, folder.cache_type, _columns(standing))


def _name(row: Rows) -> bytes:
    return f"{'c' if row[0] else 'e'}{row[1]}".encode()


def _row(name: bytes) -> Rows:
    return (name[:1] == b"c", int(name[1:]))


def _columns(row: Standing) -> Columns:
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


def _digest_of_original(entry: Entry) -> bytes | None:
    return columns_of(entry).original_digest
