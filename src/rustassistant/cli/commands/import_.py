"""``rustassistant cache import``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import (
    Destination,
    Jobs,
    Json,
    OnConflict,
    Policy,
    Quiet,
    option,
)

EXAMPLES: Final = """\b
Examples:
  rustassistant cache import -s results.jsonl -d cache.db
  rustassistant cache import -s results.jsonl.zst --type docs
\b
Run it again at any time: what is there already is left alone. JSON files are not imported but
migrated: rustassistant cache migrate.
\b
Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 some lines failed, 5 conflicts that were to
fail, 10 no such file, 11 the database is locked by another process, 130 interrupted."""


@filtered
def import_(
    source: Annotated[
        str,
        option(
            "--source",
            "-s",
            metavar="FILE",
            help="A JSON Lines file that `cache export` wrote, plain or compressed (gzip, zstd).",
        ),
    ],
    destination: Destination = None,
    on_conflict: OnConflict = Policy.NEWEST,
    dry_run: Annotated[
        bool,
        option("--dry-run", "-n", help="Read everything and say what would become of it."),
    ] = False,
    chosen: Filters = NO_FILTERS,
    jobs: Jobs = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a JSON Lines export into a database."""
    from rustassistant.cli.import_ import ImportOptions, run_import
    from rustassistant.cli.places import default_destination
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = ImportOptions(
            source=source,
            destination=default_destination() if destination is None else destination,
            on_conflict=on_conflict,
            dry_run=dry_run,
            selection=chosen.selection(),
            jobs=jobs,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_import(options))
