"""In which order entries would go, and how many of them until what is left fits.

All of it happens in SQLite's temporary tables, which go to the disk with what is too much for
memory, so that a million entries take no more of it than a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from rustassistant.stores.sqlite.rows import IS_LIVE, EntryReader
from rustassistant.stores.sqlite.upkeep.live_size import COPY_BYTES, ENTRY_BYTES
from rustassistant.stores.sqlite.views.summary import Scope
from rustassistant.stores.sqlite.views.tokens import SAID, STATING, Made, made_of, stated_in

EVERYTHING: Final = Scope()


class Order(StrEnum):
    """What goes first. Ids decide between equals."""

    LRU = "lru"
    OLDEST = "oldest"
    LARGEST = "largest"
    CHEAPEST = "cheapest"
    MOST_EXPENSIVE = "most-expensive"
    VALUE = "value"

    @property
    def needs_rates(self) -> bool:
        """Whether it depends on what entries cost."""
        return self in (Order.CHEAPEST, Order.MOST_EXPENSIVE, Order.VALUE)


class Rate(NamedTuple):
    """What entries of a producer cost to make: US dollars for a token in and out, and for an entry
    that does not say how many it took."""

    usd_in: float
    usd_out: float
    usd_per_entry: float


class Cut(NamedTuple):
    """The first so many in the order, and the bytes that live entries then take less.

    ``all_entries`` and ``all_bytes`` are of everything that may go.
    """

    rows: int
    freed: int
    all_rows: int
    all_bytes: int


_TABLES: Final = """
DROP TABLE IF EXISTS temp.shared;
DROP TABLE IF EXISTS temp.leaving;
DROP TABLE IF EXISTS temp.rates;
CREATE TEMP TABLE shared (owner INTEGER PRIMARY KEY, frame INTEGER NOT NULL, live INTEGER NOT NULL);
CREATE TEMP TABLE leaving (
    place INTEGER PRIMARY KEY, entry_id INTEGER NOT NULL, owner INTEGER, bytes INTEGER NOT NULL
);
CREATE TEMP TABLE rates (
    producer_id INTEGER PRIMARY KEY, usd_in REAL, usd_out REAL, usd_per_entry REAL, states INTEGER
);
"""
_SHARED: Final = """
INSERT INTO temp.shared
SELECT o.id, ifnull(length(o.result), 0),
       (SELECT count(*) FROM entries e WHERE e.result_of = o.id
        AND e.id NOT IN (SELECT entry_id FROM trash)) + (o.id NOT IN (SELECT entry_id FROM trash))
FROM entries o
WHERE o.id IN (SELECT result_of FROM entries WHERE result_of IS NOT NULL)
"""
_USD: Final = f"""
ifnull(iif(r.states, stated_usd(ifnull(e.result, (SELECT o.result FROM entries o
                                                  WHERE o.id = e.result_of)),
                                iif(e.result IS NULL, (SELECT o.dictionary_id FROM entries o
                                                       WHERE o.id = e.result_of), e.dictionary_id),
                                r.usd_in, r.usd_out), NULL),
       iif({SAID}, e.tokens_used * (r.usd_in + r.usd_out) / 2, r.usd_per_entry))
"""
_OWN: Final = f"""
({ENTRY_BYTES} + ifnull(length(e.original), 0)
 + {COPY_BYTES} * (SELECT count(*) FROM copies c WHERE c.entry_id = e.id)
 + iif(s.owner IS NULL, ifnull(length(e.result), 0), 0))
"""
_SHARE: Final = f"({_OWN} + ifnull(s.frame / max(s.live, 1), 0))"
_KEYS: Final = {
    Order.LRU: "ifnull(u.last_used, e.analyzed_at)",
    Order.OLDEST: "e.analyzed_at",
    Order.LARGEST: f"-{_SHARE}",
    Order.CHEAPEST: _USD,
    Order.MOST_EXPENSIVE: f"-({_USD})",
    Order.VALUE: f"({_USD} + ?) * (1 + ifnull(u.hits, 0)) / {_SHARE}",
}
_RANK: Final = f"""
INSERT INTO temp.leaving (entry_id, owner, bytes)
SELECT id, owner, own FROM (
    SELECT e.id AS id, s.owner AS owner, {_OWN} AS own, {{key}} AS key
    FROM entries e
    JOIN files f ON f.id = e.file_id
    LEFT JOIN temp.shared s ON s.owner = ifnull(e.result_of, e.id)
    LEFT JOIN uses u ON u.entry_id = e.id
    LEFT JOIN temp.rates r ON r.producer_id = e.producer_id
    WHERE {{condition}} {IS_LIVE} AND e.id NOT IN (SELECT entry_id FROM pins)
)
ORDER BY key, id
"""
_SHARING_TOO: Final = """
NOT EXISTS (SELECT 1 FROM copies c JOIN files f ON f.id = c.file_id
            WHERE c.entry_id = e.id AND NOT ({condition} 1)) AND
