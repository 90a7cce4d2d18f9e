"""``rustassistant cache recompress``: what was rewritten, and what that saved."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Final

from rustassistant.cli.audience import Audience
from rustassistant.cli.exits import EXIT_DAMAGED
from rustassistant.cli.readable import counted, duration, percent, size
from rustassistant.cli.render import LISTED, emit, meter, say, visible, warn
from rustassistant.cli.stopping import Stop, cut_short
from rustassistant.cli.tables import Column, say_table
from rustassistant.stores.base import printable
from rustassistant.tuning import (
    Estimate,
    Recompressed,
    RecompressOptions,
    estimate_recompression,
    recompress,
)

_ESTIMATES: Final = (
    Column("type"),
    Column("results", is_number=True),
    Column("sampled", is_number=True),
    Column("bytes now", is_number=True),
    Column("then", is_number=True),
    Column("saved", is_number=True),
    Column("new dictionary", is_number=True),
)


@dataclass(frozen=True, slots=True)
class CommandOptions(Audience):
    """What the command line asked for."""

    database: str
    how: RecompressOptions
    dry_run: bool
    jobs: int | None


@cut_short("interrupted; every result can be read")
def run_recompress(options: CommandOptions) -> int:
    """Estimate, or rewrite and tell; return the exit code."""
    return _estimate(options) if options.dry_run else _rewrite(options)


def _rewrite(options: CommandOptions) -> int:
    started = time.monotonic()
    stop = Stop()
    if options.talks:
        say(f"🗜  Recompressing {visible(printable(options.database))} at level {options.how.level}")
    with (
        stop.listening(),
        meter("recompress", as_json=options.as_json, quiet=options.quiet, last_line=True) as shown,
    ):
        done = recompress(
            options.database,
            options.how,
            jobs=options.jobs,
            progress=shown.update,
            cancelled=stop,
        )
    for one in done.damaged[:LISTED]:
        warn(
            f"✗ {visible(one.path)} ({visible(one.cache_type) or 'no type'}): {visible(one.reason)}"
        )
    if len(done.damaged) > LISTED:
        warn(f"  … and {len(done.damaged) - LISTED} more; --json lists them")
    if options.as_json:
        fields = asdict(done)
        emit(
            "summary",
            database=printable(options.database),
            dry_run=False,
            level=options.how.level,
            **fields,
            seconds=round(time.monotonic() - started, 3),
        )
    elif not options.quiet:
        _say(done)
    if done.damaged:
        warn("  Hint: `rustassistant cache check --repair` sets them aside, and refills them.")
        return EXIT_DAMAGED
    return 0


def _say(done: Recompressed) -> None:
    if done.skipped:
        say(f"  Went on after {counted(done.skipped, 'entry')} of an interrupted run")
    say(f"✓ Rewrote {counted(done.replaced, 'result')}; {done.kept:,} were best as they are")
    if done.changed:
        say(f"  {counted(done.changed, 'entry')} changed meanwhile and stayed as they were")
    for cache_type, number in done.trained.items():
        say(f"  New dictionary {number} for {visible(cache_type)}")
    if done.dropped:
        say(f"  Removed {counted(len(done.dropped), 'dictionary')} that nothing uses any more")
    if done.left:
        say(
            f"  {counted(len(done.left), 'dictionary')} that nothing uses any more must stay while "
            "others have the database open;\n  run it again later to remove what is left"
        )
    before, after = done.before, done.after
    saved = percent(100 * done.saved / done.frames) if done.frames else percent(0)
    say(f"  Saved {size(done.saved)} of {size(done.frames)} ({saved})")
    say(
        f"  Live results: {before.frames} → {after.frames} bytes "
        f"({size(before.frames)} → {size(after.frames)})"
    )
    say(f"  Dictionaries: {before.dictionaries} → {after.dictionaries} bytes")
    say(f"  File: {before.file} → {after.file} bytes")
    if done.saved > 0:
        say("  `rustassistant cache compact` gives the room to the disk")


def _estimate(options: CommandOptions) -> int:
    found = estimate_recompression(options.database, options.how)
    before, after = (sum(getattr(one, name) for one in found) for name in ("before", "after"))
    seconds = sum(one.seconds for one in found)
    if options.as_json:
        emit(
            "summary",
            database=printable(options.database),
            dry_run=True,
            level=options.how.level,
            types=[asdict(one) for one in found],
            before=before,
            after=after,
            estimated_seconds=round(seconds, 3),
        )
    elif not options.quiet:
        if found:
            say_table(_ESTIMATES, map(_row, found))
        saved = percent(100 * (before - after) / before) if before else percent(0)
        say(
            f"🔎 Would save about {size(before - after)} of {size(before)} ({saved}), in about "
            f"{duration(seconds)} of one processor; nothing was written"
        )
    return 0


def _row(one: Estimate) -> tuple[str, ...]:
    saved = 100 * (one.before - one.after) / one.before if one.before else 0.0
    return (
        one.cache_type,
        f"{one.results:,}",
        f"{one.sampled:,}",
        f"{one.before:,}",
        f"{one.after:,}",
        percent(saved),
        f"{one.dictionary:,}" if one.dictionary else "none",
    )
