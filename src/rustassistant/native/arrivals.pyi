"""Rows of records that are the first of their identity, made many at a time."""

from collections.abc import Callable
from typing import Any

from rustassistant.stores.sqlite.identifiers import Identifiers

class Arriving:
    """Records on their way into a folder of a repository all of whose files are known.

    ``packed`` is a msgpack array of them, ``ids`` are the `Identifiers`; ``owners`` tells who holds
    results by digest, and ``prefixes`` has a bit for each digest that somebody may hold, or is None
    where that can't be told; ``add_sums`` is `totals.Totals.add`, ``crc32`` zlib's.
    """

    position: int
    """Of the record that comes next."""

    def __init__(
        self,
        packed: bytes,
        *,
        ids: Identifiers,
        owners: dict[bytes, int],
        prefixes: bytearray | None,
        add_sums: Callable[[tuple[int, int, int], tuple[int, ...]], None],
        most_tokens: int,
        crc32: Callable[..., int],
        cache_type: str,
        folder_id: int,
        repository_id: int,
    ) -> None: ...
    def may_be_held(self) -> list[bytes] | None:
        """Digests of results that somebody may hold who is not known; None if that can't be told
        of all."""

    def pass_over(self) -> None:
        """Go on behind the record that comes next."""

    def add_first(self, values: list[Any], files_of_rows: set[int], next_entry: int) -> int:
        """Make rows of records for as long as each is the first of its identity.

        ``values`` are those of rows to be inserted, one behind the other, and ``files_of_rows`` the
        ids of their files; gives the next entry's id.
        """
