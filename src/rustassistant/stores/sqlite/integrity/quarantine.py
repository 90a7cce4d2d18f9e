"""Where damaged rows are kept as they stood: nothing is removed that is not here first."""

from __future__ import annotations

import time
from typing import Any, Final

import apsw
import msgspec

from rustassistant.stores.sqlite.integrity.problems import Problem
from rustassistant.stores.sqlite.integrity.tables import Values

LOST: Final = "lost"
"""The row was taken out, and nothing stands in its place."""

MENDED: Final = "mended"
"""A sound row stands in its place."""

REFILLED: Final = "refilled"
"""It was lost, and its entry came back from a source."""

_ADD: Final = """
INSERT INTO quarantine (quarantined_at, reason, outcome, table_name, repository, cache_type,
                        file_path, file_hash, model, tokens_used, dictionary, original_row)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        (SELECT sha256 FROM dictionaries WHERE id = ? AND typeof(sha256) = 'blob'), ?)
"""
_pack: Final = msgspec.msgpack.Encoder().encode


def keep(
    connection: apsw.Connection, problem: Problem, values: Values, *, outcome: str, table: str = ""
) -> None:
    """Keep a row with what is known of it; ``table`` is where it stood, the problem's unless said.

    A row of ``dictionaries`` names itself as what it is compressed with.
    """
    table = table or problem.table
    dictionary = values.get("id") if table == "dictionaries" else values.get("dictionary_id")
    connection.execute(
        _ADD,
        (
            time.time_ns(),
            problem.what,
            outcome,
            table,
            problem.repository,
            problem.cache_type,
            problem.file_path,
            problem.file_hash,
            problem.model,
            problem.tokens_used,
            dictionary if isinstance(dictionary, int) else None,
            _pack(values),
        ),
    )


def unpacked(original_row: bytes) -> dict[str, Any]:
    """A kept row by column."""
    return msgspec.msgpack.decode(original_row, type=dict[str, Any])
