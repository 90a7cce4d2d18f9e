"""``rustassistant cache list``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from rustassistant.cli import filters
from rustassistant.cli.options import Destination, Json, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache list
  rustassistant cache list --repo ~/code/project --type docs --sort cost --limit 10
  rustassistant cache list --include 'src/**/*.rs' --since 30d --json
\b
What an entry cost is told by its token count alone, half of it taken as input: results are not
read for a list. `cache show` tells it as the result does. What lies in the trash is not listed.
With --json, a line for each entry ("message_type": "entry") comes before the summary.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some entries are damaged, 10 no such database."""


class Sort(StrEnum):
    """`rustassistant.inspection.Order`, without importing the store."""

    NEWEST = "newest"
    OLDEST = "oldest"
    LARGEST = "largest"
    TOKENS = "tokens"
    COST = "cost"
    FILE = "file"


def list_(
    destination: Destination = None,
    sort: Annotated[Sort, option("--sort", help="What comes first.")] = Sort.NEWEST,
    limit: Annotated[
        int,
        option("--limit", "-n", metavar="N", min=0, help="At most so many entries; 0 lists all."),
    ] = 50,
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
) -> None:
    """List entries, one a line."""
    from rustassistant.cli.listing import ListOptions, run_list
    from rustassistant.cli.places import default_destination
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = ListOptions(
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
            order=str(sort),
            limit=limit,
            as_json=as_json,
        )
        raise typer.Exit(run_list(options))
