"""``rustassistant cache compact``: the file as small as what it holds."""

from __future__ import annotations

import time

from rustassistant.cli.readable import size
from rustassistant.cli.render import emit, say, visible
from rustassistant.cli.stopping import interruptible
from rustassistant.retention import compact
from rustassistant.stores.base import printable


def run_compact(database: str, *, as_json: bool, quiet: bool) -> int:
    """Compact, and tell the sizes; return the exit code."""
    started = time.monotonic()

    def told(phase: str) -> None:
        if as_json:
            emit("status", phase=phase)

    if not (as_json or quiet):
        say(f"🗜  Compacting {visible(printable(database))}")
    with interruptible("interrupted; the file is as it was"):
        done = compact(database, told)
    if as_json:
        emit(
            "summary",
            database=printable(database),
            file_size_before=done.before,
            file_size_after=done.after,
            shrunk=done.is_shrunk,
            compared=done.compared,
            seconds=round(time.monotonic() - started, 3),
        )
    elif not quiet:
        say(
            f"✓ {done.before} → {done.after} bytes ({size(done.before)} → {size(done.after)}); "
            + ("every row is as it was" if done.compared else "others wrote meanwhile")
        )
        if not done.is_shrunk:
            say("  Others are reading: the file gets its size when they have finished")
    return 0
