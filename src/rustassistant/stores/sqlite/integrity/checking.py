"""Looking a cache database over: everything that is wrong, as data. Nothing is written.

What SQLite says of the file comes first. Where pages are damaged, SQL would stop at the first of
them, so the rows are salvaged into a database that nobody else sees, and that is looked over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.errors import DamagedError, DestinationError, ForeignFileError
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import (
    BUSY_TIMEOUT_MS,
    check_place,
    is_database,
    open_for_reading,
    read_header,
)
from rustassistant.stores.sqlite.integrity.answers import Answers
from rustassistant.stores.sqlite.integrity.contents import Contents
from rustassistant.stores.sqlite.integrity.images import image_of
from rustassistant.stores.sqlite.integrity.problems import Kind, Looked, Problem, Remedy
from rustassistant.stores.sqlite.integrity.salvaging import Salvaged, columns_of, salvage
from rustassistant.stores.sqlite.integrity.small_tables import SmallTables, mend
from rustassistant.stores.sqlite.integrity.structure import broken, examine_structure
from rustassistant.stores.sqlite.integrity.tables import Values
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.schema import TABLES
from rustassistant.stores.sqlite.totals import Group, Sums

DAMAGE: Final = (
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.FormatError,
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    UnicodeDecodeError,
)
"""What SQLite, or fetching a value, raises where a file is damaged."""

_SIGNS: Final = (b"CREATE TABLE entries", b"CREATE TABLE producers", b"result_digest")
_SEARCHED_BYTES: Final = 2**20
_SIGNS_NEEDED: Final = 2
"""They may be damaged themselves."""

_MEANS: Final = {
    "trash": "what was cleared, evicted or superseded may answer again",
    "pins": "entries that were pinned may be evicted",
    "uses": "entries that answered may count as unused",
}
"""What it comes to if rows of a table are gone."""

STEPS_BETWEEN_SIGNALS: Final = 100_000


class Checked(NamedTuple):
    """All problems of a database, and how many entries were looked at."""

    problems: list[Problem]
    entries: int


class Examined(NamedTuple):
    """What was found by way of SQL. If it ``is_broken``, SQL does not lead to all rows."""

    problems: list[Problem]
    entries: int
    is_broken: bool
    sums: dict[Group, Sums]


def check_database(path: str, looked: Looked | None = None) -> Checked:
    """Everything that is wrong with the database at ``path``, as of one moment.

    Neither waits for a writer nor makes one wait. Raises NotFoundError, ForeignFileError,
    NewerFileError, and DestinationError where it can't be read at all.
    """
    try:
        with errors_named(path):
            return _check(path, looked)
    except OSError as error:
        raise DestinationError(f"reading {printable(path)} failed: {error.strerror}") from None


def _check(path: str, looked: Looked | None) -> Checked:
    connection, found = open_damaged(path)
    if connection is None:
        return _check_salvaged(path, None, [broken(found)], looked)
    with closing(connection):
        connection.execute("BEGIN")
        first = examine(connection, looked, found)
        if not first.is_broken:
            return Checked(first.problems, first.entries)
        return _check_salvaged(path, connection, first.problems, looked)


def _check_salvaged(
    path: str, connection: apsw.Connection | None, found: list[Problem], looked: Looked | None
) -> Checked:
    with salvaged_apart(path, connection) as (target, salvaged):
        problems, entries = examine_salvaged(target, salvaged, looked)
    return Checked(found + problems, entries)


def open_damaged(path: str) -> tuple[apsw.Connection | None, str]:
    """A connection for reading to a file of ours, however damaged, and what was wrong with it.

    No connection if SQLite can't make sense of it at all. A file that is none of ours is refused.
    """
    try:
        connection = open_for_reading(path)
    except (ForeignFileError, DamagedError) as error:
        check_place(path)
        if not was_ours(path):
            raise
        return open_leniently(path, apsw.SQLITE_OPEN_READONLY), cut_off(path) or error.message
    connection.set_progress_handler(lambda: False, STEPS_BETWEEN_SIGNALS)  # Ctrl-C is heard
    return connection, ""


def open_leniently(path: str, flags: int) -> apsw.Connection | None:
    """Opened though the header or the schema is damaged, if SQLite can do that."""
    try:
        connection = apsw.Connection(path, flags=flags)
    except (*DAMAGE, apsw.CantOpenError):
        return None
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.set_progress_handler(lambda: False, STEPS_BETWEEN_SIGNALS)
        connection.execute("PRAGMA writable_schema=ON; PRAGMA trusted_schema=OFF")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except DAMAGE:
        connection.close()
        return None
    return connection


def was_ours(path: str) -> bool:
    """Whether the definitions of our tables stand near the beginning, whatever the header says."""
    size = min(os.path.getsize(path), _SEARCHED_BYTES)
    if not size:
        return False
    file = apsw.VFSFile("", path, [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0])
    try:
        start = file.xRead(size, 0)
    finally:
        file.xClose()
    return sum(sign in start for sign in _SIGNS) >= _SIGNS_NEEDED


def cut_off(path: str) -> str:
    """What is missing at the end of a file by what its header says; empty if nothing is."""
    header = read_header(path)
    if not is_database(header):
        return ""
    page_size = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    missing = pages * (2**16 if page_size == 1 else page_size) - os.path.getsize(path)
    log = path + "-wal"  # may hold them
    if missing <= 0 or (os.path.exists(log) and os.path.getsize(log)):
        return ""
    return f"the file is cut off: the last {missing} bytes are missing, and what they held"


def examine(connection: apsw.Connection, looked: Looked | None = None, found: str = "") -> Examined:
    """Look a database over within the transaction that is open. ``found`` is known to be wrong."""
    if found:
        return Examined([broken(found)], 0, True, {})
    structure = examine_structure(connection)
    if structure.is_broken:
        return Examined(structure.problems, 0, True, {})
    contents = Contents(connection, looked)
    problems: list[Problem] = []
    try:
        entries: int = connection.execute("SELECT count(*) FROM entries").get
        problems += contents.problems()
    except DAMAGE as error:
        return Examined([*structure.problems, broken(str(error))], 0, True, {})
    told = {problem.table for problem in problems}
    for table, line in structure.tables_with_odd_rows.items():
        if table not in told:
            problems.append(Problem(kind=Kind.ROW, remedy=Remedy.REBUILD, what=line, table=table))
    is_broken = any(problem.remedy is Remedy.REBUILD for problem in problems)
    if any(problem.paid for problem in problems):
        # The indices may know better: which row had which id, above all.
        is_broken |= any(problem.kind is Kind.INDEX for problem in structure.problems)
    if is_broken:
        problems = [problem for problem in problems if problem.remedy is Remedy.REBUILD]
    return Examined(structure.problems + problems, entries, is_broken, contents.sums)


@contextmanager
def salvaged_apart(
    path: str, connection: apsw.Connection | None
) -> Iterator[tuple[apsw.Connection, Salvaged]]:
    """All rows of a damaged file in a temporary database of SQLite's own."""
    with closing(apsw.Connection("")) as target, image_of(path, connection) as pages:
        target.execute("PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF")
        with target:
            target.execute(TABLES)
            salvaged = salvage(pages, target, columns_of(connection))
        yield target, salvaged


