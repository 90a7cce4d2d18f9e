"""What is remembered of a pair of places: how they were when in step, and what was read of them.

One small SQLite file for each pair, under ``$RUSTASSISTANT_HOME/sync``:

    facts       which places these are
    agreed      for each result (slot, digest): on which sides it was when both were in step
    containers  folders of each side, where they lie
    items       each result that was found on a side when it was last listed, with the stamp of its
                file: what has not changed is not read again

``agreed`` speaks of what is durable on both sides and is written after it; losing it costs no
result, only the knowledge of what was deleted. The rest is a memory of listings, no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from rustassistant.stores.base import Folder
from rustassistant.sync.decide import A, B, Member
from rustassistant.sync.elements import Element, Facts

_PAGE_SLOTS: Final = 500
_UNSETTLED: Final = """
INSERT OR IGNORE INTO todo
SELECT i.slot FROM items i LEFT JOIN agreed g ON g.slot = i.slot AND g.digest = i.digest
WHERE ifnull(g.sides, 0) & (1 << i.side) = 0
UNION ALL
SELECT g.slot FROM agreed g WHERE g.sides & 1 AND NOT EXISTS (
    SELECT 1 FROM items i WHERE i.slot = g.slot AND i.digest = g.digest AND i.side = 0)
UNION ALL
SELECT g.slot FROM agreed g WHERE g.sides & 2 AND NOT EXISTS (
    SELECT 1 FROM items i WHERE i.slot = g.slot AND i.digest = g.digest AND i.side = 1)
"""
_SETTLED: Final = """
SELECT count(*) FROM agreed WHERE sides = 3 AND slot NOT IN (SELECT slot FROM todo)
"""
_PUT: Final = "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_pack: Final = msgspec.msgpack.Encoder().encode
_folder: Final = msgspec.msgpack.Decoder(Folder).decode
_facts: Final = msgspec.msgpack.Decoder(Facts).decode


class Container(NamedTuple):
    """A folder of a side: a directory of a tree, or rows of a database."""

    id: int
    path: bytes
    folder: Folder


class Place(NamedTuple):
    """Where a result lies on a side."""

    side: int
    container: int
    name: bytes


class Slot(NamedTuple):
    """All that is known of one file's results. ``places`` and ``facts`` by digest."""

    key: bytes
    members: list[Member]
    places: dict[bytes, list[Place]]
    facts: dict[bytes, Facts]


class Item(NamedTuple):
    """A result that was found at ``name``; ``stamp`` None where it has to be read again."""

    name: bytes
    stamp: int | None
    element: Element
    facts: Facts


