"""Looking one entry up, as fast as that can be done without believing anything unchecked.

What is remembered of small tables is believed only until somebody commits. That is looked at last:
a lookup begins as if nothing had happened, its first read lets SQLite notice what did, and then it
is made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import apsw

from rustassistant.entry import Producer
from rustassistant.errors import DamagedError
from rustassistant.records import seal
from rustassistant.stores.live import Answer, Filter, Wanted
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.schema import HASH_PREFIX, place_of
from rustassistant.stores.sqlite.serving.search_sql import (
    ANYWHERE,
    FEW,
    HERE,
    OWNERS_RESULT,
    Search,
    page,
)
from rustassistant.stores.sqlite.serving.small_tables import SmallTables

_PAGE: Final = 64
# What was there a moment ago; what else has changed since then is seen too, and all read anew.
_NO_FOLDER: Final[Any] = (None, None)
_NO_PRODUCER: Final[Any] = Producer("", "", None, None)
_Row = tuple[Any, ...]
_Found = tuple[_Row, Producer]
_T = TypeVar("_T")


class LiveReader:
    """Looks up over one connection, which it owns. Not for two threads at once.

    ``since`` is a moment, by ``time.monotonic_ns``, from which on the database has not changed as
    far as this connection has seen.
    """

    __slots__ = (
        "__weakref__",
        "_execute",
        "_path",
        "_small",
        "_text",
        "_version",
        "connection",
        "generation",
        "since",
    )

    def __init__(self, connection: apsw.Connection, path: str, generation: int = 0) -> None:
        self.connection = connection
        self.generation = generation
        self._path = path
        self._version = connection.data_version()
        self.since = time.monotonic_ns()
        self._execute = connection.cursor().execute  # one cursor: making them takes time
        self._small = SmallTables(connection.execute)
        self._text = EntryReader(connection).text

    def is_unchanged_since(self, moment: int) -> bool:
        """Whether nobody, of whatever process, has committed from that moment on to now."""
        if moment < self.since:
            return False
        self._execute("PRAGMA data_version").fetchall()  # any read lets SQLite look
        return self._is_current()

    def _is_current(self) -> bool:
        """Whether nobody had committed when this connection last read; if so, forget."""
        # SQLite's own number, at a thirtieth of the pragma's price: it changes as the pragma's.
        version = self.connection.data_version()
        if version == self._version:
            return True
        self._version = version
        self._small.forget()
        self.since = time.monotonic_ns()
        return False

    def lookup(self, wanted: Wanted) -> Answer | None:
        """The best of what answers; None for a miss. Raises DamagedError, and SQLite's own."""
        return self._steady(self._found, wanted)

    def _steady(self, read: Callable[..., _T], *asked: Any) -> _T:
        """What a function reads, all of it from one state of the database."""
        while True:
            try:
                found = read(*asked)
            except DamagedError:
                if self._is_current():
                    raise
            else:
                if self._is_current():
                    return found

    def _found(self, wanted: Wanted) -> Answer | None:
        found = self._here(wanted)
        if not found or not _is_exact(wanted, found):
            found += self._anywhere(wanted)
            if not found:
                return None
        if len(found) == 1:
            return self._checked(*found[0])
        return self._checked(*max(found, key=lambda one: wanted.rank(self._unchecked(*one))))

    def _here(self, wanted: Wanted) -> list[_Found]:
        """What answers about that very file. If one is an exact match, none elsewhere is better."""
        repository, path = wanted.repository, wanted.file_path
        if path is None or repository is None:
            return []
        small = self._small
        search = HERE[small.any_shared()]
        found: list[_Found] = []
        for repository_id, folder_id in small.places(repository, wanted.cache_type):
            place = (place_of(repository_id, path), repository_id, path, folder_id)
            found += self._searched(search, wanted, place, place)
        return found

    def _anywhere(self, wanted: Wanted) -> list[_Found]:
        """What answers about that content, the best at least."""
        search = ANYWHERE[self._small.any_shared()]
        near = (wanted.repository, wanted.file_path)
        return self._searched(search, wanted, (wanted.cache_type,), near)

    def _searched(self, search: Search, wanted: Wanted, few: _Row, best: _Row) -> list[_Found]:
        """All that answers if it is little; else the best. ``few`` and ``best`` are what these are
        asked for with, besides what was asked for."""
        content = wanted.file_hash
        prefix = content[:HASH_PREFIX]
        rows: list[_Row] = self._execute(search.few, (prefix, content, *few)).fetchall()
        if len(rows) > FEW:
            values = (
                prefix, content, wanted.cache_type, wanted.model, wanted.prompt_hash,
                wanted.schema_version, wanted.exact, wanted.provider, *best,
            )  # fmt: skip
            rows = []
            for one in search.bests:
                rows += self._execute(one.row, (self._execute(one.id, values).get,)).fetchall()
        found = []
        for row in rows:
            producer = self._small.producer(row[2])
            if producer is not None and wanted.accepts_from(*producer):
                found.append((row, producer))
        return found

    def _checked(self, row: _Row, producer: Producer) -> Answer:
        """What a row says, if it is what was stored."""
        try:
            return self._answer(row, producer)
        except DamagedError as error:
            claimed = self._unchecked(row, producer)
            named = f"{claimed.cache_type} of {claimed.file_path} in {claimed.repository}"
            raise DamagedError(f"entry {row[0]} ({named}): {error}") from None

    def _answer(self, row: _Row, producer: Producer) -> Answer:
        """The same; its seal is looked at first, then its result's digest."""
        (entry_id, folder_id, _, path, content, size, moment, tokens, digest, sealed, frame,
         dictionary_id) = row  # fmt: skip
        repository, cache_type = self._small.folder(folder_id) or _NO_FOLDER
        try:
            expected = seal(cache_type, path, content, size, producer, moment, tokens, digest)
        except (TypeError, OverflowError, ValueError):  # values of types that were never stored
            expected = None
        if sealed != expected or type(repository) is not str:
            raise DamagedError("its columns are not what was stored")
        if frame is None:
            frame, dictionary_id = self._owners_result(entry_id)
        text = self._text(frame, dictionary_id, digest)
        return Answer(
            entry_id, repository, cache_type, path, content, size, *producer, moment, tokens, text
        )

    def _unchecked(self, row: _Row, producer: Producer) -> Answer:
        """What a row claims, without its result."""
        entry_id, folder_id, _, path, content, size, moment, tokens = row[:8]
        repository, cache_type = self._small.folder(folder_id) or _NO_FOLDER
        return Answer(
            entry_id, repository, cache_type, path, content, size, *producer, moment, tokens, b""
        )

    def _owners_result(self, entry_id: int) -> _Row:
        rows: list[_Row] = self._execute(OWNERS_RESULT, (entry_id,)).fetchall()
        if not rows or rows[0][0] is None:
            raise DamagedError("its result is missing")
        return rows[0]

    def page(
        self, wanted: Filter, *, sharing: bool, after: int
    ) -> tuple[list[Answer | DamagedError], int]:
        """Some entries in the order of their ids, and the last id; none at the end.

        With ``sharing``, those instead that share another's row.
        """
        sql, values = page(wanted, sharing=sharing, after=after, most=_PAGE)
        with errors_named(self._path):
            return self._steady(self._listed, sql, values, after)

    def _listed(
        self, sql: str, values: list[Any], after: int
    ) -> tuple[list[Answer | DamagedError], int]:
        rows: list[_Row] = self._execute(sql, values).fetchall()
        return [self._or_error(row[:-1]) for row in rows], rows[-1][-1] if rows else after

    def _or_error(self, row: _Row) -> Answer | DamagedError:
        try:
            return self._checked(row, self._small.producer(row[2]) or _NO_PRODUCER)
        except DamagedError as error:
            return error


def _is_exact(wanted: Wanted, found: list[_Found]) -> bool:
    return wanted.prompt_hash is None or any(
        producer.prompt_hash is not None for _, producer in found
    )
