"""What becomes of entries on their way into a store, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """A source entry that could not be read, and why. ``size`` in bytes, 0 where unknown."""

    path: str
    cache_type: str
    reason: str
    size: int = 0


class Problem(NamedTuple):
    """Something in a source that is no entry, but that its owner should know of."""

    path: str
    text: str


class OnConflict(StrEnum):
    """Which of two entries with one identity and different results is to answer.

    The other is kept in the store's trash, except with KEEP_BOTH; FAIL is for who runs a transfer
    to refuse. Which wins depends on the entries alone, not on the order in which they come.
    """

    NEWEST = "newest"
    OLDEST = "oldest"
    KEEP_BOTH = "keep-both"
    FAIL = "fail"

    def best(self, standings: Iterable[tuple[int, bytes]]) -> tuple[int, bytes]:
        """Of several (``analyzed_at``, ``result_digest``), the one that is to answer."""
        return min(standings) if self is OnConflict.OLDEST else max(standings)


class Rules(NamedTuple):
    """How a writer treats entries that are like others.

    With ``dedup``, entries with equal type, key and result share one row, wherever they lay.
    ``restamp`` remembers the new stamp of a file that was only touched; where several sources hold
    the same file, each would take the place of the other's, run after run.
    """

    on_conflict: OnConflict = OnConflict.NEWEST
    dedup: bool = False
    restamp: bool = True


class Conflict(NamedTuple):
    """Two results under one identity: times of analysis, in nanoseconds, and which is preferred.

    Of several equal ones the newest stands for all.
    """

    repository: str
    cache_type: str
    file_path: str
    incoming: int
    present: int
    incoming_answers: bool


class Outcome(StrEnum):
    """What became of one source entry."""

    MIGRATED = "migrated"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"
    FILTERED = "filtered"
    FAILED = "failed"


class Outcomes(msgspec.Struct):
    """How many records of a batch became what.

    ``shared`` of the duplicates share the row of an entry at another path, which takes
    ``saved_bytes`` less than rows of their own.
    """

    migrated: int = 0
    unchanged: int = 0
    duplicate: int = 0
    shared: int = 0
    saved_bytes: int = 0

    def count(self, outcome: Outcome) -> None:
        """Count one record; only the first three outcomes are a writer's to give."""
        if outcome is Outcome.MIGRATED:
            self.migrated += 1
        elif outcome is Outcome.UNCHANGED:
            self.unchanged += 1
        else:
            self.duplicate += 1

    def add(self, other: Outcomes) -> None:
        """Count another batch too."""
        self.migrated += other.migrated
        self.unchanged += other.unchanged
        self.duplicate += other.duplicate
        self.shared += other.shared
        self.saved_bytes += other.saved_bytes


class Put(NamedTuple):
    """What a writer made of a batch: for each record its outcome, in order, and conflicts.

    ``failures`` are entries that the store has no place for, which ``outcomes`` do not count.
    """

    outcomes: Outcomes
    each: Sequence[Outcome]
    conflicts: Sequence[Conflict] = ()
    failures: Sequence[Failure] = ()


class Run(msgspec.Struct):
    """One run, as its destination remembers it. Times in nanoseconds since 1970, sizes in bytes."""

    command: str
    options: str
    sources: str
    started_at: int
    outcome: str | None = None
    found: int = 0
    migrated: int = 0
    unchanged: int = 0
    duplicate: int = 0
    filtered: int = 0
    failed: int = 0
    conflicts: int = 0
    source_bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0


class RunNote(NamedTuple):
    """What a run could not move (``failure``), or had to choose between (``conflict``)."""

    kind: str
    path: str
    cache_type: str
    reason: str
