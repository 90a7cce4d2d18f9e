"""How well the results of a database are compressed, and what other ways would give."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rustassistant.codec import Dictionary
from rustassistant.errors import UsageError
from rustassistant.levels import DEFAULT_LEVEL
from rustassistant.stores.sqlite.totals import Sums
from rustassistant.stores.sqlite.views.texts import Frames as StoredFrames
from rustassistant.stores.sqlite.views.texts import Texts, reading_texts
from rustassistant.tuning.frames import Frames, Terms
from rustassistant.tuning.recompress import AnyPath, absolute
from rustassistant.tuning.training import TRAINED_ON, TRIED, newest, readable, trained

LEVELS: Final = (1, 3, DEFAULT_LEVEL, 9, 12, 15, 19)
SAMPLE: Final = 400

_GOOD_ENOUGH: Final = 0.02
"""A lower level is advised if it comes this near to the best, as a part of what is stored."""

_WORTH_IT: Final = 0.03
"""Less than this part of what is stored is nothing to rewrite all for."""


@dataclass(frozen=True, slots=True)
class DictionaryUse:
    """A dictionary, None for frames without: bytes, and the entries that are compressed with it."""

    id: int | None
    size: int
    entries: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A level, with the type's newest dictionary or one ``trained`` anew: mean bytes of a result of
    the sample, and microseconds to compress one, as this machine was just then."""

    level: int
    trained: bool
    mean_bytes: float
    microseconds: float


@dataclass(frozen=True, slots=True)
class TypeCompression:
    """One type. ``text_bytes`` and ``stored_bytes`` are of ``entries`` that are live, ``results``
    and ``result_bytes`` of the frames that there are, the trash included: equal results share one.

    ``sampled`` results were compressed for the ``trials``; as stored they have ``sample_bytes`` on
    average. ``new_dictionary`` is the size of the one that was trained, 0 if none would pay.
    """

    cache_type: str
    entries: int
    text_bytes: int
    stored_bytes: int
    results: int
    result_bytes: int
    dictionaries: tuple[DictionaryUse, ...]
    sampled: int
    sample_bytes: float
    new_dictionary: int
    trials: tuple[Trial, ...]

    @property
    def ratio(self) -> float | None:
        """How many bytes of text there are to one that is stored; None without entries."""
        return self.text_bytes / self.stored_bytes if self.stored_bytes else None

    @property
    def mean_frame(self) -> float | None:
        """Bytes of a result's frame, on average."""
        return self.result_bytes / self.results if self.results else None

    def expected(self, level: int, *, train: bool) -> int:
        """Bytes of all frames of results, were they compressed so, by the sample; and of the
        dictionary that would come or go for it."""
        fitting = {one.trained: one for one in self.trials if one.level == level}
        trial = fitting.get(train and bool(self.new_dictionary))
        if trial is None or not self.sample_bytes:
            return self.result_bytes
        size = self.result_bytes * min(1.0, trial.mean_bytes / self.sample_bytes)
        if trial.trained:
            size += self.new_dictionary - sum(one.size for one in self.dictionaries)
        return round(size)


@dataclass(frozen=True, slots=True)
class Advice:
    """What to run: `recompress` at a ``level``, with ``train``; what frames have now and would have
    then, in bytes, and about how many seconds of one processor that takes."""

    level: int
    train: bool
    before: int
    after: int
    seconds: float

    @property
    def is_worth_it(self) -> bool:
        """Whether it would make a difference."""
        return self.before - self.after > _WORTH_IT * self.before


@dataclass(frozen=True, slots=True)
class Compression:
    """All types, and what to do; no advice without entries."""

    types: tuple[TypeCompression, ...]
    advice: Advice | None


