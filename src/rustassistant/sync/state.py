"""What is remembered of a pair of places: how they were when in step, and what was read of them.

One small SQLite file for each pair, under ``$RUSTASSISTANT_HOME/sync``:

    facts       which places these are
    agreed      for each result (slot, digest): on which sides it was when both were in step
    containers  folders of each side, where they lie
    items       each result that was found on a side when it was last listed, with the stamp of its
                file: what has not changed is not read again
    counts      how many of these and of those there are, kept by triggers
    touched     slots of which something was found changed and nothing is decided yet
    unsettled   slots that were decided about and are not in step, by intent or by conflict

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
from rustassistant.sync.decide import BOTH, A, B, Member
from rustassistant.sync.elements import Element, Facts

COUNT_OF_AGREED: Final = 10
"""In ``counts``: below it the results of a side, from it on those that are agreed, by sides."""

_PAGE_SLOTS: Final = 500
# CROSS JOIN, here and below, keeps SQLite from going through all rows to find those of few slots.
_UNSETTLED: Final = """
INSERT OR IGNORE INTO todo
SELECT i.slot FROM {few} items i {of_item}
LEFT JOIN agreed g ON g.slot = i.slot AND g.digest = i.digest
WHERE ifnull(g.sides, 0) & (1 << i.side) = 0
UNION ALL
SELECT g.slot FROM {few} agreed g {of_agreed} WHERE g.sides & 1 AND NOT EXISTS (
    SELECT 1 FROM items i WHERE i.slot = g.slot AND i.digest = g.digest AND i.side = 0)
UNION ALL
SELECT g.slot FROM {few} agreed g {of_agreed} WHERE g.sides & 2 AND NOT EXISTS (
    SELECT 1 FROM items i WHERE i.slot = g.slot AND i.digest = g.digest AND i.side = 1)
"""
_UNSETTLED_OF_ALL: Final = _UNSETTLED.format(few="", of_item="", of_agreed="")
_UNSETTLED_OF_TOUCHED: Final = _UNSETTLED.format(
    few="touched t CROSS JOIN", of_item="ON i.slot = t.slot", of_agreed="ON g.slot = t.slot"
)
_SETTLED: Final = """
SELECT (SELECT number FROM counts WHERE id = 13)
       - (SELECT count(*) FROM todo t CROSS JOIN agreed g ON g.slot = t.slot WHERE g.sides = 3)
       - (SELECT ifnull(sum(surplus), 0) FROM unsettled)
"""
_PUT: Final = """
INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (container, name) DO UPDATE SET stamp = excluded.stamp, slot = excluded.slot,
    identity = excluded.identity, digest = excluded.digest, analyzed_at = excluded.analyzed_at,
    facts = excluded.facts
"""
_DISPLACE: Final = """
DELETE FROM agreed WHERE (slot, digest) IN (
    SELECT slot, digest FROM items WHERE container = ? AND name = ? AND slot <> ?)
