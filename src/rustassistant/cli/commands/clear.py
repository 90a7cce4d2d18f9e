"""``rustassistant cache clear``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Destination, DryRemoval, Json, Quiet, Yes, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache clear --repo ~/code/project --dry-run
  rustassistant cache clear --type todos --until 2026-01-31
  rustassistant cache clear --all --yes
\b
Cleared entries go to the trash, and can be had back until that is emptied. Pinned entries stay.
Migrating their files again brings them back too.
\b
Exit codes: 0 done, 1 failed or declined, 2 wrong usage, 10 no such database, 11 locked by another
process, 130 interrupted."""


@filtered
def clear(
    everything: Annotated[bool, option("--all", help="Clear all entries.")] = False,
    dry_run: DryRemoval = False,
    yes: Yes = False,
    chosen: Filters = NO_FILTERS,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the entries that filters choose into the trash."""
    from rustassistant.cli.clear import ClearOptions, run_clear
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = ClearOptions(
            database=database_at(destination),
            selection=chosen.selection(),
            everything=everything,
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_clear(options))
