"""The command ``rustassistant`` and the groups below it."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from rustassistant.cli.commands import (
    backup,
    check,
    clear,
    compact,
    compression,
    config,
    evict,
    explain,
    export,
    get,
    import_,
    init,
    list_,
    log,
    migrate,
    path,
    pin,
    recompress,
    restore,
    show,
    stale,
    status,
    sync,
    trash,
    verify,
)
from rustassistant.cli.configured import Commands

_PLAIN: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = Commands(
    name="rustassistant",
    help="The safe home of paid-for LLM analyses of source code.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=_PLAIN,
)
cache = Commands(
    help="Move a RustAssistant cache into one SQLite file, and look things up in it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings=_PLAIN,
)
app.add_typer(cache, name="cache")

cache.command(epilog=migrate.EXAMPLES)(migrate.migrate)
cache.command(epilog=verify.EXAMPLES)(verify.verify)
cache.command(epilog=get.EXAMPLES)(get.get)
cache.command(epilog=export.EXAMPLES, own=["--destination"])(export.export)
cache.command(name="import", epilog=import_.EXAMPLES)(import_.import_)
cache.command(epilog=log.EXAMPLES)(log.log)
cache.command(epilog=backup.EXAMPLES, own=["--source"])(backup.backup)
cache.command(epilog=restore.EXAMPLES)(restore.restore)
cache.command(epilog=check.EXAMPLES)(check.check)
cache.command(epilog=init.EXAMPLES)(init.init)
cache.command(epilog=status.EXAMPLES)(status.status)
cache.command(name="list", epilog=list_.EXAMPLES)(list_.list_)
cache.command(epilog=show.EXAMPLES)(show.show)
cache.command(epilog=explain.EXAMPLES)(explain.explain)
cache.command(epilog=stale.EXAMPLES)(stale.stale)
cache.command(epilog=path.EXAMPLES)(path.path)
cache.command(epilog=evict.EXAMPLES)(evict.evict)
cache.add_typer(trash.trash, name="trash")
cache.command(epilog=pin.EXAMPLES)(pin.pin)
cache.command(epilog=clear.EXAMPLES)(clear.clear)
cache.command(epilog=compact.EXAMPLES)(compact.compact)
cache.command(epilog=compression.EXAMPLES)(compression.compression)
cache.command(epilog=recompress.EXAMPLES)(recompress.recompress)
cache.command(epilog=sync.EXAMPLES)(sync.sync)
app.command(epilog=config.EXAMPLES)(config.config)


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
