"""Entries one by one, in an order that people ask for, without their results.

The row of one entry may stand for equal entries of other files too (``copies`` with a file of
their own): each of these is listed with its own path, under the same id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.rows import ENTRIES_FIRST, FILES_FIRST, IS_LIVE, checked
from rustassistant.stores.sqlite.schema import HASH_PREFIX
from rustassistant.stores.sqlite.views.summary import MOST, Scope

_COLUMNS: Final = """
SELECT e.id, r.path, d.cache_type, f.path, f.hash, f.size, p.provider, p.model, p.prompt_hash,
       p.schema_version, {moment}, e.tokens_used, {stored}, ifnull(u.hits, 0), u.last_used,
       EXISTS (SELECT 1 FROM pins WHERE entry_id = e.id), t.reason, {copy_id}
FROM {source}
JOIN folders d ON d.id = {place}.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
LEFT JOIN uses u ON u.entry_id = e.id
LEFT JOIN trash t ON t.entry_id = e.id
"""
_OWN: Final = "ifnull(length(e.result), 0) + ifnull(length(e.original), 0)"
_COPY_MOMENT: Final = "ifnull(c.analyzed_at, e.analyzed_at)"
_SHARED_SOURCE: Final = (
    "copies c JOIN entries e ON e.id = c.entry_id JOIN files f ON f.id = c.file_id"
)
_ENTRY: Final = _COLUMNS.format(
    moment="e.analyzed_at", stored=_OWN, place="e", copy_id="NULL", source=ENTRIES_FIRST
)
_ENTRY_OF_FILE: Final = _COLUMNS.format(
    moment="e.analyzed_at", stored=_OWN, place="e", copy_id="NULL", source=FILES_FIRST
)
_SHARED: Final = _COLUMNS.format(
    moment=_COPY_MOMENT, stored="0", place="c", copy_id="c.id",
    source=_SHARED_SOURCE,
)  # fmt: skip
_KEYS: Final = {
    "newest": "-{moment}",
    "oldest": "{moment}",
    "largest": "-({stored})",
    "tokens": "-ifnull(e.tokens_used, -1)",
    "cost": "-ifnull(usd(e.producer_id, {moment}, e.tokens_used), -1)",
    "file": "CAST(r.path || char(0) || f.path AS BLOB)",  # damaged text can be sorted, not read
}
ORDERS: Final = tuple(_KEYS)
_PICK: Final = """
SELECT {key} AS key, {place}.id, {is_shared} FROM {source}
JOIN folders d ON d.id = {place}.folder_id
JOIN repositories r ON r.id = d.repository_id
WHERE {condition} {live}
"""
_PLACES: Final = """
SELECT r.path, d.layout, d.subfolder, f.path, p.source_name FROM (
    SELECT 0 AS copy_id, folder_id, file_id, source_name FROM entries WHERE id = ?1
    UNION ALL
    SELECT c.id, c.folder_id, ifnull(c.file_id, e.file_id), c.source_name
    FROM copies c JOIN entries e ON e.id = c.entry_id WHERE c.entry_id = ?1
) p
JOIN folders d ON d.id = p.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN files f ON f.id = p.file_id
ORDER BY p.copy_id
"""


class Item(NamedTuple):
    """One entry. ``stored_bytes`` are its own frames, 0 where it shares another's result;
    ``removed`` says why it answers no more; ``copy_id`` is set if it shares another entry's row."""

    id: int
    repository: str
    cache_type: str
    file_path: str
    file_hash: bytes
    file_size: int | None
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    analyzed_at: int
    tokens_used: int | None
    stored_bytes: int
    hits: int
    last_used: int | None
    pinned: int
    removed: str | None
    copy_id: int | None


class EntryPlace(NamedTuple):
    """Where an entry's file lay. ``name`` is the file's, where the path does not imply it."""

    repository: str
    layout: str
    subfolder: str
    file_path: str
    name: bytes | None


def at_most(limit: int | None) -> int:
    """A limit as SQL has it: there are no more rows than its numbers go, and -1 is all."""
    return -1 if limit is None else min(limit, MOST)


def items(
    connection: apsw.Connection, scope: Scope, *, order: str, limit: int | None
) -> Iterator[Item | DamagedError]:
    """Live entries of a scope in one of `ORDERS`, the first ``limit``; ids decide between equals.

    Only keys and ids are sorted, by SQLite, which goes to the disk with what is too much. For the
    order ``cost`` the connection must have a function ``usd(producer_id, analyzed_at, tokens)``.
    """
    picks, values = [], list[Any]()
    for is_shared in (False, True):
        if is_shared and not has_shared(connection):
            continue
        sql, more = _pick(connection, scope, order, is_shared=is_shared)
        picks.append(sql)
        values += more
    sql = " UNION ALL ".join(picks) + " ORDER BY 1, 2, 3 LIMIT ?"
    values.append(at_most(limit))
    for _, row_id, shared in connection.execute(sql, values):
        try:
            row = _one(connection, row_id, is_shared=bool(shared))
        except (DamagedError, UnicodeDecodeError) as error:
            yield DamagedError(f"entry {row_id} is damaged: {error}")
            continue
        if row is not None:
            yield row


