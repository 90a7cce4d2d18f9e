"""Options that are not given take their value from ``config.toml``, for every command alike.

The order is the parser's own: the option, its environment variable, this file, the default.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand

from rustassistant.cli.given import spare_conversions
from rustassistant.cli.late import LateCommand, LateGroup
from rustassistant.cli.options import from_environment


class Commands(typer.Typer):
    """A group of commands whose options ``[cache]`` gives where a key has their name."""

    def __init__(self, **more: Any) -> None:
        self._later: dict[str, LateCommand] = {}
        cls = type("ConfiguredGroup", (LateGroup,), {"later": self._later})
        super().__init__(cls=cls, rich_markup_mode=None, **more)

    def later(
        self, name: str, summary: str, *, module: str | None = None, own: Iterable[str] = ()
    ) -> None:
        """Add the command, or the group, that a module of ``cli.commands`` declares under its own
        name, to be imported when it is called. ``own`` as in `command`.
        """
        load = partial(_loaded, name, module or name, own)
        self._later[name] = LateCommand(summary, load)

    def command(self, name: str | None = None, *, own: Iterable[str] = (), **more: Any) -> Any:
        """As in `typer.Typer`. ``own`` names options, such as ``--source``, that mean something
        else to this command than the key of their name, which then does not concern it.
        """
        cls = type("ConfiguredCommand", (_ConfiguredCommand,), {"own": frozenset(own)})
        return super().command(name, **({"cls": cls} | more))


class _ConfiguredCommand(TyperCommand):
    own: frozenset[str] = frozenset()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was given; what is wrong with the configuration is told like other errors."""
        from rustassistant.errors import RustAssistantError

        spare_conversions(self.get_params(ctx))
        as_json = "--json" in args  # the parser has not come so far
        ctx.default_map = _FromFile(ctx)
        try:
            return super().parse_args(ctx, args)
        except RustAssistantError as error:
            from rustassistant.cli.render import print_error

            print_error(error, as_json=as_json)
            raise typer.Exit(error.exit_code) from None


def _loaded(name: str, module: str, own: Iterable[str]) -> Any:
    found = import_module(f"rustassistant.cli.commands.{module}")
    declared = getattr(found, module)
    if isinstance(declared, typer.Typer):
        commands = declared
    else:
        commands = Commands(add_completion=False)
        commands.command(name, epilog=found.EXAMPLES, own=own)(declared)
    made = typer.main.get_command(commands)
    made.name = name
    return made


class _FromFile(dict[str, Any]):
    """Looks to the parser like a mapping from parameters to defaults, and reads the file late.

    While help or a completion is printed it is empty, so that these need no file, and work
    beside a wrong one.
    """

    def __init__(self, ctx: Any) -> None:
        super().__init__()
        self._ctx = ctx
        self._configuration: Any = None

    def get(self, name: str, default: Any = None) -> Any:
        """The file's value for a parameter, or the environment's for a repeatable one."""
        if self._ctx.resilient_parsing:
            return default
        for parameter in self._ctx.command.params:
            if parameter.name == name and parameter.param_type_name == "option":
                option = next((one for one in parameter.opts if one.startswith("--")), "")
                value = self._value(option, repeatable=parameter.multiple)
                return default if value is None else value
        return default

    def _value(self, option: str, *, repeatable: bool) -> Any:
        from rustassistant.cli.config import option_value
        from rustassistant.configuration import load

        if self._configuration is None:
            self._configuration = load({})  # the environment comes before, by other ways
        given = from_environment(option) if repeatable else None
        if given is not None or option in self._ctx.command.own:
            return given
        return option_value(self._configuration, option, repeatable=repeatable)
