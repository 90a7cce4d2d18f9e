"""``rustassistant cache restore``: a backup put back, and where what lay there is now."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rustassistant.backups import Kind, Restoration, restore
from rustassistant.cli.audience import Audience
from rustassistant.cli.readable import counted, size
from rustassistant.cli.render import emit, meter, say, visible
from rustassistant.cli.stopping import interruptible
from rustassistant.stores.base import printable


@dataclass(frozen=True, slots=True)
class RestoreOptions(Audience):
    """What the command line asked for."""

    backup: str
    to: str
    force: bool
    outside_links: bool


def run_restore(options: RestoreOptions) -> int:
    """Restore, and say what was done; return the exit code."""
    started = time.monotonic()
    if options.talks:
        say(f"♻️  Restoring {visible(printable(options.backup))}")
    with (
        interruptible(
            f"interrupted; what lies at {printable(options.to)} is whole: as it was, or, if the "
            "very last step was done, the backup"
        ),
        meter("restore", as_json=options.as_json, quiet=options.quiet, unit="bytes") as shown,
    ):
        done = restore(
            options.backup,
            options.to,
            force=options.force,
            outside_links=options.outside_links,
            progress=lambda now, total: shown.update(now, total, 0),
        )
    if options.talks:
        _say(done)
    if options.as_json:
        emit(
            "summary",
            kind=done.kind.value,
            backup=printable(done.source),
            restored=printable(done.path),
            kept=None if done.kept is None else printable(done.kept),
            files=done.files,
            entries=done.entries,
            size=done.size,
            seconds=round(time.monotonic() - started, 3),
        )
    return 0


def _say(done: Restoration) -> None:
    if done.kept is not None:
        say(f"  What lay there is now {visible(printable(done.kept))}")
    say(f"✓ Restored to {visible(printable(done.path))}")
    is_database = done.kind is Kind.DATABASE
    count = counted(done.entries, "entry") if is_database else counted(done.files, "file")
    say(f"  {count}, {size(done.size)}")
