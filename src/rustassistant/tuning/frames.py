"""New frames for old ones: what a worker does with a batch of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rustassistant.codec import Compressor, Decoder, Dictionary
from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.upkeep.recompression import NewFrames
from rustassistant.stores.sqlite.views.texts import StoredTexts


class Terms(NamedTuple):
    """How to compress: ``targets`` are pairs of a type and the id of its dictionary, or None.

    New frames are taken if they are smaller; those of types in ``moved`` also if they are with
    another dictionary now, so that nothing needs that one any more; with ``force`` if they differ.
    ``dictionaries`` are all that there are.
    """

    level: int
    targets: tuple[tuple[str, int | None], ...]
    moved: tuple[str, ...]
    force: bool
    dictionaries: tuple[Dictionary, ...]


class Frames:
    """Compresses rows anew. Not for two threads at once."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._targets = dict(terms.targets)
        self._data = {one.id: one.data for one in terms.dictionaries}
        self._decoder = Decoder(self._load)
        self._proof = Decoder(self._load)  # what proves a frame has seen none of the old ones
        self._compressors: dict[int | None, Compressor] = {}

    def _load(self, dictionary_id: int) -> bytes:
        if dictionary_id not in self._data:
            raise DamagedError(f"dictionary {dictionary_id} is missing")
        return self._data[dictionary_id]

    def text(self, row: StoredTexts) -> bytes:
        """The result of a row that has one. Raises DamagedError."""
        return self._decoder.decode(row.result or b"", row.dictionary_id, row.result_digest)

    def renewed(self, row: StoredTexts) -> NewFrames | None:
        """The frames to take the place of a row's, or None if it is best as it is.

        Raises DamagedError if the old ones can't be read, or new ones do not give back the same.
        """
        target = self._targets.get(row.cache_type)
        if row.result is None and row.original is None:
            # It shares a result, and so needs no dictionary; one that it names could never go.
            is_moved = row.cache_type in self._terms.moved and row.dictionary_id not in (
                None,
                target,
            )
            return NewFrames(None, None, None) if is_moved else None
        result = original = None
        if row.result is not None:
            result = self._frame(self.compressor(target).result, self.text(row), target)
        if row.original is not None:
            text = self._decoder.decode(row.original, row.dictionary_id)
            original = self._frame(self.compressor(target).original, text, target)
        new = NewFrames(result, original, target)
        return new if self._is_better(row, new) else None

    def _is_better(self, row: StoredTexts, new: NewFrames) -> bool:
        if row.cache_type in self._terms.moved and row.dictionary_id != new.dictionary_id:
            return True
        if self._terms.force:
            return new != (row.result, row.original, row.dictionary_id)
        return new.size < row.size

    def _frame(self, compress: Callable[[bytes], bytes], text: bytes, target: int | None) -> bytes:
        """A frame that has been decompressed again, and gave the very text."""
        frame = compress(text)
        if self._proof.decode(frame, target) != text:
            raise DamagedError("what was compressed anew is not what it was made from")
        return frame

    def compressor(self, target: int | None) -> Compressor:
        """The one for a dictionary: loading it takes long."""
        found = self._compressors.get(target)
        if found is None:
            data = None if target is None else self._load(target)
            found = self._compressors[target] = Compressor(self._terms.level, data)
        return found


@lru_cache(maxsize=1)
def _frames(terms: Terms) -> Frames:
    return Frames(terms)


def renew(rows: Sequence[StoredTexts], terms: Terms) -> list[NewFrames | str | None]:
    """For each row its new frames, None if it is best as it is, or what is wrong with it."""
    frames = _frames(terms)
    answers: list[NewFrames | str | None] = []
    for row in rows:
        try:
            answers.append(frames.renewed(row))
        except DamagedError as error:
            answers.append(error.message)
    return answers
