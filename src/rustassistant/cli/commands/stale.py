"""``rustassistant cache stale``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli import filters
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
    types: filters.Types = None,
    repositories: filters.Repositories = None,
    include: filters.Include = None,
    exclude: filters.Exclude = None,
    providers: filters.Providers = None,
    models: filters.Models = None,
    since: filters.Since = None,
    until: filters.Until = None,
    min_tokens: filters.MinTokens = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count entries about current, changed and deleted files, and models no longer used."""
    from rustassistant.cli.places import default_destination
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.stale import StaleOptions, run_stale

    with errors_told(as_json=as_json):
        options = StaleOptions(
            database=default_destination() if destination is None else destination,
            selection=filters.selection_of(
                types=types,
                repositories=repositories,
                include=include,
                exclude=exclude,
                providers=providers,
                models=models,
                since=since,
                until=until,
                min_tokens=min_tokens,
            ),
            at=at,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_stale(options))
