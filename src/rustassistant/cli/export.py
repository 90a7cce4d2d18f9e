"""``rustassistant cache export``: what was done, for people and as JSON."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rustassistant.cli.audience import Audience
from rustassistant.cli.counting import counting
from rustassistant.cli.exits import EXIT_CONFLICTS, EXIT_FAILURES
from rustassistant.cli.problems import failure_fields, tell_failures, tell_notes, warn_each
from rustassistant.cli.render import emit, say, visible
from rustassistant.cli.stopping import Stop, cut_short
from rustassistant.configuration import load
from rustassistant.export import CacheExporter, ExportResult, Format
from rustassistant.stores.base import printable
from rustassistant.stores.outcomes import OnConflict
from rustassistant.transfer.selection import Selection


@dataclass(frozen=True, slots=True)
class ExportOptions(Audience):
    """What the command line asked for."""

    source: str
    destination: str
    format: str
    layout: str | None
    every: bool
    on_conflict: str
    dry_run: bool
    selection: Selection
    jobs: int | None


def default_database() -> str:
    """What migrations write to: it is the source here, as configured or by default."""
    return load().cache.destination


@cut_short("interrupted; what was written before is whole and stays")
def run_export(options: ExportOptions) -> int:
    """Export as asked; return the exit code."""
    stop = Stop()
    exporter = CacheExporter(
        options.source,
        options.destination,
        format=options.format,
        layout=options.layout,
        every=options.every,
        on_conflict=options.on_conflict,
        selection=options.selection,
        jobs=options.jobs,
        cancelled=stop,
    )
    if options.talks:
        say("📤 Comparing with what is there" if options.dry_run else "📤 Exporting entries...")
        say(f"  Source: {visible(printable(exporter.source))}")
        say(f"  Destination: {visible(printable(exporter.destination))}")
    with stop.listening(), counting("export", options) as count:
        result = exporter.export(count, dry_run=options.dry_run)
        count.end(result)
    _tell(exporter, result, options)
    sys.stdout.flush()
    if result.total_unresolved:
        return EXIT_CONFLICTS
    return EXIT_FAILURES if result.total_failed else 0


def _tell(exporter: CacheExporter, result: ExportResult, options: ExportOptions) -> None:
    if options.talks:
        _say_result(exporter, result, options)
    tell_failures(result.failures, "could not be exported", options)
    _tell_conflicts(result, options)
    tell_notes(result.notes, options)
    if options.as_json:
        _emit_summary(exporter, result, options)


def _say_result(exporter: CacheExporter, result: ExportResult, options: ExportOptions) -> None:
    say("\n✓ Nothing was written." if options.dry_run else "\n✓ Export complete!")
    say(f"  Total entries: {result.total_entries}")
    say(f"  {'Would be exported' if options.dry_run else 'Exported'}: {result.total_exported}")
    age = "Newer" if options.on_conflict == OnConflict.OLDEST else "Older"
    for name, count in (
        ("Unchanged", result.total_unchanged),
        (f"{age} results left out (--all keeps them)", result.total_superseded),
        ("Filtered", result.total_filtered),
        ("Under names of their own", result.total_renamed),
        ("Conflicts left", result.total_unresolved),
    ):
        if count:
            say(f"  {name}: {count}")
    say(f"  Failed: {result.total_failed}")
    if options.dry_run and result.total_replaced:
        say(f"  Would be replaced: {result.total_replaced}")
    elif result.replaced_in is not None:
        what = "rows" if exporter.format is Format.V1 else "files"
        say(f"  Replaced {what}: {result.total_replaced}, kept in {visible(result.replaced_in)}")


def _tell_conflicts(result: ExportResult, options: ExportOptions) -> None:
    if options.as_json:
        for path, text in result.conflicts:
            emit("status", phase="conflict", path=path, note=text)
        return
    lines = (f"Conflict: {path}: {text}" for path, text in result.conflicts)
    warn_each(lines, result.total_conflicts, rest="more conflicts")


def _emit_summary(exporter: CacheExporter, result: ExportResult, options: ExportOptions) -> None:
    emit(
        "summary",
        source=printable(exporter.source),
        destination=printable(exporter.destination),
        format=exporter.format.value,
        dry_run=options.dry_run,
        total_entries=result.total_entries,
        total_exported=result.total_exported,
        total_unchanged=result.total_unchanged,
        total_superseded=result.total_superseded,
        total_filtered=result.total_filtered,
        total_unresolved=result.total_unresolved,
        total_failed=result.total_failed,
        total_renamed=result.total_renamed,
        total_replaced=result.total_replaced,
        total_conflicts=result.total_conflicts,
        replaced_in=result.replaced_in,
        destination_size=result.destination_size,
        seconds=round(result.seconds, 3),
        failures=failure_fields(result.failures),
    )
