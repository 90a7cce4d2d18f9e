"""Rows of small tables, kept in memory by those who look up: joining them takes a third of a
lookup, and a database of millions of entries has but thousands of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from rustassistant.entry import Producer

_MOST: Final = 10_000
"""Of each kind; what was asked for longest ago goes first."""

_Execute = Callable[..., Any]


class Place(NamedTuple):
    """A folder, for finding files in its repository and entries in itself."""

    repository_id: int
    folder_id: int


class SmallTables:
    """Reads each row once, and again after `forget`, which is to be called when anybody has
    committed. A row that is not there is None."""

    def __init__(self, execute: _Execute) -> None:
        remembered = lru_cache(maxsize=_MOST)
        self.producer = remembered(partial(_producer, execute))
        """By id."""
        self.folder = remembered(partial(_folder, execute))
        """Its repository's path and its type, by id."""
        self.places = remembered(partial(_places, execute))
        """All folders of a type, by the repository's path and the type."""
        self.any_shared = remembered(partial(_any_shared, execute))
        """Whether an entry shares the row of another that is about another file."""

    def forget(self) -> None:
        """Read everything anew."""
        for kind in (self.producer, self.folder, self.places, self.any_shared):
            kind.cache_clear()


def _producer(execute: _Execute, producer_id: int) -> Producer | None:
    sql = "SELECT provider, model, prompt_hash, schema_version FROM producers WHERE id = ?"
    row = execute(sql, (producer_id,)).fetchone()
    return None if row is None else Producer(*row)


def _folder(execute: _Execute, folder_id: int) -> tuple[str, str] | None:
    sql = (
        "SELECT r.path, d.cache_type FROM folders d JOIN repositories r ON r.id = d.repository_id"
        " WHERE d.id = ?"
    )
    row: tuple[str, str] | None = execute(sql, (folder_id,)).fetchone()
    return row


def _places(execute: _Execute, repository: str, cache_type: str) -> tuple[Place, ...]:
    sql = (
        "SELECT r.id, d.id FROM repositories r CROSS JOIN folders d ON d.repository_id = r.id"
        " WHERE r.path = ? AND d.cache_type = ?"
    )
    return tuple(Place(*row) for row in execute(sql, (repository, cache_type)))


def _any_shared(execute: _Execute) -> bool:
    return bool(execute("SELECT EXISTS (SELECT 1 FROM copies WHERE file_id IS NOT NULL)").get)
