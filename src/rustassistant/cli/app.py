"""The commands and their options. Each parses into plain values and calls one function."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

_PLAIN: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    name="rustassistant",
    help="The safe home of paid-for LLM analyses of source code.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_PLAIN,
)
cache = typer.Typer(
    help="Move a RustAssistant cache into one SQLite file, and look things up in it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_PLAIN,
)
app.add_typer(cache, name="cache")


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


_Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        "-s",
        metavar="PATH",
        envvar="RUSTASSISTANT_SOURCE",
        show_envvar=False,
        show_default="~/.rustassistant/cache/repos",
        help="The JSON cache: its root, one <hash8> directory, a repository, or its "
        ".rustassistant.",
    ),
]
_Destination = Annotated[
    str | None,
    typer.Option(
        "--destination",
        "-d",
        metavar="PATH",
        envvar="RUSTASSISTANT_DESTINATION",
        show_envvar=False,
        show_default="~/.rustassistant/cache.db",
        help="The database file.",
    ),
]
_Json = Annotated[
    bool,
    typer.Option(
        "--json",
        envvar="RUSTASSISTANT_JSON",
        show_envvar=False,
        help="Print JSON for programs instead of text for people.",
    ),
]

_MIGRATE_EXAMPLES: Final = """\b
Examples:
  rustassistant cache migrate --backup --verify
  rustassistant cache migrate --source ~/code/project --destination team.db
  rustassistant cache migrate --json --quiet | tail -n 1
\b
Run it again at any time: what is there already is left alone. The source is never written to.
Each option reads an environment variable too (--source: RUSTASSISTANT_SOURCE, and so on);
RUSTASSISTANT_HOME moves ~/.rustassistant.
\b
Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 some files failed, 4 verification found a
difference, 10 no such source, 11 locked by another process, 130 interrupted."""


@cache.command(epilog=_MIGRATE_EXAMPLES)
def migrate(
    source: _Source = None,
    destination: _Destination = None,
    backup: Annotated[
        bool,
        typer.Option(
            "--backup",
            "-b",
            envvar="RUSTASSISTANT_BACKUP",
            show_envvar=False,
            help="First copy the source to <source>.backup, and check the copy.",
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            "-v",
            envvar="RUSTASSISTANT_VERIFY",
            show_envvar=False,
            help="Afterwards compare every entry, in all fields, with what the database gives "
            "back.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            metavar="N",
            min=1,
            envvar="RUSTASSISTANT_JOBS",
            show_envvar=False,
            show_default="one per processor",
            help="Worker processes that read and compress.",
        ),
    ] = None,
    level: Annotated[
        int,
        typer.Option(
            "--level",
            metavar="1-22",
            min=1,
            max=22,
            envvar="RUSTASSISTANT_LEVEL",
            show_envvar=False,
            help="How hard to compress: 1 is fastest, 22 smallest.",
        ),
    ] = 3,
    as_json: _Json = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            envvar="RUSTASSISTANT_QUIET",
            show_envvar=False,
            help="Print no progress and no report; problems still go to standard error.",
        ),
    ] = False,
) -> None:
    """Move every entry of a JSON cache into one SQLite file."""
    from rustassistant.cli.migrate import MigrateOptions, run_migration
    from rustassistant.cli.places import default_destination, default_source
    from rustassistant.cli.render import errors_told

    options = MigrateOptions(
        source=default_source() if source is None else source,
        destination=default_destination() if destination is None else destination,
        backup=backup,
        verify=verify,
        jobs=jobs,
        level=level,
        as_json=as_json,
        quiet=quiet,
    )
    with errors_told(as_json=as_json):
        raise typer.Exit(run_migration(options))


_GET_EXAMPLES: Final = """\b
Examples:
  rustassistant cache get --type docs --content src/error.rs
  rustassistant cache get --type refactor --content src/error.rs --model grok-beta
  git show HEAD~1:src/error.rs | rustassistant cache get --type docs --content -
\b
Exit codes: 0 hit, 1 miss (what was looked for, and why nothing matched, is on standard error),
4 the entry is there but damaged, 10 no such database or file."""


@cache.command(epilog=_GET_EXAMPLES)
def get(
    cache_type: Annotated[
        str,
        typer.Option(
            "--type",
            "-t",
            metavar="TYPE",
            envvar="RUSTASSISTANT_TYPE",
            show_envvar=False,
            help="The kind of analysis: analysis, docs, refactor, todos, …",
        ),
    ],
    content: Annotated[
        str,
        typer.Option(
            "--content",
            "-c",
            metavar="FILE",
            envvar="RUSTASSISTANT_CONTENT",
            show_envvar=False,
            help="The file whose analysis is wanted, by its content; - for standard input.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            envvar="RUSTASSISTANT_MODEL",
            show_envvar=False,
            help="Only a result of this model.",
        ),
    ] = None,
    prompt_hash: Annotated[
        str | None,
        typer.Option(
            "--prompt-hash",
            metavar="HASH",
            envvar="RUSTASSISTANT_PROMPT_HASH",
            show_envvar=False,
            help="Only a result of this prompt, or one from before prompts were recorded.",
        ),
    ] = None,
    schema_version: Annotated[
        int | None,
        typer.Option(
            "--schema-version",
            metavar="N",
            envvar="RUSTASSISTANT_SCHEMA_VERSION",
            show_envvar=False,
            help="Only a result in this form.",
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            envvar="RUSTASSISTANT_EXACT",
            show_envvar=False,
            help="Refuse results from before prompts were recorded.",
        ),
    ] = False,
    destination: _Destination = None,
    as_json: _Json = False,
) -> None:
    """Print the cached result for a file's content."""
    from rustassistant.cli.get import GetOptions, run_get
    from rustassistant.cli.places import default_destination
    from rustassistant.cli.render import errors_told

    options = GetOptions(
        cache_type=cache_type,
        content=content,
        model=model,
        prompt_hash=prompt_hash,
        schema_version=schema_version,
        exact=exact,
        database=default_destination() if destination is None else destination,
        as_json=as_json,
    )
    with errors_told(as_json=as_json):
        raise typer.Exit(run_get(options))
