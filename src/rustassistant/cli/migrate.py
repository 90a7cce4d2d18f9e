"""``rustassistant cache migrate``: the published lines, and the same as JSON."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from rustassistant.cli.render import LISTED, emit, meter, say, visible, warn
from rustassistant.errors import InterruptedRunError
from rustassistant.migrate import (
    CacheMigrator,
    MigrationFailure,
    MigrationProgress,
    MigrationResult,
    Verification,
)
from rustassistant.stores.base import printable

EXIT_FAILURES: Final = 3
EXIT_DIFFERENCES: Final = 4

_NOTES_LISTED: Final = 10
"""Oddities that lost nothing: a few show what they are about."""


@dataclass(frozen=True, slots=True)
class MigrateOptions:
    """What the command line asked for."""

    source: str
    destination: str
    backup: bool
    verify: bool
    jobs: int | None
    level: int
    as_json: bool
    quiet: bool

    @property
    def talks(self) -> bool:
        """Whether people read along."""
        return not (self.as_json or self.quiet)


class _Stop:
    """Whether somebody pressed Ctrl-C: the batch at hand is finished, the next not begun."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as requests; a second one stops at once."""
        previous = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                # Who has asked twice must not cut off the message that says what is safe.
                signal.signal(number, signal.SIG_IGN if self.asked else handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        warn("\nStopping after this batch; once more to stop at once.")


def run_migration(options: MigrateOptions) -> int:
    """Back up, migrate, verify as asked; return the exit code."""
    try:
        return _run(options)
    except KeyboardInterrupt:
        raise InterruptedRunError("interrupted; what was committed before is safe") from None


def _run(options: MigrateOptions) -> int:
    stop = _Stop()
    with CacheMigrator(
        options.source,
        options.destination,
        jobs=options.jobs,
        level=options.level,
        cancelled=stop,
    ) as migrator:
        if options.talks:
            say("🔄 Starting cache migration")
            say(f"  Source: {visible(printable(migrator.source))}")
            say(f"  Destination: {visible(printable(migrator.destination))}")
        backup = None
        if options.backup:
            migrator.check(backup=True)  # what would stop us later is to stop us before the copy
            backup = _back_up(migrator, options)
        with stop.listening():
            result = _migrate(migrator, options)
            verification = _verify(migrator, options, result) if options.verify else None
    if options.as_json:
        _emit_summary(migrator, result, verification, backup)
    if verification is not None and not verification.passed:
        return EXIT_DIFFERENCES
    incomplete = verification is not None and _not_compared(verification, result)
    return EXIT_FAILURES if result.total_failed or incomplete else 0


def _not_compared(
    verification: Verification, result: MigrationResult
) -> tuple[MigrationFailure, ...]:
    """Files that the migration could read and the verification could not."""
    known = {failure.file_path for failure in result.failures}
    return tuple(one for one in verification.failures if one.file_path not in known)


def _back_up(migrator: CacheMigrator, options: MigrateOptions) -> Path:
    if options.talks:
        say(f"\n💾 Creating backup at {visible(printable(migrator.backup_path))}")
    with meter("backup", as_json=options.as_json, quiet=options.quiet, unit="bytes") as shown:
        made = migrator.backup(progress=lambda done, total: shown.update(done, total, 0))
    if options.talks:
        if made != migrator.backup_path:
            say(f"  That name was taken: the backup is {visible(printable(made))}")
        say("✓ Backup created")
    return made


def _migrate(migrator: CacheMigrator, options: MigrateOptions) -> MigrationResult:
    if options.talks:
        say("\n🔄 Migrating entries...")
    with meter("migrate", as_json=options.as_json, quiet=options.quiet, last_line=True) as shown:

        def progress(now: MigrationProgress) -> None:
            shown.update(now.done, now.total, now.failed)

        result = migrator.migrate(progress)
        shown.update(result.total_entries, result.total_entries, result.total_failed)
    if options.talks:
        _say_result(result, options)
    _tell_failures(result.failures, options, "could not be migrated, and stay where they are")
    _tell_notes(result, options)
    return result


def _say_result(result: MigrationResult, options: MigrateOptions) -> None:
    share = 100 * result.space_saved / result.source_size if result.source_size else 0.0
    say("\n✓ Migration complete!")
    say(f"  Total entries: {result.total_entries}")
    say(f"  Migrated: {result.total_migrated}")
    for name, count in (
        ("Unchanged", result.total_unchanged),
        ("Duplicates", result.total_duplicates),
        ("Filtered", result.total_filtered),
    ):
        if count:
            say(f"  {name}: {count}")
    say(f"  Failed: {result.total_failed}")
    say(f"  Source size: {result.source_size} bytes")
    say(f"  Destination size: {result.destination_size} bytes")
    say(f"  Space saved: {result.space_saved} bytes ({share:.1f}%)")
    if not result.total_entries:
        say(
            f"  Nothing was found in {visible(options.source)}. If that is not what you "
            "expect,\n  name the cache with --source."
        )
    elif result.space_saved < 0:
        say("  (An SQLite file has a fixed part, which a cache as small as this does not repay.)")


def _tell_failures(
    failures: tuple[MigrationFailure, ...], options: MigrateOptions, what: str
) -> None:
    if options.as_json:
        for failure in failures:
            emit(
                "error",
                file_path=failure.file_path,
                cache_type=failure.cache_type,
                error=failure.error,
            )
        return
    if failures:
        warn(f"\n✗ {len(failures)} {'entry' if len(failures) == 1 else 'entries'} {what}:")
    for failure in failures[:LISTED]:
        warn(f"  {visible(failure.file_path)}: {visible(failure.error)}")
    _tell_rest(len(failures) - LISTED)


def _tell_notes(result: MigrationResult, options: MigrateOptions) -> None:
    if options.as_json:
        for path, text in result.notes:
            emit("status", phase="note", path=path, note=text)
        return
    if options.quiet:
        return
    for path, text in result.notes[:_NOTES_LISTED]:
        warn(f"  Note: {visible(path)}: {visible(text)}")
    if result.total_notes > _NOTES_LISTED:
        warn(f"  … and {result.total_notes - _NOTES_LISTED} more notes")


def _tell_rest(count: int) -> None:
    if count > 0:
        warn(f"  … and {count} more; --json lists them")


def _verify(
    migrator: CacheMigrator, options: MigrateOptions, result: MigrationResult
) -> Verification:
    if options.talks:
        say("\n🔍 Verifying migration...")
    with meter("verify", as_json=options.as_json, quiet=options.quiet) as shown:

        def progress(now: MigrationProgress) -> None:
            shown.update(now.done, now.total, now.failed)

        verification = migrator.verify(progress)
    missed = _not_compared(verification, result)
    _tell_failures(missed, options, "can't be read any more, and could not be compared")
    if verification.passed:
        if options.talks and not missed:
            say("✓ Verification passed!")
        return verification
    differences = verification.differences
    if options.as_json:
        for one in differences:
            emit("error", file_path=one.path, cache_type=one.cache_type, error=one.what)
        return verification
    warn(f"✗ Verification failed: {len(differences)} of {verification.compared} entries differ:")
    for one in differences[:LISTED]:
        warn(f"  {visible(one.path)}: {visible(one.what)}")
    _tell_rest(len(differences) - LISTED)
    warn(
        "  Hint: the source is as it was; migrate it again, into a new file if this one is damaged."
    )
    return verification


def _emit_summary(
    migrator: CacheMigrator,
    result: MigrationResult,
    verification: Verification | None,
    backup: Path | None,
) -> None:
    emit(
        "summary",
        source=printable(migrator.source),
        destination=printable(migrator.destination),
        backup=None if backup is None else printable(backup),
        total_entries=result.total_entries,
        total_migrated=result.total_migrated,
        total_unchanged=result.total_unchanged,
        total_duplicates=result.total_duplicates,
        total_filtered=result.total_filtered,
        total_failed=result.total_failed,
        source_size=result.source_size,
        destination_size=result.destination_size,
        space_saved=result.space_saved,
        seconds=round(result.seconds, 3),
        verified=None
        if verification is None
        else verification.passed and not _not_compared(verification, result),
        compared=None if verification is None else verification.compared,
        differences=None if verification is None else len(verification.differences),
        not_compared=None if verification is None else len(verification.failures),
        failures=[
            {"file_path": one.file_path, "cache_type": one.cache_type, "error": one.error}
            for one in result.failures
        ],
    )
    sys.stdout.flush()
