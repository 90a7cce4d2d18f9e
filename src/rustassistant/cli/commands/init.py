"""``rustassistant cache init``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Json, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache init
  rustassistant cache init team.db
  rustassistant cache init --local ~/code/project
\b
Migrating makes the database too; this makes one that is empty, for programs to fill. One that is
there already is left as it is.
\b
Exit codes: 0 done, 1 something else is in its place or it can't be made, 2 wrong usage, 10 no such
repository."""


def init(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH]",
            help="The database file, or a directory for it; with --local, the repository (this "
            "directory unless given).",
        ),
    ] = None,
    local: Annotated[
        bool,
        option("--local", help="Make it in the repository: .rustassistant/cache.db."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an empty database."""
    from rustassistant.cli.init import InitOptions, run_init
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        raise typer.Exit(run_init(InitOptions(path=path, local=local, as_json=as_json)))
