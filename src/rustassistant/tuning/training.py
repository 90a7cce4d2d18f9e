"""New dictionaries from what a database holds, where they beat what it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from rustassistant.codec import Dictionary, train_dictionary
from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.views.texts import StoredTexts, Texts
from rustassistant.tuning.frames import Frames, Terms

TRAINED_ON: Final = 4_000
"""Results of each type: a migration, which trains before it has read more, takes 1,200."""

_SAMPLE_BYTES: Final = 16 * 2**10
"""Of a long result the beginning will do: samples are held in memory."""

TRIED: Final = -1
"""Stands for the id of a dictionary that is not in the database."""


class Readable(NamedTuple):
    """Rows of a sample that can be read, and their results."""

    rows: list[StoredTexts]
    texts: list[bytes]


def readable(rows: Sequence[StoredTexts], frames: Frames) -> Readable:
    """Leave out what is damaged: going through all rows names it."""
    found = Readable([], [])
    for row in rows:
        try:
            text = frames.text(row)
        except DamagedError:
            continue
        found.rows.append(row)
        found.texts.append(text)
    return found


def newest(dictionaries: Sequence[Dictionary]) -> dict[str, Dictionary]:
    """The newest dictionary of each type: what new entries are compressed with."""
    return {one.cache_type: one for one in sorted(dictionaries, key=lambda one: one.id)}


def trained(texts: Sequence[bytes], expected: int) -> bytes | None:
    """A dictionary from results of one type, None where none would pay."""
    return train_dictionary(
        [text[:_SAMPLE_BYTES] for text in texts], expected=expected, thorough=True
    )


def train_anew(
    store: Texts, cache_type: str, expected: int, *, level: int, force: bool
) -> bytes | None:
    """A dictionary that makes a type's frames smaller than both its newest one, at this level, and
    what is stored, by more than it takes itself; or None. ``expected`` is the number of frames.

    It is tried on every fourth sample, which it was not trained on. With ``force`` what is stored
    is not asked: it may have been compressed harder.
    """
    present = tuple(store.dictionaries())
    known = newest(present).get(cache_type)
    stored = Frames(Terms(level, (), (), force, present))
    sample = readable(store.sample(cache_type, TRAINED_ON), stored)
    data = trained(sample.texts, expected)
    if data is None:
        return None
    if known is not None and known.data == data:
        return None  # trained on the same data before
    tried = Frames(Terms(level, (), (), force, (Dictionary(TRIED, cache_type, data),)))
    held_out = sample.texts[::4]
    new = sum(len(tried.compressor(TRIED).result(text)) for text in held_out)
    plain = stored.compressor(None if known is None else known.id)
    old = sum(len(plain.result(text)) for text in held_out)
    if not force:
        old = min(old, sum(len(row.result or b"") for row in sample.rows[::4]))
    more = len(data) - (0 if known is None else len(known.data))
    return data if (old - new) / len(held_out) * expected > more else None
