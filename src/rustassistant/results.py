"""What migrations report: plain data, part of the published API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rustassistant.stores.outcomes import Conflict, Failure
from rustassistant.transfer.report import Comparison, Difference, Progress, Report, ReportProgress


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How far a migration has come. ``total`` is what the listing promised."""

    total: int
    migrated: int
    failed: int
    current_file: str
    done: int


@dataclass(frozen=True, slots=True)
class MigrationFailure:
    """A file that could not be migrated, and why. It still lies where it was."""

    file_path: str
    cache_type: str
    error: str


@dataclass(frozen=True, slots=True)
class MigrationConflict:
    """Two different results under one identity, by their times of analysis (nanoseconds since
    1970). ``answers`` is the one that lookups give, ``other`` is kept."""

    repository: str
    cache_type: str
    file_path: str
    answers: int
    other: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What entries of one model took to make, in tokens: ``assumed_tokens`` where the result does
    not tell input from output, ``input_tokens`` and ``output_tokens`` where it does."""

    provider: str
    model: str
    entries: int
    assumed_tokens: int
    input_tokens: int
    output_tokens: int
    entries_without_tokens: int


@dataclass(frozen=True, slots=True)
class MigrationResult:
    """What became of every file found. Sizes are bytes; the outcomes add up to ``total_entries``.

    ``source_size`` sums the files' bytes; ``destination_size`` is the database and its log.
    ``total_shared`` of the duplicates share an equal entry's row, which saves ``shared_bytes``.
    ``notes`` tell of oddities that lost nothing, as (path, what); ``total_notes`` counts those
    beyond the first thousand too.
    """

    total_entries: int
    total_migrated: int
    total_failed: int
    total_unchanged: int
    total_duplicates: int
    total_filtered: int
    source_size: int
    destination_size: int
    seconds: float
    failures: tuple[MigrationFailure, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    total_notes: int = 0
    conflicts: tuple[MigrationConflict, ...] = ()
    total_shared: int = 0
    shared_bytes: int = 0

    @property
    def space_saved(self) -> int:
        """Bytes that the destination takes less than the source; negative if it takes more."""
        return self.source_size - self.destination_size


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a migration would do. The sizes in ``result`` are estimates; ``grows_by`` is how many
    bytes more the destination would take than now, and ``spent`` what making the entries took that
    are new to it."""

    result: MigrationResult
    grows_by: int
    spent: tuple[Spending, ...]


@dataclass(frozen=True, slots=True)
class Verification:
    """What comparing every entry found. ``failures`` are files that can't be read now either.

    ``digest`` (64 hex digits, see ``transfer.digest``) is that of all entries compared.
    ``total_removed`` of them the destination holds, but they answer no more: newer ones do, or they
    were cleared away; ``digest_answering`` is that of the others. ``total_resumed`` were compared
    by an earlier run that was interrupted.
    """

    compared: int
    differences: tuple[Difference, ...] = ()
    failures: tuple[MigrationFailure, ...] = field(default=())
    digest: str = ""
    total_removed: int = 0
    digest_answering: str = ""
    total_resumed: int = 0

    @property
    def passed(self) -> bool:
        """Whether all that can be read is in the destination, equal in every field."""
        return not self.differences

    def __bool__(self) -> bool:
        return self.passed


def published_progress(
    progress: Callable[[MigrationProgress], None] | None,
) -> ReportProgress | None:
    """The callback that a transfer takes, for one that the published API takes."""
    if progress is None:
        return None

    def report(now: Progress) -> None:
        progress(MigrationProgress(now.total, now.migrated, now.failed, now.current, now.done))

    return report


def result_of(report: Report) -> MigrationResult:
    """A transfer's report as the published API tells it."""
    return MigrationResult(
        total_entries=report.found,
        total_migrated=report.outcomes.migrated,
        total_failed=report.failed,
        total_unchanged=report.outcomes.unchanged,
        total_duplicates=report.outcomes.duplicate,
        total_filtered=report.filtered,
        source_size=report.source_size,
        destination_size=report.destination_size,
        seconds=report.seconds,
        failures=tuple(map(_failure, report.failures)),
        notes=tuple((problem.path, problem.text) for problem in report.problems),
        total_notes=report.problem_count,
        conflicts=tuple(map(_conflict, report.conflicts)),
        total_shared=report.outcomes.shared,
        shared_bytes=report.outcomes.saved_bytes,
    )


def spending_of(report: Report) -> tuple[Spending, ...]:
    """What a report says of tokens, the most first."""
    made = [
        Spending(
            provider,
            model,
            spent.entries,
            spent.assumed_tokens,
            spent.input_tokens,
            spent.output_tokens,
            spent.without_tokens,
        )
        for (provider, model), spent in report.spent.items()
    ]
    return tuple(sorted(made, key=lambda one: (-one.entries, one.provider, one.model)))


def verification_of(comparison: Comparison) -> Verification:
    """A comparison as the published API tells it."""
    return Verification(
        compared=comparison.compared,
        differences=tuple(comparison.differences),
        failures=tuple(map(_failure, comparison.unreadable)),
        digest=comparison.digest.hexdigest(),
        total_removed=comparison.removed.count,
        digest_answering=comparison.digest.without(comparison.removed).hexdigest(),
        total_resumed=comparison.resumed,
    )


def _failure(failure: Failure) -> MigrationFailure:
    return MigrationFailure(failure.path, failure.cache_type, failure.reason)


def _conflict(conflict: Conflict) -> MigrationConflict:
    times = (conflict.incoming, conflict.present)
    answers, other = times if conflict.incoming_answers else times[::-1]
    return MigrationConflict(
        conflict.repository, conflict.cache_type, conflict.file_path, answers, other
    )
