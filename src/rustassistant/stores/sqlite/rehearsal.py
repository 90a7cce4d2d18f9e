"""A database to try a run on: what would become of each entry, and how large the file would be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from rustassistant.stores.base import Destination, Finder, StoreInfo
from rustassistant.stores.outcomes import Rules
from rustassistant.stores.sqlite.connection import check_writable, open_for_reading
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.schema import PAGE_SIZE, TABLES
from rustassistant.stores.sqlite.writer import SqliteWriter

_CACHE_KIB: Final = 64 * 2**10
_PAGES_AT_ONCE: Final = 1024


class Rehearsal:
    """Stands in for the database at a path, with a copy of it as it is now.

    The copy is one of SQLite's own temporary databases: in memory as far as that is small, else in
    a file that has no name any more, so that nothing is left however the process ends.
    https://www.sqlite.org/inmemorydb.html#temp_db
    """

    def __init__(self, real: Destination, path: str, connection: apsw.Connection) -> None:
        self._real = real
        self._path = path
        self._connection = connection

    def info(self) -> StoreInfo:
        """Its size without a log: what the real file will have, within a few pages."""
        pages, size = (self._connection.pragma(name) for name in ("page_count", "page_size"))
        return StoreInfo("sqlite", self._real.info().location, pages * size)

    def check_writable(self) -> None:
        """Raise what the real run would raise."""
        check_writable(self._path)

    def room(self) -> int | None:
        """What the real run would have."""
        return self._real.room()

    @contextmanager
    def writer(self, rules: Rules = Rules()) -> Iterator[SqliteWriter]:
        """Writes to the copy."""
        writer = SqliteWriter(self._connection, self._path, rules, has_log=False)
        yield writer
        writer.finish()

    def finder(self) -> Finder:
        """Finds in the real database: nobody compares with a rehearsal."""
        return self._real.finder()

    @contextmanager
    def rehearsal(self) -> Iterator[Rehearsal]:
        """It is one already."""
        yield self


@contextmanager
def rehearse(real: Destination, path: str) -> Iterator[Rehearsal]:
    """A rehearsal for the database at ``path``, whether that exists or not."""
    check_writable(path)
    with errors_named(path):
        copy = apsw.Connection("")
        try:
            if os.path.exists(path):
                _copy(path, copy)
            else:
                copy.execute(f"PRAGMA page_size={PAGE_SIZE}")
                copy.execute(TABLES)
            for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{_CACHE_KIB}"):
                copy.execute(f"PRAGMA {pragma}").fetchall()
            yield Rehearsal(real, path, copy)
        finally:
            copy.close()


def _copy(path: str, copy: apsw.Connection) -> None:
    source = open_for_reading(path)
    try:
        source.execute("BEGIN")  # of one moment, however many write
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(_PAGES_AT_ONCE)
    finally:
        source.close()