def count_items(connection: apsw.Connection, scope: Scope) -> int:
    """How many there are."""
    total = 0
    if scope.is_summed:
        condition, values = scope.of_totals()
        sql = f"SELECT ifnull(sum(entries), 0) FROM totals t WHERE {condition} 1"
        total += connection.execute(sql, values).get
    for is_shared in (False, True):
        if (scope.is_summed and not is_shared) or (is_shared and not has_shared(connection)):
            continue
        sql, values = _pick(connection, scope, "newest", is_shared=is_shared)
        total += connection.execute(f"SELECT count(*) FROM ({sql})", values).get
    return total


def has_shared(connection: apsw.Connection) -> bool:
    """Whether entries of several files share rows."""
    sql = "SELECT EXISTS (SELECT 1 FROM copies WHERE file_id IS NOT NULL)"
    return bool(connection.execute(sql).get)


def _pick(
    connection: apsw.Connection, scope: Scope, order: str, *, is_shared: bool
) -> tuple[str, list[Any]]:
    place = "c" if is_shared else "e"
    moment, stored = (_COPY_MOMENT, "0") if is_shared else ("e.analyzed_at", _OWN)
    source = _SHARED_SOURCE if is_shared else ENTRIES_FIRST
    condition, values = scope.condition(connection, place)
    sql = _PICK.format(
        key=_KEYS[order].format(moment=moment, stored=stored),
        place=place,
        is_shared=int(is_shared),
        source=source,
        condition=condition,
        live=IS_LIVE,
    )
    return sql, values


def _one(connection: apsw.Connection, row_id: int, *, is_shared: bool) -> Item | None:
    sql = f"{_SHARED} WHERE c.id = ?" if is_shared else f"{_ENTRY} WHERE e.id = ?"
    row = connection.execute(sql, (row_id,)).fetchone()
    return None if row is None else checked(row, Item)


def entry_item(connection: apsw.Connection, entry_id: int) -> Item | None:
    """One entry by its id, in the trash or not."""
    return _one(connection, entry_id, is_shared=False)


def items_of_paths(
    connection: apsw.Connection, paths: Iterable[str], cache_type: str | None = None
) -> list[Item]:
    """Entries about files of these paths in any repository, those in the trash included."""
    wanted = json.dumps(list(paths))
    condition = "WHERE f.path IN (SELECT value FROM json_each(?1))"
    if cache_type is not None:
        condition += " AND d.cache_type = ?2"
    values = (wanted,) if cache_type is None else (wanted, cache_type)
    found = []
    for sql in (_ENTRY_OF_FILE, _SHARED):
        found += [checked(row, Item) for row in connection.execute(f"{sql} {condition}", values)]
    return found


def items_of_content(connection: apsw.Connection, file_hash: bytes) -> list[Item]:
    """Live entries about files with that content, in any repository."""
    condition = f"WHERE substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.hash = ? AND t.entry_id IS NULL"
    values = (file_hash[:HASH_PREFIX], file_hash)
    return [
        checked(row, Item) for row in connection.execute(f"{_ENTRY_OF_FILE} {condition}", values)
    ]


def places_of(connection: apsw.Connection, entry_id: int) -> list[EntryPlace]:
    """Everywhere an entry's file lay, the first place first."""
    return [checked(row, EntryPlace) for row in connection.execute(_PLACES, (entry_id,))]


class Repo(NamedTuple):
    """A repository of which a database holds something."""

    id: int
    path: str
    directory: str | None


class Analysis(NamedTuple):
    """What telling old entries from current ones takes. ``meant`` says whether it is in the
    scope: others tell what is newer."""

    file_path: str
    file_hash: bytes
    cache_type: str
    provider: str
    model: str
    prompt_hash: str | None
    analyzed_at: int
    tokens_used: int | None
    stored_bytes: int
    meant: int


def repositories(connection: apsw.Connection) -> list[Repo]:
    """All of them, by path."""
    rows = connection.execute("SELECT id, path, directory FROM repositories ORDER BY path, id")
    return [checked(row, Repo) for row in rows]


_ANALYSES: Final = """
SELECT f.path, f.hash, d.cache_type, p.provider, p.model, p.prompt_hash, {moment}, e.tokens_used,
       {stored}, {condition} 1
FROM {source}
JOIN folders d ON d.id = {place}.folder_id
JOIN producers p ON p.id = e.producer_id
WHERE {place}.folder_id IN (SELECT id FROM folders WHERE repository_id = ?) AND {live}
"""


def analyses(
    connection: apsw.Connection, repository_id: int, scope: Scope
) -> Iterator[Analysis | DamagedError]:
    """All live entries of a repository, those about one file together, in the order of paths."""
    parts, values = [], list[Any]()
    for place, moment, stored, source in (
        ("e", "e.analyzed_at", _OWN, ENTRIES_FIRST),
        ("c", _COPY_MOMENT, "0", _SHARED_SOURCE),
    ):
        condition, more = scope.condition(connection, place)
        parts.append(
            _ANALYSES.format(
                place=place, moment=moment, stored=stored, source=source, condition=condition,
                live=IS_LIVE,
            )
        )  # fmt: skip
        values += (*more, repository_id)
    for row in connection.execute(" UNION ALL ".join(parts) + " ORDER BY 1", values):
        try:
            yield checked(row, Analysis)
        except DamagedError as error:
            yield error
