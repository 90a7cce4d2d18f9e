"""What a run tells: while it runs, and at its end. Data only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rustassistant.records import Record
from rustassistant.stores.outcomes import Conflict, Failure, Outcome, Outcomes, Problem
from rustassistant.transfer.digest import Digest
from rustassistant.usage import MAX_TOKENS

MAX_PROBLEMS: Final = 1_000
"""Problems beyond these are counted only: a whole cache with one oddity must not fill memory."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come. ``total`` is what the listing promised, which may yet change."""

    total: int
    done: int
    migrated: int
    failed: int
    current: str


ReportProgress = Callable[[Progress], None]
ReportEntry = Callable[[str, str, Outcome, str], None]
"""Called for each entry with its path, its type, its outcome and, if it failed, the reason."""
Cancelled = Callable[[], bool]


@dataclass(slots=True)
class Spent:
    """What entries of one model took to make: ``assumed_tokens`` where the result does not tell
    input from output, ``input_tokens`` and ``output_tokens`` where it does."""

    entries: int = 0
    assumed_tokens: int = 0
    without_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, record: Record) -> None:
        """Count one more."""
        self.entries += 1
        if record.usage is not None:
            self.input_tokens += record.usage[0]
            self.output_tokens += record.usage[1]
        elif record.tokens_used is None or not 0 <= record.tokens_used <= MAX_TOKENS:
            self.without_tokens += 1
        else:
            self.assumed_tokens += record.tokens_used


@dataclass(slots=True)
class Report:
    """What became of every entry found: the outcomes add up to ``found``. Sizes in bytes."""

    outcomes: Outcomes = field(default_factory=Outcomes)
    filtered: int = 0
    failures: list[Failure] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    spent: dict[tuple[str, str], Spent] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    source_size: int = 0
    destination_size: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Entries that could not be read, each named in ``failures``."""
        return len(self.failures)

    @property
    def found(self) -> int:
        """All source entries."""
        counts = self.outcomes
        return counts.migrated + counts.unchanged + counts.duplicate + self.filtered + self.failed

    def spend(
        self, records: Sequence[Record], each: Sequence[Outcome], *, shares_rows: bool
    ) -> None:
        """Note what it took to make those that are new, by provider and model.

        A duplicate is a further place of an entry; where rows are shared, it may be another entry.
        """
        new = {Outcome.MIGRATED, Outcome.DUPLICATE} if shares_rows else {Outcome.MIGRATED}
        for record, outcome in zip(records, each, strict=True):
            if outcome in new:
                self.spent.setdefault((record.provider, record.model), Spent()).add(record)

    def add_problem(self, problem: Problem) -> None:
        """Note something odd that lost nothing."""
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def add_failure(self, failure: Failure) -> None:
        """Note an entry that could not be read."""
        self.failures.append(failure)
        self.source_size += failure.size


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry that the destination does not give back as the source has it."""

    path: str
    cache_type: str
    what: str


@dataclass(slots=True)
class Comparison:
    """The outcome of comparing two stores, entry by entry.

    ``digest`` is that of all entries compared, ``removed`` of those among them that the destination
    holds but that answer no more; ``resumed`` were compared by an earlier run that was interrupted.
    """

    compared: int = 0
    filtered: int = 0
    differences: list[Difference] = field(default_factory=list)
    unreadable: list[Failure] = field(default_factory=list)
    digest: Digest = field(default_factory=Digest)
    removed: Digest = field(default_factory=Digest)
    resumed: int = 0

    @property
    def passed(self) -> bool:
        """Whether every entry that can be read is there, equal in every field."""
        return not self.differences
