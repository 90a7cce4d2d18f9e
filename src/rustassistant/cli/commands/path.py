"""``rustassistant cache path``."""

from __future__ import annotations

from typing import Final

import typer

from rustassistant.cli.options import Destination, Json

EXAMPLES: Final = """\b
Examples:
  rustassistant cache path
  sqlite3 "$(rustassistant cache path)" .tables
\b
The option, RUSTASSISTANT_DESTINATION, config.toml and RUSTASSISTANT_HOME are all heeded, in this
order; links are resolved. --json also tells whether it exists, and how large it is.
\b
Exit codes: 0 done, whether or not there is such a database, 2 wrong usage."""


def path(destination: Destination = None, as_json: Json = False) -> None:
    """Print where the database lies."""
    from rustassistant.cli.init import run_path
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        database = database_at(destination)
        raise typer.Exit(run_path(database, as_json=as_json))
