"""Entries of one directory, read and taken apart many at a time."""

from collections.abc import Callable
from typing import Any

from rustassistant.entry import Entry
from rustassistant.stores.base import Found

class Reader:
    """Reads the files of one directory, whose entries are of one repository and type.

    ``place`` is the directory for people, ``found`` and ``entry`` are the classes of what is made,
    ``sha256`` is that of hashlib.
    """

    def __init__(
        self,
        place: str,
        repository: str,
        cache_type: str,
        *,
        found: type[Found],
        entry: type[Entry],
        sha256: Callable[[bytes], Any],
    ) -> None: ...
    def read(self, directory: int, name: str, now: int) -> Found | None:
        """What a file holds, or None if that takes a closer look.

        ``directory`` is an open descriptor; ``now`` as for ``json_tree.reading.read_file``.
        """
