"""Commands whose modules are imported, and whose options are made, when they are called.

A call is about one command: reading the declarations of all others took longer than most of what
commands do. Help lists them by their summaries, which a test holds against what they are of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from typer.core import TyperCommand, TyperGroup

from rustassistant.cli.given import spare_conversions


class LateCommand(NamedTuple):
    """A command that is not there yet. ``summary`` is the first line of its help."""

    summary: str
    load: Callable[[], Any]


class LateGroup(TyperGroup):
    """A group of ``later`` commands, and of those that it is made with."""

    later: ClassVar[Mapping[str, LateCommand]] = {}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Loaded(self.later, self.commands)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was given before the command's name."""
        spare_conversions(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """What help says of them, as the parser words it."""
        width = formatter.width - 6 - max(map(len, self.commands))  # as there
        rows = [(name, self._summed_up(name).get_short_help_str(width)) for name in self.commands]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _summed_up(self, name: str) -> Any:
        late = self.later.get(name)
        return self.commands[name] if late is None else TyperCommand(name, help=late.summary)


class _Loaded(Mapping[str, Any]):
    """Commands by name, each made when it is asked for."""

    def __init__(self, later: Mapping[str, LateCommand], made: Mapping[str, Any]) -> None:
        self._later = later
        self._made = dict(made)
        self._names = dict.fromkeys((*later, *made))

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._later[name].load()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
