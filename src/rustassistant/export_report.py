"""What exports and imports report: plain data, part of the published API."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rustassistant.results import MigrationFailure
from rustassistant.stores.base import printable
from rustassistant.stores.interchange.single_file import SingleFile
from rustassistant.stores.json_tree import JsonTreeDestination
from rustassistant.stores.outcomes import Conflict, Failure
from rustassistant.stores.v1.schema import REPLACED, to_text
from rustassistant.transfer.report import Report


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What became of every entry; the outcomes add up to ``total_entries``. Sizes in bytes.

    ``total_superseded`` entries were left out because a newer one has their file's name;
    ``total_unresolved`` because a file was there that differs, and the policy was to fail.
    ``total_renamed`` of those exported or unchanged got names of their own. ``conflicts`` tell of
    files, or rows of a v1 file, that were there, as (path, what was done); those that were replaced
    (``total_replaced``) are kept in ``replaced_in``.
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


def of_tree(report: Report, destination: JsonTreeDestination) -> ExportResult:
    """What became of a tree's files."""
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


def of_file(report: Report, destination: SingleFile) -> ExportResult:
    """What became of a file of JSON Lines or Parquet, or would."""
    tally = destination.tally
    failures = (*report.failures, *tally.failures)
    if tally.aside is None:
        done = "another file is there: it would be replaced, and kept under a dated name"
    else:
        done = f"another file was there: it was replaced, and is kept as {tally.aside}"
    conflicts = ((printable(destination.path), done),) if tally.replaced else ()
    return ExportResult(
        total_entries=tally.written + report.filtered + len(failures),
        total_exported=0 if tally.unchanged else tally.written,
        total_unchanged=tally.written if tally.unchanged else 0,
        total_superseded=0,
        total_filtered=report.filtered,
        total_unresolved=0,
        total_failed=len(failures),
        total_renamed=0,
        total_replaced=len(conflicts),
        total_conflicts=len(conflicts),
        destination_size=report.destination_size,
        seconds=report.seconds,
        replaced_in=tally.aside,
        failures=tuple(map(_failure, failures)),
        conflicts=conflicts,
        notes=tuple((one.path, one.text) for one in report.problems),
    )


def of_v1(report: Report, path: str, *, rehearsed: bool) -> ExportResult:
    """What became of the rows of a v1 file, or would."""
    return ExportResult(
        total_entries=report.found,
        total_exported=report.outcomes.migrated,
        total_unchanged=report.outcomes.unchanged + report.outcomes.duplicate,
        total_superseded=0,
        total_filtered=report.filtered,
        total_unresolved=0,
        total_failed=report.failed,
        total_renamed=0,
        total_replaced=len(report.conflicts),
        total_conflicts=len(report.conflicts),
        destination_size=report.destination_size,
        seconds=report.seconds,
        replaced_in=f"{printable(path)}:{REPLACED}" if report.conflicts else None,
        failures=tuple(map(_failure, report.failures)),
        conflicts=tuple(_row_replaced(one, rehearsed=rehearsed) for one in report.conflicts),
        notes=tuple((one.path, one.text) for one in report.problems),
    )


def _row_replaced(conflict: Conflict, *, rehearsed: bool) -> tuple[str, str]:
    """Each conflict is a row that makes room: where it does not, the entry fails."""
    row = f"{conflict.repository}/{conflict.file_path} ({conflict.cache_type})"
    present, incoming = (f"{to_text(time)} UTC" for time in (conflict.present, conflict.incoming))
    is_replaced, is_kept = ("would be", "kept") if rehearsed else ("was", "is kept")
    return row, (
        f"the row of {present} under its key {is_replaced} replaced by that of {incoming}, and "
        f"{is_kept} in {REPLACED}"
    )


def of_import(report: Report) -> ImportResult:
    """What became of the lines."""
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


def _failure(failure: Failure) -> MigrationFailure:
    return MigrationFailure(failure.path, failure.cache_type, failure.reason)
