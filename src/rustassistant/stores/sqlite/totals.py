"""Sums over the live entries, kept as they come and go, so that nobody has to read them all."""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.usage import MAX_TOKENS, stated_usage

_NS_PER_DAY: Final = 86_400 * 10**9
_EPOCH: Final = date(1970, 1, 1).toordinal()

_ADD: Final = """
INSERT INTO totals (folder_id, producer_id, month, entries, tokens, assumed_tokens,
                    without_tokens, input_tokens, output_tokens, text_bytes, stored_bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    entries = entries + excluded.entries,
    tokens = tokens + excluded.tokens,
    assumed_tokens = assumed_tokens + excluded.assumed_tokens,
    without_tokens = without_tokens + excluded.without_tokens,
    input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    text_bytes = text_bytes + excluded.text_bytes,
    stored_bytes = stored_bytes + excluded.stored_bytes
"""
_ENTRY: Final = """
SELECT e.folder_id, e.producer_id, e.analyzed_at, e.tokens_used,
       ifnull(length(e.result), 0) + ifnull(length(e.original), 0),
       ifnull(e.result, o.result), iif(e.result IS NULL, o.dictionary_id, e.dictionary_id)
FROM entries e LEFT JOIN entries o ON o.id = e.result_of WHERE e.id = ?
"""


class Sums(NamedTuple):
    """What entries add up to. ``input_tokens`` and ``output_tokens`` are of those whose result
    tells them apart, ``assumed_tokens`` the part of ``tokens`` that others used; ``text_bytes`` are
    results before compression, ``stored_bytes`` frames."""

    entries: int = 0
    tokens: int = 0
    assumed_tokens: int = 0
    without_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    text_bytes: int = 0
    stored_bytes: int = 0


class Group(NamedTuple):
    """Whose sums they are. ``month`` is twelve times the year, and 0 to 11 for its months, UTC."""

    folder_id: int
    producer_id: int
    month: int


def sums_of(
    tokens: int | None, usage: tuple[int, int] | None, text_bytes: int, stored_bytes: int
) -> Sums:
    """What one entry adds. ``tokens_used`` that can't be right count as not said."""
    if tokens is None or not 0 <= tokens <= MAX_TOKENS:
        tokens = 0
        without = 0 if usage else 1
    else:
        without = 0
    if usage is None:
        return Sums(1, tokens, tokens, without, 0, 0, text_bytes, stored_bytes)
    return Sums(1, tokens, 0, without, *usage, text_bytes, stored_bytes)


def month_of(analyzed_at: int) -> int:
    """The month of a time in nanoseconds since 1970, UTC."""
    return _month_of_day(analyzed_at // _NS_PER_DAY)


@lru_cache(maxsize=4096)
def _month_of_day(day: int) -> int:
    """64 bits of nanoseconds lie between 1677 and 2262, which ``datetime`` knows."""
    then = date.fromordinal(_EPOCH + day)
    return then.year * 12 + then.month - 1


class Totals:
    """Gathers changes until they are written together. What entries say is read by ``reader``."""

    def __init__(self, reader: EntryReader) -> None:
        self.connection = reader.connection
        self._reader = reader
        self._changes: dict[tuple[int, int, int], list[tuple[int, ...]]] = {}

    def add(self, group: tuple[int, int, int], sums: tuple[int, ...]) -> None:
        """Count in the `Sums` of what is added to a `Group`; what is taken away is negative."""
        changes = self._changes.get(group)
        if changes is None:
            changes = self._changes[group] = []
        changes.append(sums)

    def count(self, entry_id: int, sign: int) -> None:
        """Count a stored entry in (1) or out (-1)."""
        row = self.connection.execute(_ENTRY, (entry_id,)).fetchone()
        if row is None:
            return
        folder_id, producer_id, analyzed_at, tokens, stored_bytes, frame, dictionary_id = row
        usage, size = None, 0
        try:
            text = self._reader.text(frame, dictionary_id)
        except DamagedError:
            pass  # a check finds it, and sets the totals right
        else:
            usage, size = stated_usage(text), len(text)
        sums = sums_of(tokens, usage, size, stored_bytes)
        self.add(
            (folder_id, producer_id, month_of(analyzed_at)), Sums(*(sign * one for one in sums))
        )

    def write(self) -> None:
        """Add the changes to the table."""
        added = [
            (*group, *(sum(column) for column in zip(*changes, strict=True)))
            for group, changes in self._changes.items()
        ]
        self._changes.clear()
        rows = [row for row in added if any(row[len(Group._fields) :])]
        if rows:
            self.connection.executemany(_ADD, rows)

    def forget(self) -> None:
        """Undo what was not written."""
        self._changes.clear()