"""
_TOUCH: Final = "".join(
    # Not OR IGNORE: in a trigger, the conflict clause of what fires it counts instead.
    f"CREATE TEMP TRIGGER touched_by_{verb}_{row} AFTER {verb} ON main.items BEGIN"  # noqa: S608
    f" INSERT INTO touched SELECT {row}.slot"
    f" WHERE NOT EXISTS (SELECT 1 FROM touched WHERE slot = {row}.slot); END;"
    for verb, row in (("INSERT", "NEW"), ("UPDATE", "OLD"), ("UPDATE", "NEW"), ("DELETE", "OLD"))
)

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
    """All that is known of one file's results. ``places`` and ``facts`` by digest, as are the sides
    in ``agreed``, on which each was when both were in step."""

    key: bytes
    members: list[Member]
    places: dict[bytes, list[Place]]
    facts: dict[bytes, Facts]
    agreed: dict[bytes, int]


class Item(NamedTuple):
    """A result that was found at ``name``; ``stamp`` None where it has to be read again."""

    name: bytes
    stamp: int | None
    element: Element
    facts: Facts


class Rest(NamedTuple):
    """What is not in step though it was decided about: results that have vanished from the one
    side and from the other, conflicts that are left, results that are not meant. ``surplus`` is how
    many are remembered as being on both sides and are not."""

    vanished: tuple[int, int] = (0, 0)
    left: int = 0
    filtered: int = 0
    surplus: int = 0


class Settled(NamedTuple):
    """What became of a slot. ``agreed`` None leaves what was agreed as it is; ``again`` if it is to
    be compared again, when what was done shows."""

    key: bytes
    agreed: dict[bytes, int] | None
    rest: Rest
    again: bool


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
        """Note it, if it is news: each writing waits for the disk."""
        if self.fact(name) != value:
            self._execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def forget(self, *, listings: bool = False) -> None:
        """Forget that the places were ever in step; with ``listings``, what was read too."""
        for table in ("agreed", "touched", "unsettled"):
            self._execute(f"DELETE FROM {table}")  # noqa: S608 - one of these three
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

    def known(
        self, container: Container, names: Iterable[bytes] | None = None
    ) -> dict[bytes, int | None]:
        """The stamps under which its files were read, by name: of all, or of these."""
        sql = "SELECT name, stamp FROM items WHERE container = ?"
        if names is None:
            return dict(self._execute(sql, (container.id,)))
        wanted = ((container.id, name) for name in names)
        return dict(self._connection.executemany(f"{sql} AND name = ?", wanted))

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

    def displace(self, container: Container, items: Iterable[Item]) -> None:
        """Forget that results were agreed whose names now hold others' results, to be called
        before `put`: nobody has deleted them, so they are to come back as if they were new."""
        self._connection.executemany(
            _DISPLACE, ((container.id, item.name, item.element.slot) for item in items)
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

    def end_listing(self, side: int, below: bytes | None = None) -> None:
        """Forget containers that were not named: all of them, or those at or below a path."""
        rows: list[Any] = self._execute(
            "SELECT id, path FROM containers WHERE side = ? AND id NOT IN"
            " (SELECT container FROM seen)",
            (self.number(side),),
        ).fetchall()
        gone = [
            container
            for container, path in rows
            if below is None or path == below or path.startswith(below + b"/")
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

    def containers_at(self, side: int, path: bytes) -> list[Container]:
        """Those of that path: one, unless it held what seemed to be of several repositories."""
        rows: list[Any] = self._execute(
            "SELECT id, path, folder FROM containers WHERE side = ? AND path = ?",
            (self.number(side), path),
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

    def _count(self, *ids: int) -> int:
        sql = "SELECT ifnull(sum(number), 0) FROM counts WHERE id IN (?, ?)"
        counted: int = self._execute(sql, (ids[0], ids[-1])).get
        return counted

    def count(self, side: int) -> int:
        """Results of a side."""
        return self._count(self.number(side))

    def held(self, side: int) -> int:
        """Results that a side held when both were in step."""
        return self._count(COUNT_OF_AGREED + (1 << self.number(side)), COUNT_OF_AGREED + BOTH)

    def settled(self) -> int:
        """Results that are on both sides, of files about which nothing has to be decided."""
        counted: int = self._execute(_SETTLED).get
        return counted

    def touch(self) -> None:
        """From now on, note the slots of all that is found changed."""
        self._execute(_TOUCH)

    def compare(self, *, touched: bool = False) -> None:
        """Find the slots in which anything is not as it was agreed; or just those of which
        something was found changed, if all others have been decided about."""
        self._execute("DELETE FROM todo")
        if touched:
            self._execute("DELETE FROM unsettled WHERE slot IN (SELECT slot FROM touched)")
            self._execute(_UNSETTLED_OF_TOUCHED)
            self._execute("DELETE FROM touched WHERE slot NOT IN (SELECT slot FROM todo)")
        else:
            self._execute("DELETE FROM unsettled")
            self._execute("DELETE FROM touched")
            self._execute(_UNSETTLED_OF_ALL)

    def rest(self) -> Rest:
        """The sum over all that was decided about before."""
        row: tuple[Any, ...] = self._execute(
            "SELECT total(vanished_a), total(vanished_b), total(left_over), total(filtered),"
            " total(surplus) FROM unsettled"
        ).fetchall()[0]
        a, b, left, filtered, surplus = map(int, row)
        return Rest((b, a) if self._swapped else (a, b), left, filtered, surplus)

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
            " i.facts FROM todo t CROSS JOIN items i ON i.slot = t.slot"
            " WHERE t.slot BETWEEN ? AND ? ORDER BY i.slot, i.container, i.name",
            between,
        ):
            items[row[0]].append(row[1:])
        was: defaultdict[bytes, dict[bytes, int]] = defaultdict(dict)
        for slot, digest, sides in self._execute(
            "SELECT a.slot, a.digest, a.sides FROM todo t CROSS JOIN agreed a ON a.slot = t.slot"
            " WHERE t.slot BETWEEN ? AND ?",
            between,
        ):
            was[slot][digest] = self._sides(sides)
        for key in keys:
            yield self._slot(key, items[key], was[key])

    def _slot(self, key: bytes, rows: Iterable[Any], was: dict[bytes, int]) -> Slot:
        members: dict[bytes, Member] = {}
        slot = Slot(key, [], defaultdict(list), {}, was)
        for digest, identity, analyzed_at, stored, container, name, facts in rows:
            side = self.number(stored)
            before = members.get(digest)
            now = (before.now if before else 0) | 1 << side
            members[digest] = Member(digest, identity, analyzed_at, now, was.get(digest, 0))
            slot.places[digest].append(Place(side, container, name))
            slot.facts[digest] = _facts(facts)
        slot.members.extend(members.values())
        return slot

    def agree(self, slots: Iterable[Settled], failed: Iterable[bytes] = ()) -> None:
        """Remember on which sides each result of these slots is, now that it is durable there.

        What has failed is to be decided about again.
        """
        again = [*failed]
        for key, agreed, rest, is_again in slots:
            if agreed is not None:
                self._execute("DELETE FROM agreed WHERE slot = ?", (key,))
                self._connection.executemany(
                    "INSERT INTO agreed VALUES (?, ?, ?)",
                    ((key, digest, self._sides(sides)) for digest, sides in agreed.items()),
                )
            self._execute("DELETE FROM touched WHERE slot = ?", (key,))
            again += [key] * is_again
            if rest != Rest():
                a, b = rest.vanished[::-1] if self._swapped else rest.vanished
                self._execute(
                    "INSERT OR REPLACE INTO unsettled VALUES (?, ?, ?, ?, ?, ?)",
                    (key, a, b, rest.left, rest.filtered, rest.surplus),
                )
        self._connection.executemany(
            "INSERT OR IGNORE INTO touched VALUES (?)", ((key,) for key in again)
        )
