"""The SQL of lookups and lists.

All rows are alike, so that one function checks them: they name their folder and their producer by
id, which `SmallTables` knows. What is asked over and over is written without spaces to spare:
apsw finds a prepared statement by its text, at a nanosecond a character.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from rustassistant.stores.live import Filter
from rustassistant.stores.sqlite.schema import HASH_PREFIX

FEW: Final = 8
"""Candidates that are compared by the program; where files share their content there may be
thousands, which SQL compares without handing each over."""

_COLUMNS: Final = """
SELECT e.id, {place}.folder_id, e.producer_id, f.path, f.hash, f.size, {analyzed_at},
       e.tokens_used, e.result_digest, {place}.seal, e.result, e.dictionary_id
"""
OWNERS_RESULT: Final = """
SELECT o.result, o.dictionary_id FROM entries e JOIN entries o ON o.id = e.result_of WHERE e.id = ?
"""
"""The frame of an entry that has none of its own, and the id of its dictionary."""

_IN_FOLDER: Final = """files f
CROSS JOIN entries e ON e.folder_id = ?6 AND e.file_id = f.id"""
_COPIES_IN_FOLDER: Final = """files f
CROSS JOIN copies c ON c.file_id = f.id AND c.folder_id = ?6
CROSS JOIN entries e ON e.id = c.entry_id"""
_FILES_FIRST: Final = """files f
CROSS JOIN folders d ON d.repository_id = f.repository_id
CROSS JOIN entries e ON e.folder_id = d.id AND e.file_id = f.id"""
_COPIES: Final = """files f
CROSS JOIN copies c ON c.file_id = f.id
CROSS JOIN entries e ON e.id = c.entry_id
CROSS JOIN folders d ON d.id = c.folder_id"""
_ENTRIES_FIRST: Final = """entries e
CROSS JOIN files f ON f.id = e.file_id
CROSS JOIN folders d ON d.id = e.folder_id"""
_COPIES_FIRST: Final = """copies c
CROSS JOIN files f ON f.id = c.file_id
CROSS JOIN entries e ON e.id = c.entry_id"""
_NAMES: Final = """
CROSS JOIN producers p ON p.id = e.producer_id
CROSS JOIN repositories r ON r.id = d.repository_id"""

_CONTENT: Final = f"substr(f.hash, 1, {HASH_PREFIX}) = ?1 AND f.hash = ?2"
_LIVE: Final = "NOT EXISTS (SELECT 1 FROM trash WHERE entry_id = e.id)"
_ACCEPTED: Final = f"""{_CONTENT} AND d.cache_type = ?3 AND (?4 IS NULL OR p.model = ?4)
AND iif(p.prompt_hash IS NULL, NOT ?7, ?5 IS NULL OR p.prompt_hash = ?5)
AND (?6 IS NULL OR ifnull(p.schema_version, 1) = ?6) AND (?8 IS NULL OR p.provider = ?8)
AND {_LIVE}"""


def _terse(sql: str) -> str:
    return " ".join(sql.split()).replace(", ", ",").replace(" = ", "=")


def _place(*, sharing: bool) -> tuple[str, str]:
    """The table that says where an entry lies, and its time there."""
    return ("c", "ifnull(c.analyzed_at, e.analyzed_at)") if sharing else ("e", "e.analyzed_at")


def _columns(*, sharing: bool) -> str:
    place, time = _place(sharing=sharing)
    return _COLUMNS.format(place=place, analyzed_at=time)


class Best(NamedTuple):
    """SQL for the id of the best of what answers, as `Wanted.rank` says, and for the row of it."""

    id: str
    row: str


class Search(NamedTuple):
    """SQL for what answers. ``few`` gives rows as they come, whatever made them, up to one more
    than `FEW`; where they are so many, the best of them are the ``bests``."""

    few: str
    bests: tuple[Best, ...]


def _few(source: str, condition: str, *, sharing: bool) -> str:
    return f"{_columns(sharing=sharing)} FROM {source} WHERE {_CONTENT} AND {condition} AND {_LIVE}"


def _best(near: str, condition: str, *, sharing: bool) -> Best:
    place, time = _place(sharing=sharing)
    source = _COPIES if sharing else _FILES_FIRST
    of_one = _COPIES_FIRST if sharing else _ENTRIES_FIRST
    return Best(
        f"SELECT {place}.id FROM {source} {_NAMES} WHERE {_ACCEPTED} {condition}"
        " ORDER BY (?5 IS NULL OR p.prompt_hash IS NOT NULL) DESC,"
        f" {near} {time} DESC, e.id DESC LIMIT 1",
        f"{_columns(sharing=sharing)} FROM {of_one} WHERE {place}.id = ?",
    )


def _search(few: tuple[str, ...], bests: tuple[Best, ...]) -> Search:
    return Search(_terse(f"{' UNION ALL '.join(few)} LIMIT {FEW + 1}"), bests)


def _searches(
    own: str, shared: str, condition: str, *, of_best: str = "", near: str = ""
) -> dict[bool, Search]:
    few = (_few(own, condition, sharing=False), _few(shared, condition, sharing=True))
    bests = (_best(near, of_best, sharing=False), _best(near, of_best, sharing=True))
    return {False: _search(few[:1], bests[:1]), True: _search(few, bests)}


# Few are asked for with hash prefix, hash and what follows; the best with hash prefix, hash, type,
# model, prompt hash, schema version, exact, provider and what follows.

HERE: Final = _searches(
    _IN_FOLDER,
    _COPIES_IN_FOLDER,
    "f.place = ?3 AND f.repository_id = ?4 AND f.path = ?5",
    of_best="AND f.place = ?9 AND f.repository_id = ?10 AND f.path = ?11 AND d.id = ?12",
)
"""About one file: its place, repository id, path and folder id. By whether any rows are shared."""

ANYWHERE: Final = _searches(
    _FILES_FIRST, _COPIES, "d.cache_type = ?3", near="(r.path IS ?9) + (f.path IS ?10) DESC,"
)
"""Wherever it lies: the type; for the best, the repository's path and the file's, which are better
than others. By whether any rows are shared."""

_FILTERS: Final = {
    "cache_type": "d.cache_type = ?",
    "repository": "r.path = ?",
    "file_path": "f.path = ?",
    "provider": "p.provider = ?",
    "model": "p.model = ?",
    "prompt_hash": "p.prompt_hash = ?",
    "schema_version": "ifnull(p.schema_version, 1) = ?",
}


def _chosen(wanted: Filter, *, sharing: bool) -> tuple[str, list[Any]]:
    """Where live entries are that are wanted, or those that share another's row; and the values."""
    source = _COPIES if sharing else _ENTRIES_FIRST
    conditions, values = [_LIVE], list[Any]()
    if wanted.file_hash is not None:
        source = _COPIES if sharing else _FILES_FIRST
        conditions.append(f"substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.hash = ?")
        values += (wanted.file_hash[:HASH_PREFIX], wanted.file_hash)
    for name, condition in _FILTERS.items():
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return f"FROM {source} {_NAMES} WHERE {' AND '.join(conditions)}", values


def matching(wanted: Filter, *, sharing: bool) -> tuple[str, list[Any]]:
    """SQL for the ids of live entries, or of those that share another's row, and its values."""
    place, _ = _place(sharing=sharing)
    chosen, values = _chosen(wanted, sharing=sharing)
    return f"SELECT {place}.id {chosen}", values


def page(wanted: Filter, *, sharing: bool, after: int, most: int) -> tuple[str, list[Any]]:
    """The same for rows, each with that id at its end, in its order, and its values."""
    place, _ = _place(sharing=sharing)
    chosen, values = _chosen(wanted, sharing=sharing)
    sql = f"{_columns(sharing=sharing)}, {place}.id {chosen} AND {place}.id > ?"
    return f"{sql} ORDER BY {place}.id LIMIT {most}", [*values, after]
