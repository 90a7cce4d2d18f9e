"""``rustassistant cache verify``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Destination, Jobs, Json, Quiet, Sources, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache verify
  rustassistant cache verify --source ~/code/project --destination team.db
  rustassistant cache verify --sample 5% --seed 42
  rustassistant cache verify --source laptop.db --destination both.db --json | tail -n 1
\b
Neither side is written to. What is compared is every field to the last byte, where each file lay,
and the text of meta.json: all that an export needs. The digest at the end is the same on every
machine with the same entries, whether they lie in a tree, a database or an export of it; it tells
of accidents, not of malice. An interrupted run goes on where it stopped, unless --fresh.
\b
Exit codes: 0 all equal, 1 failed, 2 wrong usage, 3 some source files can't be read, 4 something
differs, 10 no such source or database, 130 interrupted."""


def verify(
    source: Sources = None,
    destination: Destination = None,
    sample: Annotated[
        str | None,
        option(
            "--sample",
            metavar="N|N%",
            help="Compare only so many entries, chosen at random.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        option(
            "--seed",
            metavar="N",
            show_default="by chance",
            help="Choose the same sample again, here or on another machine.",
        ),
    ] = None,
    fresh: Annotated[
        bool,
        option("--fresh", help="Compare everything, whatever an interrupted run has compared."),
    ] = False,
    jobs: Jobs = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare every entry of caches with what a database gives back."""
    from rustassistant.cli.places import default_destination, default_source
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.verify import VerifyOptions, run_verification

    with errors_told(as_json=as_json):
        options = VerifyOptions(
            sources=tuple(source or [default_source()]),
            destination=default_destination() if destination is None else destination,
            sample=sample,
            seed=seed,
            fresh=fresh,
            jobs=jobs,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_verification(options))
