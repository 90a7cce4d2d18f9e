"""Looking one entry up, as fast as that can be done without believing anything unchecked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.codec import seal
from rustassistant.entry import Producer
from rustassistant.errors import DamagedError
from rustassistant.stores.live import Answer, Filter, Wanted
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.schema import HASH_PREFIX, place_of

_FEW: Final = 8
"""Candidates that are compared here; where files share their content there may be thousands,
which SQL compares without handing each over."""

_COLUMNS: Final = """
SELECT e.id, r.path, d.cache_type, f.path, f.hash, f.size, p.provider, p.model, p.prompt_hash,
       p.schema_version, {analyzed_at}, e.tokens_used, e.result_digest, {place}.seal,
       ifnull(e.result, o.result), iif(e.result IS NULL, o.dictionary_id, e.dictionary_id),
       {place}.id
"""
_JOINED: Final = """
FROM {source}
CROSS JOIN producers p ON p.id = e.producer_id
CROSS JOIN repositories r ON r.id = d.repository_id
LEFT JOIN entries o ON o.id = e.result_of
"""
_FILES_FIRST: Final = """files f
CROSS JOIN folders d ON d.repository_id = f.repository_id
CROSS JOIN entries e ON e.folder_id = d.id AND e.file_id = f.id"""
_ENTRIES_FIRST: Final = """entries e
CROSS JOIN files f ON f.id = e.file_id
CROSS JOIN folders d ON d.id = e.folder_id"""
_COPIES: Final = """files f
CROSS JOIN copies c ON c.file_id = f.id
CROSS JOIN entries e ON e.id = c.entry_id
CROSS JOIN folders d ON d.id = c.folder_id"""
_COPIES_FIRST: Final = """copies c
CROSS JOIN files f ON f.id = c.file_id
CROSS JOIN entries e ON e.id = c.entry_id
CROSS JOIN folders d ON d.id = c.folder_id"""
_LIVE: Final = "NOT EXISTS (SELECT 1 FROM trash t WHERE t.entry_id = e.id)"
_ACCEPTED: Final = f"""
WHERE substr(f.hash, 1, {HASH_PREFIX}) = ?1 AND f.hash = ?2
  AND d.cache_type = ?3 AND (?4 IS NULL OR p.model = ?4)
  AND iif(p.prompt_hash IS NULL, NOT ?7, ?5 IS NULL OR p.prompt_hash = ?5)
  AND (?6 IS NULL OR ifnull(p.schema_version, 1) = ?6) AND (?8 IS NULL OR p.provider = ?8)
  AND {_LIVE}
