"""What a run tells: while it runs, and at its end. Data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rustassistant.stores.base import Failure, Outcomes, Problem

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
Cancelled = Callable[[], bool]


@dataclass(slots=True)
class Report:
    """What became of every entry found: the outcomes add up to ``found``. Sizes in bytes."""

    outcomes: Outcomes = field(default_factory=Outcomes)
    filtered: int = 0
    failures: list[Failure] = field(default_factory=list)
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
    """The outcome of comparing two stores, entry by entry."""

    compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    unreadable: list[Failure] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every entry that can be read is there, equal in every field."""
        return not self.differences
