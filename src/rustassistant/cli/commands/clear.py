"""``rustassistant cache clear``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli import filters
from rustassistant.cli.options import Destination, Json, Quiet, option

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


def clear(
    everything: Annotated[bool, option("--all", help="Clear all entries.")] = False,
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            "-n",
            help="Say how many would go, and what making them again would cost; change nothing.",
        ),
    ] = False,
    yes: Annotated[
        bool, option("--yes", "-y", help="Don't ask. Needed where nobody can be asked.")
    ] = False,
    types: filters.Types = None,
    repositories: filters.Repositories = None,
    include: filters.Include = None,
    exclude: filters.Exclude = None,
    providers: filters.Providers = None,
    models: filters.Models = None,
    since: filters.Since = None,
    until: filters.Until = None,
    min_tokens: filters.MinTokens = None,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the entries that filters choose into the trash."""
    from rustassistant.cli.clear import ClearOptions, run_clear
    from rustassistant.cli.places import default_destination
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = ClearOptions(
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
            everything=everything,
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_clear(options))