"""


_COPY_TIME: Final = "ifnull(c.analyzed_at, e.analyzed_at)"


def _select(source: str, place: str, analyzed_at: str) -> str:
    columns = _COLUMNS.format(place=place, analyzed_at=analyzed_at)
    return columns + _JOINED.format(source=source)


_OF_FILES: Final = _select(_FILES_FIRST, "e", "e.analyzed_at")
_OF_ENTRIES: Final = _select(_ENTRIES_FIRST, "e", "e.analyzed_at")
_OF_COPIES: Final = _select(_COPIES, "c", _COPY_TIME)


class _Search(NamedTuple):
    """SQL for what answers: ``few`` rows as they come; if that were too many, the id of the
    ``best``, and the row of ``one`` id. The best is what `Wanted.rank` says."""

    few: str
    best: str
    one: str


def _search(*, sharing: bool, where: str = "", near: str = "") -> _Search:
    if sharing:
        source, place, time = _COPIES, "c", _COPY_TIME
        one = f"{_select(_COPIES_FIRST, place, time)} WHERE c.id = ?"
    else:
        source, place, time = _FILES_FIRST, "e", "e.analyzed_at"
        one = f"{_OF_ENTRIES} WHERE e.id = ?"
    accepted = f"{_ACCEPTED}{where}"
    return _Search(
        f"{_select(source, place, time)}{accepted} LIMIT {_FEW + 1}",
        f"SELECT {place}.id {_JOINED.format(source=source)}{accepted}"
        " ORDER BY (?5 IS NULL OR p.prompt_hash IS NOT NULL) DESC,"
        f" {near}{time} DESC, e.id DESC LIMIT 1",
        one,
    )


_PLACE: Final = "AND f.place = ?9 AND f.repository_id = ?10 AND f.path = ?11"
_NEAR: Final = "(r.path IS ?9) + (f.path IS ?10) DESC, "
_HERE: Final = _search(sharing=False, where=_PLACE)
_COPIES_HERE: Final = _search(sharing=True, where=_PLACE)
_ANYWHERE: Final = _search(sharing=False, near=_NEAR)
_COPIES_ANYWHERE: Final = _search(sharing=True, near=_NEAR)
_FILTERS: Final = {
    "cache_type": "d.cache_type = ?",
    "repository": "r.path = ?",
    "file_path": "f.path = ?",
    "provider": "p.provider = ?",
    "model": "p.model = ?",
    "prompt_hash": "p.prompt_hash = ?",
    "schema_version": "ifnull(p.schema_version, 1) = ?",
}
_PAGE: Final = 64
_Row = tuple[Any, ...]


class LiveReader:
    """Looks up over one connection, which it owns. Not for two threads at once.

    ``version`` is SQLite's number for the state of the database as this connection last saw it,
    and ``since`` a moment, by the caller's clock, from which on it has not changed.
    """

    __slots__ = (
        "__weakref__",
        "_execute",
        "_path",
        "_repositories",
        "_shared",
        "_text",
        "connection",
        "generation",
        "since",
        "version",
    )

    def __init__(self, connection: apsw.Connection, path: str, generation: int = 0) -> None:
        self.connection = connection
        self.generation = generation
        self.version = self.since = -1
        self._path = path
        self._execute = connection.execute
        self._text = EntryReader(connection).text
        self._repositories: dict[str, list[int]] = {}
        self._shared: bool | None = None

    def data_version(self) -> int:
        """Changes whenever another connection, of whatever process, has committed."""
        version: int = self._execute("PRAGMA data_version").get
        return version

    def lookup(self, wanted: Wanted) -> Answer | None:
        """The best of what answers; None for a miss. Raises DamagedError, and SQLite's own."""
        row = self._best(wanted)
        return None if row is None else self._checked(row)

    def _best(self, wanted: Wanted) -> _Row | None:
        cache_type, file_hash, *parts, repository, file_path = wanted
        bindings = (file_hash[:HASH_PREFIX], file_hash, cache_type, *parts)
        rows = self._about(bindings, repository, file_path)
        any_prompt = wanted.prompt_hash is None
        if not any(any_prompt or row[8] is not None for row in rows):
            rows += self._anywhere(bindings, repository, file_path)
        if len(rows) < 2:
            return rows[0] if rows else None
        return max(rows, key=lambda row: wanted.rank(_answer(row, b"")))

    def _about(self, bindings: _Row, repository: str | None, file_path: str | None) -> list[_Row]:
        """Rows about that very file. If one is an exact match, none elsewhere is better."""
        if file_path is None or repository is None:
            return []
        ids = self._repositories.get(repository)
        if ids is None:
            sql = "SELECT id FROM repositories WHERE path = ?"
            rows: Iterable[_Row] = self._execute(sql, (repository,))
            ids = [row[0] for row in rows]
            self._repositories[repository] = ids
        searches = (_HERE, _COPIES_HERE) if self._any_shared() else (_HERE,)
        return [
            row
            for repository_id in ids
            for search in searches
            for row in self._found(
                search, (*bindings, place_of(repository_id, file_path), repository_id, file_path)
            )
        ]

    def _anywhere(
        self, bindings: _Row, repository: str | None, file_path: str | None
    ) -> list[_Row]:
        """Rows about that content, the best at least."""
        near = (repository, file_path)
        rows = self._found(_ANYWHERE, bindings, near)
        if self._any_shared():
            rows += self._found(_COPIES_ANYWHERE, bindings, near)
        return rows

    def _found(self, search: _Search, bindings: _Row, near: _Row = ()) -> list[_Row]:
        """All rows if they are few; else the best. ``near`` is what makes one better."""
        rows: list[_Row] = self._execute(search.few, bindings).fetchall()
        if len(rows) > _FEW:
            best = self._execute(search.best, (*bindings, *near)).get
            rows = self._execute(search.one, (best,)).fetchall()
        return rows

    def _any_shared(self) -> bool:
        if self._shared is None:
            sql = "SELECT EXISTS (SELECT 1 FROM copies WHERE file_id IS NOT NULL)"
            self._shared = bool(self._execute(sql).get)
        return self._shared

    def forget(self) -> None:
        """What it remembers of small tables, when somebody else has committed."""
        self._repositories.clear()
        self._shared = None

    def _checked(self, row: _Row) -> Answer:
        """What a row says, if it is what was stored: its seal, then its result's digest."""
        result = row[14]
        try:
            sealed = seal(
                row[2], row[3], row[4], row[5], Producer(*row[6:10]), row[10], row[11], row[12]
            )
        except (TypeError, OverflowError, ValueError):  # values of types that were never stored
            sealed = -1
        if sealed != row[13] or type(row[1]) is not str:
            raise DamagedError(f"{_named(row)}: its columns are not what was stored")
        if result is None:
            raise DamagedError(f"{_named(row)}: its result is missing")
        try:
            text = self._text(result, row[15], row[12])
        except DamagedError as error:
            raise DamagedError(f"{_named(row)}: {error}") from None
        return _answer(row, text)

    def page(
        self, wanted: Filter, *, sharing: bool, after: int
    ) -> tuple[list[Answer | DamagedError], int]:
        """Some entries in the order of their ids, and the last id; none at the end.

        With ``sharing``, those instead that share another's row.
        """
        conditions, values = _conditions(wanted)
        whole = _OF_ENTRIES if wanted.file_hash is None else _OF_FILES
        sql, place = (_OF_COPIES, "c") if sharing else (whole, "e")
        with errors_named(self._path):
            rows: list[Any] = self._execute(
                f"{sql} WHERE {conditions} {_LIVE} AND {place}.id > ?"
                f" ORDER BY {place}.id LIMIT {_PAGE}",
                (*values, after),
            ).fetchall()
        return [self._or_error(row) for row in rows], rows[-1][16] if rows else after

    def _or_error(self, row: _Row) -> Answer | DamagedError:
        try:
            return self._checked(row)
        except DamagedError as error:
            return error


