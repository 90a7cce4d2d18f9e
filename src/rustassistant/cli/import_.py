"""``rustassistant cache import``: what was done, for people and as JSON."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from rustassistant.cli.export import tell_notes
from rustassistant.cli.migrate_report import tell_failures
from rustassistant.cli.render import emit, meter, say, visible
from rustassistant.cli.stopping import Stop
from rustassistant.errors import InterruptedRunError
from rustassistant.export import CacheImporter, ImportResult
from rustassistant.migrate import MigrationProgress
from rustassistant.stores.base import printable
from rustassistant.transfer.selection import Selection

EXIT_FAILURES: Final = 3


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the command line asked for."""

    source: str
    destination: str
    on_conflict: str
    dry_run: bool
    selection: Selection
    jobs: int | None
    as_json: bool
    quiet: bool

    @property
    def talks(self) -> bool:
        """Whether people read along."""
        return not (self.as_json or self.quiet)


def run_import(options: ImportOptions) -> int:
    """Import as asked; return the exit code."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        raise InterruptedRunError("interrupted; what was committed before is safe") from None


def _run(options: ImportOptions) -> int:
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
    with (
        stop.listening(),
        meter("import", as_json=options.as_json, quiet=options.quiet, last_line=True) as shown,
    ):

        def progress(now: MigrationProgress) -> None:
            shown.update(now.done, now.total, now.failed)

        result = importer.run(progress, dry_run=options.dry_run)
        shown.update(result.total_entries, result.total_entries, result.total_failed)
    if options.talks:
        _say_result(result, options)
    tell_failures(result.failures, "could not be imported", as_json=options.as_json)
    tell_notes(result.notes, as_json=options.as_json, quiet=options.quiet)
    if options.as_json:
        _emit_summary(importer, result, options)
    sys.stdout.flush()
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
        failures=[
            {"file_path": one.file_path, "cache_type": one.cache_type, "error": one.error}
            for one in result.failures
        ],
    )
