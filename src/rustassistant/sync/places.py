"""Which store a place on the command line is, and whether two of them make a pair."""

from __future__ import annotations

import os
from typing import Final

from rustassistant.errors import NotFoundError, UsageError
from rustassistant.locations import Location, Unfit
from rustassistant.stores.base import Repository
from rustassistant.stores.sqlite.connection import kind_of_database
from rustassistant.sync.database import DatabaseSide
from rustassistant.sync.elements import repository_key
from rustassistant.sync.side import Side
from rustassistant.sync.tree import TreeSide

_DATABASE_SUFFIXES: Final = (".db", ".sqlite", ".sqlite3")
OWN: Final = ""
"""The key of the one repository that both sides are for."""

_UNFIT: Final = {
    "v1": Unfit(
        "the Rust program's own database keeps less than a result's columns, so it can't be kept "
        "in step",
        "Use `cache migrate` from it, or `cache export --format v1` to it.",
    ),
    "jsonl": Unfit(
        "a file of JSON Lines is written as a whole, so it can't be kept in step",
        "Use `cache import` from it, or `cache export --format jsonl` to it.",
    ),
    "parquet": Unfit("a Parquet file can't be read back", "Use `cache export --format parquet`."),
}


def side_at(location: Location) -> Side:
    """The side that a place is, or would be: a directory is a tree, a file a database.

    Of what does not exist, the name decides. Raises UsageError for what can't be a side.
    """
    scheme, path = location
    kind = scheme or _kind_of(path)
    location._replace(scheme=kind).check_fit(_UNFIT)
    if kind == "sqlite":
        return DatabaseSide(path)
    return TreeSide(path)


def _kind_of(path: str) -> str:
    if os.path.isdir(path):
        return "json"
    if not os.path.exists(path):
        return "sqlite" if path.endswith(_DATABASE_SUFFIXES) else "json"
    return "v1" if kind_of_database(path) == "v1" else "sqlite"


def pair_of(a: Side, b: Side) -> str:
    """Let two sides give the same names to the same things; return how they do.

    Two caches of one repository each are of the same one, wherever they lie.
    """
    if a.place == b.place or _is_one_file(a.place, b.place):
        raise UsageError(f"{a.location} is both sides", hint="Name two places.")
    _refuse_nested(a, b)
    if not a.is_single or not b.is_single:
        return "paths"
    for side in (a, b):
        side.key_of = _Own(side)
    return "one repository"


def _is_one_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


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
