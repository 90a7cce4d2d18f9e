"""Prints docs/cli.md from the command's own definition, so that the two cannot drift apart.

Run it as ``make docs``. It reads the definition rather than the ``--help`` text, whose layout
depends on the terminal and on the version of the library that draws it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from rustassistant.cli.app import app

_HEAD = """\
# Command line

Written by `make docs` from the command's own definition. Each option of `cache migrate` also
reads an environment variable: `--source` reads `RUSTASSISTANT_SOURCE`, and so on.
`RUSTASSISTANT_HOME` moves `~/.rustassistant`.
"""


def _default(option: Any) -> str:
    if option.required:
        return "required"
    shown = option.show_default
    if isinstance(shown, str):
        return f"`{shown}`" if "/" in shown else shown
    if getattr(option, "is_flag", False) or option.default is None:
        return ""
    return str(option.default)


def _option_rows(command: Any) -> Iterator[str]:
    for option in command.params:
        names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len))
        meaning = " ".join((option.help or "").split()).replace("<", "\\<").replace("|", "\\|")
        yield f"| {names} | {meaning} | {_default(option)} |"


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"## {path}\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    subcommands = getattr(command, "commands", {})
    for name, subcommand in sorted(subcommands.items()):
        first_line = inspect.cleandoc(subcommand.help or "").splitlines()[0]
        anchor = f"{path} {name}".replace(" ", "-")
        yield f"- [`{path} {name}`](#{anchor}): {first_line}"
    if subcommands:
        yield ""
    yield "| option | meaning | default |"
    yield "|---|---|---|"
    yield from _option_rows(command)
    yield "| `--help` | Show the command's help. | |\n"
    if command.epilog:
        text = inspect.cleandoc(command.epilog.replace("\b", ""))
        yield f"```text\n{text}\n```\n"
    for name, subcommand in sorted(subcommands.items()):
        yield from _command(f"{path} {name}", subcommand)


def generate() -> str:
    """The whole page."""
    lines = _command("rustassistant", typer.main.get_command(app))
    return _HEAD + "\n" + "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    print(generate(), end="")