class State:
    """The file of one pair, open. ``swapped`` if the caller's A is the file's second place."""

    def __init__(self, connection: apsw.Connection, *, swapped: bool) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._swapped = swapped
        self._containers: dict[int, Container] = {}
        self._execute("CREATE TEMP TABLE todo (slot BLOB PRIMARY KEY) STRICT, WITHOUT ROWID")
        self._execute("CREATE TEMP TABLE seen (container INTEGER PRIMARY KEY) STRICT")

    def number(self, side: int) -> int:
        """The file's number for a side of the caller's."""
        return 1 - side if self._swapped else side

    def _sides(self, stored: int) -> int:
        """A set of sides, as the caller numbers them, and back."""
        return (stored >> 1) | (stored & 1) << 1 if self._swapped else stored

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    # Facts.

    def fact(self, name: str) -> str | None:
        """What was noted under that name."""
        value: str | None = self._execute("SELECT value FROM facts WHERE name = ?", (name,)).get
        return value

    def note(self, name: str, value: str) -> None:
        """Note it."""
        self._execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def forget(self, *, listings: bool = False) -> None:
        """Forget that the places were ever in step; with ``listings``, what was read too."""
        self._execute("DELETE FROM agreed")
        if listings:
            self._execute("DELETE FROM items")
            self._execute("DELETE FROM containers")
            self._containers.clear()

    # Listings.

    def container(self, side: int, path: bytes, folder: Folder) -> Container:
        """The container of that path and folder, noted as still there."""
        key = (self.number(side), path, _pack(folder))
        row = self._execute(
            "SELECT id FROM containers WHERE side = ? AND path = ? AND folder = ?", key
        ).get
        if row is None:
            self._execute("INSERT INTO containers (side, path, folder) VALUES (?, ?, ?)", key)
            row = self._connection.last_insert_rowid()
        made = Container(row, path, folder)
        self._containers[row] = made
        self._execute("INSERT OR IGNORE INTO seen VALUES (?)", (row,))
        return made

    def known(self, container: Container) -> dict[bytes, int | None]:
        """The stamps under which its files were read, by name."""
        rows = self._execute("SELECT name, stamp FROM items WHERE container = ?", (container.id,))
        return dict(rows)

    def put(self, side: int, container: Container, items: Iterable[Item]) -> None:
        """Note what was read."""
        number = self.number(side)
        self._connection.executemany(
            _PUT,
            (
                (container.id, item.name, number, item.stamp, *item.element, _pack(item.facts))
                for item in items
            ),
        )

    def drop(self, container: Container, names: Iterable[bytes]) -> None:
        """Forget what is there no more."""
        self._connection.executemany(
            "DELETE FROM items WHERE container = ? AND name = ?",
            ((container.id, name) for name in names),
        )

    def begin_listing(self) -> None:
        """Containers that are not named from now on are gone at the end."""
        self._execute("DELETE FROM seen")

    def end_listing(self, side: int) -> None:
        """Forget containers that were not named."""
        gone = [
            row[0]
            for row in self._execute(
                "SELECT id FROM containers WHERE side = ? AND id NOT IN"
                " (SELECT container FROM seen)",
                (self.number(side),),
            ).fetchall()
        ]
        for container in gone:
            self._execute("DELETE FROM items WHERE container = ?", (container,))
            self._execute("DELETE FROM containers WHERE id = ?", (container,))

    def containers(self, side: int) -> list[Container]:
        """All of a side."""
        rows: list[Any] = self._execute(
            "SELECT id, path, folder FROM containers WHERE side = ? ORDER BY id",
            (self.number(side),),
        ).fetchall()
        return [Container(row[0], row[1], _folder(row[2])) for row in rows]

    def container_of(self, place: Place) -> Container:
        """The one that a result lies in."""
        if place.container not in self._containers:
            for side in (A, B):
                self._containers |= {one.id: one for one in self.containers(side)}
        return self._containers[place.container]

    def lies_below(self, side: int, path: bytes) -> bool:
        """Whether anything was found in that directory, or below it, when it was last listed."""
        prefix = path.rstrip(b"/")
        return any(
            one.path == prefix or one.path.startswith(prefix + b"/")
            for one in self.containers(side)
            if self._execute("SELECT EXISTS (SELECT 1 FROM items WHERE container = ?)",
                             (one.id,)).get
        )  # fmt: skip

    # Comparing.

    def count(self, side: int) -> int:
        """Results of a side."""
        counted: int = self._execute(
            "SELECT count(*) FROM items WHERE side = ?", (self.number(side),)
        ).get
        return counted

    def held(self, side: int) -> int:
        """Results that a side held when both were in step."""
        bit = 1 << self.number(side)
        counted: int = self._execute("SELECT count(*) FROM agreed WHERE sides & ?", (bit,)).get
        return counted

    def settled(self) -> int:
        """Results that are on both sides, of files about which nothing has to be decided."""
        counted: int = self._execute(_SETTLED).get
        return counted

    def compare(self) -> None:
        """Find the slots in which anything is not as it was agreed."""
        self._execute("DELETE FROM todo")
        self._execute(_UNSETTLED)

    def slots(self) -> Iterator[Slot]:
        """Those slots, some at a time, so that memory does not grow with their number."""
        last = b""
        while True:
            page: list[Any] = self._execute(
                "SELECT slot FROM todo WHERE slot > ? ORDER BY slot LIMIT ?", (last, _PAGE_SLOTS)
            ).fetchall()
            if not page:
                return
            keys = [row[0] for row in page]
            yield from self._read(keys)
            last = keys[-1]

    def _read(self, keys: Sequence[bytes]) -> Iterator[Slot]:
        between = (keys[0], keys[-1])
        items: defaultdict[bytes, list[Any]] = defaultdict(list)
        for row in self._execute(
            "SELECT i.slot, i.digest, i.identity, i.analyzed_at, i.side, i.container, i.name,"
            " i.facts FROM todo t JOIN items i ON i.slot = t.slot"
            " WHERE t.slot BETWEEN ? AND ? ORDER BY i.slot, i.container, i.name",
            between,
        ):
            items[row[0]].append(row[1:])
        was: defaultdict[bytes, dict[bytes, int]] = defaultdict(dict)
        for slot, digest, sides in self._execute(
            "SELECT a.slot, a.digest, a.sides FROM todo t JOIN agreed a ON a.slot = t.slot"
            " WHERE t.slot BETWEEN ? AND ?",
            between,
        ):
            was[slot][digest] = self._sides(sides)
        for key in keys:
            yield self._slot(key, items[key], was[key])

    def _slot(self, key: bytes, rows: Iterable[Any], was: dict[bytes, int]) -> Slot:
        members: dict[bytes, Member] = {}
        slot = Slot(key, [], defaultdict(list), {})
        for digest, identity, analyzed_at, stored, container, name, facts in rows:
            side = self.number(stored)
            before = members.get(digest)
            now = (before.now if before else 0) | 1 << side
            members[digest] = Member(digest, identity, analyzed_at, now, was.get(digest, 0))
            slot.places[digest].append(Place(side, container, name))
            slot.facts[digest] = _facts(facts)
        slot.members.extend(members.values())
        return slot

    def agree(self, slots: Iterable[tuple[bytes, dict[bytes, int]]]) -> None:
        """Remember on which sides each result of these slots is, now that it is durable there."""
        for key, agreed in slots:
            self._execute("DELETE FROM agreed WHERE slot = ?", (key,))
            self._connection.executemany(
                "INSERT INTO agreed VALUES (?, ?, ?)",
                ((key, digest, self._sides(sides)) for digest, sides in agreed.items()),
            )
