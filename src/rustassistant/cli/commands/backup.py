"""``rustassistant cache backup``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Destination, Json, Quiet, Source, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache backup
  rustassistant cache backup --to /mnt/backups/
  rustassistant cache backup --source ~/code/project --to project-cache.tar.zst
\b
Without --source it is the database that is copied, also while a migration writes to it. A copy is
checked before it gets its name, and what exists is never overwritten: then the name has a date.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 4 something in the database is damaged (the copy is
made if it can be), 10 nothing there to copy, 11 locked by another process, 130 interrupted."""


def backup(
    context: typer.Context,
    source: Source = None,
    destination: Destination = None,
    to: Annotated[
        str | None,
        option(
            "--to",
            metavar="PLACE",
            show_default="the cache's name and .backup",
            help="Where the copy goes. Of a JSON cache, a name that ends in .tar.zst makes one "
            "compressed archive. One that ends in / is a directory to put it in.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy the database, or a JSON cache, and check the copy."""
    from rustassistant.cli.backup import BackupOptions, chosen, run_backup
    from rustassistant.cli.places import default_destination
    from rustassistant.cli.render import errors_told
    from rustassistant.locations import parted

    with errors_told(as_json=as_json):
        options = BackupOptions(
            place=parted(chosen(context, source, destination) or default_destination()).path,
            to=to,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_backup(options))
