"""``rustassistant cache backup``: a checked copy, and where it is."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from rustassistant.backups import Backup, Kind, back_up, place_for
from rustassistant.cli.audience import Audience
from rustassistant.cli.exits import EXIT_DAMAGED
from rustassistant.cli.problems import warn_each
from rustassistant.cli.readable import counted, size
from rustassistant.cli.render import emit, meter, say, visible, warn
from rustassistant.cli.stopping import interruptible
from rustassistant.errors import NotFoundError, UsageError
from rustassistant.stores.base import printable


@dataclass(frozen=True, slots=True)
class BackupOptions(Audience):
    """What the command line asked for."""

    place: str
    to: str | None


def chosen(context: Any, source: str | None, database: str | None) -> str | None:
    """The one of two places that is meant, None if neither is named.

    What the command itself says outweighs the environment and the configuration, where both may
    stand for the sake of other commands; there the database outweighs the source.
    """
    given = [
        place
        for name, place in (("source", source), ("destination", database))
        if place is not None and context.get_parameter_source(name).name == "COMMANDLINE"
    ]
    if len(given) > 1:
        raise UsageError(
            "--source and --destination are two caches",
            hint="Name one; run the command twice to copy both.",
        )
    return given[0] if given else database or source


def run_backup(options: BackupOptions) -> int:
    """Copy, and say what was made; return the exit code."""
    if not os.path.lexists(os.path.expanduser(options.place)):
        raise NotFoundError(
            f"{printable(options.place)} does not exist",
            hint="Name a database with --destination, or a JSON cache with --source.",
        )
    started = time.monotonic()
    wanted = place_for(options.place, options.to)
    if options.talks:
        say(f"💾 Creating backup at {visible(printable(wanted))}")
    with (
        interruptible("interrupted; nothing was left behind"),
        meter("backup", as_json=options.as_json, quiet=options.quiet, unit="bytes") as shown,
    ):
        made = back_up(
            options.place, options.to, progress=lambda done, all_: shown.update(done, all_, 0)
        )
    if options.talks:
        _say(made, wanted)
    _tell_damage(made, options)
    if options.as_json:
        _emit_summary(made, time.monotonic() - started)
    return EXIT_DAMAGED if made.total_damaged else 0


def _say(made: Backup, wanted: str) -> None:
    if made.path != wanted:
        say(f"  That name was taken: the backup is {visible(printable(made.path))}")
    say("✓ Backup created")
    if made.kind is Kind.DATABASE:
        say(f"  {counted(made.entries, 'entry')}, {size(made.stored)}")
    elif made.kind is Kind.ARCHIVE:
        say(f"  {counted(made.files, 'file')}, {size(made.size)} in {size(made.stored)}")
    else:
        say(f"  {counted(made.files, 'file')}, {size(made.size)}")


def _tell_damage(made: Backup, options: BackupOptions) -> None:
    if not made.total_damaged:
        return
    if options.as_json:
        for what in made.damaged:
            emit("error", error=what)
        return
    warn(f"✗ {made.total_damaged} of its entries are damaged, and are so in the backup:")
    warn_each(made.damaged, made.total_damaged, rest="more")
    warn("  Hint: keep older backups; these entries may be whole in one of them.")


def _emit_summary(made: Backup, seconds: float) -> None:
    emit(
        "summary",
        kind=made.kind.value,
        source=printable(made.source),
        backup=printable(made.path),
        files=made.files,
        entries=made.entries,
        size=made.size,
        stored_size=made.stored,
        damaged=made.total_damaged,
        seconds=round(seconds, 3),
    )
