"""What a cache database adds up to: read from its sums, not from its entries.

Only filters that no sum can answer (paths, days, token counts) look at the entries' columns; a
result is never read. ``Scope`` says which entries are meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from datetime import MAXYEAR, MINYEAR
from enum import Enum
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.rows import IS_LIVE, checked
from rustassistant.stores.sqlite.totals import month_of
from rustassistant.usage import MAX_TOKENS

MOST: Final = 2**63 - 1
"""SQL knows no larger number."""

_MONTH: Final = (
    "(CAST(strftime('%Y', {seconds}, 'unixepoch') AS INTEGER) * 12"
    " + CAST(strftime('%m', {seconds}, 'unixepoch') AS INTEGER) - 1)"
)
_SECONDS: Final = "(e.analyzed_at / 1000000000 - (e.analyzed_at % 1000000000 < 0))"
_GROUPS: Final = "GROUP BY 1, 2, 3, 4, 5"
_FROM_TOTALS: Final = """
SELECT {cache_type}, {repository}, p.provider, p.model, t.month AS month, sum(t.entries),
       sum(t.tokens), sum(t.assumed_tokens), sum(t.without_tokens), sum(t.input_tokens),
       sum(t.output_tokens), sum(t.text_bytes), sum(t.stored_bytes)
FROM totals t
JOIN folders d ON d.id = t.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = t.producer_id
"""
_SAID: Final = f"e.tokens_used BETWEEN 0 AND {MAX_TOKENS}"
_FROM_ENTRIES: Final = f"""
SELECT {{cache_type}}, {{repository}}, p.provider, p.model,
       {_MONTH.format(seconds=_SECONDS)} AS month, count(*),
       sum(iif({_SAID}, e.tokens_used, 0)), sum(iif({_SAID}, e.tokens_used, 0)),
       sum(NOT ifnull({_SAID}, 0)), 0, 0, 0,
       sum(ifnull(length(e.result), 0) + ifnull(length(e.original), 0))
FROM entries e
JOIN files f ON f.id = e.file_id
JOIN folders d ON d.id = e.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
"""
_TRAFFIC: Final = f"""
WITH days AS MATERIALIZED ( -- telling a month takes longer than adding a row up
    SELECT day, {_MONTH.format(seconds="day * 86400")} AS month
    FROM (SELECT DISTINCT day FROM traffic)
    WHERE day BETWEEN ifnull(?, -1000000) AND ifnull(?, 1000000)
)
SELECT t.cache_type, t.model, t.repository, days.month, sum(t.hits), sum(t.misses),
       sum(t.tokens_saved)
FROM days CROSS JOIN traffic t ON t.day = days.day
GROUP BY 1, 2, 3, 4
"""
_REMOVED: Final = f"""
SELECT d.cache_type, r.path, p.provider, p.model, ?2, count(*),
       sum(iif({_SAID}, e.tokens_used, 0)), sum(iif({_SAID}, e.tokens_used, 0)),
       sum(NOT ifnull({_SAID}, 0)), 0, 0, 0, 0
FROM trash t
CROSS JOIN entries e ON e.id = t.entry_id
JOIN folders d ON d.id = e.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
WHERE t.removed_at >= ?1 AND e.analyzed_at >= ?1
GROUP BY p.provider, p.model
"""
_COUNTS: Final = """
SELECT (SELECT page_count FROM pragma_page_count), (SELECT page_size FROM pragma_page_size),
       (SELECT freelist_count FROM pragma_freelist_count),
       (SELECT count(*) FROM dictionaries),
       (SELECT ifnull(sum(length(data)), 0) FROM dictionaries), (SELECT count(*) FROM trash),
       (SELECT count(*) FROM copies WHERE file_id IS NOT NULL),
       (SELECT count(*) FROM copies WHERE file_id IS NULL), (SELECT count(*) FROM quarantine),
       (SELECT count(*) FROM pins)
