"""Rewriting all results of a database at another level or with other dictionaries, online."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rustassistant.codec import Dictionary
from rustassistant.errors import InterruptedRunError, UsageError, WorkerDiedError
from rustassistant.levels import THOROUGH_LEVEL, check_level
from rustassistant.stores.sqlite.upkeep.recompression import (
    Dropped,
    NewFrames,
    Recompression,
    Replaced,
    Rows,
    drop_dictionaries,
)
from rustassistant.stores.sqlite.views.texts import Frames as StoredFrames
from rustassistant.stores.sqlite.views.texts import StoredTexts, Texts, reading_texts
from rustassistant.transfer.plan import Options, executor_for
from rustassistant.tuning.frames import Frames, Terms, renew
from rustassistant.tuning.training import TRIED, newest, readable, train_anew

ESTIMATED_ON: Final = 400

AnyPath = str | os.PathLike[str]
ReportDone = Callable[[int, int, int], None]
"""Told as it goes on: entries looked at, entries in all, damaged ones so far."""


@dataclass(frozen=True, slots=True)
class RecompressOptions:
    """How to compress. ``types`` are the only ones meant, None for all.

    With ``train`` each type gets a new dictionary, if that makes it smaller; without
    ``dictionaries`` each result is compressed for itself; both move all entries of a type away
    from the dictionary they had. Else an entry is replaced only if it gets smaller; with
    ``force`` in any case.
    """

    level: int = THOROUGH_LEVEL
    train: bool = False
    dictionaries: bool = True
    force: bool = False
    types: tuple[str, ...] | None = None

    def check(self) -> None:
        """Raise UsageError for what makes no sense."""
        check_level(self.level)
        if self.train and not self.dictionaries:
            raise UsageError(
                "--train makes dictionaries, and --no-dictionary does without them",
                hint="Choose one.",
            )


@dataclass(frozen=True, slots=True)
class Damage:
    """An entry that can't be read and was left as it is."""

    path: str
    cache_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes: frames of live entries, dictionaries, and the file with its log."""

    frames: int
    dictionaries: int
    file: int


@dataclass(frozen=True, slots=True)
class Recompressed:
    """What became of the ``found`` entries: ``replaced``, ``kept`` as they are best, ``changed`` by
    others meanwhile and so passed over, ``damaged``.

    ``skipped`` were done by an interrupted run before. ``frames`` are the bytes of frames that were
    looked at, and ``saved`` those saved, the trash included. ``trained`` are ids of new
    dictionaries by type, ``dropped`` and ``left`` those that nothing uses any more; the latter stay
    while others have the database open.
    """

    found: int
    skipped: int
    replaced: int
    kept: int
    changed: int
    frames: int
    saved: int
    damaged: tuple[Damage, ...]
    trained: dict[str, int]
    dropped: tuple[int, ...]
    left: tuple[int, ...]
    before: Size
    after: Size


@dataclass(frozen=True, slots=True)
class Estimate:
    """What rewriting a type would give: ``sampled`` of its ``results``, the bytes of all frames now
    and then, and seconds of one processor. ``dictionary`` is the size of a new one, 0 for none."""

    cache_type: str
    results: int
    sampled: int
    before: int
    after: int
    dictionary: int
    seconds: float


def absolute(database: AnyPath) -> str:
    """The real path that a database's name stands for. Raises UsageError for an empty one."""
    if not os.fspath(database):
        raise UsageError("an empty path names no database", hint="Name a file.")
    return os.path.realpath(Path(database).expanduser())


