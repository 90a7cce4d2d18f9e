"""``rustassistant cache show``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Destination, Json, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache show 42
  rustassistant cache show src/error.rs --type docs
  rustassistant cache show 42 --raw > result.json
\b
A file is named by its path in the repository, or by where it lies; a file whose name is a number by
./42. With several entries about it they are listed, and with --json the newest of each type is
shown. --raw gives the result to the last byte, as it stood in the file that it came from.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 4 damaged, 10 no such entry or database."""


def show(
    target: Annotated[
        str, typer.Argument(metavar="ID|FILE", help="An entry's ID, or the file that it is about.")
    ],
    cache_type: Annotated[
        str | None,
        option("--type", "-t", metavar="TYPE", help="Of a file, the newest entry of this type."),
    ] = None,
    raw: Annotated[bool, option("--raw", help="Print only the result, byte for byte.")] = False,
    destination: Destination = None,
    as_json: Json = False,
) -> None:
    """Show an entry: all fields, its cost and uses, where it lay, and its result."""
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.show import ShowOptions, run_show

    with errors_told(as_json=as_json):
        options = ShowOptions(
            database=database_at(destination),
            target=target,
            cache_type=cache_type,
            raw=raw,
            as_json=as_json,
        )
        raise typer.Exit(run_show(options))
