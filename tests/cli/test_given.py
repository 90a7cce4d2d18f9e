"""Values that are taken as they were given are those that the parser would have made of them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import pytest
import typer
import typer.main

from rustassistant.cli.given import spare_conversions


class Colour(StrEnum):
    """Something to choose."""

    RED = "red"
    DARK_RED = "dark-red"


def command(
    word: Annotated[str | None, typer.Option()] = None,
    must: Annotated[str, typer.Option()] = "x",
    parsed: Annotated[str, typer.Option(parser=str.upper)] = "x",
    words: Annotated[list[str] | None, typer.Option()] = None,
    number: Annotated[int | None, typer.Option()] = None,
    most: Annotated[int, typer.Option(min=1, max=22)] = 5,
    clamped: Annotated[int, typer.Option(min=1, max=22, clamp=True)] = 5,
    share: Annotated[float, typer.Option()] = 0.5,
    flag: Annotated[bool, typer.Option("--flag")] = False,
    colour: Annotated[Colour, typer.Option()] = Colour.RED,
    any_case: Annotated[Colour, typer.Option(case_sensitive=False)] = Colour.RED,
    ids: Annotated[list[int] | None, typer.Argument()] = None,
) -> None:
    """Take one of each kind that there is among the commands' options, and some more."""


VALUES: tuple[Any, ...] = (
    None, "", "x", "ü", "\udc80", "5", "05", " 5", "-5", "+5", "5_0", "٣", "9" * 30, "9" * 5_000,
    "1.5", "red", "RED", "dark-red", "blue", "yes", 5, 0, 23, True, 1.0, b"x", (), [], ("x",),
    ["x", "y"], ("5", "6"), (5, "x"), (None,), ("\udc80",), Colour.RED,
)  # fmt: skip


def outcomes(*, spared: bool) -> Iterator[tuple[str, Any, Any]]:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    made = typer.main.get_command(app)
    context = made.make_context("command", ["1"])
    for parameter in made.params:
        if not hasattr(parameter, "get_runtime_param"):
            pytest.skip("this version of the parser converts values in another way")
        if spared:
            spare_conversions([parameter])
            spare_conversions([parameter])  # as for a command that is called twice
        for value in VALUES:
            try:
                got = parameter.process_value(context, value)
            except Exception as error:
                got = type(error), str(error)
            yield str(parameter.name), value, (type(got), got)


def test_each_value_becomes_what_the_parser_makes_of_it() -> None:
    assert list(outcomes(spared=True)) == list(outcomes(spared=False))
