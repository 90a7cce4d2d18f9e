"""The pages of a database file, read without SQLite: what a damaged b-tree still holds.

SQLite gives up a whole scan at the first page that it finds damaged, and all that lies below it.
The rows are still there, on pages of their own. The layout is
https://www.sqlite.org/fileformat2.html's: section 1.6 for b-tree pages, 2.1 for records.

Nothing that is read here can be trusted: lengths and numbers are held against the page, loops are
cut, and a cell that makes no sense is left out. What a page says of itself, its type and the number
of its cells, is only believed where its content agrees.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from rustassistant.stores.sqlite.integrity.records import NonsenseError, Value, record, varint
from rustassistant.stores.sqlite.schema import PAGE_SIZE

HEADER_BYTES: Final = 100
_INTERIOR_INDEX: Final = 2
_INTERIOR_TABLE: Final = 5
_LEAF_INDEX: Final = 10
_LEAF_TABLE: Final = 13
_INTERIOR: Final = (_INTERIOR_INDEX, _INTERIOR_TABLE)
_OF_TABLE: Final = (_LEAF_TABLE, _INTERIOR_TABLE)
_OF_INDEX: Final = (_LEAF_INDEX, _INTERIOR_INDEX)
"""Types of the pages of one b-tree. A table without row ids is stored as an index is."""

_MAX_DEPTH: Final = 40
_SAMPLE: Final = 8
"""Cells that tell what a page is."""

_LEAST_CELL: Final = 4
"""Bytes that a cell takes at least."""


class Cell(NamedTuple):
    """A row as a page holds it. ``rowid`` is None in an index.

    ``exact`` says that all lengths in it agree, which bytes that are no cell hardly ever do.
    """

    page: int
    rowid: int | None
    values: tuple[Value, ...]
    exact: bool


class _Placed(NamedTuple):
    """A cell, and the bytes of the page that it takes."""

    cell: Cell
    start: int
    end: int


class SchemaRow(NamedTuple):
    """A row of ``sqlite_schema``, as far as finding its b-tree goes."""

    kind: str
    name: str
    root: int


class Pages:
    """Pages of a database whose bytes are ``image``: a file mapped into memory, or bytes."""

    def __init__(self, image: memoryview) -> None:
        self._image = image
        self.size, reserved = _page_size(bytes(image[:HEADER_BYTES]))
        self._usable = self.size - reserved
        self.count = len(image) // self.size

    def schema(self) -> list[SchemaRow]:
        """The tables and indices that the first b-tree names."""
        found = []
        for cell in self.cells(1):
            match cell.values:
                case (str(kind), str(name), str(), int(root), *_) if kind in ("table", "index"):
                    found.append(SchemaRow(kind, name, root))
        return found

    def cells(
        self,
        root: int,
        seen: set[int] | None = None,
        *,
        keyed: bool = True,
        spoiled: set[int] | None = None,
    ) -> Iterator[Cell]:
        """Every cell that makes sense of the b-tree that begins on page ``root``.

        ``seen`` gets the numbers of its pages; what is in it already is left out. ``keyed`` is
        false for an index, and for a table without row ids. ``spoiled`` gets the pages of which
        something could not be read.
        """
        seen = set() if seen is None else seen
        spoiled = set() if spoiled is None else spoiled
        pending = [(root, 0)]
        while pending:
            number, depth = pending.pop()
            kind = None
            if number not in seen and 1 <= number <= self.count and depth <= _MAX_DEPTH:
                kind = self._reading(number, _OF_TABLE if keyed else _OF_INDEX)
            if kind is None:
                spoiled.add(number)
                continue
            seen.add(number)
            if kind in _INTERIOR:
                pending += [(child, depth + 1) for child in reversed(self._children(number, kind))]
            if kind != _INTERIOR_TABLE:
                yield from self._cells_of(number, kind, spoiled)

    def orphans(self, seen: set[int], spoiled: set[int] | None = None) -> Iterator[Cell]:
        """The cells of pages that no b-tree in ``seen`` led to and that are not free."""
        free = self._free()
        spoiled = set() if spoiled is None else spoiled
        for number in range(2, self.count + 1):
            if number in seen or number in free:
                continue
            stated = self._kind(number)
            kinds = (_LEAF_TABLE, _LEAF_INDEX, _INTERIOR_INDEX)
            kind = next((one for one in kinds if self._reads_as(number, one)), stated)
            if kind in kinds:
                yield from self._cells_of(number, kind, spoiled)

    # What a page is.

    def _reading(self, number: int, kinds: tuple[int, int]) -> int | None:
        """What a page of a tree is to be read as: what it says, unless its content says other."""
        stated = self._kind(number)
        for kind in sorted(kinds, key=lambda one: one != stated):
            if self._reads_as(number, kind):
                return kind
        return stated if stated in kinds else None

    def _reads_as(self, number: int, kind: int) -> bool:
        """Whether most of what a page holds makes sense for its type being ``kind``."""
        if kind in _INTERIOR:
            children = self._children(number, kind)
            in_file = all(2 <= child <= self.count for child in children)
            if len(children) < 2 or not in_file or len(set(children)) < len(children):
                return False
        if kind == _INTERIOR_TABLE:
            return True
        positions = self._positions(number, kind)[:_SAMPLE]
        exact = [one for one in self._placed(number, kind, positions) if one.cell.exact]
        return 2 * len(exact) > len(positions)

    def _page(self, number: int) -> memoryview:
        return self._image[(number - 1) * self.size : number * self.size]

    def _kind(self, number: int) -> int:
        return self._page(number)[_start(number)]

    def _children(self, number: int, kind: int) -> list[int]:
        page, start = self._page(number), _start(number)
        children = [
            int.from_bytes(page[position : position + 4], "big")
            for position in self._positions(number, kind)
        ]
        return [*children, int.from_bytes(page[start + 8 : start + 12], "big")]

    # What is on a page.

    def _number(self, number: int, at: int) -> int:
        """Two bytes of a page's b-tree header."""
        start = _start(number) + at
        return int.from_bytes(self._page(number)[start : start + 2], "big")

    def _positions(
        self, number: int, kind: int, begin: int = 0, end: int | None = None
    ) -> list[int]:
        """Where the cells of a page begin: all that it counts unless told otherwise."""
        page, first = self._page(number), _array(number, kind)
        end = self._number(number, 3) if end is None else end
        array = bytes(page[first + 2 * begin : first + 2 * end])
        # SQLite reads a position modulo the size of a page, whatever else may stand there.
        numbers = (
            position & self.size - 1
            for (position,) in struct.iter_unpack(">H", array[: len(array) & ~1])
        )
        return [number for number in numbers if first <= number < self._usable]

    def _cells_of(self, number: int, kind: int, spoiled: set[int]) -> Iterator[Cell]:
        count, top = self._number(number, 3), self._number(number, 5) or 2**16
        found = self._placed(number, kind, self._positions(number, kind))
        if any(one.cell.exact and one.start == top for one in found):
            # It is right: positions end before it, and what lies there before it was deleted.
            room = (top - _array(number, kind)) // 2
            found = self._placed(number, kind, self._positions(number, kind, 0, min(count, room)))
            found = [one for one in found if one.start >= top]
        taken = bytearray(self.size)
        kept = self._apart([one for one in found if one.cell.exact], taken)
        left = self._unaccounted(number, kept)
        hidden = self._hidden(number, kind, taken, left)
        if hidden:
            kept, left = kept + hidden, 0
        elif left:
            kept = self._apart(found, bytearray(self.size))
        if left and not (len(kept) == count and all(one.cell.exact for one in kept)):
            spoiled.add(number)
        for one in kept:
            yield one.cell

    def _placed(self, number: int, kind: int, positions: list[int]) -> list[_Placed]:
        placed = (self._cell(number, position, kind) for position in positions)
        return [one for one in placed if one is not None]

    @staticmethod
    def _apart(found: list[_Placed], taken: bytearray) -> list[_Placed]:
        """Those of some cells that do not overlap, in their order; what is exact is kept first."""
        kept = set()
        for place, one in sorted(enumerate(found), key=lambda pair: not pair[1].cell.exact):
            # Of what is not exact, the length may be what is wrong.
            end = one.end if one.cell.exact else one.start + 1
            if not any(taken[one.start : end]):
                taken[one.start : end] = b"\1" * (end - one.start)
                kept.add(place)
        return [one for place, one in enumerate(found) if place in kept]

    def _hidden(self, number: int, kind: int, taken: bytearray, left: int) -> list[_Placed]:
        """Cells that a page does not count, where they fill exactly what is ``left`` of it.

        What was deleted does not: its bytes are accounted for as free.
        """
        count, top = self._number(number, 3), self._number(number, 5) or 2**16
        hidden: list[_Placed] = []
        room = (top - _array(number, kind)) // 2
        for position in self._positions(number, kind, count, room) if left > 0 else ():
            one = self._cell(number, position, kind)
            if one is None or not one.cell.exact or position < top:
                return []
            if not self._apart([one], taken):
                return []
            hidden.append(one)
            left -= _bytes(one)
            if left <= 0:
                break
        return hidden if left == 0 else []

    def _unaccounted(self, number: int, kept: list[_Placed]) -> int:
        """Bytes of a page's content that are neither in cells nor known to be free."""
        page, start = self._page(number), _start(number)
        left = self._usable - (self._number(number, 5) or 2**16) - page[start + 7]
        left -= sum(map(_bytes, kept))
        block, before = self._number(number, 1), 0
        while before < block <= self._usable - 4:  # they are in ascending order
            following, length = struct.unpack_from(">HH", page, block)
            left -= length
            block, before = following, block
        return left

    def _cell(self, number: int, position: int, kind: int) -> _Placed | None:
        """The cell at a position of a page, and where it ends there; None if it is none."""
        page = self._page(number)
        at = position + (4 if kind in _INTERIOR else 0)
        with suppress(NonsenseError, IndexError, struct.error):
            payload_bytes, at = varint(page, at)
            rowid = None
            if kind == _LEAF_TABLE:
                rowid, at = varint(page, at)
            payload, end = self._payload(page, at, payload_bytes, is_table=kind == _LEAF_TABLE)
            values, is_whole = record(payload)
            exact = is_whole and len(payload) == payload_bytes and end <= self._usable
            return _Placed(Cell(number, rowid, values, exact), position, end)
        return None

    def _payload(
        self, page: memoryview, at: int, length: int, *, is_table: bool
    ) -> tuple[bytes, int]:
        """The bytes of a record, those on overflow pages included, as many as there are.

        And where its part on the page ends. A length that is wrong does no harm as long as all
        columns are among them.
        """
        usable = self._usable
        if length <= 0:
            raise NonsenseError
        most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
        here = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            here = least + (length - least) % (usable - 4)
            if here > most:
                here = least
        parts = [bytes(page[at : at + here])]
        left, end = length - here, at + here + (4 if length > here else 0)
        following = int.from_bytes(page[at + here : end], "big") if left else 0
        been: set[int] = set()
        while left > 0 and 1 <= following <= self.count and following not in been:
            been.add(following)
            overflow = self._page(following)
            part = bytes(overflow[4 : 4 + min(left, usable - 4)])
            parts.append(part)
            left -= len(part)
            following = int.from_bytes(overflow[:4], "big")
        return b"".join(parts), end

    def _free(self) -> set[int]:
        """Pages of the freelist: what they hold was deleted."""
        free: set[int] = set()
        trunk = int.from_bytes(self._image[32:36], "big")
        while 1 < trunk <= self.count and trunk not in free:
            free.add(trunk)
            page = self._page(trunk)
            count = min(int.from_bytes(page[4:8], "big"), self._usable // 4 - 2)
            leaves = bytes(page[8 : 8 + 4 * count])
            free.update(leaf for (leaf,) in struct.iter_unpack(">I", leaves))
            trunk = int.from_bytes(page[:4], "big")
        return free


def _page_size(header: bytes) -> tuple[int, int]:
    """Bytes of a page, and how many at its end are not SQLite's; ours where that makes no sense."""
    size = int.from_bytes(header[16:18], "big")
    size = 2**16 if size == 1 else size
    if not header.startswith(b"SQLite") or size < 512 or size.bit_count() != 1:
        return PAGE_SIZE, 0
    reserved = header[20]
    return size, reserved if size - reserved >= 480 else 0


def _start(number: int) -> int:
    """Where in a page its b-tree header begins: the first page has the file's header before."""
    return HEADER_BYTES if number == 1 else 0


def _array(number: int, kind: int) -> int:
    """Where in a page the positions of its cells begin."""
    return _start(number) + (12 if kind in _INTERIOR else 8)


def _bytes(one: _Placed) -> int:
    return max(_LEAST_CELL, one.end - one.start)
