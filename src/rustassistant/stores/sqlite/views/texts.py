"""The frames of a database as rows: what there is, and samples of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from hashlib import sha256
from typing import Final, NamedTuple

import apsw

from rustassistant.codec import Dictionary
from rustassistant.errors import DamagedError
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import checked
from rustassistant.stores.sqlite.totals import Sums

_SAMPLE: Final = """
SELECT e.id, d.cache_type, e.result, e.result_digest, e.dictionary_id, e.original
FROM entries e JOIN folders d ON d.id = e.folder_id
WHERE e.id IN (
    SELECT id FROM entries
    WHERE folder_id IN (SELECT id FROM folders WHERE cache_type = ?1) AND result IS NOT NULL
    ORDER BY (id % 2147483647 + ?2) * 2654435761 % 4294967291, id LIMIT ?3 OFFSET ?4)
ORDER BY (e.id % 2147483647 + ?2) * 2654435761 % 4294967291, e.id
"""
"""Ids multiplied by 2**32 divided by the golden ratio lie evenly: Knuth's multiplicative hash."""

_FRAMES: Final = """
SELECT d.cache_type, e.dictionary_id, count(*), count(e.result), ifnull(sum(length(e.result)), 0),
       count(e.original), ifnull(sum(length(e.original)), 0)
FROM entries e JOIN folders d ON d.id = e.folder_id GROUP BY 1, 2
"""


class StoredTexts(NamedTuple):
    """The frames of one row, and the dictionary of both. ``result`` is None where it is shared."""

    id: int
    cache_type: str
    result: bytes | None
    result_digest: bytes
    dictionary_id: int | None
    original: bytes | None

    @property
    def size(self) -> int:
        """Bytes of its frames."""
        return len(self.result or b"") + len(self.original or b"")


class Frames(NamedTuple):
    """Rows alike in type and dictionary: how many, their frames, and the bytes of these."""

    cache_type: str
    dictionary_id: int | None
    entries: int
    results: int
    result_bytes: int
    originals: int
    original_bytes: int


class Texts:
    """Reads frames and dictionaries over one connection."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._connection = connection
        self.path = path

    def dictionaries(self) -> list[Dictionary]:
        """All there are, the oldest first. Raises DamagedError if one is not what it is named for:
        what is compressed with it could be read only until it is mended."""
        found = []
        with errors_named(self.path):
            for *row, name in self._connection.execute(
                "SELECT id, cache_type, data, sha256 FROM dictionaries ORDER BY id"
            ):
                one = checked(tuple(row), Dictionary)
                if sha256(one.data).digest() != name:
                    raise DamagedError(
                        f"dictionary {one.id} of {printable(self.path)} is damaged",
                        hint="Run `rustassistant cache check --repair` first; nothing was changed.",
                    )
                found.append(one)
        return found

    def frames(self) -> list[Frames]:
        """What there is, those in the trash included: their frames take room too."""
        with errors_named(self.path):
            return [checked(row, Frames) for row in self._connection.execute(_FRAMES)]

    def sums(self) -> dict[str, Sums]:
        """Sums over the live entries, by type."""
        columns = ", ".join(f"sum(t.{name})" for name in Sums._fields)
        with errors_named(self.path):
            rows = self._connection.execute(
                f"SELECT d.cache_type, {columns} FROM totals t JOIN folders d ON d.id = t.folder_id"
                " GROUP BY 1 ORDER BY 1"
            )
            return {row[0]: checked(row[1:], Sums) for row in rows}

    def sample(
        self, cache_type: str, number: int, *, seed: int = 0, skip: int = 0
    ) -> list[StoredTexts]:
        """So many rows with a result of their own, spread over the ids and in no order; the same
        at each call, and others with another ``seed``. ``skip`` leaves out as many first ones."""
        found = []
        with errors_named(self.path):
            for row in self._connection.execute(_SAMPLE, (cache_type, seed, number, skip)):
                with suppress(DamagedError):  # going through all of them will name it
                    found.append(checked(row, StoredTexts))
        return found


@contextmanager
def reading_texts(path: str) -> Iterator[Texts]:
    """One moment of a database. Raises NotFoundError, ForeignFileError and the like."""
    with closing(open_for_reading(path)) as connection:
        with errors_named(path):
            connection.execute("BEGIN")
        yield Texts(connection, path)
