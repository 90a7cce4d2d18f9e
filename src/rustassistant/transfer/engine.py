"""The transfer itself: read and encode in workers, put in batches by one writer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import lru_cache
from typing import Final

import msgspec

from rustassistant.codec import Dictionary, Encoder, Record
from rustassistant.errors import InterruptedRunError
from rustassistant.stores.base import (
    Destination,
    Failure,
    Folder,
    Known,
    Partition,
    Problem,
    Source,
    Unchanged,
    Writer,
    printable,
)
from rustassistant.transfer.flow import Answer, answers
from rustassistant.transfer.plan import Options, check_room, choose_dictionaries, executor_for
from rustassistant.transfer.report import Cancelled, Progress, Report, ReportProgress

COMMIT_ROWS: Final = 20_000
"""Rows in a transaction: each commit waits for the disk, and rewrites the index pages it
touched."""

COMMIT_SECONDS: Final = 5.0
"""No more than this much work is lost to a power cut, however slow the source."""


class _Job(msgspec.Struct):
    """What a worker needs to know besides its partition."""

    level: int
    dictionaries: list[Dictionary]


class _Batch(msgspec.Struct, array_like=True):
    """What a worker makes of a partition, as it travels back: quick to pack, small."""

    records: list[Record]
    failures: list[Failure]
    problems: list[tuple[str, str]]
    unchanged: int
    size: int


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(_Batch).decode


@lru_cache(maxsize=1)
def _encoder(job: bytes) -> Encoder:
    """The encoder of the job at hand, made once in each worker."""
    terms = msgspec.msgpack.decode(job, type=_Job)
    return Encoder(level=terms.level, dictionaries=terms.dictionaries)


def encode_partition(job: bytes, partition: Partition, known: Known) -> bytes:
    """A worker's task: a partition read and encoded, packed as a `_Batch`."""
    batch = _Batch([], [], [], 0, 0)
    encode = _encoder(job).encode
    for item in partition.read(known):
        if isinstance(item, Failure):
            batch.failures.append(item)
            continue
        batch.size += item.size
        if isinstance(item, Unchanged):
            batch.unchanged += 1
            continue
        batch.records.append(encode(item.entry, name=item.name, stamp=item.stamp))
        batch.problems.extend((item.path, note) for note in item.notes)
    return _pack(batch)


def transfer(
    source: Source,
    destination: Destination,
    *,
    options: Options | None = None,
    progress: ReportProgress | None = None,
    cancelled: Cancelled | None = None,
) -> Report:
    """Move every entry of ``source`` that ``destination`` does not hold yet.

    Raises InterruptedRunError if ``cancelled`` says so, and what the stores raise for the whole of
    them; what is wrong with single entries is in the report.
    """
    return _Run(source, destination, options or Options(), progress, cancelled).run()


class _Run:
    """One transfer on its way."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        options: Options,
        progress: ReportProgress | None,
        cancelled: Cancelled | None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._progress = progress
        self._cancelled = cancelled or (lambda: False)
        self._report = Report()
        self._total = 0
        self._uncommitted = 0
        self._stopped = False
        self._committed_at = time.monotonic()
        self._known: tuple[Folder, Known] | None = None

    def run(self) -> Report:
        started = time.monotonic()
        survey = self._source.survey()
        self._total = survey.total
        self._destination.check_writable()
        check_room(survey, self._destination)
        with self._destination.writer() as writer:
            # The workers start up while this process trains dictionaries.
            executor, window = executor_for(self._options, survey.total)
            try:
                dictionaries = choose_dictionaries(survey, writer, self._options)
                self._move(writer, _job(self._options, dictionaries), executor, window)
            finally:
                executor.shutdown(cancel_futures=True)
        if self._stopped:  # only now: leaving the writer has committed what was put
            raise InterruptedRunError(
                f"stopped after {self._report.found} of {self._total} entries; "
                f"{self._report.outcomes.migrated} were migrated and are safe"
            )
        self._report.destination_size = self._destination.info().size
        self._report.seconds = time.monotonic() - started
        return self._report

    def _move(self, writer: Writer, job: bytes, executor: Executor, window: int) -> None:
        def submit(executor: Executor, partition: Partition) -> Future[bytes]:
            known = self._known_names(writer, partition)
            return executor.submit(encode_partition, job, partition, known)

        partitions = self._source.partitions()
        for item in answers(partitions, executor=executor, window=window, submit=submit):
            if isinstance(item, Failure):
                self._report.add_failure(item)
                self._tell(item.path)
            elif isinstance(item, Problem):
                self._report.add_problem(item)
            else:
                self._put(writer, item)
                self._tell(f"{item.partition.label}/{printable(item.partition.names[-1])}")
            if self._cancelled():
                self._stopped = True
                return

    def _put(self, writer: Writer, answer: Answer) -> None:
        report, partition = self._report, answer.partition
        batch = _unpack(answer.message)
        for failure in batch.failures:
            report.add_failure(failure)
        report.source_size += batch.size
        for path, text in batch.problems:
            report.add_problem(Problem(path, text))
        report.outcomes.unchanged += batch.unchanged
        report.outcomes.add(writer.put(partition.folder, batch.records))
        self._uncommitted += len(batch.records)
        overdue = time.monotonic() - self._committed_at > COMMIT_SECONDS
        if self._uncommitted and (self._uncommitted >= COMMIT_ROWS or overdue):
            writer.commit()
            self._uncommitted = 0
            self._committed_at = time.monotonic()

    def _tell(self, current: str) -> None:
        if self._progress is not None:
            report = self._report
            done, migrated = report.found, report.outcomes.migrated
            total = max(self._total, done)
            self._progress(Progress(total, done, migrated, report.failed, current))

    def _known_names(self, writer: Writer, partition: Partition) -> Mapping[str, Sequence[int]]:
        """Of what the destination has seen of the folder, that which concerns this partition."""
        folder = partition.folder
        if self._known is None or self._known[0] != folder:
            self._known = (folder, writer.known(folder))
        known = self._known[1]
        if not known:
            return {}
        return {name: tuple(known[name]) for name in partition.names if name in known}


def _job(options: Options, dictionaries: Sequence[Dictionary]) -> bytes:
    return msgspec.msgpack.encode(_Job(options.level, list(dictionaries)))