def measure_compression(
    database: AnyPath,
    *,
    sample: int = SAMPLE,
    progress: Callable[[int, int], None] | None = None,
) -> Compression:
    """Compress a sample of each type at several levels, with present and new dictionaries.

    Writes nothing; ``progress`` is told types done and types in all. Nothing of the sample is used
    for training, and it is the same at each call. Raises NotFoundError and the like.
    """
    if sample < 1:
        raise UsageError(f"a sample of {sample} tells nothing", hint="Name a larger one.")
    found = []
    with reading_texts(absolute(database)) as store:
        frames, sums = store.frames(), store.sums()
        names = sorted({one.cache_type for one in frames} | set(sums))
        for number, name in enumerate(names):
            if progress is not None:
                progress(number, len(names))
            own = [one for one in frames if one.cache_type == name]
            found.append(_measure(store, name, own, sums.get(name, Sums()), sample))
        if progress is not None:
            progress(len(names), len(names))
    return Compression(tuple(found), _advice(found))


def _measure(
    store: Texts, cache_type: str, own: Sequence[StoredFrames], sums: Sums, number: int
) -> TypeCompression:
    present = store.dictionaries()
    sizes = {one.id: len(one.data) for one in present}
    results = sum(one.results for one in own)
    measured = min(number, max(1, results // 4))
    frames = Frames(Terms(1, (), (), False, tuple(present)))
    sample = readable(store.sample(cache_type, measured), frames)
    others = readable(store.sample(cache_type, TRAINED_ON, skip=measured), frames)
    data = trained(others.texts, results)
    known = newest(present).get(cache_type)
    trials = _trials(sample.texts, known, is_trained=False)
    if data is not None:
        trials += _trials(sample.texts, Dictionary(TRIED, cache_type, data), is_trained=True)
    unused = [one for one in present if one.cache_type == cache_type]
    uses = {one.dictionary_id: one.entries for one in own if one.results or one.originals}
    uses |= {one.id: 0 for one in unused if one.id not in uses}
    return TypeCompression(
        cache_type=cache_type,
        entries=sums.entries,
        text_bytes=sums.text_bytes,
        stored_bytes=sums.stored_bytes,
        results=results,
        result_bytes=sum(one.result_bytes for one in own),
        dictionaries=tuple(
            DictionaryUse(one, 0 if one is None else sizes.get(one, 0), entries)
            for one, entries in sorted(uses.items(), key=lambda use: use[0] or 0)
        ),
        sampled=len(sample.rows),
        sample_bytes=_mean([len(row.result or b"") for row in sample.rows]),
        new_dictionary=0 if data is None else len(data),
        trials=tuple(trials),
    )


def _trials(
    texts: Sequence[bytes], dictionary: Dictionary | None, *, is_trained: bool
) -> list[Trial]:
    trials = []
    present = () if dictionary is None else (dictionary,)
    for level in LEVELS if texts else ():
        frames = Frames(Terms(level, (), (), False, present))
        compress = frames.compressor(None if dictionary is None else dictionary.id).result
        compress(texts[0])  # loads the dictionary, which takes longer than all of them
        started = time.perf_counter()
        sizes = [len(compress(text)) for text in texts]
        seconds = time.perf_counter() - started
        trials.append(Trial(level, is_trained, _mean(sizes), seconds / len(texts) * 1e6))
    return trials


def _mean(sizes: Sequence[int]) -> float:
    return sum(sizes) / len(sizes) if sizes else 0.0


def _advice(types: Sequence[TypeCompression]) -> Advice | None:
    """The lowest level that comes near the smallest, and new dictionaries only if they matter."""
    if not any(one.trials for one in types):
        return None
    before = sum(one.result_bytes for one in types)
    each = [
        Advice(
            level,
            train,
            before,
            sum(one.expected(level, train=train) for one in types),
            sum(_seconds(one, level, train=train) for one in types),
        )
        for train in (False, True)
        for level in LEVELS
    ]
    best = min(one.after for one in each)
    near = [one for one in each if one.after - best <= _GOOD_ENOUGH * before]
    return min(near, key=lambda one: (one.train, one.level))


def _seconds(one: TypeCompression, level: int, *, train: bool) -> float:
    wanted = train and bool(one.new_dictionary)
    return sum(
        trial.microseconds * one.results / 1e6
        for trial in one.trials
        if trial.level == level and trial.trained == wanted
    )
