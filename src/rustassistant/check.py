"""The published API for looking a cache database over, and for repairing it.

Problems are data: `check_database` returns them, `repair_database` sets damaged rows aside in the
table ``quarantine`` and, given sources, has them read from there again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rustassistant.locations import Place
from rustassistant.migrate import CacheMigrator
from rustassistant.stores import open_source
from rustassistant.stores.sqlite.integrity import checking, refilling, repairing
from rustassistant.stores.sqlite.integrity.problems import Kind, Problem, Remedy

__all__ = [
    "CheckResult",
    "Kind",
    "Problem",
    "Refill",
    "Remedy",
    "RepairResult",
    "check_database",
    "repair_database",
]

ReportLooked = Callable[[int, int, int], None]
"""Told as it goes on: entries looked at, entries in all, problems so far."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What is wrong with a database, and what that costs. ``entries`` were looked at."""

    problems: tuple[Problem, ...]
    entries: int

    @property
    def sound(self) -> bool:
        """Whether every entry is given back as it was stored, and everything agrees."""
        return not self.problems

    @property
    def lost(self) -> tuple[Problem, ...]:
        """The entries that can't be given back: paid for, and to be paid for again."""
        return tuple(problem for problem in self.problems if problem.paid)

    @property
    def tokens(self) -> int:
        """Tokens that the lost entries took, of those that say how many."""
        return sum(problem.tokens_used or 0 for problem in self.lost)


@dataclass(frozen=True, slots=True)
class Refill:
    """What became of the entries in quarantine when sources were read again."""

    back: int
    missing: tuple[refilling.Missing, ...]


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What was wrong, and what is ``left`` of it.

    ``kept`` is the file as it was before; ``rebuilt`` says that a new one took its place.
    """

    found: CheckResult
    left: CheckResult
    kept: Path | None
    rebuilt: bool
    refill: Refill | None = None


def check_database(database: Place, progress: ReportLooked | None = None) -> CheckResult:
    """Look over all that a database holds, as of one moment. Writes nothing, and waits for nobody.

    Raises NotFoundError, ForeignFileError (it is none of ours), NewerFileError.
    """
    found = checking.check_database(_path(database), progress)
    return CheckResult(tuple(found.problems), found.entries)


def repair_database(
    database: Place,
    *,
    sources: Sequence[Place] = (),
    keep_copy: bool = True,
    progress: ReportLooked | None = None,
) -> RepairResult:
    """Set damaged rows aside and make all else sound; then read ``sources`` for what was lost.

    A source is what `CacheMigrator` takes; all it holds is migrated. ``keep_copy`` keeps the file
    as it was beside it. Raises LockedError if others write, and what `check_database` does; a
    source that is not there is told before anything is changed.
    """
    path = _path(database)
    migrator = CacheMigrator(list(sources), path) if sources else None
    for source in () if migrator is None else migrator.sources:
        open_source(os.fspath(source)).survey()
    done = repairing.repair_database(path, keep_copy=keep_copy, looked=progress)
    left = CheckResult(tuple(done.left), done.entries)
    refill = None
    if migrator is not None and not done.left:
        migrator.migrate()
        noted = refilling.note_refilled(path)
        refill = Refill(noted.back, tuple(noted.missing))
        left = check_database(path, progress)
    return RepairResult(
        found=CheckResult(tuple(done.found), done.entries),
        left=left,
        kept=None if done.kept is None else Path(done.kept),
        rebuilt=done.rebuilt,
        refill=refill,
    )


def _path(database: Place) -> str:
    return os.path.realpath(os.path.expanduser(os.fspath(database)))
