"""``rustassistant cache export``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import Jobs, Json, Policy, Quiet, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache export -s cache.db -d repos
  rustassistant cache export -s cache.db -d repos --type docs --since 30d
  rustassistant cache export -s cache.db -d results.jsonl.zst --format jsonl
  rustassistant cache export -s cache.db -d results.parquet --format parquet
  rustassistant cache export -s cache.db -d rust.db --format v1
\b
What came from files comes out as the same files, to the last byte. Run it again at any time: a
file that is equal is not touched. The database is never written to.
\b
Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 some entries failed, 5 files were there that
differ, and --on-conflict was fail, 10 no such database, 11 the directory is being written to,
130 interrupted."""


class Layout(StrEnum):
    """`rustassistant.stores.json_tree.Layout`, without importing the store."""

    CENTRALIZED = "centralized"
    FLAT = "flat"
    LOCAL = "local"


class Format(StrEnum):
    """`rustassistant.export.Format`, likewise."""

    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    V1 = "v1"


@filtered
def export(
    destination: Annotated[
        str,
        option(
            "--destination",
            "-d",
            metavar="PLACE",
            help="The directory for the JSON files, or the file of another format. One that ends "
            "in .jsonl.gz or .jsonl.zst is compressed.",
        ),
    ],
    source: Annotated[
        str | None,
        # A second name, so that a configured source of migrations is not taken for a database.
        option(
            "--database",
            "--source",
            "-s",
            metavar="PATH",
            show_default="~/.rustassistant/cache.db",
            help="The database, with what waits to be written into it; or a JSON cache, to give it "
            "another layout or format.",
        ),
    ] = None,
    format_: Annotated[
        Format,
        option(
            "--format",
            help="JSON files, JSON Lines, Parquet (which needs pyarrow), or v1, "
            "the Rust program's own database.",
        ),
    ] = Format.JSON,
    layout: Annotated[
        Layout | None,
        option(
            "--layout",
            show_default="each entry where it came from",
            help="Put all files into this layout. A repository's own cache becomes "
            ".rustassistant in the destination if it is exported alone, and with --layout local "
            "one in a directory of the repository's name; else it goes to a <hash8> directory.",
        ),
    ] = None,
    every: Annotated[
        bool,
        option(
            "--all",
            help="Keep older results of a file too, under names of their own. Without it, the "
            "newest is written and the others are counted.",
        ),
    ] = False,
    on_conflict: Annotated[
        Policy,
        option(
            "--on-conflict",
            help="Where another file is there: the newer result keeps the name, or the older; or "
            "both stay, ours under another name; or it fails. A file that is replaced is kept in "
            "a dated directory. JSON Lines and Parquet know newest, which keeps the file that is "
            "there under a dated name, and fail; v1 all but keep-both, and keeps rows that it "
            "replaces in a table of their own.",
        ),
    ] = Policy.NEWEST,
    dry_run: Annotated[
        bool,
        option("--dry-run", "-n", help="Only compare, and say what would be done."),
    ] = False,
    chosen: Filters = NO_FILTERS,
    jobs: Jobs = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a database's entries as the JSON files that they were, or for other programs."""
    from rustassistant.cli.export import ExportOptions, default_database, run_export
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = ExportOptions(
            source=default_database() if source is None else source,
            destination=destination,
            format=format_,
            layout=layout,
            every=every,
            on_conflict=on_conflict,
            dry_run=dry_run,
            selection=chosen.selection(),
            jobs=jobs,
            as_json=as_json,
            quiet=quiet,
        )
        raise typer.Exit(run_export(options))
