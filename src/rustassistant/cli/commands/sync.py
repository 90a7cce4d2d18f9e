"""``rustassistant cache sync``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Json, Quiet, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache sync cache.db ~/.rustassistant/cache/repos
  rustassistant cache sync cache.db /mnt/share/cache.db --dry-run
  rustassistant cache sync cache.db repos --delete --resolve ask
  rustassistant cache sync cache.db repos --watch
\b
Each line begins with a sign: + added, ~ replaced, - deleted, = deleted on one side and kept on the
other, ! changed on both. What has to go is kept: in a database's trash, or in a dated directory
beside a tree. docs/sync.md has the rules.
\b
Exit codes: 0 in step, 1 failed or not safe, and nothing was done, 2 wrong usage, 3 some results
could not be read or put, 5 conflicts were left, 10 neither cache exists, 11 locked by another
process, 130 interrupted."""


class Resolve(StrEnum):
    """`rustassistant.sync.Resolve`, without importing the stores."""

    NEWEST = "newest"
    A = "a"
    B = "b"
    KEEP_BOTH = "keep-both"
    ASK = "ask"
    FAIL = "fail"


@filtered
def sync(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A JSON cache, or a database.", show_default=False)
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B",
            help="Another. One of the two need not exist: a name that ends in .db is a database.",
            show_default=False,
        ),
    ],
    resolve: Annotated[
        Resolve,
        option(
            "--resolve",
            help="What changed on both sides: the newer analysis wins, or side a, or side b; or "
            "keep both; or ask, on a terminal; or leave it, and exit with 5 (fail).",
        ),
    ] = Resolve.NEWEST,
    delete: Annotated[
        bool,
        option(
            "--delete",
            help="What was deleted on one side goes to the trash of the other. Without it, it "
            "stays there.",
        ),
    ] = False,
    max_delete: Annotated[
        str,
        option(
            "--max-delete",
            metavar="N|N%",
            help="Do nothing if more than that have vanished from a side since the last sync.",
        ),
    ] = "50%",
    forget: Annotated[
        bool,
        option(
            "--forget",
            help="Forget the last sync: what is on one side only is copied, and nothing deleted.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, option("--dry-run", "-n", help="Say what would be done; write nothing.")
    ] = False,
    watch: Annotated[
        bool,
        option("--watch", "-w", help="Go on until Ctrl-C: changes arrive within two seconds."),
    ] = False,
    chosen: Filters = NO_FILTERS,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep two caches in step: additions, changes and, if asked, deletions travel both ways."""
    from rustassistant.cli.render import errors_told
    from rustassistant.cli.sync import SyncArguments, run_sync

    with errors_told(as_json=as_json):
        arguments = SyncArguments(
            a=a,
            b=b,
            resolve=resolve,
            delete=delete,
            max_delete=max_delete,
            forget=forget,
            dry_run=dry_run,
            watch=watch,
            selection=chosen.selection(),
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_sync(arguments))
