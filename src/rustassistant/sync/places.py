"""Which store a place on the command line is, and whether two of them make a pair."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from rustassistant.errors import NotFoundError, UsageError
from rustassistant.stores.base import Repository, printable
from rustassistant.stores.sqlite.connection import kind_of_database
from rustassistant.sync.database import DatabaseSide
from rustassistant.sync.elements import repository_key
from rustassistant.sync.side import Side
from rustassistant.sync.tree import TreeSide

_SCHEMES: Final = ("json", "sqlite", "v1", "jsonl", "parquet")
_DATABASE_SUFFIXES: Final = (".db", ".sqlite", ".sqlite3")
OWN: Final = ""
"""The key of the one repository that both sides are for."""

_UNFIT: Final = {
    "v1": "the Rust program's own database keeps less than a result's columns, so it can't be kept "
    "in step",
    "jsonl": "a file of JSON Lines is written as a whole, so it can't be kept in step",
    "parquet": "a Parquet file can't be read back",
}
_INSTEAD: Final = {
    "v1": "Use `cache migrate` from it, or `cache export --format v1` to it.",
    "jsonl": "Use `cache import` from it, or `cache export --format jsonl` to it.",
    "parquet": "Use `cache export --format parquet`.",
}


class Location(NamedTuple):
    """A place as it was named: the scheme, empty if none was, and the absolute path."""

    scheme: str
    path: str


def located(place: str) -> Location:
    """Where a place is, whatever the working directory may be later on."""
    scheme, colon, path = place.partition(":")
    if not colon or scheme not in _SCHEMES:
        scheme, path = "", place
    if not path:
        raise UsageError("an empty path names no cache", hint="Name a directory or a database.")
    return Location(scheme, os.path.abspath(os.path.expanduser(path)))


def side_at(location: Location) -> Side:
    """The side that a place is, or would be: a directory is a tree, a file a database.

    Of what does not exist, the name decides. Raises UsageError for what can't be a side.
    """
    scheme, path = location
    kind = scheme or _kind_of(path)
    if kind in _UNFIT:
        raise UsageError(f"{printable(path)}: {_UNFIT[kind]}", hint=_INSTEAD[kind])
    if kind == "sqlite":
        return DatabaseSide(path)
    return TreeSide(path)


def _kind_of(path: str) -> str:
    if os.path.isdir(path):
        return "json"
    if not os.path.lexists(path):
        return "sqlite" if path.endswith(_DATABASE_SUFFIXES) else "json"
    return "v1" if kind_of_database(path) == "v1" else "sqlite"


def pair_of(a: Side, b: Side) -> str:
    """Let two sides give the same names to the same things; return how they do.

    Two caches of one repository each are of the same one, wherever they lie.
    """
    if a.place == b.place:
        raise UsageError(f"{a.location} is both sides", hint="Name two places.")
    _refuse_nested(a, b)
    if not a.is_single or not b.is_single:
        return "paths"
    for side in (a, b):
        side.key_of = _Own(side)
    return "one repository"


def check_there(a: Side, b: Side) -> None:
    """Raise NotFoundError if neither side is there to begin with."""
    if not a.exists() and not b.exists():
        raise NotFoundError(
            f"neither {a.location} nor {b.location} exists",
            hint="Name at least one cache that exists; the other is made if need be.",
        )


class _Own:
    """Names the one repository that a side is for alike on both sides."""

    def __init__(self, side: Side) -> None:
        self._local = side.own_key(())

    def __call__(self, repository: Repository) -> str:
        is_own = not self._local or repository_key(repository) == self._local
        return OWN if is_own else repository_key(repository)


def _refuse_nested(a: Side, b: Side) -> None:
    trees = [side.place for side in (a, b) if side.is_narrow]
    if len(trees) == 2:
        one, other = (path.rstrip("/") + "/" for path in trees)
        if one.startswith(other) or other.startswith(one):
            raise UsageError(
                f"{a.location} and {b.location} lie in each other", hint="Name two places apart."
            )
