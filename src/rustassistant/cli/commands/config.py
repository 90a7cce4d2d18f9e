"""``rustassistant config``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from rustassistant.cli.options import Json, option, variable_of

EXAMPLES: Final = """\b
Examples:
  rustassistant config
  rustassistant config --init
  RUSTASSISTANT_LEVEL=9 rustassistant config --json
\b
An option outweighs an environment variable (--level: RUSTASSISTANT_LEVEL), that the file
~/.rustassistant/config.toml, and that the default. RUSTASSISTANT_HOME moves ~/.rustassistant.
\b
Exit codes: 0 shown or written, 2 something in the file or the environment is wrong, and named, or
--init found a file already."""


def config(
    ctx: typer.Context,
    init: Annotated[
        bool,
        option("--init", help="Write an example file, if there is none yet."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show every setting with its value and where that came from."""
    from rustassistant.cli.config import ConfigOptions, run_config
    from rustassistant.cli.render import errors_told

    variables = frozenset(_variables(ctx.find_root().command))
    with errors_told(as_json=as_json):
        raise typer.Exit(run_config(ConfigOptions(init=init, as_json=as_json, variables=variables)))


def _variables(command: Any) -> Iterator[str]:
    """The environment variables of all options of a command and of those below it."""
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from (variable_of(name) for name in parameter.opts if name.startswith("--"))
    for below in getattr(command, "commands", {}).values():
        yield from _variables(below)
