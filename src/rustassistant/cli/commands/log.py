"""``rustassistant cache log``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Destination, Json

EXAMPLES: Final = """\b
Examples:
  rustassistant cache log
  rustassistant cache log 3
  rustassistant cache migrate --retry-failed 3
\b
A run that changed nothing, and failed at nothing new, leaves no trace: running again is free.
\b
Exit codes: 0 done, 10 no such database or run."""


def log(
    run: Annotated[
        int | None, typer.Argument(metavar="[ID]", help="Show this run, with all that failed.")
    ] = None,
    destination: Destination = None,
    as_json: Json = False,
) -> None:
    """Show what runs did to the database: when, from where, how many, and what failed."""
    from rustassistant.cli.log import run_log
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        database = database_at(destination)
        raise typer.Exit(run_log(database, run, as_json=as_json))
