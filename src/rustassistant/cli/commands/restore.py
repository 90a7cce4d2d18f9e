"""``rustassistant cache restore``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Json, Quiet, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache restore ~/.rustassistant/cache.db.backup --to ~/.rustassistant/cache.db
  rustassistant cache restore project-cache.tar.zst --to ~/code/project --force
\b
What the backup is (a directory, an archive, a database) is found from what is there. All of it is
checked before anything appears at the place; if anything fails, what lay there lies there still.
\b
Exit codes: 0 done, 1 failed or something lies there already, 2 wrong usage, 4 the backup is
damaged, 10 no such backup, 11 the database there is in use by another process, 130 interrupted."""


def restore(
    backup: Annotated[str, typer.Argument(metavar="FROM", help="The backup.", show_default=False)],
    to: Annotated[
        str,
        option(
            "--to",
            metavar="PLACE",
            help="Where it goes: the database, the JSON cache, or the repository whose cache it "
            "is.",
        ),
    ],
    force: Annotated[
        bool,
        option(
            "--force",
            help="Replace what lies there, which is kept beside it under a name with the date.",
        ),
    ] = False,
    outside_links: Annotated[
        bool,
        option(
            "--outside-links",
            help="Also restore symbolic links that lead out of the cache; an archive that somebody "
            "else made could misuse them.",
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put a backup back, checked, without overwriting anything."""
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.restore import RestoreOptions, run_restore

    options = RestoreOptions(
        backup=backup,
        to=to,
        force=force,
        outside_links=outside_links,
        as_json=as_json,
        quiet=quiet,
    )
    with errors_told(as_json=as_json):
        raise typer.Exit(run_restore(options))