def examine_salvaged(
    target: apsw.Connection, salvaged: Salvaged, looked: Looked | None = None
) -> tuple[list[Problem], int]:
    """What is wrong with what was salvaged and with what was not; and how many entries there were.

    The totals are counted anew anyway, and tell nothing.
    """
    outside = [problem for problem, _ in problems_of_salvage(target, salvaged)]
    inside = [
        problem
        for problem in Contents(target, looked, salvaged.indexed).problems()
        if problem.kind is not Kind.TOTALS
    ]
    entries: int = target.execute("SELECT count(*) FROM entries").get
    return outside + inside, entries + sum(problem.kind is Kind.ENTRY for problem in outside)


def problems_of_salvage(
    target: apsw.Connection, salvaged: Salvaged
) -> list[tuple[Problem, Values]]:
    """Rows that could not be carried over, as they stood, and entries that only an index names."""
    small = SmallTables(target, salvaged.indexed)
    list(small.load(lambda name, row_id, values: 0))
    answers = Answers(target, small)

    def problem(table: str, row_id: int, values: Values, what: str) -> tuple[Problem, Values]:
        facts: dict[str, Any] = {"table": table, "row_id": row_id}
        if table in ("entries", "copies"):
            file_id = values["file_id"]
            file = answers.by_id("files", [file_id]).get(file_id)
            folder = small.folders.get(values["folder_id"])
            facts = answers.about(table, row_id, values, file, folder)
        kind = {"entries": Kind.ENTRY, "copies": Kind.PLACE}.get(table, Kind.ROW)
        paid = kind is Kind.ENTRY or (kind is Kind.PLACE and values["file_id"] is not None)
        found = Problem(kind=kind, remedy=Remedy.SET_ASIDE, what=what, paid=paid, **facts)
        return found, values

    gone = "its row is gone: only an index still names it"
    restored = "its row is gone, and can be had from its index"
    return [
        *((_may_lack_rows(table), {}) for table in salvaged.spoiled),
        *(problem(table, row.rowid, row.values, what) for table, row, what in salvaged.rejects),
        *(problem(lost.table, lost.id, lost.values, gone) for lost in salvaged.lost),
        *((mend(table, row_id, restored, {}), {}) for table, row_id in salvaged.restored),
    ]


def _may_lack_rows(table: str) -> Problem:
    """A table that had more than could be read, where nothing else tells of its rows."""
    what = f"some of its rows can't be read: rows of {table} may be missing"
    if table in _MEANS:
        what += f", and {_MEANS[table]}"
    return Problem(kind=Kind.ROW, remedy=Remedy.REBUILD, what=what, table=table)
