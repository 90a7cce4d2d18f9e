"""``rustassistant cache check``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import (
    Destination,
    Json,
    Quiet,
    from_environment,
    option,
    repeated,
)

EXAMPLES: Final = """\b
Examples:
  rustassistant cache check
  rustassistant cache check --repair --from ~/.rustassistant/cache/repos
  rustassistant cache check --json -d team.db | tail -n 1
\b
Without --repair nothing is written, and a migration may run meanwhile. A repair removes nothing:
damaged rows are kept in the table quarantine, and the file as it was stays beside it.
\b
Exit codes: 0 sound (or is so again), 1 failed, 2 wrong usage, 4 damage was found and is left,
10 no such database or source, 11 locked by another process, 130 interrupted."""


def check(
    destination: Destination = None,
    repair: Annotated[
        bool,
        option("--repair", help="Set damaged rows aside and make everything else sound again."),
    ] = False,
    sources: Annotated[
        list[str] | None,
        repeated(
            "--from",
            metavar="PATH",
            help="With --repair: a JSON cache, or another database, to read what was lost from.",
        ),
    ] = None,
    no_backup: Annotated[
        bool,
        option(
            "--no-backup",
            help="With --repair: keep no copy of the file as it was. (If pages are damaged, it is "
            "kept all the same.)",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look over all that the database holds: pages, indices, digests, relations, sums."""
    from rustassistant.cli.check import CheckOptions, run_check
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = CheckOptions(
            database=database_at(destination),
            repair=repair,
            sources=tuple(sources or from_environment("--from") or ()),
            keep_copy=not no_backup,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_check(options))
