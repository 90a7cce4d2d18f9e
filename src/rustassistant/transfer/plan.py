"""What is there to do, whether there is room for it, and in how many processes to do it."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from rustassistant.codec import (
    MIN_SAMPLES,
    Dictionary,
    dictionary_size,
    train_dictionary,
)
from rustassistant.errors import OutOfSpaceError, UsageError
from rustassistant.levels import DEFAULT_LEVEL
from rustassistant.stores.base import Destination, Found, Partition, Survey, Writer
from rustassistant.stores.outcomes import Rules
from rustassistant.transfer.selection import ALL, Selection
from rustassistant.transfer.workers import InlineExecutor, WorkerPool

_POOL_PAYS_FROM: Final = 3_000
"""Entries that this process reads in about the time that a pool takes to start."""

_WINDOW: Final = 16
"""Partitions under way for each worker: enough to go on with while a commit waits for the disk.
What comes of one is some 100 KiB, of one with long results 300."""

_SAMPLE_BYTES: Final = 16 * 2**10
"""Of a long result the beginning will do: samples are held in memory."""

_EXPECTED_SHARE: Final = 0.5
"""Room asked for, as a part of the source's bytes: the file takes a quarter at most, and its log
and the pages that a large commit touches twice may take as much again for a while."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    ``jobs`` worker processes, None to choose; 1 works in this process alone. ``checksum`` reads
    again what by its stamp has not changed. ``command`` is what the run is called in its audit,
    ``said`` are its options as JSON text, and ``sources`` the places it reads from.
    """

    jobs: int | None = None
    level: int = DEFAULT_LEVEL
    dictionaries: bool = True
    checksum: bool = False
    selection: Selection = ALL
    rules: Rules = Rules()
    command: str = "migrate"
    said: str = "{}"
    sources: tuple[str, ...] = ()
    counts_spending: bool = False

    @property
    def distrusts_stamps(self) -> bool:
        """Whether each entry has to be read: to be sure, or to tell whether it is meant."""
        return self.checksum or self.selection.reads_entries


def check_jobs(jobs: int | None) -> int | None:
    """The number of worker processes itself. Raises UsageError for less than one."""
    if jobs is not None and jobs < 1:
        raise UsageError(
            f"{jobs} worker processes are too few",
            hint="Name at least 1, which works in this process alone.",
        )
    return jobs


def executor_for(
    options: Options,
    total: int,
    *,
    at_once: bool = False,
    kind_of: Callable[[Partition], int] | None = None,
) -> tuple[Executor, int]:
    """Something to run partitions in, and how many of them to keep under way at once.

    Workers start when they are needed, or ``at_once``. Partitions of one kind go to one worker, if
    ``kind_of`` tells them apart.
    """
    jobs = options.jobs
    if jobs is None:
        jobs = 1 if total < _POOL_PAYS_FROM else _available_cpus()
    if jobs <= 1:
        return InlineExecutor(), 1
    pool = WorkerPool(jobs, kind_of)
    if at_once:
        pool.start()
    return pool, _WINDOW * jobs


def likeness(partition: Partition) -> int:
    """The same for partitions of copies, as clones of a repository are: who has compressed the
    results of one remembers them."""
    return crc32(f"{partition.folder.cache_type}/{partition.names[0]}".encode("utf-8", "replace"))


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_room(survey: Survey, destination: Destination, *, besides: int = 0) -> None:
    """Raise OutOfSpaceError, saying how much is missing, if the destination's disk is too full.

    What the database takes already counts as done; ``besides`` bytes go to the same disk.
    """
    room = destination.room()
    expected = int(survey.total * survey.mean_size * _EXPECTED_SHARE)
    needed = max(0, expected - destination.info().size) + besides
    if room is not None and room < needed:
        raise OutOfSpaceError(
            f"{destination.info().location} may need {_mib(needed)}, but its disk has only "
            f"{_mib(room)} free: {_mib(needed - room)} are missing"
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def choose_dictionaries(survey: Survey, writer: Writer, options: Options) -> Sequence[Dictionary]:
    """The destination's dictionaries, and newly trained ones for types that it has none for."""
    if not options.dictionaries:
        return []
    present = {one.cache_type: one for one in writer.dictionaries()}
    missing = {
        name: count
        for name, count in survey.files.items()
        if name not in present
        and name in (options.selection.types or survey.files)
        and count >= MIN_SAMPLES
        and dictionary_size(survey.mean_size, count) is not None
    }
    if missing:
        for cache_type, samples in _sample_results(survey, missing).items():
            data = train_dictionary(samples, expected=missing[cache_type])
            if data is not None:
                present[cache_type] = writer.add_dictionary(cache_type, data)
        writer.commit()
    return list(present.values())


def _sample_results(survey: Survey, wanted: dict[str, int]) -> dict[str, list[bytes]]:
    samples: defaultdict[str, list[bytes]] = defaultdict(list)
    for partition in survey.samples:
        if partition.folder.cache_type in wanted:
            for item in partition.read():
                if isinstance(item, Found):
                    samples[item.entry.cache_type].append(item.entry.result[:_SAMPLE_BYTES])
    return samples
