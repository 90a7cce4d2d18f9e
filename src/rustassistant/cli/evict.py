"""``rustassistant cache evict``: what goes, what that costs, and how to have it back."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Final

from rustassistant.cli.audience import Audience
from rustassistant.cli.entries import item_fields, tokens, when
from rustassistant.cli.exits import EXIT_DECLINED
from rustassistant.cli.readable import counted, size
from rustassistant.cli.remaking import (
    Remaking,
    agreed,
    only,
    remaking_fields,
    remaking_of,
    remaking_text,
    say_gaps,
    worth,
)
from rustassistant.cli.render import emit, say, visible, warn
from rustassistant.cli.stopping import interruptible
from rustassistant.cli.tables import Column, Gives, say_table
from rustassistant.configuration import load
from rustassistant.errors import RustAssistantError, UsageError
from rustassistant.quantities import parse_size
from rustassistant.retention import (
    Compacted,
    Eviction,
    Policy,
    compact,
    evict,
    keep_within,
    plan_eviction,
)
from rustassistant.retention.eviction import end_evicted
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import kind_of_database
from rustassistant.transfer.selection import Selection

_COLUMNS: Final = (
    Column("ID", is_number=True),
    Column("when (UTC)"),
    Column("type"),
    Column("file", gives=Gives.START),
    Column("model", gives=Gives.END),
    Column("tokens", is_number=True),
    Column("hits", is_number=True),
    Column("bytes", is_number=True),
)


@dataclass(frozen=True, slots=True)
class EvictOptions(Audience):
    """What the command line asked for. With ``now``, what goes is deleted at once."""

    database: str
    max_size: str | None
    policy: str
    selection: Selection
    dry_run: bool
    now: bool
    yes: bool

    @property
    def limit(self) -> int:
        """Bytes. Raises UsageError where none are named."""
        if self.max_size is None:
            raise UsageError(
                "no size is named",
                hint="Give --max-size 500MiB, or max_size under [cache] in config.toml.",
            )
        try:
            return parse_size(self.max_size)
        except ValueError as error:
            raise UsageError(f"--max-size: {error}") from None


def run_evict(options: EvictOptions) -> int:
    """Plan, ask, do, tell; return the exit code."""
    started = time.monotonic()
    limit = options.limit
    costs = worth()
    chosen: dict[str, Any] = {"policy": Policy(options.policy), "selection": options.selection}
    ended, compacted = 0, None
    with interruptible("interrupted; an eviction is done as a whole or not at all"):
        if options.dry_run or (options.now and not options.yes):
            done = plan_eviction(options.database, limit, costs, **chosen)
        if options.now and not options.dry_run and not options.yes and done.entries:
            entries = counted(done.entries, "entry")
            cost = remaking_text(remaking_of(done.spent, costs))
            question = f"Delete {entries} for good? Making them again would take {cost}."
            if not agreed(question, yes=False, as_json=options.as_json):
                return EXIT_DECLINED
        if not options.dry_run:
            done = evict(options.database, limit, costs, **chosen)
            if options.now and done.entries:
                ended = end_evicted(done)
                compacted = compact(options.database)
    remaking = remaking_of(done.spent, costs)
    if options.talks:
        _say(done, remaking, options, ended, compacted)
    if options.as_json:
        emit(
            "summary",
            dry_run=options.dry_run,
            **eviction_fields(done, remaking),
            first=[item_fields(item) for item in done.first] if options.dry_run else [],
            deleted=ended,
            file_size_before=None if compacted is None else compacted.before,
            file_size_after=None if compacted is None else compacted.after,
            seconds=round(time.monotonic() - started, 3),
        )
    return 0


def _say(
    done: Eviction,
    remaking: Remaking,
    options: EvictOptions,
    ended: int,
    compacted: Compacted | None,
) -> None:
    if not done.entries:
        say(
            f"✓ Nothing has to go: live entries take {done.size_before} bytes "
            f"({size(done.size_before)}) of {done.max_size}"
        )
    else:
        verb = "Would evict" if options.dry_run else "Evicted"
        mark = "🔎" if options.dry_run else "✓"
        say(f"{mark} {verb} {counted(done.entries, 'entry')}, policy {done.policy}")
        say(
            f"  Live entries: {done.size_before} → {done.size_after} bytes "
            f"({size(done.size_before)} → {size(done.size_after)}), at most {done.max_size}"
        )
        say(f"  Making them again would take {remaking_text(remaking)}")
        say_gaps(remaking)
    if options.dry_run and done.first:
        say("  First to go:" if done.entries > len(done.first) else "  These go:")
        say_table(_COLUMNS, [_row(item) for item in done.first], indent="  ")
    if done.entries and not options.dry_run:
        if options.now:
            say(f"  Deleted for good: {counted(ended, 'entry')}")
        else:
            say(
                "  They are in the trash: `rustassistant cache trash restore --reason evicted` "
                "brings them back;\n  `trash empty`, then `compact`, gives their room to the disk"
            )
    if compacted is not None:
        say(f"  File: {compacted.before} → {compacted.after} bytes")


def _row(item: Any) -> tuple[str, ...]:
    return (
        str(item.id),
        when(item.analyzed_at),
        item.cache_type,
        item.file_path,
        item.model,
        tokens(item),
        str(item.hits),
        str(item.stored_bytes),
    )


def eviction_fields(done: Eviction, remaking: Remaking) -> dict[str, Any]:
    """What went, or would go, as JSON."""
    return {
        "database": printable(done.database),
        "policy": str(done.policy),
        "max_size": done.max_size,
        "size_before": done.size_before,
        "size_after": done.size_after,
        "freed": done.freed,
        "entries": done.entries,
        "cost": remaking_fields(remaking),
    }


def keep_within_configured(database: str, *, as_json: bool, quiet: bool) -> None:
    """After a run that wrote: evict if ``max_size`` is configured and exceeded, and tell.

    What stands in the way is told, and is no failure of the run.
    """
    try:
        limit = load(only("RUSTASSISTANT_MAX_SIZE")).cache.max_size
        if limit is None or not os.path.isfile(database) or kind_of_database(database) != "sqlite":
            return
        done = keep_within(database, limit, worth)
        if done is None or not done.entries:
            return
        remaking = remaking_of(done.spent, worth())
    except RustAssistantError as error:
        if as_json:
            emit("status", phase="evict", error=error.message)
        warn(f"⚠ Nothing was evicted, though max_size is configured: {visible(error.message)}")
        return
    if as_json:
        emit("status", phase="evict", **eviction_fields(done, remaking))
    elif not quiet:
        say(
            f"\n🧹 Evicted {counted(done.entries, 'entry')}, the least recently used, since "
            f"max_size is {size(limit)}"
        )
        say(f"  Live entries: {size(done.size_before)} → {size(done.size_after)}")
        say(f"  Making them again would take {remaking_text(remaking)}")
        say("  `rustassistant cache trash restore --reason evicted` brings them back")