"""


class Scope(NamedTuple):
    """Which entries are meant; None is all. Ids are of ``folders`` and ``producers``; ``since`` and
    ``until`` in nanoseconds, both included; ``admits_path`` is asked about each file's path."""

    folder_ids: Collection[int] | None = None
    producer_ids: Collection[int] | None = None
    since: int | None = None
    until: int | None = None
    min_tokens: int | None = None
    admits_path: Callable[[str], bool] | None = None

    @property
    def is_summed(self) -> bool:
        """Whether the sums by folder, producer and month answer it."""
        starts = self.since is None or month_of(self.since - 1) < month_of(self.since)
        ends = self.until is None or month_of(self.until + 1) > month_of(self.until)
        return starts and ends and not self.min_tokens and self.admits_path is None

    def condition(self, connection: apsw.Connection, place: str = "e") -> tuple[str, list[Any]]:
        """SQL over the tables ``e`` and ``f``, or their copies, that ends with AND; its values."""
        parts, values = self._of_groups(place)
        moment = "ifnull(c.analyzed_at, e.analyzed_at)" if place == "c" else "e.analyzed_at"
        for comparison, value in (
            (f"{moment} >= ?", self.since),
            (f"{moment} <= ?", self.until),
            ("ifnull(e.tokens_used, 0) >= ?", self.min_tokens and min(self.min_tokens, MOST)),
        ):
            if value is not None:
                parts.append(comparison)
                values.append(value)
        if self.admits_path is not None:
            connection.create_scalar_function("admits_path", self._admits, 1)
            parts.append("admits_path(f.path)")
        return "".join(f"{part} AND " for part in parts), values

    def _admits(self, *row: Any) -> bool:
        (path,) = row
        return self.admits_path is None or (type(path) is str and self.admits_path(path))

    def of_totals(self) -> tuple[str, list[Any]]:
        """The same over the table ``t`` of totals."""
        parts, values = self._of_groups("t")
        for comparison, moment in (("t.month >= ?", self.since), ("t.month <= ?", self.until)):
            if moment is not None:
                parts.append(comparison)
                values.append(month_of(moment))
        return "".join(f"{part} AND " for part in parts), values

    def _of_groups(self, folder_of: str) -> tuple[list[str], list[Any]]:
        parts, values = [], list[Any]()
        producer_of = "e" if folder_of == "c" else folder_of
        for column, ids in (
            (f"{folder_of}.folder_id", self.folder_ids),
            (f"{producer_of}.producer_id", self.producer_ids),
        ):
            if ids is not None:
                parts.append(f"{column} IN (SELECT value FROM json_each(?))")
                values.append(json.dumps(list(ids)))
        return parts, values


class Line(NamedTuple):
    """Sums over entries alike in type, repository (either may be left open, and empty), provider,
    model and month (as in `Group`)."""

    cache_type: str
    repository: str
    provider: str
    model: str
    month: int
    entries: int
    tokens: int
    assumed_tokens: int
    without_tokens: int
    input_tokens: int
    output_tokens: int
    text_bytes: int
    stored_bytes: int


class Asked(NamedTuple):
    """Lookups in a month. Model and repository are empty where a miss did not name them."""

    cache_type: str
    model: str
    repository: str
    month: int
    hits: int
    misses: int
    tokens_saved: int


class Sizes(NamedTuple):
    """What is in the file besides live entries. ``shared`` places are of other files with an equal
    entry, ``copies`` further places of the same one."""

    pages: int
    page_size: int
    free_pages: int
    dictionaries: int
    dictionary_bytes: int
    removed: int
    shared: int
    copies: int
    quarantined: int
    pinned: int


class By(Enum):
    """What sums are kept apart by, beside provider, model and month: both make many lines."""

    TYPE = ("d.cache_type", "''")
    REPOSITORY = ("''", "r.path")
    BOTH = ("d.cache_type", "r.path")


def lines(connection: apsw.Connection, scope: Scope, by: By = By.TYPE) -> Iterator[Line]:
    """Sums over the live entries of a scope; names that they are not kept apart by are empty.

    From the entries' columns if `Scope.is_summed` is not so, and then without ``text_bytes`` and
    what only results state.
    """
    if scope.is_summed:
        condition, values = scope.of_totals()
        select, live = _FROM_TOTALS, "t.entries > 0"
    else:
        condition, values = scope.condition(connection)
        select, live = _FROM_ENTRIES, IS_LIVE
    cache_type, repository = by.value
    names = select.format(cache_type=cache_type, repository=repository)
    for row in connection.execute(f"{names} WHERE {condition} {live} {_GROUPS}", values):
        yield _line(row)


def removed_lines(connection: apsw.Connection, since: int, month: int) -> Iterator[Line]:
    """Sums over what was made since then, in that month, and is in the trash by now."""
    for row in connection.execute(_REMOVED, (since, month)):
        yield _line(row)


def _line(row: tuple[Any, ...]) -> Line:
    line = checked(row, Line)
    if not MINYEAR <= line.month // 12 <= MAXYEAR:
        raise DamagedError(f"{line.month} is no month")
    return line


def traffic_lines(
    connection: apsw.Connection, *, first_day: int | None, last_day: int | None
) -> Iterator[Asked]:
    """Lookups, by day since 1970 (both included)."""
    for row in connection.execute(_TRAFFIC, (first_day, last_day)):
        yield checked(row, Asked)


def sizes(connection: apsw.Connection) -> Sizes:
    """What the file consists of."""
    return checked(connection.execute(_COUNTS).fetchall()[0], Sizes)
