"""The published API: migrate a JSON cache into a database, with a backup before and a check after.

Everything is synchronous and touches no global state, so it can be awaited from a thread::

    async def main() -> None:
        with CacheMigrator("~/.rustassistant/cache/repos", "cache.db") as migrator:
            result = await asyncio.to_thread(migrator.migrate)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rustassistant.codec import DEFAULT_LEVEL, check_level
from rustassistant.errors import UsageError
from rustassistant.stores import open_destination, open_source
from rustassistant.stores.base import Failure
from rustassistant.transfer.backup import ReportCopied, back_up
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.plan import Options, check_room
from rustassistant.transfer.report import (
    Cancelled,
    Comparison,
    Difference,
    Progress,
    Report,
    ReportProgress,
)
from rustassistant.transfer.verify import compare

Place = str | os.PathLike[str]


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
class MigrationResult:
    """What became of every file found. Sizes are bytes; the outcomes add up to ``total_entries``.

    ``source_size`` sums the files' bytes; ``destination_size`` is the database and its log.
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

    @property
    def space_saved(self) -> int:
        """Bytes that the destination takes less than the source; negative if it takes more."""
        return self.source_size - self.destination_size


@dataclass(frozen=True, slots=True)
class Verification:
    """What comparing every entry found. ``failures`` are files that can't be read now either."""

    compared: int
    differences: tuple[Difference, ...] = ()
    failures: tuple[MigrationFailure, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether all that can be read is in the destination, equal in every field."""
        return not self.differences

    def __bool__(self) -> bool:
        return self.passed


class CacheMigrator:
    """Moves the entries of ``source`` into ``destination``. The source is never written to.

    ``source`` is a JSON cache in any layout: its central root, one ``<hash8>`` directory, a
    repository or its ``.rustassistant``. ``destination`` is a database, which is made if need be.
    ``jobs`` worker processes (None chooses; 1 stays in this process); ``level`` is zstd's, 1 to 22.
    """

    def __init__(
        self,
        source: Place,
        destination: Place,
        *,
        jobs: int | None = None,
        level: int = DEFAULT_LEVEL,
        cancelled: Cancelled | None = None,
    ) -> None:
        if jobs is not None and jobs < 1:
            raise UsageError(
                f"{jobs} worker processes are too few",
                hint="Name at least 1, which works in this process alone.",
            )
        self.source = _place(source)
        self.destination = _place(destination)
        self._options = Options(jobs=jobs, level=check_level(level))
        self._cancelled = cancelled
        self._from = open_source(os.fspath(self.source))
        self._to = open_destination(os.fspath(self.destination))

    def __enter__(self) -> CacheMigrator:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        """Nothing stays open between calls."""

    def check(self, *, backup: bool = False) -> None:
        """Raise now what would stop `migrate` later: a destination that can't be written, or too
        little room for it and, with ``backup``, for a copy of the source beside it."""
        survey = self._from.survey()
        self._to.check_writable()
        shares = backup and _device(self.backup_path) == _device(self.destination)
        besides = int(survey.total * survey.mean_size) if shares else 0
        check_room(survey, self._to, besides=besides)

    def backup(self, path: Place | None = None, progress: ReportCopied | None = None) -> Path:
        """Copy the source to ``path`` (``<source>.backup``), check the copy, return where it is.

        What exists is never overwritten: the copy then gets a dated name beside it. Of a
        repository, its ``.rustassistant`` is copied. ``progress`` gets bytes done and in all.
        Raises BackupError, OutOfSpaceError, NotFoundError.
        """
        wanted = self.backup_path if path is None else Path(path).expanduser()
        return Path(back_up(self._from.tree(), os.fspath(wanted), progress=progress))

    @property
    def backup_path(self) -> Path:
        """Where `backup` puts its copy unless told otherwise, if that is free."""
        return Path(f"{self.source}.backup")

    def migrate(
        self, progress: Callable[[MigrationProgress], None] | None = None
    ) -> MigrationResult:
        """Move what the destination does not hold yet. May be run again at any time.

        What is wrong with single files is in the result; what stops the whole raises a
        RustAssistantError, and what was committed before stays.
        """
        report = transfer(
            self._from,
            self._to,
            options=self._options,
            progress=_published(progress),
            cancelled=self._cancelled,
        )
        return _result(report)

    def verify(self, progress: Callable[[MigrationProgress], None] | None = None) -> Verification:
        """Compare every entry of the source, in all fields, with what the destination gives back.

        The answer is true if nothing differs.
        """
        comparison = compare(
            self._from,
            self._to,
            options=self._options,
            progress=_published(progress),
            cancelled=self._cancelled,
        )
        return _verification(comparison)


def _place(given: Place) -> Path:
    """Where it is, whatever the working directory may be later on."""
    if not os.fspath(given):
        raise UsageError(
            "an empty path names no cache",
            hint="Name a directory as the source and a file as the destination.",
        )
    return Path(os.path.abspath(Path(given).expanduser()))


def _device(path: Path) -> int:
    """The disk that a file is on, or would be."""
    while not os.path.exists(path):  # false, too, for a name that is too long to be one
        path = path.parent
    return path.stat().st_dev


def _published(
    progress: Callable[[MigrationProgress], None] | None,
) -> ReportProgress | None:
    if progress is None:
        return None

    def report(now: Progress) -> None:
        progress(MigrationProgress(now.total, now.migrated, now.failed, now.current, now.done))

    return report


def _failure(failure: Failure) -> MigrationFailure:
    return MigrationFailure(failure.path, failure.cache_type, failure.reason)


def _result(report: Report) -> MigrationResult:
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
    )


def _verification(comparison: Comparison) -> Verification:
    return Verification(
        compared=comparison.compared,
        differences=tuple(comparison.differences),
        failures=tuple(map(_failure, comparison.unreadable)),
    )
