"""What a migration came to, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rustassistant.cli.audience import Audience
from rustassistant.cli.problems import failure_fields, warn_each
from rustassistant.cli.render import emit, say, visible, warn
from rustassistant.migrate import (
    CacheMigrator,
    MigrationConflict,
    MigrationFailure,
    MigrationResult,
    Verification,
)
from rustassistant.stores.base import printable
from rustassistant.timestamps import format_rfc3339

_SMALL: Final = 2**20
"""Bytes of a database that is little more than empty tables."""


def not_compared(
    verification: Verification, result: MigrationResult
) -> tuple[MigrationFailure, ...]:
    """Files that the migration could read and the verification could not."""
    known = {failure.file_path for failure in result.failures}
    return tuple(one for one in verification.failures if one.file_path not in known)


def say_result(migrator: CacheMigrator, result: MigrationResult) -> None:
    """The published lines, and further ones where there is something to say."""
    share = 100 * result.space_saved / result.source_size if result.source_size else 0.0
    say("\n✓ Migration complete!")
    say(f"  Total entries: {result.total_entries}")
    say(f"  Migrated: {result.total_migrated}")
    say_others(result)
    say(f"  Failed: {result.total_failed}")
    say(f"  Source size: {result.source_size} bytes")
    say(f"  Destination size: {result.destination_size} bytes")
    say(f"  Space saved: {result.space_saved} bytes ({share:.1f}%)")
    if not result.total_entries:
        places = ", ".join(visible(printable(source)) for source in migrator.sources)
        say(
            f"  Nothing was found in {places}. If that is not what you "
            "expect,\n  name the cache with --source."
        )
    elif result.space_saved < 0 and result.destination_size < _SMALL:
        say("  (An SQLite file has a fixed part, which a cache as small as this does not repay.)")


def say_others(result: MigrationResult) -> None:
    """Outcomes that the published lines do not have, where there are any."""
    shared = ""
    if result.total_shared:
        shared = (
            f" ({result.total_shared} share the row of an equal entry, which saves about "
            f"{result.shared_bytes} bytes)"
        )
    for name, count, more in (
        ("Unchanged", result.total_unchanged, ""),
        ("Duplicates", result.total_duplicates, shared),
        ("Filtered", result.total_filtered, ""),
    ):
        if count:
            say(f"  {name}: {count}{more}")


def tell_conflicts(conflicts: Sequence[MigrationConflict], audience: Audience) -> None:
    """Name entries of which there are two results, and which answers."""
    if audience.as_json:
        for one in conflicts:
            emit("status", phase="conflict", **conflict_fields(one))
        return
    if audience.quiet or not conflicts:
        return
    count = len(conflicts)
    warn(
        f"\n⚡ {count} {'entry has' if count == 1 else 'entries have'} two results; both are kept:"
    )
    lines = (
        f"{one.cache_type} of {one.file_path} in {one.repository}: that of "
        f"{format_rfc3339(one.answers)} answers, not that of {format_rfc3339(one.other)}"
        for one in conflicts
    )
    warn_each(lines, count)


def conflict_fields(one: MigrationConflict) -> dict[str, Any]:
    """A conflict as JSON."""
    return {
        "repository": one.repository,
        "cache_type": one.cache_type,
        "file_path": one.file_path,
        "answers": format_rfc3339(one.answers),
        "other": format_rfc3339(one.other),
    }


def tell_differences(verification: Verification, audience: Audience) -> None:
    """Entries that the destination does not give back as the source has them."""
    differences = verification.differences
    if audience.as_json:
        for one in differences:
            emit("error", file_path=one.path, cache_type=one.cache_type, error=one.what)
        return
    warn(f"✗ Verification failed: {len(differences)} of {verification.compared} entries differ:")
    warn_each((f"{one.path}: {one.what}" for one in differences), len(differences))
    warn(
        "  Hint: the source is as it was; migrate it again, into a new file if this one is damaged."
    )


def emit_summary(
    migrator: CacheMigrator,
    result: MigrationResult,
    verification: Verification | None,
    backups: Sequence[Path],
) -> None:
    """The one object at the end."""
    emit(
        "summary",
        source=printable(migrator.source),
        sources=[printable(source) for source in migrator.sources],
        destination=printable(migrator.destination),
        backup=printable(backups[0]) if backups else None,
        backups=[printable(backup) for backup in backups],
        **result_fields(result),
        verified=None
        if verification is None
        else verification.passed and not not_compared(verification, result),
        compared=None if verification is None else verification.compared,
        differences=None if verification is None else len(verification.differences),
        not_compared=None if verification is None else len(verification.failures),
    )


def result_fields(result: MigrationResult) -> dict[str, Any]:
    """What became of the entries, as JSON."""
    return {
        "total_entries": result.total_entries,
        "total_migrated": result.total_migrated,
        "total_unchanged": result.total_unchanged,
        "total_duplicates": result.total_duplicates,
        "total_filtered": result.total_filtered,
        "total_failed": result.total_failed,
        "total_shared": result.total_shared,
        "shared_bytes": result.shared_bytes,
        "source_size": result.source_size,
        "destination_size": result.destination_size,
        "space_saved": result.space_saved,
        "seconds": round(result.seconds, 3),
        "conflicts": [conflict_fields(one) for one in result.conflicts],
        "failures": failure_fields(result.failures),
    }