def _conditions(wanted: Filter) -> tuple[str, list[Any]]:
    """SQL that ends with AND, and its values."""
    parts, values = [], list[Any]()
    if wanted.file_hash is not None:
        parts.append(f"substr(f.hash, 1, {HASH_PREFIX}) = ? AND f.hash = ? AND")
        values += (wanted.file_hash[:HASH_PREFIX], wanted.file_hash)
    for name, condition in _FILTERS.items():
        value = getattr(wanted, name)
        if value is not None:
            parts.append(f"{condition} AND")
            values.append(value)
    return " ".join(parts), values


def matching(wanted: Filter, *, sharing: bool) -> tuple[str, list[Any]]:
    """SQL for the ids of live entries, or of those that share another's row, and its values."""
    source, place = (_COPIES, "c") if sharing else (_FILES_FIRST, "e")
    if wanted.file_hash is None and not sharing:
        source = _ENTRIES_FIRST
    conditions, values = _conditions(wanted)
    joined = _JOINED.format(source=source)
    return f"SELECT {place}.id {joined} WHERE {conditions} {_LIVE}", values


def _answer(row: _Row, text: bytes) -> Answer:
    return Answer._make((*row[:12], text))


def _named(row: _Row) -> str:
    return f"entry {row[0]} ({row[2]} of {row[3]} in {row[1]})"
