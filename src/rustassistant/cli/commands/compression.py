"""``rustassistant cache compression``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Destination, Json, Quiet, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache compression
  rustassistant cache compression --sample-size 2000 --json
\b
Nothing is written. The sample is the same at each call, and no dictionary is trained on it. Sizes
are exact for the sample; times are those of this machine at this moment.
\b
Exit codes: 0 done, 2 wrong usage, 10 no such database, 130 interrupted."""


def compression(
    sample_size: Annotated[
        int,
        option(
            "--sample-size",
            metavar="N",
            min=1,
            help="Results of each type to compress at each level.",
        ),
    ] = 400,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show how well results are compressed, and what other levels and dictionaries would give."""
    from rustassistant.cli.compression import run_compression
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        database = database_at(destination)
        code = run_compression(database, sample_size, as_json=as_json, quiet=quiet)
        raise typer.Exit(code)
