"""``rustassistant cache list``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Destination, Json, Limit, option

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


@filtered
def list_(
    destination: Destination = None,
    sort: Annotated[Sort, option("--sort", help="What comes first.")] = Sort.NEWEST,
    limit: Limit = 50,
    chosen: Filters = NO_FILTERS,
    as_json: Json = False,
) -> None:
    """List entries, one a line."""
    from rustassistant.cli.listing import ListOptions, run_list
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = ListOptions(
            database=database_at(destination),
            selection=chosen.selection(),
            order=str(sort),
            limit=limit,
            as_json=as_json,
        )
        raise typer.Exit(run_list(options))
