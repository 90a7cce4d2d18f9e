"""``rustassistant cache compact``."""

from __future__ import annotations

from typing import Final

import typer

from rustassistant.cli.options import Destination, Json, Quiet

EXAMPLES: Final = """\b
Examples:
  rustassistant cache compact
\b
Readers go on undisturbed; whoever wants to write waits, or is told. It needs as much room again as
the database has, twice for a moment, and looks for it before it begins. Damaged files are refused.
\b
Exit codes: 0 done, 1 failed, 4 the database is damaged, 10 no such database, 11 locked by another
process, 130 interrupted."""


def compact(destination: Destination = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Rewrite the database without gaps, so that the room of what was deleted is free again."""
    from rustassistant.cli.compact import run_compact
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        database = database_at(destination)
        raise typer.Exit(run_compact(database, as_json=as_json, quiet=quiet))
