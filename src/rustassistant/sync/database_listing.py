"""Listing a database for a sync: all rows that answer, or those that have changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import apsw

from rustassistant.stores.base import Folder, printable
from rustassistant.stores.outcomes import Failure
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.since import Horizon, changed, horizon
from rustassistant.stores.sqlite.standings import Damaged, Rows, Standing, Standings
from rustassistant.stores.sqlite.surroundings import file_state
from rustassistant.sync.database_work import columns_of_row, digest_of_original
from rustassistant.sync.elements import element_of, facts_of
from rustassistant.sync.side import KeyOf, Listed
from rustassistant.sync.state import Container, Item, State

_BATCH: Final = 2_000


class Seen(NamedTuple):
    """How far a database was read: which file it was (device and inode), its mark, its horizon."""

    file: tuple[int, int]
    mark: str
    horizon: Horizon


class DatabaseListing:
    """One listing of the database at ``path``, which is ``side`` of a pair; ``seen`` is how far it
    has come, None where that can't be told."""

    def __init__(self, path: str, state: State, side: int, key_of: KeyOf) -> None:
        self._path = path
        self._state = state
        self._side = side
        self._key_of = key_of
        self._listed = Listed()
        self._mark = f"mark {state.number(side)}"
        self._file_state = f"state {state.number(side)}"
        self.seen: Seen | None = None

    def whole(self, before: Seen | None) -> Listed:
        """Read every row, unless the file is as it was when they were read."""
        state, known = self._state, file_state(self._path)
        if known is not None and state.fact(self._file_state) == known.hex():
            is_as_seen = before is not None and before.mark == state.fact(self._mark)
            self.seen = before if is_as_seen else self._seen_as(known)
            return self._listed
        self._listed.whole = True
        with self._reading() as (_, standings):
            state.begin_listing()
            for folder_id, folder in standings.folders():
                container = state.container(self._side, str(folder_id).encode(), folder)
                rows = standings.of_folder(folder_id, folder)
                self._take(container, rows, state.known(container))
            state.end_listing(self._side)
        is_known = known == file_state(self._path) and not self._listed.failures
        state.note(self._file_state, known.hex() if known is not None and is_known else "")
        return self._listed

    def since(self, before: Seen | None) -> Listed | None:
        """Read the rows that have changed since then; None if they can't be told from others."""
        if before is None or self._state.fact(self._mark) != before.mark:
            return None
        with self._reading(before) as (connection, standings):
            if self.seen is None or self.seen.file != before.file:
                return None
            rows = changed(connection, before.horizon, self.seen.horizon)
            folders = dict(standings.folders())
            if rows is None or not self._are_listed(folders) or not rows.keys() <= folders.keys():
                self.seen = None
                return None
            for folder_id, some in rows.items():
                self._take_some(standings, folder_id, folders[folder_id], some)
        # A whole listing has to read it all again: it looks after what this one could overlook.
        self._state.note(self._file_state, "")
        return self._listed

    @contextmanager
    def _reading(self, before: Seen | None = None) -> Iterator[tuple[apsw.Connection, Standings]]:
        """Read in one transaction, and note how far that goes."""
        file = _identity(self._path)
        connection = open_for_reading(self._path)
        try:
            with errors_named(self._path):
                connection.execute("BEGIN")
                standings = Standings(connection, digest_of_original)
                now = horizon(connection, None if before is None else before.horizon)
                mark = standings.mark()
                self._state.note(self._mark, mark)
                if file is not None and file == _identity(self._path):
                    self.seen = Seen(file, mark, now)
                yield connection, standings
        finally:
            connection.close()

    def _seen_as(self, known: bytes) -> Seen | None:
        """How far it was read if it is as it was then."""
        with self._reading():
            return self.seen if file_state(self._path) == known else None

    def _are_listed(self, folders: dict[int, Folder]) -> bool:
        """Whether those that were listed are still what they were."""
        return all(
            folders.get(int(one.path)) == one.folder for one in self._state.containers(self._side)
        )

    def _take_some(
        self, standings: Standings, folder_id: int, folder: Folder, rows: list[Rows]
    ) -> None:
        container = self._state.container(self._side, str(folder_id).encode(), folder)
        for start in range(0, len(rows), _BATCH):
            some = rows[start : start + _BATCH]
            known = self._state.known(container, [name_of(row) for row in some])
            self._take(container, standings.of_rows(folder, some), known)

    def _take(
        self,
        container: Container,
        rows: Iterable[Standing | Damaged],
        gone: dict[bytes, int | None],
    ) -> None:
        """Note what answers; forget what is left over of ``gone``, which is all that was known."""
        items: list[Item] = []
        for row in rows:
            name = name_of(row.row)
            known = gone.pop(name, None)
            if isinstance(row, Damaged):
                path = f"{printable(self._path)}:{container.folder.repository.path}"
                failure = Failure(path, container.folder.cache_type, row.reason)
                self._listed.failures.append(failure)
                continue
            item = self._item(name, row, container.folder)
            if item.stamp == known:
                continue
            items.append(item)
            self._listed.read += 1
            if len(items) >= _BATCH:
                self._state.put(self._side, container, items)
                items.clear()
        self._state.put(self._side, container, items)
        self._state.drop(container, gone)

    def _item(self, name: bytes, row: Standing, folder: Folder) -> Item:
        columns = columns_of_row(row)
        key = self._key_of(folder.repository)
        element = element_of(key, folder.cache_type, columns)
        stamp = int.from_bytes(element.digest[:8], "little", signed=True)
        return Item(name, stamp, element, facts_of(key, folder, columns))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def name_of(row: Rows) -> bytes:
    """What a row goes by among the items of a database."""
    return f"{'c' if row[0] else 'e'}{row[1]}".encode()
