"""``rustassistant cache stale``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Destination, Json, Quiet, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache stale
  rustassistant cache stale --repo /home/me/project --at ~/code/project
  rustassistant cache stale --type docs --json | tail -n 1
\b
Each file of the repositories that are on this machine is read once, and held against the hash that
its entries have. Links are followed only as far as they stay in the repository. Nothing is changed.
\b
A model is no longer used if each of its entries has a newer one by another model, of the same type
and file, or is about a file that was deleted; a prompt of a type likewise. Of repositories that are
not here, every file counts as there.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some files or entries can't be read, 10 no such
database or repository, 130 interrupted."""


@filtered
def stale(
    destination: Destination = None,
    at: Annotated[
        str | None,
        option(
            "--at",
            metavar="DIRECTORY",
            help="Where the one repository that --repo names lies now.",
        ),
    ] = None,
    chosen: Filters = NO_FILTERS,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count entries about current, changed and deleted files, and models no longer used."""
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.stale import StaleOptions, run_stale

    with errors_told(as_json=as_json):
        options = StaleOptions(
            database=database_at(destination),
            selection=chosen.selection(),
            at=at,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_stale(options))