"""
_LAST_OF_ITS_RESULT: Final = """
UPDATE temp.leaving SET bytes = bytes + s.frame
FROM (SELECT owner, max(place) AS last, count(*) AS number FROM temp.leaving
      WHERE owner IS NOT NULL GROUP BY owner) g
JOIN temp.shared s ON s.owner = g.owner
WHERE leaving.place = g.last AND g.number = s.live
"""
_AT_ONCE: Final = 1000


class Ranking:
    """Entries that may go, in an order, as of the transaction that is open.

    Pinned ones may not, nor those in the trash already. An entry whose row stands for others too
    goes together with them, and only if the scope admits all of them. ``rates`` are by producer's
    id; ``waiting_usd`` is what the time to make an entry is worth.
    """

    def __init__(
        self,
        reader: EntryReader,
        order: Order,
        scope: Scope = EVERYTHING,
        *,
        rates: Mapping[int, Rate] | None = None,
        waiting_usd: float = 0.0,
    ) -> None:
        self._connection = connection = reader.connection
        self._reader = reader
        connection.execute(_TABLES)
        connection.execute(_SHARED)
        if order.needs_rates:
            self._keep_rates(rates or {})
        condition, values = scope.condition(connection)
        if scope != EVERYTHING:
            sharing, more = scope.condition(connection, "c")
            condition += _SHARING_TOO.format(condition=sharing)
            values += more
        if order is Order.VALUE:
            values.insert(0, waiting_usd)
        connection.execute(_RANK.format(key=_KEYS[order], condition=condition), values)
        connection.execute(_LAST_OF_ITS_RESULT)

    def _keep_rates(self, rates: Mapping[int, Rate]) -> None:
        connection = self._connection
        connection.create_scalar_function("stated_usd", self._stated_usd, 4)
        stating = {row[0] for row in connection.execute(STATING).fetchall()}
        connection.executemany(
            "INSERT INTO temp.rates VALUES (?, ?, ?, ?, ?)",
            [(one, *rate, one in stating) for one, rate in rates.items()],
        )

    def _stated_usd(self, *columns: Any) -> float | None:
        frame, dictionary_id, usd_in, usd_out = columns
        usage = stated_in(self._reader, frame, dictionary_id)
        return None if usage is None else float(usage[0] * usd_in + usage[1] * usd_out)

    def cut(self, excess: int) -> Cut:
        """As few as free so many bytes; all of them if even they don't."""
        rows = freed = 0
        for _, size in self._rows(excess > 0):
            rows += 1
            freed += size
            if freed >= excess:
                break
        row: Any = self._connection.execute(
            "SELECT count(*), ifnull(sum(bytes), 0) FROM temp.leaving"
        ).fetchone()
        return Cut(rows, freed, *row)

    def _rows(self, wanted: bool) -> Iterator[tuple[int, int]]:
        if wanted:
            yield from self._connection.execute(
                "SELECT entry_id, bytes FROM temp.leaving ORDER BY place"
            )

    def ids(self, rows: int) -> Iterator[int]:
        """The first so many. What is ranked may be changed meanwhile, the ranking not."""
        for start in range(0, rows, _AT_ONCE):
            end = min(start + _AT_ONCE, rows)
            found: list[Any] = self._connection.execute(
                "SELECT entry_id FROM temp.leaving WHERE place > ? AND place <= ? ORDER BY place",
                (start, end),
            ).fetchall()
            yield from (row[0] for row in found)

    def places(self, rows: int) -> int:
        """How many entries the first so many rows stand for."""
        sharing: int = self._connection.execute(
            "SELECT count(*) FROM copies c JOIN temp.leaving l ON l.entry_id = c.entry_id"
            " WHERE c.file_id IS NOT NULL AND l.place <= ?",
            (rows,),
        ).get
        return rows + sharing

    def made(self, rows: int) -> list[Made]:
        """What the first so many took to make."""
        return made_of(
            self._reader,
            "temp.leaving l CROSS JOIN entries e ON e.id = l.entry_id",
            "l.place <= ?",
            (rows,),
        )
