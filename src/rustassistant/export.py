"""The published API for leaving a database again: as a tree of JSON files, JSON Lines or Parquet.

    result = CacheExporter("cache.db", "repos").export()
    assert not result.failures

What came from files comes out as the same files, to the last byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from rustassistant.errors import ConflictError, InterruptedRunError, UsageError
from rustassistant.migrate import MigrationFailure, MigrationProgress, Place
from rustassistant.results import published_progress
from rustassistant.stores import open_destination, open_source
from rustassistant.stores.base import Destination, Folder, Source
from rustassistant.stores.interchange.single_file import SingleFile
from rustassistant.stores.json_tree import JsonTreeDestination, Layout
from rustassistant.stores.outcomes import Failure, OnConflict, Problem, Rules
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.plan import Options
from rustassistant.transfer.report import Cancelled, Report
from rustassistant.transfer.selection import ALL, Selection


class Format(StrEnum):
    """What an export is; ``v1`` is the Rust program's own database. Only Parquet can't be read
    back."""

    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    V1 = "v1"


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What became of every entry; the outcomes add up to ``total_entries``. Sizes in bytes.

    ``total_superseded`` entries were left out because a newer one has their file's name;
    ``total_unresolved`` because a file was there that differs, and the policy was to fail.
    ``total_renamed`` of those exported or unchanged got names of their own. ``conflicts`` tell of
    files that were there, as (path, what was done); those that were replaced (``total_replaced``)
    are kept in ``replaced_in``.
    """

    total_entries: int
    total_exported: int
    total_unchanged: int
    total_superseded: int
    total_filtered: int
    total_unresolved: int
    total_failed: int
    total_renamed: int
    total_replaced: int
    total_conflicts: int
    destination_size: int
    seconds: float
    replaced_in: str | None = None
    failures: tuple[MigrationFailure, ...] = ()
    conflicts: tuple[tuple[str, str], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of every line; the outcomes add up to ``total_entries``. Sizes in bytes.

    ``total_conflicts`` are results that differ from one already there under the same identity.
    """

    total_entries: int
    total_imported: int
    total_unchanged: int
    total_duplicates: int
    total_filtered: int
    total_failed: int
    total_conflicts: int
    destination_size: int
    seconds: float
    failures: tuple[MigrationFailure, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


class CacheExporter:
    """Writes the entries of ``source``, a database or a JSON cache, to ``destination``.

    ``layout`` (``centralized``, ``flat``, ``local``) puts everything into one; None puts each entry
    where it came from. ``every`` keeps older results of a path too, under names of their own.
    ``on_conflict`` (``newest``, ``oldest``, ``keep-both``, ``fail``) decides about files that are
    there and differ; whatever it says, none is lost. Nothing is ever written to the source.
    """

    def __init__(
        self,
        source: Place,
        destination: Place,
        *,
        format: str = Format.JSON,  # noqa: A002 - what it is called on the command line
        layout: str | None = None,
        every: bool = False,
        on_conflict: str = OnConflict.NEWEST,
        selection: Selection = ALL,
        jobs: int | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        self.source = _place(source)
        self.destination = _place(destination)
        self.format = Format(format)
        _check_jobs(jobs)
        if self.format is not Format.JSON and (layout or every):
            raise UsageError(
                f"the {self.format} format has no layout",
                hint="Leave out --layout and --all.",
            )
        self._layout = None if layout is None else Layout(layout)
        self._every = every
        self._cancelled = cancelled
        self._selection = selection
        self._options = Options(
            jobs=jobs,
            level=1,  # what is compressed is unpacked right away
            dictionaries=False,
            selection=selection,
            rules=Rules(on_conflict=OnConflict(on_conflict)),
            command="export",
        )
        self._from = _open(self.source, superseded=self.format in (Format.JSON, Format.JSONL))

    def export(
        self,
        progress: Callable[[MigrationProgress], None] | None = None,
        *,
        dry_run: bool = False,
    ) -> ExportResult:
        """Write what is not there yet. May be run again at any time: what is equal is not touched.

        ``dry_run`` only compares. What is wrong with single entries is in the result; what stops
        the whole raises a RustAssistantError.
        """
        destination = self._destination()
        if not dry_run:
            return self._export(destination, progress)
        destination.check_writable()
        with destination.rehearsal() as rehearsal:
            return self._export(rehearsal, progress)

    def _export(
        self, destination: Destination, progress: Callable[[MigrationProgress], None] | None
    ) -> ExportResult:
        report = transfer(
            self._from,
            destination,
            options=self._options,
            progress=published_progress(progress),
            cancelled=self._give_up if isinstance(destination, SingleFile) else self._cancelled,
        )
        if isinstance(destination, JsonTreeDestination):
            return _of_tree(report, destination)
        if isinstance(destination, SingleFile):
            return _of_file(report, destination)
        return _of_database(report)

    def _give_up(self) -> bool:
        """Stop without finishing: half an export under the name of a whole one would be wrong."""
        if self._cancelled is not None and self._cancelled():
            raise InterruptedRunError("stopped; no file was made")
        return False

    def _destination(self) -> Destination:
        if self.format is Format.JSON:
            return JsonTreeDestination(
                self.destination, layout=self._layout, folders=self._folders(), every=self._every
            )
        if os.path.realpath(self.source) == os.path.realpath(self.destination):
            raise UsageError("the source can't be the destination too", hint="Name another file.")
        return open_destination(f"{self.format}:{self.destination}")

    def _folders(self) -> set[Folder]:
        """All that will come: what goes where must not depend on the order."""
        return {
            item.folder
            for item in self._from.partitions()
            if not isinstance(item, Failure | Problem)
            and self._selection.admits_folder(item.folder)
        }


class CacheImporter:
    """Reads a JSON Lines export into a database. Lines that are no entries are failures."""

    def __init__(
        self,
        source: Place,
        destination: Place,
        *,
        on_conflict: str = OnConflict.NEWEST,
        selection: Selection = ALL,
        jobs: int | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        self.source = _place(source)
        self.destination = _place(destination)
        _check_jobs(jobs)
        self._cancelled = cancelled
        self._options = Options(
            jobs=jobs,
            selection=selection,
            rules=Rules(on_conflict=OnConflict(on_conflict)),
            command="import",
        )

    def run(
        self,
        progress: Callable[[MigrationProgress], None] | None = None,
        *,
        dry_run: bool = False,
    ) -> ImportResult:
        """Move what the database does not hold yet. May be run again at any time.

        Raises ConflictError, before anything is changed, if conflicts are to fail and there are
        any.
        """
        destination = open_destination(f"sqlite:{self.destination}")
        if dry_run or self._options.rules.on_conflict is OnConflict.FAIL:
            with destination.rehearsal() as rehearsal:
                rehearsed = self._run(rehearsal, progress)
            if dry_run:
                return rehearsed
            if rehearsed.total_conflicts:
                raise ConflictError(
                    f"{rehearsed.total_conflicts} results differ from others under the same "
                    "identity"
                )
        return self._run(destination, progress)

    def _run(
        self, destination: Destination, progress: Callable[[MigrationProgress], None] | None
    ) -> ImportResult:
        report = transfer(
            open_source(f"jsonl:{self.source}"),
            destination,
            options=replace(self._options, sources=(str(self.source),)),
            progress=published_progress(progress),
            cancelled=self._cancelled,
        )
        return _of_import(report)


def _place(given: Place) -> Path:
    """Where it is, whatever the working directory may be later on."""
    if not os.fspath(given):
        raise UsageError("an empty path names no place", hint="Name a file or a directory.")
    return Path(os.path.abspath(Path(given).expanduser()))


def _check_jobs(jobs: int | None) -> None:
    if jobs is not None and jobs < 1:
        raise UsageError(
            f"{jobs} worker processes are too few",
            hint="Name at least 1, which works in this process alone.",
        )


def _open(source: Path, *, superseded: bool) -> Source:
    """A JSON cache, whose layout may be changed so, or a database; one that is missing would be.

    Entries of which another result is preferred came from files too, and are ``superseded``.
    """
    opened = open_source(str(source) if source.exists() else f"sqlite:{source}")
    if isinstance(opened, SqliteStore):
        return SqliteStore(opened.path, superseded=superseded)
    return opened


def _failure(failure: Failure) -> MigrationFailure:
    return MigrationFailure(failure.path, failure.cache_type, failure.reason)


def _of_tree(report: Report, destination: JsonTreeDestination) -> ExportResult:
    tally = destination.tally
    failures = (*report.failures, *tally.failures)
    placed = tally.written + tally.unchanged + tally.superseded + tally.unresolved
    return ExportResult(
        total_entries=placed + report.filtered + len(failures),
        total_exported=tally.written,
        total_unchanged=tally.unchanged,
        total_superseded=tally.superseded,
        total_filtered=report.filtered,
        total_unresolved=tally.unresolved,
        total_failed=len(failures),
        total_renamed=tally.renamed,
        total_replaced=tally.replaced,
        total_conflicts=tally.conflict_count,
        destination_size=report.destination_size,
        seconds=report.seconds,
        replaced_in=None if tally.aside is None else os.path.join(destination.path, tally.aside),
        failures=tuple(map(_failure, failures)),
        conflicts=tuple((one.path, one.text) for one in tally.conflicts),
        notes=tuple((one.path, one.text) for one in (*report.problems, *tally.notes)),
    )


def _of_file(report: Report, destination: SingleFile) -> ExportResult:
    tally = destination.tally
    failures = (*report.failures, *tally.failures)
    return ExportResult(
        total_entries=tally.written + report.filtered + len(failures),
        total_exported=0 if tally.unchanged else tally.written,
        total_unchanged=tally.written if tally.unchanged else 0,
        total_superseded=0,
        total_filtered=report.filtered,
        total_unresolved=0,
        total_failed=len(failures),
        total_renamed=0,
        total_replaced=1 if tally.aside else 0,
        total_conflicts=1 if tally.aside else 0,
        destination_size=report.destination_size,
        seconds=report.seconds,
        replaced_in=tally.aside,
        failures=tuple(map(_failure, failures)),
        notes=tuple((one.path, one.text) for one in report.problems),
    )


def _of_database(report: Report) -> ExportResult:
    return ExportResult(
        total_entries=report.found,
        total_exported=report.outcomes.migrated,
        total_unchanged=report.outcomes.unchanged + report.outcomes.duplicate,
        total_superseded=0,
        total_filtered=report.filtered,
        total_unresolved=0,
        total_failed=report.failed,
        total_renamed=0,
        total_replaced=0,
        total_conflicts=len(report.conflicts),
        destination_size=report.destination_size,
        seconds=report.seconds,
        failures=tuple(map(_failure, report.failures)),
        notes=tuple((one.path, one.text) for one in report.problems),
    )


def _of_import(report: Report) -> ImportResult:
    return ImportResult(
        total_entries=report.found,
        total_imported=report.outcomes.migrated,
        total_unchanged=report.outcomes.unchanged,
        total_duplicates=report.outcomes.duplicate,
        total_filtered=report.filtered,
        total_failed=report.failed,
        total_conflicts=len(report.conflicts),
        destination_size=report.destination_size,
        seconds=report.seconds,
        failures=tuple(map(_failure, report.failures)),
        notes=tuple((one.path, one.text) for one in report.problems),
    )
