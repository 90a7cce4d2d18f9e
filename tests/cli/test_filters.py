"""The filters' options: declared once, and the same on every command that has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Annotated, Any

import pytest
import typer.main

from rustassistant.cli.app import app
from rustassistant.cli.configured import Commands
from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.transfer.selection import ALL, Selection

NAMES = [field.name for field in fields(Filters)]
GIVEN: dict[str, tuple[list[str], Any]] = {
    "types": (["-t", "docs", "--type", "todos"], ("docs", "todos")),
    "repositories": (["--repo", "/home/a b"], ("/home/a b",)),
    "include": (["--include", "src/**"], ("src/**",)),
    "exclude": (["--exclude", "*.md"], ("*.md",)),
    "providers": (["--provider", "xai"], ("xai",)),
    "models": (["-m", "grok"], ("grok",)),
    "since": (["--since", "1970-01-02"], 86_400 * 10**9),
    "until": (["--until", "1970-01-01"], 86_400 * 10**9 - 1),
    "min_tokens": (["--min-tokens", "5"], 5),
}


def leaves(command: Any) -> Iterator[Any]:
    below = getattr(command, "commands", None)
    if below is None:
        yield command
    for one in (below or {}).values():
        yield from leaves(one)


def called(*words: str) -> tuple[Filters, int, bool]:
    """What a command with filters in its midst is handed for a command line."""
    handed: list[tuple[Filters, int, bool]] = []

    @filtered
    def look(
        first: Annotated[int, typer.Option()] = 1,
        chosen: Filters = NO_FILTERS,
        last: Annotated[bool, typer.Option("--last")] = False,
    ) -> None:
        handed.append((chosen, first, last))

    commands = Commands()
    commands.command()(look)
    typer.main.get_command(commands).main(list(words), standalone_mode=False)
    [one] = handed
    return one


def test_command_gets_what_was_said_and_its_own_options() -> None:
    assert called() == (NO_FILTERS, 1, False)
    chosen, first, last = called("--first", "2", "--repo", "/r", "--last")
    assert (chosen, first, last) == (Filters(repositories=["/r"]), 2, True)
    assert NO_FILTERS.selection() == ALL


def test_there_is_an_option_for_each_part_of_a_selection() -> None:
    assert set(GIVEN) == set(NAMES) == set(Selection.__struct_fields__)


@pytest.mark.parametrize("name", NAMES)
def test_each_filter_chooses_what_it_says(name: str) -> None:
    words, value = GIVEN[name]
    chosen, _, _ = called(*words)
    assert chosen.selection() == Selection(**{name: value})


def test_each_filter_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSTASSISTANT_TYPE", "docs,todos")
    monkeypatch.setenv("RUSTASSISTANT_MIN_TOKENS", "7")
    chosen, _, _ = called()
    assert chosen.selection() == Selection(types=("docs", "todos"), min_tokens=7)


def test_commands_have_all_filters_or_are_about_something_else() -> None:
    having = [
        [parameter.name for parameter in command.params if parameter.name in NAMES]
        for command in leaves(typer.main.get_command(app))
        if any(parameter.name == "min_tokens" for parameter in command.params)
    ]
    assert len(having) >= 13
    assert all(names == NAMES for names in having)


def test_filters_stand_where_the_command_has_them() -> None:
    @filtered
    def look(first: int = 1, chosen: Filters = NO_FILTERS, last: int = 2) -> None:
        """Look."""

    commands = Commands()
    commands.command()(look)
    command = typer.main.get_command(commands)
    names = [one.name for one in command.params if "completion" not in str(one.name)]
    assert names == ["first", *NAMES, "last"]
    assert command.help == "Look."
