"""``rustassistant cache import``: what was done, for people and as JSON."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from rustassistant.cli.audience import Audience
from rustassistant.cli.counting import counting
from rustassistant.cli.exits import EXIT_CONFLICTS, EXIT_FAILURES
from rustassistant.cli.problems import failure_fields, tell_failures, tell_notes
from rustassistant.cli.render import emit, say, visible
from rustassistant.cli.stopping import Stop, cut_short
from rustassistant.export import CacheImporter, ImportResult
from rustassistant.stores.base import printable
from rustassistant.transfer.selection import Selection


@dataclass(frozen=True, slots=True)
class ImportOptions(Audience):
    """What the command line asked for."""

    source: str
    destination: str
    on_conflict: str
    dry_run: bool
    selection: Selection
    jobs: int | None


@cut_short("interrupted; what was committed before is safe")
def run_import(options: ImportOptions) -> int:
    """Import as asked; return the exit code."""
    stop = Stop()
    importer = CacheImporter(
        options.source,
        options.destination,
        on_conflict=options.on_conflict,
        selection=options.selection,
        jobs=options.jobs,
        cancelled=stop,
    )
    if options.talks:
        say("📥 Importing entries...")
        say(f"  Source: {visible(printable(importer.source))}")
        say(f"  Destination: {visible(printable(importer.destination))}")
    with stop.listening(), counting("import", options) as count:
        result = importer.run(count, dry_run=options.dry_run)
        count.end(result)
    if options.talks:
        _say_result(result, options)
    tell_failures(result.failures, "could not be imported", options)
    tell_notes(result.notes, options)
    if options.as_json:
        _emit_summary(importer, result, options)
    sys.stdout.flush()
    if result.total_conflicts and importer.refuses_conflicts:
        return EXIT_CONFLICTS  # of a dry run: a real one has told it with an error
    return EXIT_FAILURES if result.total_failed else 0


def _say_result(result: ImportResult, options: ImportOptions) -> None:
    say("\n✓ Nothing was written." if options.dry_run else "\n✓ Import complete!")
    say(f"  Total entries: {result.total_entries}")
    say(f"  {'Would be imported' if options.dry_run else 'Imported'}: {result.total_imported}")
    for name, count in (
        ("Unchanged", result.total_unchanged),
        ("Duplicates", result.total_duplicates),
        ("Filtered", result.total_filtered),
        ("Conflicts", result.total_conflicts),
    ):
        if count:
            say(f"  {name}: {count}")
    say(f"  Failed: {result.total_failed}")


def _emit_summary(importer: CacheImporter, result: ImportResult, options: ImportOptions) -> None:
    emit(
        "summary",
        source=printable(importer.source),
        destination=printable(importer.destination),
        dry_run=options.dry_run,
        total_entries=result.total_entries,
        total_imported=result.total_imported,
        total_unchanged=result.total_unchanged,
        total_duplicates=result.total_duplicates,
        total_filtered=result.total_filtered,
        total_failed=result.total_failed,
        total_conflicts=result.total_conflicts,
        destination_size=result.destination_size,
        seconds=round(result.seconds, 3),
        failures=failure_fields(result.failures),
    )
