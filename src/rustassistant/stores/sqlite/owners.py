"""Which entries hold which results: equal ones are kept once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_AT_ONCE: Final = 256
_FIND: Final = f"""
SELECT result_digest, id, result, dictionary_id FROM entries INDEXED BY entries_by_result
WHERE result IS NOT NULL
  AND substr(result_digest, 1, {HASH_PREFIX}) IN ({",".join("?" * _AT_ONCE)})
"""
_REMEMBERED: Final = 2**15
"""Results to remember: some MiB. Copies of a cache repeat them in the order in which they came."""


class Owners:
    """Finds who holds a result, by its digest.

    It remembers what it found, and who came to hold one by its owner: to be made anew when another
    connection may have written. While all that there is came in this way, it knows without a query
    of most results that nobody holds them.
    """

    def __init__(self, reader: EntryReader) -> None:
        self._reader = reader
        self._execute = reader.connection.execute
        is_empty = self._execute("SELECT 1 FROM entries LIMIT 1").fetchone() is None
        self._made = _Prefixes() if is_empty else None
        self.known: dict[bytes, int] = {}
        self._sound: set[int] = set()

    @property
    def prefixes(self) -> bytearray | None:
        """A bit for each digest that somebody may hold, as `_Prefixes` has them; None if that can't
        be told."""
        return None if self._made is None else self._made.bits

    def make_room(self) -> None:
        """Forget what is known, if that is much."""
        if len(self.known) > _REMEMBERED:
            self.known.clear()
            self._sound.clear()

    def find(self, digests: Iterable[bytes]) -> None:
        """Look up who holds these results, for `get`, as many at once as is quickest."""
        owners = self.known
        wanted = {digest for digest in digests if digest not in owners}
        if self._made is not None:
            wanted = set(filter(self._made.may_hold, wanted))
        prefixes: list[bytes | None] = [digest[:HASH_PREFIX] for digest in wanted]
        prefixes += [None] * (-len(prefixes) % _AT_ONCE)
        for start in range(0, len(prefixes), _AT_ONCE):
            rows = self._execute(_FIND, prefixes[start : start + _AT_ONCE])
            for digest, row_id, frame, dictionary_id in rows:
                if digest in wanted and self._can_be_read(row_id, frame, dictionary_id, digest):
                    owners[digest] = row_id

    def _can_be_read(
        self, row_id: int, frame: bytes, dictionary_id: int | None, digest: bytes
    ) -> bool:
        """Good bytes are not given up for damaged ones."""
        try:
            self._reader.text(frame, dictionary_id, digest)
        except DamagedError:
            return False
        self._sound.add(row_id)
        return True

    def get(self, digest: bytes) -> int | None:
        """The entry that holds a result, if any of those that were looked up does."""
        return self.known.get(digest)

    def add(self, digest: bytes, entry_id: int) -> int:
        """The entry that holds a result, which is this one if none did."""
        owner = self.known.setdefault(digest, entry_id)
        if owner == entry_id and self._made is not None:
            self._made.add(digest)
        return owner

    def is_sound(self, owner_id: int) -> bool:
        """Whether a result that was looked up can be read."""
        return owner_id in self._sound


class _Prefixes:
    """Which digests have come, as far as three of their bytes tell: a bit for each, 2 MiB."""

    def __init__(self) -> None:
        self.bits = bytearray(2 ** (8 * HASH_PREFIX - 3))

    def add(self, digest: bytes) -> None:
        self.bits[digest[0] << 13 | digest[1] << 5 | digest[2] >> 3] |= 1 << (digest[2] & 7)

    def may_hold(self, digest: bytes) -> int:
        byte = self.bits[digest[0] << 13 | digest[1] << 5 | digest[2] >> 3]
        return byte & 1 << (digest[2] & 7)
