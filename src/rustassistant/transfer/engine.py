"""The transfer itself: read and encode in workers, put in batches by one writer."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Final

import msgspec

from rustassistant.errors import InterruptedRunError
from rustassistant.records import PackedRecords
from rustassistant.stores.base import (
    Destination,
    Folder,
    Partition,
    Source,
    Writer,
)
from rustassistant.stores.outcomes import Failure, Outcome, Problem
from rustassistant.transfer.audit import DONE, INTERRUPTED, Audit
from rustassistant.transfer.encoding import (
    Batch,
    Terms,
    encode_partition,
    forget_terms,
    unpack_batch,
)
from rustassistant.transfer.flow import Answer, answers, check_told
from rustassistant.transfer.looking import Looking
from rustassistant.transfer.plan import (
    Options,
    check_room,
    choose_dictionaries,
    executor_for,
    likeness,
)
from rustassistant.transfer.report import (
    Cancelled,
    Progress,
    Report,
    ReportEntry,
    ReportProgress,
)

COMMIT_ROWS: Final = 20_000
"""Rows in a transaction: each commit waits for the disk, and rewrites the index pages it
touched."""

COMMIT_SECONDS: Final = 5.0
"""No more than this much work is lost to a power cut, however slow the source."""


def transfer(
    source: Source,
    destination: Destination,
    *,
    options: Options | None = None,
    progress: ReportProgress | None = None,
    entry_told: ReportEntry | None = None,
    cancelled: Cancelled | None = None,
) -> Report:
    """Move every entry of ``source`` that ``destination`` does not hold yet.

    Raises InterruptedRunError if ``cancelled`` says so, and what the stores raise for the whole of
    them; what is wrong with single entries is in the report.
    """
    run = _Run(source, destination, options or Options(), progress, entry_told)
    return run.run(cancelled or (lambda: False))


class _Run:
    """One transfer on its way."""

    def __init__(
        self,
        source: Source,
        destination: Destination,
        options: Options,
        progress: ReportProgress | None,
        entry_told: ReportEntry | None,
    ) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._progress = progress
        self._entry_told = entry_told
        self._report = Report()
        self._total = 0
        self._uncommitted = 0
        self._committed_at = time.monotonic()
        places = options.sources or (source.info().location,)
        self._audit = Audit(options.command, options.said, json.dumps(places))

    def run(self, cancelled: Cancelled) -> Report:
        started = time.monotonic()
        options, report = self._options, self._report
        survey = self._source.survey()
        self._total = survey.total
        self._destination.check_writable()
        check_room(survey, self._destination)
        all_is_read = options.distrusts_stamps or not self._destination.info().size
        with self._destination.writer(options.rules) as writer:
            # Workers that are sure to be needed start while this process trains dictionaries.
            executor, window = executor_for(
                options, survey.total, at_once=all_is_read, kind_of=likeness
            )
            try:
                dictionaries = choose_dictionaries(survey, writer, options)
                terms = Terms(
                    options.level,
                    list(dictionaries),
                    options.selection,
                    names_paths=self._entry_told is not None,
                )
                packed = msgspec.msgpack.encode(terms)
                finished = self._move(writer, packed, executor, window, cancelled)
            finally:
                executor.shutdown(cancel_futures=True)
                forget_terms()
            self._audit.write(writer, report, DONE if finished else INTERRUPTED)
        if not finished:  # only now: leaving the writer has committed what was put
            raise InterruptedRunError(
                f"stopped after {report.found} of {self._total} entries; "
                f"{report.outcomes.migrated} were migrated and are safe"
            )
        report.destination_size = self._destination.info().size
        report.seconds = time.monotonic() - started
        return report

    def _move(
        self, writer: Writer, terms: bytes, executor: Executor, window: int, cancelled: Cancelled
    ) -> bool:
        """Move everything; False if that was ``cancelled``."""
        encode = partial(encode_partition, terms)  # dictionaries and all go to each worker once

        def submit(executor: Executor, partition: Partition) -> Future[bytes]:
            return executor.submit(encode, partition)

        meant = filter(self._is_meant, self._source.partitions())
        looking = Looking(writer, names_paths=self._entry_told is not None)
        items = meant if self._options.distrusts_stamps else looking.sort_out(meant)
        for item in answers(items, executor=executor, window=window, submit=submit):
            if isinstance(item, Failure):
                self._fail(item)
                self._tell(item.path)
            elif isinstance(item, Problem):
                self._report.add_problem(item)
            else:
                self._put(writer, item)
                self._tell(item.partition)
            if cancelled():
                return False
        return True

    def _is_meant(self, item: Partition | Failure | Problem) -> bool:
        """Whether it has to be read to tell what becomes of it; if not, it is filtered."""
        if isinstance(item, Failure | Problem):
            return True
        if self._options.selection.admits_folder(item.folder):
            return True
        self._report.filtered += len(item.names)
        if self._entry_told is not None:
            for position in range(len(item.names)):
                self._tell_entry(item.place(position), item.folder, Outcome.FILTERED)
        return False

    def _put(self, writer: Writer, answer: Answer) -> None:
        report, folder = self._report, answer.partition.folder
        batch = unpack_batch(answer.message)
        records = PackedRecords(bytes(batch.records))
        told = len(records) + len(batch.failures) + batch.unchanged + batch.filtered
        check_told(answer.partition, told)
        for failure in batch.failures:
            self._fail(failure)
        report.source_size += batch.size
        for path, text in batch.problems:
            report.add_problem(Problem(path, text))
        report.outcomes.unchanged += batch.unchanged
        report.filtered += batch.filtered
        if not records and not batch.unchanged:
            self._tell_entries(folder, batch, ())  # nothing of it is, or is to be, there
            return
        put = writer.put(folder, records)
        report.outcomes.add(put.outcomes)
        report.conflicts.extend(put.conflicts)
        report.failures.extend(put.failures)
        if self._options.counts_spending:
            report.spend(records, put.each, shares_rows=self._options.rules.dedup)
        self._tell_entries(folder, batch, put.each)
        self._uncommitted += len(records)
        overdue = time.monotonic() - self._committed_at > COMMIT_SECONDS
        if self._uncommitted and (self._uncommitted >= COMMIT_ROWS or overdue):
            self._audit.write(writer, report)
            writer.commit()
            self._uncommitted = 0
            self._committed_at = time.monotonic()

    def _fail(self, failure: Failure) -> None:
        self._report.add_failure(failure)
        if self._entry_told is not None:
            self._entry_told(failure.path, failure.cache_type, Outcome.FAILED, failure.reason)

    def _tell_entries(self, folder: Folder, batch: Batch, each: Sequence[Outcome]) -> None:
        if self._entry_told is not None:
            for path, outcome in (*zip(batch.paths, each, strict=True), *batch.others):
                self._tell_entry(path, folder, outcome)

    def _tell_entry(self, path: str, folder: Folder, outcome: Outcome) -> None:
        if self._entry_told is not None:
            self._entry_told(path, folder.cache_type, outcome, "")

    def _tell(self, at: str | Partition) -> None:
        """Report how far it is: at a place, or through a partition."""
        if self._progress is not None:
            current = at if isinstance(at, str) else at.place(len(at.names) - 1)
            report = self._report
            done, migrated = report.found, report.outcomes.migrated
            total = max(self._total, done)
            self._progress(Progress(total, done, migrated, report.failed, current))
