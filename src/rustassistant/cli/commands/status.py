"""``rustassistant cache status``."""

from __future__ import annotations

from typing import Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Destination, Json

EXAMPLES: Final = """\b
Examples:
  rustassistant cache status
  rustassistant cache status --repo ~/code/project --since 2026-01-01
  rustassistant cache status --json | jq .by_model
\b
It reads sums that are kept with the entries, so it is as quick with a million. Only --include,
--exclude, --min-tokens, and times that begin or end within a month go through the entries; no
result is ever read. Lookups count if programs made them through AnalysisCache. Prices are those
of the month: yours from config.toml, else those of the package genai-prices, else the published.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 4 damaged, 10 no such database."""


@filtered
def status(
    destination: Destination = None,
    chosen: Filters = NO_FILTERS,
    as_json: Json = False,
) -> None:
    """Show what there is, what it cost, what hits have saved, and this month's budget."""
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.status import StatusOptions, run_status

    with errors_told(as_json=as_json):
        options = StatusOptions(
            database=database_at(destination),
            selection=chosen.selection(),
            as_json=as_json,
        )
        raise typer.Exit(run_status(options))
