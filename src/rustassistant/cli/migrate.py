"""``rustassistant cache migrate``: the published lines, and the same as JSON."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rustassistant.cli.audience import Audience
from rustassistant.cli.counting import counting
from rustassistant.cli.exits import EXIT_DIFFERENCES, EXIT_FAILURES
from rustassistant.cli.migrate_report import (
    emit_summary,
    not_compared,
    say_result,
    tell_conflicts,
    tell_differences,
)
from rustassistant.cli.places import database_at
from rustassistant.cli.problems import tell_failures, tell_notes
from rustassistant.cli.render import meter, say, visible
from rustassistant.cli.stopping import Stop, cut_short
from rustassistant.errors import ConflictError, UsageError
from rustassistant.migrate import (
    CacheMigrator,
    MigrationConflict,
    MigrationResult,
    Verification,
)
from rustassistant.stores.base import printable
from rustassistant.transfer.selection import ALL, Selection


@dataclass(frozen=True, slots=True)
class MigrateOptions(Audience):
    """What the command line asked for. Without ``sources``, the plan's, the run's that is retried,
    or the default one are meant. ``beside_apply`` are options given that a plan decides about."""

    sources: tuple[str, ...]
    default_source: str
    destination: str
    backup: bool = False
    backup_to: str | None = None
    verify: bool = False
    dry_run: bool = False
    plan: str | None = None
    apply: str | None = None
    retry_failed: int | None = None
    on_conflict: str = "newest"
    dedup: bool = False
    checksum: bool = False
    selection: Selection = ALL
    log: str | None = None
    jobs: int | None = None
    level: int = 3
    dictionaries: bool = True
    beside_apply: tuple[str, ...] = ()

    @property
    def rehearses(self) -> bool:
        """Whether nothing is to be written but perhaps a plan."""
        return self.dry_run or self.plan is not None

    def check(self) -> None:
        """Raise UsageError for options that make no sense together."""
        if self.apply is not None and self.beside_apply:
            raise UsageError(
                "--apply takes its sources and options from the plan",
                hint=f"Give it without {', '.join(self.beside_apply)}.",
            )
        if self.plan is not None and self.retry_failed is not None:
            raise UsageError(
                "--plan is for all of a source, --retry-failed for some of it",
                hint="Rehearse the retry with --dry-run, or leave it out of the plan.",
            )
        if self.rehearses and (self.backup or self.backup_to or self.verify or self.log):
            raise UsageError(
                "a dry run makes no backup, writes no log and has nothing to verify",
                hint="Leave --backup, --verify and --log out, or the --dry-run.",
            )
        if self.backup_to is not None and len(self.sources) > 1:
            raise UsageError(
                "--backup-to names one place, but there are several sources",
                hint="Use --backup, which puts each copy beside its source.",
            )


@cut_short("interrupted; what was committed before is safe")
def run_migration(options: MigrateOptions) -> int:
    """Back up, migrate, verify as asked; return the exit code."""
    options.check()
    stop = Stop()
    with _migrator(options, stop) as migrator:
        if options.verify:
            migrator.check_verifiable()
        if options.rehearses:
            from rustassistant.cli.rehearsal import run_rehearsal  # imports what knows prices

            with stop.listening():
                return run_rehearsal(migrator, options, plan=options.plan)
        if options.talks:
            say("🔄 Starting cache migration")
            for source in migrator.sources:
                say(f"  Source: {visible(printable(source))}")
            say(f"  Destination: {visible(printable(migrator.destination))}")
        backups = []
        if options.backup or options.backup_to:
            migrator.check(backup=True)  # what would stop us later is to stop us before the copy
            backups = [_back_up(migrator, source, options) for source in migrator.sources]
        with stop.listening():
            result = _migrate(migrator, options)
            verification = _verify(migrator, options, result) if options.verify else None
    if verification is None or verification.passed:
        from rustassistant.cli.evict import keep_within_configured  # imports what knows prices

        keep_within_configured(
            str(migrator.destination), as_json=options.as_json, quiet=options.quiet
        )
    if options.as_json:
        emit_summary(migrator, result, verification, backups)
    sys.stdout.flush()
    if verification is not None and not verification.passed:
        return EXIT_DIFFERENCES
    incomplete = verification is not None and not_compared(verification, result)
    return EXIT_FAILURES if result.total_failed or incomplete else 0


def _migrator(options: MigrateOptions, stop: Stop) -> CacheMigrator:
    if options.apply is not None:
        return CacheMigrator.of_plan(
            options.apply, jobs=options.jobs, log=options.log, cancelled=stop
        )
    sources: tuple[str, ...] = options.sources
    only = None
    if options.retry_failed is not None:
        from rustassistant.runs import failed_in

        run = failed_in(database_at(options.destination), options.retry_failed)
        sources, only = sources or run.sources, run.paths
    settings: dict[str, Any] = {
        "selection": options.selection,
        "on_conflict": options.on_conflict,
        "dedup": options.dedup,
        "checksum": options.checksum,
        "only": only,
        "jobs": options.jobs,
        "level": options.level,
        "dictionaries": options.dictionaries,
        "log": options.log,
    }
    return CacheMigrator(
        sources or (options.default_source,), options.destination, cancelled=stop, **settings
    )


def _back_up(migrator: CacheMigrator, source: Path, options: MigrateOptions) -> Path:
    wanted = Path(options.backup_to).expanduser().absolute() if options.backup_to else None
    expected = migrator.backup_path_of(source) if wanted is None else wanted
    if options.talks:
        say(f"\n💾 Creating backup at {visible(printable(expected))}")
    with meter("backup", as_json=options.as_json, quiet=options.quiet, unit="bytes") as shown:
        made = migrator.backup(
            wanted, progress=lambda done, total: shown.update(done, total, 0), source=source
        )
    if options.talks:
        if made != expected:
            say(f"  That name was taken: the backup is {visible(printable(made))}")
        say("✓ Backup created")
    return made


def _migrate(migrator: CacheMigrator, options: MigrateOptions) -> MigrationResult:
    if options.talks:
        say("\n🔄 Migrating entries...")
    with counting("migrate", options) as count:
        try:
            result = migrator.migrate(count)
        except ConflictError as error:
            if options.as_json:
                tell_conflicts(_conflicts_of(error), options)
            raise
        count.end(result)
    if options.talks:
        say_result(migrator, result)
    tell_failures(result.failures, "could not be migrated, and stay where they are", options)
    tell_conflicts(result.conflicts, options)
    tell_notes(result.notes, options, total=result.total_notes)
    return result


def _conflicts_of(error: ConflictError) -> list[MigrationConflict]:
    return [one for one in error.conflicts if isinstance(one, MigrationConflict)]


def _verify(
    migrator: CacheMigrator, options: MigrateOptions, result: MigrationResult
) -> Verification:
    if options.talks:
        say("\n🔍 Verifying migration...")
    with counting("verify", options, last_line=False) as count:
        verification = migrator.verify(count)
    missed = not_compared(verification, result)
    tell_failures(missed, "can't be read any more, and could not be compared", options)
    if verification.passed:
        if options.talks and not missed:
            say("✓ Verification passed!")
    else:
        tell_differences(verification, options)
    return verification
