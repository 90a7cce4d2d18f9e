"""``rustassistant cache trash``: ``list``, ``restore`` and ``empty``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from rustassistant.cli.configured import Commands
from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Destination, DryRemoval, Json, Limit, Quiet, Yes, option

_LIST_EXAMPLES: Final = """\b
Examples:
  rustassistant cache trash list
  rustassistant cache trash list --reason superseded --repo ~/code/project --limit 0 --json
\b
With --json, a line for each entry ("message_type": "entry") comes before the summary.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some entries are damaged, 10 no such database."""

_RESTORE_EXAMPLES: Final = """\b
Examples:
  rustassistant cache trash restore 17 18
  rustassistant cache trash restore --reason evicted --repo ~/code/project
  rustassistant cache trash restore --all
\b
Superseded entries only come back by ID or with --reason superseded. Such a one then stands beside
the one that superseded it, and the newest answers.
\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 10 no such database, or no such entry in the trash
(then nothing is restored), 11 locked by another process."""

_EMPTY_EXAMPLES: Final = """\b
Examples:
  rustassistant cache trash empty --older-than 30d
  rustassistant cache trash empty --reason superseded --dry-run
  rustassistant cache trash empty --yes && rustassistant cache compact
\b
This deletes for good what was paid for. Pinned entries stay, and results that entries still share.
\b
Exit codes: 0 done, 1 failed or declined, 2 wrong usage, 10 no such database, 11 locked by another
process, 130 interrupted: what was deleted by then is gone."""


class Reason(StrEnum):
    """Why an entry may be in the trash."""

    SUPERSEDED = "superseded"
    EVICTED = "evicted"
    CLEARED = "cleared"
    DELETED = "deleted"


Why = Annotated[
    Reason | None,
    option(
        "--reason",
        help="Only what was removed for that reason: a newer result came (superseded), by `cache "
        "evict`, by `cache clear`, or by a program (deleted).",
    ),
]
OlderThan = Annotated[
    str | None,
    option("--older-than", metavar="AGE", help="Only what was removed that long ago, such as 30d."),
]


@filtered
def list_(
    reason: Why = None,
    older_than: OlderThan = None,
    limit: Limit = 50,
    chosen: Filters = NO_FILTERS,
    destination: Destination = None,
    as_json: Json = False,
) -> None:
    """List what is in the trash, the last removed first."""
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.trash import TrashOptions, run_list

    with errors_told(as_json=as_json):
        options = TrashOptions(
            database=database_at(destination),
            selection=chosen.selection(),
            reason=reason and str(reason),
            older_than=older_than,
            limit=limit,
            as_json=as_json,
        )
        raise typer.Exit(run_list(options))


@filtered
def restore(
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="[ID]...", help="Entries, by the IDs that `trash list` shows."),
    ] = None,
    reason: Why = None,
    older_than: OlderThan = None,
    everything: Annotated[
        bool, option("--all", help="Everything but what was superseded.")
    ] = False,
    chosen: Filters = NO_FILTERS,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let entries in the trash answer again."""
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.trash import TrashOptions, run_restore

    with errors_told(as_json=as_json):
        options = TrashOptions(
            database=database_at(destination),
            ids=tuple(ids or ()),
            selection=chosen.selection(),
            reason=reason and str(reason),
            older_than=older_than,
            everything=everything,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_restore(options))


@filtered
def empty(
    reason: Why = None,
    older_than: OlderThan = None,
    dry_run: DryRemoval = False,
    yes: Yes = False,
    chosen: Filters = NO_FILTERS,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Delete what is in the trash for good. Asks first."""
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.trash import TrashOptions, run_empty

    with errors_told(as_json=as_json):
        options = TrashOptions(
            database=database_at(destination),
            selection=chosen.selection(),
            reason=reason and str(reason),
            older_than=older_than,
            dry_run=dry_run,
            yes=yes,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_empty(options))


trash = Commands(
    help="Look at, bring back, or delete for good what was evicted, cleared or superseded.",
    no_args_is_help=True,
    add_completion=False,
)
trash.command(name="list", epilog=_LIST_EXAMPLES)(list_)
trash.command(epilog=_RESTORE_EXAMPLES)(restore)
trash.command(epilog=_EMPTY_EXAMPLES)(empty)
