"""The command ``rustassistant`` and the groups below it."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from rustassistant.cli.configured import Commands

_PLAIN: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = Commands(
    name="rustassistant",
    help="The safe home of paid-for LLM analyses of source code.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_PLAIN,
)
cache = Commands(
    help="Move a RustAssistant cache into one SQLite file, and look things up in it.",
    no_args_is_help=True,
    context_settings=_PLAIN,
)
app.add_typer(cache, name="cache")

cache.later("migrate", "Move every entry of one or several caches into one SQLite file.")
cache.later("verify", "Compare every entry of caches with what a database gives back.")
cache.later("get", "Print the cached result for a file's content.")
cache.later(
    "export",
    "Write a database's entries as the JSON files that they were, or for other programs.",
    own=["--destination"],
)
cache.later("import", "Read a JSON Lines export into a database.", module="import_")
cache.later(
    "log", "Show what runs did to the database: when, from where, how many, and what failed."
)
cache.later("backup", "Copy the database, or a JSON cache, and check the copy.", own=["--source"])
cache.later("restore", "Put a backup back, checked, without overwriting anything.")
cache.later(
    "check", "Look over all that the database holds: pages, indices, digests, relations, sums."
)
cache.later("init", "Make an empty database.")
cache.later(
    "status", "Show what there is, what it cost, what hits have saved, and this month's budget."
)
cache.later("list", "List entries, one a line.", module="list_")
cache.later("show", "Show an entry: all fields, its cost and uses, where it lay, and its result.")
cache.later(
    "explain", "Say whether a file would be a hit, and if not, what differs and what it costs."
)
cache.later(
    "stale", "Count entries about current, changed and deleted files, and models no longer used."
)
cache.later("path", "Print where the database lies.")
cache.later("evict", "Put entries into the trash until what is left fits a size.")
cache.later(
    "trash", "Look at, bring back, or delete for good what was evicted, cleared or superseded."
)
cache.later("pin", "Keep entries from being evicted or cleared.")
cache.later("clear", "Put the entries that filters choose into the trash.")
cache.later(
    "compact",
    "Rewrite the database without gaps, so that the room of what was deleted is free again.",
)
cache.later(
    "compression",
    "Show how well results are compressed, and what other levels and dictionaries would give.",
)
cache.later(
    "recompress",
    "Compress all results anew, harder or with better dictionaries, while others go on.",
)
cache.later(
    "sync", "Keep two caches in step: additions, changes and, if asked, deletions travel both ways."
)
app.later("config", "Show every setting with its value and where that came from.")


def run() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(prog_name="rustassistant")
    except BrokenPipeError:
        sys.stderr.close()  # the reader has seen enough; say nothing more
        sys.exit(1)


def _print_version(wanted: bool) -> None:
    if wanted:
        from rustassistant import __version__

        typer.echo(f"rustassistant {__version__}")
        raise typer.Exit


@app.callback(epilog="Start with: rustassistant cache migrate --backup --verify")
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """The safe home of paid-for LLM analyses of source code."""