def recompress(
    database: AnyPath,
    options: RecompressOptions = RecompressOptions(),
    *,
    jobs: int | None = None,
    progress: ReportDone | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Recompressed:
    """Compress every result anew, each verified before it takes its place, while others go on.

    A run with the same options as one that was interrupted goes on where that was; one that finds
    nothing to make smaller writes nothing. ``jobs`` as in migrating. Raises NotFoundError,
    LockedError if the lock can't be had for a minute, InterruptedRunError if ``cancelled`` says so.
    """
    options.check()
    path = absolute(database)
    before = _size(path)
    said = {name: value for name, value in asdict(options).items() if name != "types"}
    said["types"] = None if options.types is None else sorted(options.types)
    with Recompression(path, said, cancelled) as store:
        run = _Run(store, options, progress, cancelled)
        run.go(jobs)
    keep = run.kept_dictionaries()
    dropped = drop_dictionaries(path, options.types, keep)
    return run.result(before, _size(path), dropped)


def _size(path: str) -> Size:
    with reading_texts(path) as texts:
        frames = sum(one.stored_bytes for one in texts.sums().values())
        dictionaries = sum(len(one.data) for one in texts.dictionaries())
    file = sum(
        os.path.getsize(path + suffix) for suffix in ("", "-wal") if os.path.exists(path + suffix)
    )
    return Size(frames, dictionaries, file)


class _Run:
    def __init__(
        self,
        store: Recompression,
        options: RecompressOptions,
        progress: ReportDone | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._store = store
        self._options = options
        self._progress = progress or (lambda done, total, damaged: None)
        self._cancelled = cancelled or (lambda: False)
        self._found = self._kept = self._frames = 0
        self._replaced = Replaced()
        self._damaged = list[Damage]()
        self._trained: dict[str, int] = {}
        self._skipped = 0
        self._targets: dict[str, Dictionary] = {}

    def go(self, jobs: int | None) -> None:
        store, types = self._store, self._options.types
        last = store.last_id()
        state = store.unfinished()
        terms = self._terms(state)
        through = state.get("through", 0) if state else 0
        self._skipped = store.count(types, 0, through) if through else 0
        total = self._skipped + store.count(types, through, last)
        store.run.found = total - self._skipped
        executor, window = executor_for(Options(jobs=jobs), total - self._skipped)
        pending: deque[tuple[Rows, Future[list[NewFrames | str | None]]]] = deque()
        try:
            for rows in store.rows(types, through, last):
                pending.append((rows, executor.submit(renew, rows.sound, terms)))
                while len(pending) >= window:
                    self._put(*pending.popleft(), terms, total)
            while pending:
                self._put(*pending.popleft(), terms, total)
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
        executor.shutdown()
        store.finish("done")

    def _terms(self, state: dict[str, Any] | None) -> Terms:
        """With the dictionaries of the run that is gone on with, or new ones where it pays."""
        options, store = self._options, self._store
        moved: Collection[str] = ()
        if options.train:
            ids = state.get("dictionaries") if state else None
            known = {one.id for one in store.dictionaries()}
            if not isinstance(ids, dict) or not known.issuperset(ids.values()):
                if state:
                    state.clear()
                ids = self._train()
            store.state["dictionaries"] = ids
            self._trained = moved = ids
        present = tuple(store.dictionaries())
        by_type = newest(present) if options.dictionaries else {}
        by_type |= {one.cache_type: one for one in present if one.id in self._trained.values()}
        if not options.dictionaries:
            moved = options.types or {one.cache_type for one in store.frames()}
        self._targets = by_type
        targets = tuple((name, one.id) for name, one in sorted(by_type.items()))
        return Terms(options.level, targets, tuple(sorted(moved)), options.force, present)

    def _train(self) -> dict[str, int]:
        options, store = self._options, self._store
        trained = {}
        for cache_type, results in _results(store.frames(), options.types).items():
            if self._cancelled():
                raise InterruptedRunError("interrupted; nothing was changed")
            data = train_anew(store, cache_type, results, level=options.level, force=options.force)
            if data is not None:
                trained[cache_type] = data
        if not trained:
            return {}
        store.add_dictionaries(trained, {"through": 0})
        return dict(store.state["dictionaries"])

    def _put(
        self, rows: Rows, future: Future[list[NewFrames | str | None]], terms: Terms, total: int
    ) -> None:
        try:
            answers = future.result()
        except WorkerDiedError:
            answers = renew(rows.sound, terms)  # whoever killed it may not mean us
        each: list[tuple[StoredTexts, NewFrames]] = []
        damaged = dict(rows.damaged)
        for row, answer in zip(rows.sound, answers, strict=True):
            if isinstance(answer, str):
                damaged[row.id] = answer
            elif answer is None:
                self._kept += 1
            else:
                each.append((row, answer))
        for entry_id, reason in sorted(damaged.items()):
            note = self._store.note_damaged(entry_id, reason)
            self._damaged.append(Damage(note.path, note.cache_type, note.reason))
        run = self._store.run
        run.failed, run.unchanged = len(self._damaged), self._kept
        done = self._store.replace(each, rows.through)
        self._replaced = Replaced(
            *(one + more for one, more in zip(self._replaced, done, strict=True))
        )
        self._frames += sum(row.size for row in rows.sound)
        self._found += len(rows.sound) + len(rows.damaged)
        self._progress(self._skipped + self._found, total, len(self._damaged))
        if self._cancelled() and self._skipped + self._found < total:
            self._store.finish("interrupted")
            raise InterruptedRunError(
                f"interrupted; {self._replaced.rows} results were rewritten, and every one can be "
                "read"
            )

    def kept_dictionaries(self) -> set[int]:
        """Those that new entries are to be compressed with, in use or not."""
        return {one.id for one in self._targets.values()}

    def result(self, before: Size, after: Size, dropped: Dropped) -> Recompressed:
        """What this run came to."""
        return Recompressed(
            found=self._found,
            skipped=self._skipped,
            replaced=self._replaced.rows,
            kept=self._kept,
            changed=self._replaced.changed,
            frames=self._frames,
            saved=self._replaced.saved,
            damaged=tuple(self._damaged),
            trained=self._trained,
            dropped=dropped.gone,
            left=dropped.left,
            before=before,
            after=after,
        )


def _results(frames: Sequence[StoredFrames], types: Collection[str] | None) -> dict[str, int]:
    """How many results of its own each type has."""
    results: dict[str, int] = {}
    for one in frames:
        if one.results and (types is None or one.cache_type in types):
            results[one.cache_type] = results.get(one.cache_type, 0) + one.results
    return results


def estimate_recompression(
    database: AnyPath, options: RecompressOptions = RecompressOptions()
) -> tuple[Estimate, ...]:
    """What `recompress` would give, by what it gives on some hundred results of each type.

    Writes nothing. Frames of files that are kept whole are taken to shrink like the results.
    """
    options.check()
    with reading_texts(absolute(database)) as store:
        frames = store.frames()
        found = []
        for cache_type, results in sorted(_results(frames, options.types).items()):
            size = sum(
                one.result_bytes + one.original_bytes
                for one in frames
                if one.cache_type == cache_type
            )
            found.append(_estimate(store, cache_type, results, size, options))
        return tuple(found)


def _estimate(
    store: Texts, cache_type: str, results: int, size: int, options: RecompressOptions
) -> Estimate:
    present = tuple(store.dictionaries())
    known = newest(present).get(cache_type) if options.dictionaries else None
    target, data = None if known is None else known.id, None
    moved = () if options.dictionaries else (cache_type,)
    if options.train:
        data = train_anew(store, cache_type, results, level=options.level, force=options.force)
    if data is not None:
        present = (*present, Dictionary(TRIED, cache_type, data))
        target, moved = TRIED, (cache_type,)
    terms = Terms(options.level, ((cache_type, target),), moved, options.force, present)
    frames = Frames(terms)
    rows = readable(_unseen(store, cache_type), frames).rows
    started = time.perf_counter()
    new = [frames.renewed(row) or row for row in rows]
    seconds = time.perf_counter() - started
    old_size, new_size = (sum(row.size for row in some) for some in (rows, new))
    return Estimate(
        cache_type=cache_type,
        results=results,
        sampled=len(rows),
        before=size,
        after=round(size * new_size / old_size) if old_size else size,
        dictionary=0 if data is None else len(data),
        seconds=seconds / len(rows) * results if rows else 0.0,
    )


def _unseen(store: Texts, cache_type: str) -> list[StoredTexts]:
    """Of a sample, what no dictionary is trained on: every fourth, which training leaves out."""
    return store.sample(cache_type, 4 * ESTIMATED_ON)[::4]
