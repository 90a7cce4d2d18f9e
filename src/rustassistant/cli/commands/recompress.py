"""``rustassistant cache recompress``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli import filters
from rustassistant.cli.options import Destination, Jobs, Json, Level, Quiet, option
from rustassistant.levels import THOROUGH_LEVEL

EXAMPLES: Final = """\b
Examples:
  rustassistant cache compression
  rustassistant cache recompress --train --dry-run
  rustassistant cache recompress --train && rustassistant cache compact
\b
Others read and write meanwhile. Each new frame is decompressed and compared before it takes the old
one's place. Interrupt it, and the same command goes on from there. A result stays as it is if it
would not get smaller, and so a rerun writes nothing. Damaged results are named and left alone.
The file keeps its size until `rustassistant cache compact`.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 4 done, but damaged results were left, 10 no such
database, 11 locked by another process, 130 interrupted."""


def recompress(
    level: Level = THOROUGH_LEVEL,
    train: Annotated[
        bool,
        option(
            "--train",
            help="Train a new dictionary for each type on what is there now, and use it where it "
            "saves more than it takes.",
        ),
    ] = False,
    no_dictionary: Annotated[
        bool,
        option("--no-dictionary", help="Compress each result for itself, larger as that may be."),
    ] = False,
    force: Annotated[
        bool,
        option(
            "--force",
            help="Replace also what does not get smaller: for going back to a lower level.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            "-n",
            help="Say what it would save, by a sample of each type; write nothing.",
        ),
    ] = False,
    types: filters.Types = None,
    jobs: Jobs = None,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress all results anew, harder or with better dictionaries, while others go on."""
    from rustassistant.cli.places import database_at
    from rustassistant.cli.recompress import CommandOptions, run_recompress
    from rustassistant.cli.render import errors_told
    from rustassistant.tuning import RecompressOptions

    with errors_told(as_json=as_json):
        options = CommandOptions(
            database=database_at(destination),
            how=RecompressOptions(
                level=level,
                train=train,
                dictionaries=not no_dictionary,
                force=force,
                types=tuple(types) if types else None,
            ),
            dry_run=dry_run,
            jobs=jobs,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_recompress(options))
