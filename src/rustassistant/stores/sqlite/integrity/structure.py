"""Whether a database file is whole as SQLite sees it, and its schema ours."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import apsw

from rustassistant.stores.sqlite.integrity.problems import Kind, Problem, Remedy
from rustassistant.stores.sqlite.integrity.tables import objects_of, our_objects
from rustassistant.stores.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION

_ALL: Final = 2**31 - 1
"""``integrity_check`` stops after 100 messages unless told otherwise."""

_LISTED: Final = 20
"""Messages on damaged pages that are told: one page alone may bring hundreds."""

_OF_AN_INDEX: Final = re.compile(
    r"(?:row \d+ missing from|wrong # of entries in|non-unique entry in"
    r"|rowid not at end-of-record for row \d+ of|values of row \d+ .*) index (.+)"
)
_OF_A_ROW: Final = re.compile(
    r"(?:NULL value in|non-\S+ value in|\S+ value in|CHECK constraint failed in) ([^.]+)(?:\..*)?"
)
_HEADING: Final = re.compile(r"\*\*\* in database \S+ \*\*\*")
_SPACE: Final = re.compile(r"\s+")


class Structure:
    """What SQLite itself says of a file."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.tables_with_odd_rows: dict[str, str] = {}
        """By table, what SQLite says of a row in it, though not of which."""

    @property
    def is_broken(self) -> bool:
        """Whether pages or tables are so damaged that only their rows can be carried over."""
        return any(problem.remedy is Remedy.REBUILD for problem in self.problems)


def examine_structure(connection: apsw.Connection) -> Structure:
    """Header, schema, every page, every index. Never raises for damage."""
    found = Structure()
    try:
        found.problems += _header(connection)
        found.problems += _schema(connection)
        _integrity(connection, found)
    except (apsw.Error, UnicodeDecodeError) as error:
        if isinstance(error, (apsw.InterruptError, apsw.BusyError, apsw.IOError, apsw.FullError)):
            raise
        found.problems.append(broken(f"SQLite cannot go on: {error}"))
    return found


def broken(what: str) -> Problem:
    """The problem of a file whose pages can't be walked."""
    return Problem(kind=Kind.PAGES, remedy=Remedy.REBUILD, what=what)


def _header(connection: apsw.Connection) -> Iterator[Problem]:
    for name, right in (("application_id", APPLICATION_ID), ("user_version", SCHEMA_VERSION)):
        value = connection.pragma(name)
        if value != right:
            yield broken(f"the header's {name} is {value}, not {right}")


def _schema(connection: apsw.Connection) -> Iterator[Problem]:
    ours, found = our_objects(), objects_of(connection)
    if not all(isinstance(text, str | None) for one in found.values() for text in one):
        yield broken("the schema holds names that are no text")
        return
    for key, wanted in ours.items():
        kind, name = key
        has = found.get(key)
        if has is not None and has.table == wanted.table and same_definition(has.sql, wanted.sql):
            continue
        what = f"the {kind} {name} is {'missing' if has is None else 'not as it was made'}"
        rebuild = kind == "table" or wanted.sql is None
        yield Problem(
            kind=Kind.SCHEMA,
            remedy=Remedy.REBUILD if rebuild else Remedy.RECREATE,
            what=what,
            table=name,
        )
    for kind, name in found.keys() - ours.keys():
        if kind != "table" and (found[kind, name].table in our_names() or kind == "view"):
            yield Problem(
                kind=Kind.SCHEMA,
                remedy=Remedy.RECREATE,
                what=f"the {kind} {name} is none of ours",
                table=name,
            )


def our_names() -> set[str]:
    """Names of our tables and views."""
    return {name for kind, name in our_objects() if kind in ("table", "view")}


def same_definition(one: str | None, other: str | None) -> bool:
    """Whether two definitions differ in nothing but white space."""
    if one is None or other is None:
        return one is other
    return _SPACE.sub(" ", one).strip() == _SPACE.sub(" ", other).strip()


def _integrity(connection: apsw.Connection, found: Structure) -> None:
    indices: Counter[str] = Counter()
    told = 0
    try:
        for (message,) in connection.execute(f"PRAGMA integrity_check({_ALL})"):
            for line in str(message).splitlines():
                if line == "ok" or not line or _HEADING.fullmatch(line):
                    continue
                if match := _OF_AN_INDEX.fullmatch(line):
                    indices[match[1]] += 1
                elif match := _OF_A_ROW.fullmatch(line):
                    found.tables_with_odd_rows.setdefault(match[1], line)
                else:
                    told += 1
                    if told <= _LISTED:
                        found.problems.append(broken(line))
    finally:
        if told > _LISTED:
            found.problems.append(broken(f"and {told - _LISTED} more such messages of SQLite"))
        found.problems += (
            Problem(
                kind=Kind.INDEX,
                remedy=Remedy.REINDEX,
                what=f"the index {name} does not agree with its table in {count} "
                f"{'place' if count == 1 else 'places'}",
                table=name,
            )
            for name, count in indices.items()
        )
