"""``rustassistant cache evict``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Destination, Json, Quiet, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache evict --max-size 500MiB --dry-run
  rustassistant cache evict --max-size 500MiB --policy value
  rustassistant cache evict --max-size 2GiB --policy oldest --repo '/home/me/old/**'
  rustassistant cache evict --max-size 1GiB --now --yes
\b
Evicted entries go to the trash, and can be had back until that is emptied. No more go than it
takes: with one less, what is live would be too large. Pinned entries stay. If the size can't be
reached, nothing goes. docs/retention.md says what is measured, and how the policies count.
With max_size under [cache] in config.toml, every `cache migrate` does this by itself.
\b
Exit codes: 0 done (or it fits already), 1 the size can't be reached, or declined, 2 wrong usage,
10 no such database, 11 locked by another process, 130 interrupted."""


class Policy(StrEnum):
    """`rustassistant.retention.Policy`, without importing the store."""

    LRU = "lru"
    OLDEST = "oldest"
    LARGEST = "largest"
    CHEAPEST = "cheapest"
    MOST_EXPENSIVE = "most-expensive"
    VALUE = "value"


@filtered
def evict(
    max_size: Annotated[
        str | None,
        option(
            "--max-size",
            metavar="SIZE",
            help="How much live entries may take, such as 500MiB: results and kept files as they "
            "are stored, dictionaries, and what the tables take.",
        ),
    ] = None,
    policy: Annotated[
        Policy,
        option(
            "--policy",
            help="What goes first: the least recently used (lru), the oldest, largest, cheapest or "
            "most-expensive to make again, or what is worth least (value: dollars and seconds to "
            "make it again, times its past use, per byte).",
        ),
    ] = Policy.LRU,
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            "-n",
            help="Say how many would go, which first, and what making them again would cost; "
            "write nothing.",
        ),
    ] = False,
    now: Annotated[
        bool,
        option(
            "--now",
            help="Delete for good what goes, and compact the file, so that the disk has the room "
            "at once. Asks first.",
        ),
    ] = False,
    yes: Annotated[bool, option("--yes", "-y", help="With --now: don't ask.")] = False,
    chosen: Filters = NO_FILTERS,
    destination: Destination = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put entries into the trash until what is left fits a size."""
    from rustassistant.cli.evict import EvictOptions, run_evict
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = EvictOptions(
            database=database_at(destination),
            max_size=max_size,
            policy=str(policy),
            selection=chosen.selection(),
            dry_run=dry_run,
            now=now,
            yes=yes,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_evict(options))
