"""What a run leaves behind in its destination: one row, and what it had to note."""

from __future__ import annotations

import time

from rustassistant.stores.base import Writer
from rustassistant.stores.outcomes import Conflict, Failure, Run, RunNote
from rustassistant.timestamps import format_rfc3339
from rustassistant.transfer.report import Report

DONE = "done"
INTERRUPTED = "interrupted"

FAILURE = "failure"
CONFLICT = "conflict"


class Audit:
    """Keeps the row of a run true at each commit.

    A run that changes nothing, and fails at nothing that the last one over the same sources did not
    fail at, leaves no row: unchanged sources are not to cost a single write.
    """

    def __init__(self, command: str, options: str, sources: str) -> None:
        self._run = Run(command, options, sources, time.time_ns())
        self._started = time.monotonic()
        self._told_failures = 0
        self._told_conflicts = 0
        self._is_kept = False

    def write(self, writer: Writer, report: Report, outcome: str | None = None) -> None:
        """Log the run as far as it is; with an ``outcome``, for the last time."""
        if not self._is_kept and not self._is_notable(writer, report, at_end=outcome is not None):
            return
        self._is_kept = True
        run, counts = self._run, report.outcomes
        run.outcome = outcome
        run.found = report.found
        run.migrated = counts.migrated
        run.unchanged = counts.unchanged
        run.duplicate = counts.duplicate
        run.filtered = report.filtered
        run.failed = report.failed
        run.conflicts = len(report.conflicts)
        run.source_bytes = report.source_size
        run.seconds = time.monotonic() - self._started
        failures = report.failures[self._told_failures :]
        conflicts = report.conflicts[self._told_conflicts :]
        writer.log(run, [*map(_failure_note, failures), *map(_conflict_note, conflicts)])
        self._told_failures = len(report.failures)
        self._told_conflicts = len(report.conflicts)

    def _is_notable(self, writer: Writer, report: Report, *, at_end: bool) -> bool:
        counts = report.outcomes
        if counts.migrated or counts.duplicate or report.conflicts:
            return True
        if not at_end or not report.failures:
            return False
        known = set(writer.last_notes(self._run.sources))
        return not known.issuperset(map(_failure_note, report.failures))


def _failure_note(failure: Failure) -> RunNote:
    return RunNote(FAILURE, failure.path, failure.cache_type, failure.reason)


def _conflict_note(conflict: Conflict) -> RunNote:
    kept, other = conflict.present, conflict.incoming
    if conflict.incoming_answers:
        kept, other = other, kept
    return RunNote(
        CONFLICT,
        f"{conflict.repository}/{conflict.file_path}",
        conflict.cache_type,
        f"two results: that of {format_rfc3339(kept)} answers, not that of {format_rfc3339(other)}",
    )
