"""The pages of a database file, read without SQLite: what a damaged b-tree still holds.

SQLite gives up a whole scan at the first page that it finds damaged, and all that lies below it.
The rows are still there, on pages of their own. The layout is
https://www.sqlite.org/fileformat2.html's: section 1.6 for b-tree pages, 2.1 for records.

Nothing that is read here can be trusted: lengths and numbers are held against the page, loops are
cut, and a cell that makes no sense is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from rustassistant.stores.sqlite.schema import PAGE_SIZE

Value: TypeAlias = int | float | str | bytes | None
"""What a record may hold. A text that is not UTF-8 comes as its bytes."""

HEADER_BYTES: Final = 100
_INTERIOR_INDEX: Final = 2
_INTERIOR_TABLE: Final = 5
_LEAF_INDEX: Final = 10
LEAF_TABLE: Final = 13
_INTERIOR: Final = (_INTERIOR_INDEX, _INTERIOR_TABLE)
_KINDS: Final = (*_INTERIOR, _LEAF_INDEX, LEAF_TABLE)
_MAX_DEPTH: Final = 40
_MAX_COLUMNS: Final = 200
_REAL: Final = 7
_NUMBER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8, 8)
_ZERO, _ONE = 8, 9
_FIRST_BLOB: Final = 12


class Cell(NamedTuple):
    """A row as a page holds it. ``rowid`` is None in an index."""

    page: int
    rowid: int | None
    values: tuple[Value, ...]


class SchemaRow(NamedTuple):
    """A row of ``sqlite_schema``, as far as finding its b-tree goes."""

    kind: str
    name: str
    root: int


class _NonsenseError(ValueError):
    """Bytes that are not what they should be."""


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

    def cells(self, root: int, seen: set[int] | None = None) -> Iterator[Cell]:
        """Every cell that makes sense of the b-tree that begins on page ``root``.

        ``seen`` gets the numbers of its pages; what is in it already is left out.
        """
        seen = set() if seen is None else seen
        pending = [(root, 0)]
        while pending:
            number, depth = pending.pop()
            if number in seen or not 1 <= number <= self.count or depth > _MAX_DEPTH:
                continue
            seen.add(number)
            kind, children = self._children(number)
            pending += [(child, depth + 1) for child in reversed(children)]
            if kind != _INTERIOR_TABLE:
                yield from self.cells_of(number)

    def orphans(self, seen: set[int]) -> Iterator[int]:
        """Leaf pages of tables that no b-tree in ``seen`` led to and that are not free."""
        free = self._free()
        for number in range(2, self.count + 1):
            if number not in seen and number not in free and self._kind(number) == LEAF_TABLE:
                yield number

    def cells_of(self, number: int) -> Iterator[Cell]:
        """The cells of one page."""
        page, start = self._page(number), _start(number)
        kind = page[start]
        if kind not in _KINDS or kind == _INTERIOR_TABLE:
            return
        for position in self._positions(page, start):
            at = position + (4 if kind in _INTERIOR else 0)
            try:
                payload_bytes, at = _varint(page, at)
                rowid = None
                if kind == LEAF_TABLE:
                    rowid, at = _varint(page, at)
                payload = self._payload(page, at, payload_bytes, is_table=kind == LEAF_TABLE)
                yield Cell(number, rowid, _record(payload))
            except (_NonsenseError, IndexError, struct.error):
                continue

    def _page(self, number: int) -> memoryview:
        return self._image[(number - 1) * self.size : number * self.size]

    def _kind(self, number: int) -> int:
        return self._page(number)[_start(number)]

    def _positions(self, page: memoryview, start: int) -> list[int]:
        """Where the cells of a page begin."""
        kind = page[start]
        count = int.from_bytes(page[start + 3 : start + 5], "big")
        first = start + (12 if kind in _INTERIOR else 8)
        array = bytes(page[first : first + 2 * min(count, self.size // 2)])
        # SQLite reads a position modulo the size of a page, whatever else may stand there.
        numbers = (
            position & self.size - 1
            for (position,) in struct.iter_unpack(">H", array[: len(array) & ~1])
        )
        return [number for number in numbers if first <= number < self._usable]

    def _children(self, number: int) -> tuple[int, list[int]]:
        page, start = self._page(number), _start(number)
        kind = page[start]
        if kind not in _INTERIOR:
            return kind, []
        children = [
            int.from_bytes(page[position : position + 4], "big")
            for position in self._positions(page, start)
        ]
        return kind, [*children, int.from_bytes(page[start + 8 : start + 12], "big")]

    def _payload(self, page: memoryview, at: int, length: int, *, is_table: bool) -> bytes:
        """The bytes of a record, those on overflow pages included, as many as there are.

        A length that is wrong does no harm as long as all columns are among them.
        """
        usable = self._usable
        if length <= 0:
            raise _NonsenseError
        most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
        here = length
        if length > most:
            least = (usable - 12) * 32 // 255 - 23
            here = least + (length - least) % (usable - 4)
            if here > most:
                here = least
        parts = [bytes(page[at : at + here])]
        left = length - here
        following = int.from_bytes(page[at + here : at + here + 4], "big") if left else 0
        while left > 0 and 1 <= following <= self.count and len(parts) <= self.count:
            overflow = self._page(following)
            part = bytes(overflow[4 : 4 + min(left, usable - 4)])
            parts.append(part)
            left -= len(part)
            following = int.from_bytes(overflow[:4], "big")
        return b"".join(parts)

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


def _varint(data: memoryview | bytes, at: int) -> tuple[int, int]:
    """A variable-length integer of one to nine bytes, signed; and where the next thing begins."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    value = value << 8 | data[at]
    return (value - 2**64 if value >= 2**63 else value), at + 1


def _record(payload: bytes) -> tuple[Value, ...]:
    header_bytes, at = _varint(payload, 0)
    if not at <= header_bytes <= len(payload):
        raise _NonsenseError
    kinds = []
    while at < header_bytes:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if len(kinds) > _MAX_COLUMNS:
        raise _NonsenseError
    at = header_bytes  # where SQLite goes on, even if the last of the header reaches beyond
    values: list[Value] = []
    for kind in kinds:
        try:
            value, at = _value(payload, at, kind)
        except _NonsenseError:  # what stands before it may be right, and all that matters
            values += [None] * (len(kinds) - len(values))
            break
        values.append(value)
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind in (0, _ZERO, _ONE):
        return (None if kind == 0 else kind - _ZERO), at
    if kind < 0 or kind in (10, 11):
        raise _NonsenseError
    length = _NUMBER_BYTES[kind] if kind <= _REAL else (kind - _FIRST_BLOB) // 2
    data = payload[at : at + length]
    if len(data) != length:
        raise _NonsenseError
    value: Value = data
    if kind < _REAL:
        value = int.from_bytes(data, "big", signed=True)
    elif kind == _REAL:
        (value,) = struct.unpack(">d", data)
    elif kind % 2:
        with suppress(UnicodeDecodeError):
            value = data.decode()
    return value, at + length
