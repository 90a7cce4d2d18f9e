"""Which of the entries in quarantine came back from a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

import apsw

from rustassistant.stores.sqlite.connection import open_for_writing
from rustassistant.stores.sqlite.integrity.quarantine import LOST, REFILLED, unpacked
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import ENTRIES_OF_FILE
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_JOINED: Final = """
JOIN folders d ON d.id = {place}.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
"""
_OF_A_FILE: Final = f"""
SELECT {{analyzed_at}}, e.result_digest FROM files f {{source}}
{_JOINED}
WHERE substr(f.hash, 1, {HASH_PREFIX}) = substr(?1, 1, {HASH_PREFIX}) AND f.hash = ?1
  AND f.path = ?2 AND r.path = ?3 AND d.cache_type = ?4 AND p.model = ifnull(?5, p.model)
  AND e.id NOT IN (SELECT entry_id FROM trash)
"""
_BY_FILE: Final = (
    _OF_A_FILE.format(analyzed_at="e.analyzed_at", source=ENTRIES_OF_FILE, place="e")
    + " UNION ALL "
    + _OF_A_FILE.format(
        analyzed_at="ifnull(c.analyzed_at, e.analyzed_at)",
        source="CROSS JOIN copies c ON c.file_id = f.id JOIN entries e ON e.id = c.entry_id",
        place="c",
    )
)
_BY_RESULT: Final = f"""
SELECT e.analyzed_at, f.path FROM entries o
JOIN entries e ON e.id = o.id OR e.result_of = o.id JOIN files f ON f.id = e.file_id
{_JOINED.format(place="e")}
WHERE substr(o.result_digest, 1, {HASH_PREFIX}) = substr(?1, 1, {HASH_PREFIX})
  AND o.result_digest = ?1 AND o.result IS NOT NULL
  AND r.path = ifnull(?2, r.path) AND d.cache_type = ifnull(?3, d.cache_type)
"""
_LOST: Final = f"""
SELECT id, repository, cache_type, file_path, file_hash, model, tokens_used, reason, original_row
FROM quarantine
WHERE outcome = '{LOST}' AND table_name IN ('entries', 'copies') ORDER BY id
"""


class Missing(NamedTuple):
    """An entry in quarantine that no source has given back, as far as it could be told."""

    id: int
    repository: str | None
    cache_type: str | None
    file_path: str | None
    file_hash: bytes | None
    model: str | None
    tokens_used: int | None
    reason: str


class Refilled(NamedTuple):
    """How many entries came back, and those that did not."""

    back: int
    missing: list[Missing]


def note_refilled(path: str) -> Refilled:
    """Hold what is in quarantine against what the database has now, and mark what came back."""
    with errors_named(path), closing(open_for_writing(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        back: list[int] = []
        missing = []
        for one, values in _lost(connection):
            if _is_back(connection, one, values):
                back.append(one.id)
            else:
                missing.append(one)
        connection.executemany(
            f"UPDATE quarantine SET outcome = '{REFILLED}' WHERE id = ?", [(row,) for row in back]
        )
        connection.execute("COMMIT")
    return Refilled(len(back), missing)


def _lost(connection: apsw.Connection) -> Iterator[tuple[Missing, dict[str, Any]]]:
    rows: list[tuple[Any, ...]] = connection.execute(_LOST).fetchall()
    for *facts, original_row in rows:
        values = unpacked(original_row)
        if "entry_id" not in values or values["file_id"] is not None:
            yield Missing(*facts), values  # and not what was but a further place of an entry


def _is_back(connection: apsw.Connection, one: Missing, values: dict[str, Any]) -> bool:
    """By file, or, if that is what was damaged, by result: what else is known must agree."""
    analyzed_at, digest = values.get("analyzed_at"), values.get("result_digest")
    unknown = not isinstance(analyzed_at, int) and not isinstance(digest, bytes)
    for found in connection.execute(
        _BY_FILE, (one.file_hash, one.file_path, one.repository, one.cache_type, one.model)
    ):
        if unknown or found[0] == analyzed_at or found[1] == digest:
            return True
    if not isinstance(digest, bytes):
        return False
    wanted = (digest, one.repository, one.cache_type)
    return any(
        at == analyzed_at or path == one.file_path
        for at, path in connection.execute(_BY_RESULT, wanted)
    )
