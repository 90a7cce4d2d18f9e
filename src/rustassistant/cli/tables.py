"""Small tables that fit the screen, and bars."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from rustassistant.cli.render import say, visible

_GAP: Final = "  "
_NARROWEST: Final = 6
"""Columns that are left of one that gives way where all else has gone."""

_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


class Gives(Enum):
    """Which end of a column's texts is left out where the screen is too narrow."""

    NOTHING = 0
    START = 1
    END = 2


class Column(NamedTuple):
    """A column's heading; numbers stand to the right. One that gives way is narrowed to ``least``
    columns; then those that may go do, the largest ``goes`` first (0 stays); then it is narrowed
    further."""

    heading: str
    is_number: bool = False
    gives: Gives = Gives.NOTHING
    least: int = 12
    goes: int = 0


def screen_width() -> int | None:
    """Columns of the terminal, or what ``COLUMNS`` says; None for a file or a pipe, which have no
    width, so that nothing is cut off there."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return None
    return shutil.get_terminal_size().columns


def say_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], *, indent: str = ""
) -> None:
    """Print a table, texts as `visible` has them."""
    from rich.cells import cell_len  # wide and combining characters

    cells = [tuple(map(visible, row)) for row in rows]
    whole = [tuple(column.heading for column in columns), *cells]
    widths = [max(cell_len(row[place]) for row in whole) for place in range(len(columns))]
    kept = _fitting(columns, widths, len(indent))
    for row in whole:
        laid_out = [_cell(row[place], columns[place], widths[place]) for place in kept]
        say((indent + _GAP.join(laid_out)).rstrip())


def _fitting(columns: Sequence[Column], widths: list[int], indent: int) -> list[int]:
    """Which columns are left when the table fits; others are narrowed, the widest first."""
    kept = list(range(len(columns)))
    screen = screen_width()
    if screen is None:
        return kept
    room = screen - indent

    def gives(place: int) -> bool:
        return columns[place].gives is not Gives.NOTHING

    def least(place: int) -> int:
        return min(widths[place], columns[place].least) if gives(place) else widths[place]

    while _taken([least(place) for place in kept]) > room:
        goes = max(kept, key=lambda place: columns[place].goes)
        if not columns[goes].goes:
            break
        kept.remove(goes)
    for floor in (least, _narrowest):
        for _ in range(_taken([widths[place] for place in kept]) - room):
            giving = [place for place in kept if gives(place) and widths[place] > floor(place)]
            if giving:
                widths[max(giving, key=lambda place: widths[place] - columns[place].least)] -= 1
    return kept


def _narrowest(_: int) -> int:
    return _NARROWEST


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _cell(text: str, column: Column, width: int) -> str:
    from rich.cells import cell_len

    text = shortened(text, width, column.gives)
    padding = " " * (width - cell_len(text))
    return padding + text if column.is_number else text + padding


def shortened(text: str, width: int, gives: Gives) -> str:
    """A text in so many columns, with an ellipsis where something is left out."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width or gives is Gives.NOTHING:
        return text
    if gives is Gives.END:
        return set_cell_size(text, width - 1).rstrip() + "…"
    while cell_len(text) >= width:
        text = text[1:]
    return "…" + text


def bar(part: float, whole: float, width: int) -> str:
    """A bar of up to ``width`` columns, in eighths; what is not nothing shows."""
    if part <= 0 or whole <= 0:
        return ""
    eighths = max(1, round(8 * width * min(part / whole, 1.0)))
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")
