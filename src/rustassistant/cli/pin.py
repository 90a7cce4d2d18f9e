"""``rustassistant cache pin``: what is to stay, whatever the size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rustassistant.cli.audience import Audience
from rustassistant.cli.entries import item_fields, print_entries, tokens, when
from rustassistant.cli.exits import EXIT_FAILURES
from rustassistant.cli.readable import counted
from rustassistant.cli.render import emit, say
from rustassistant.cli.tables import Column, Gives
from rustassistant.errors import UsageError
from rustassistant.retention import list_pins, pin, unpin
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.views.browsing import Item
from rustassistant.timestamps import format_rfc3339
from rustassistant.transfer.selection import ALL, Selection

_COLUMNS: Final = (
    Column("ID", is_number=True),
    Column("pinned (UTC)"),
    Column("type"),
    Column("file", gives=Gives.START),
    Column("repository", gives=Gives.START),
    Column("model", gives=Gives.END),
    Column("tokens", is_number=True),
    Column("in the trash"),
)


@dataclass(frozen=True, slots=True)
class PinOptions(Audience):
    """What the command line asked for."""

    database: str
    targets: tuple[str, ...]
    selection: Selection
    remove: bool
    list: bool


def run_pin(options: PinOptions) -> int:
    """Pin, unpin or list; return the exit code."""
    selection = None if options.selection == ALL else options.selection
    if options.list:
        if options.remove:
            raise UsageError("--list and --remove are two things", hint="Give one of them.")
        return _list(options, selection)
    if not options.targets and selection is None:
        raise UsageError(
            "nothing says what to pin",
            hint="Give IDs from `rustassistant cache list`, files, or filters; --list shows pins.",
        )
    act = unpin if options.remove else pin
    meant, changed = act(options.database, options.targets, selection)
    if options.as_json:
        emit(
            "summary",
            database=printable(options.database),
            removed=options.remove,
            entries=meant,
            changed=changed,
        )
    elif not options.quiet:
        verb = "Unpinned" if options.remove else "Pinned"
        rest = meant - changed
        others = f" ({rest:,} {'were not pinned' if options.remove else 'were already'})"
        say(f"✓ {verb} {counted(changed, 'entry')}{others if rest else ''}")
    return 0


def _list(options: PinOptions, selection: Selection | None) -> int:
    with list_pins(options.database, options.targets, selection) as found:
        shown, damaged = print_entries(
            found, as_json=options.as_json, fields=_fields, columns=_COLUMNS, row=_row
        )
    if options.as_json:
        emit("summary", database=printable(options.database), entries=shown, damaged=damaged)
    elif not shown and not damaged:
        say("Nothing is pinned.")
    return EXIT_FAILURES if damaged else 0


def _fields(pinned: tuple[Item, int]) -> dict[str, Any]:
    item, pinned_at = pinned
    return item_fields(item) | {"pinned_at": format_rfc3339(pinned_at), "reason": item.removed}


def _row(pinned: tuple[Item, int]) -> tuple[str, ...]:
    item, pinned_at = pinned
    return (
        str(item.id),
        when(pinned_at),
        item.cache_type,
        item.file_path,
        item.repository,
        item.model,
        tokens(item),
        item.removed or "",
    )
