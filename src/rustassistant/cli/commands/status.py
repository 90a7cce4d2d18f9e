"""``rustassistant cache status``."""

from __future__ import annotations

from typing import Final

import typer

from rustassistant.cli import filters
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


def status(
    destination: Destination = None,
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
    """Show what there is, what it cost, what hits have saved, and this month's budget."""
    from rustassistant.cli.places import default_destination
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.status import StatusOptions, run_status

    with errors_told(as_json=as_json):
        options = StatusOptions(
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
            as_json=as_json,
        )
        raise typer.Exit(run_status(options))
