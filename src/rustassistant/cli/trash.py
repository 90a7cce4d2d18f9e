"""``rustassistant cache trash``: what is in it, back out of it, and out for good."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from rustassistant.cli.audience import Audience
from rustassistant.cli.entries import item_fields, print_entries, tokens, when
from rustassistant.cli.exits import EXIT_DECLINED, EXIT_FAILURES
from rustassistant.cli.readable import counted, size
from rustassistant.cli.remaking import agreed, remaking_fields, remaking_of, remaking_text, worth
from rustassistant.cli.render import emit, meter, say
from rustassistant.cli.stopping import Stop
from rustassistant.cli.tables import Column, Gives
from rustassistant.errors import InterruptedRunError, UsageError
from rustassistant.quantities import parse_age
from rustassistant.retention import Chosen, empty, look_into_trash, restore
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.views.trashed import Trashed
from rustassistant.timestamps import format_rfc3339
from rustassistant.transfer.selection import ALL, Selection

_COLUMNS: Final = (
    Column("ID", is_number=True),
    Column("removed (UTC)"),
    Column("why"),
    Column("type"),
    Column("file", gives=Gives.START),
    Column("repository", gives=Gives.START),
    Column("model", gives=Gives.END),
    Column("tokens", is_number=True),
    Column("bytes", is_number=True),
)


@dataclass(frozen=True, slots=True)
class TrashOptions(Audience):
    """What the command line asked for; ``limit`` 0 means all."""

    database: str
    ids: tuple[int, ...] = ()
    selection: Selection = ALL
    reason: str | None = None
    older_than: str | None = None
    everything: bool = False
    limit: int = 0
    dry_run: bool = False
    yes: bool = False

    def chosen(self) -> Chosen:
        """What of the trash is meant. Raises UsageError for an age that is none."""
        try:
            age = None if self.older_than is None else parse_age(self.older_than)
        except ValueError as error:
            raise UsageError(f"--older-than: {error}") from None
        return Chosen(self.ids or None, self.selection, self.reason, age)


def run_list(options: TrashOptions) -> int:
    """Print what is in the trash; return 3 if some of it is damaged."""
    chosen = options.chosen()
    with look_into_trash(options.database, chosen, limit=options.limit or None) as found:
        shown, damaged = print_entries(
            found.entries, as_json=options.as_json, fields=_fields, columns=_COLUMNS, row=_row
        )
        total, stored = found.size
        if options.as_json:
            emit(
                "summary",
                total=total,
                stored_bytes=stored,
                pinned=found.pinned,
                listed=shown,
                more=total - shown - damaged,
                damaged=damaged,
            )
        elif not total:
            say("No such entries are in the trash.")
        else:
            more = total - shown - damaged
            if more:
                say(f"… and {more:,} more; --limit 0 lists all")
            say(f"{counted(total, 'entry')}, {size(stored)}")
    return EXIT_FAILURES if damaged else 0


def _fields(one: Trashed) -> dict[str, Any]:
    removed_at = format_rfc3339(one.removed_at)
    return item_fields(one.item) | {"reason": one.item.removed, "removed_at": removed_at}


def _row(one: Trashed) -> tuple[str, ...]:
    item = one.item
    return (
        str(item.id),
        when(one.removed_at),
        f"{item.removed}{', pinned' if item.pinned else ''}",
        item.cache_type,
        item.file_path,
        item.repository,
        item.model,
        tokens(item),
        str(item.stored_bytes),
    )


def run_restore(options: TrashOptions) -> int:
    """Bring entries back; return the exit code."""
    chosen = options.chosen()
    if chosen == Chosen() and not options.everything:
        raise UsageError(
            "nothing says what to restore",
            hint="Give IDs from `rustassistant cache trash list`, filters, --reason, or --all.",
        )
    restored = restore(options.database, chosen)
    if options.as_json:
        emit("summary", database=printable(options.database), restored=restored)
    elif options.talks:
        if restored:
            say(f"✓ Restored {counted(restored, 'entry')}")
        else:
            say("No such entries are in the trash (superseded ones: by ID or --reason).")
    return 0


def run_empty(options: TrashOptions) -> int:
    """Ask, delete, tell; return the exit code."""
    asked_at = time.time_ns()
    chosen = options.chosen()
    costs = worth()
    with look_into_trash(options.database, chosen, with_costs=True) as found:
        total, pinned, stored = found.size.entries - found.pinned, found.pinned, found.size
        remaking = remaking_of(found.spent, costs)
    deleted, stop = 0, Stop()
    if total and not options.dry_run:
        question = (
            f"Delete {counted(total, 'entry')} for good? Making them again would take "
            f"{remaking_text(remaking)}."
        )
        if not agreed(question, yes=options.yes, as_json=options.as_json):
            return EXIT_DECLINED
        with (
            stop.listening(),
            meter("empty", as_json=options.as_json, quiet=options.quiet) as shown,
        ):
            deleted = empty(
                options.database,
                chosen,
                until=asked_at,
                progress=lambda done: shown.update(done, max(done, total), 0),
                cancelled=stop,
            )
    if options.talks:
        if options.dry_run and total:
            say(f"🔎 Would delete {counted(total, 'entry')} for good ({size(stored.stored_bytes)})")
            say(f"  Making them again would take {remaking_text(remaking)}")
        else:
            say(f"✓ Deleted {counted(deleted, 'entry')} for good")
        if pinned:
            say(f"  {counted(pinned, 'pinned entry', 'pinned entries')} stay{'s' * (pinned == 1)}")
        if deleted:
            say("  `rustassistant cache compact` gives their room to the disk")
    if options.as_json:
        emit(
            "summary",
            database=printable(options.database),
            dry_run=options.dry_run,
            entries=total,
            deleted=deleted,
            pinned=pinned,
            cost=remaking_fields(remaking),
        )
    if stop.asked:
        raise InterruptedRunError("interrupted; what was deleted by then is gone")
    return 0
