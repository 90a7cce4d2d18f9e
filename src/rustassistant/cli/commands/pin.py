"""``rustassistant cache pin``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Destination, Json, Quiet, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache pin src/main.rs
  rustassistant cache pin 17 18
  rustassistant cache pin --repo ~/code/project --type refactor
  rustassistant cache pin --list
  rustassistant cache pin --remove 17
\b
A pinned entry is neither evicted nor cleared, and stays in the trash if a newer result supersedes
it. A pin is on a result: a new one for the same file has to be pinned itself. Entries that share a
row (--dedup) are pinned together.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some listed entries are damaged, 10 no such database,
entry or file, 11 locked by another process."""


@filtered
def pin(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID|FILE]...",
            help="Entries, by the IDs that `cache list` shows, or files: all entries about them.",
        ),
    ] = None,
    remove: Annotated[bool, option("--remove", help="Unpin them.")] = False,
    list_: Annotated[
        bool, option("--list", "-l", help="Show what is pinned, or what of these is.")
    ] = False,
    chosen: Filters = NO_FILTERS,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep entries from being evicted or cleared."""
    from rustassistant.cli.pin import PinOptions, run_pin
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = PinOptions(
            database=database_at(destination),
            targets=tuple(targets or ()),
            selection=chosen.selection(),
            remove=remove,
            list=list_,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_pin(options))
