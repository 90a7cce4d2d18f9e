"""A run's result: a table in Markdown, all of it in JSON, a plot, and attachments."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from figures import Figure, Spread, spread
from machine import described

_UNITS: Final[dict[str, Callable[[float], str]]] = {
    "s": lambda value: f"{value:,.3f}",
    "MiB": lambda value: f"{value:,.0f}",
    "bytes": lambda value: f"{value:,.0f}",
    "µs": lambda value: f"{value:,.1f}",
}


@dataclass(frozen=True)
class Result:
    """What was measured, when, where and how. ``date`` is YYYY-MM-DD, ``data`` says of what."""

    date: str
    what: str
    rounds: int
    data: str
    machine: dict[str, Any]
    figures: Sequence[Figure]

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.date}-{self.what}"

    def as_json(self) -> str:
        """Everything, medians and spreads included."""
        return json.dumps(
            {
                "date": self.date,
                "what": self.what,
                "rounds": self.rounds,
                "data": self.data,
                "machine": self.machine,
                "figures": [figure.as_json() for figure in self.figures],
            },
            indent=2,
            ensure_ascii=False,
        )

    def as_markdown(self) -> str:
        """For people."""
        head = (
            f"# Benchmarks, {self.date}\n\n{described(self.machine)}\n\n{self.data} "
            f"Rounds, in turns: {self.rounds}. Ratios are taken within each round; "
            "medians come first, then least and most.\n"
        )
        return "\n".join([head, *map(_section, self.figures)])


def _section(figure: Figure) -> str:
    of = f", {figure.entries:,} entries" if figure.entries else ""
    lines = [f"## {figure.title} (`{figure.name}`{of})", ""]
    if figure.skipped:
        return "\n".join([*lines, f"Skipped: {figure.skipped}.", ""])
    lines += [
        f"| | {figure.unit} | spread | times {figure.baseline} | spread |",
        "|---|--:|--:|--:|--:|",
    ]
    told = _UNITS[figure.unit]
    for name, values in figure.rows.items():
        taken, ratio = spread(values), spread(figure.ratios(name))
        lines.append(
            f"| {name} | {told(taken.median)} | {_between(taken, told)} "
            f"| {_ratio(ratio.median)} | {_between(ratio, _ratio)} |"
        )
    return "\n".join([*lines, "", *(f"- {remark}" for remark in figure.remarks), ""])


def _between(values: Spread, told: Callable[[float], str]) -> str:
    if values.least == values.most:
        return ""
    return f"{told(values.least)} to {told(values.most)}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def write(result: Result, directory: Path) -> list[Path]:
    """Write its files, and say which; without matplotlib there is no plot."""
    directory.mkdir(parents=True, exist_ok=True)
    markdown = result.as_markdown()
    written = [directory / f"{result.stem}.json"]
    written[0].write_text(result.as_json() + "\n", encoding="utf-8")
    for figure in result.figures:
        if figure.attachment:
            written.append(directory / f"{result.stem}-{figure.name}.md")
            written[-1].write_text(figure.attachment, encoding="utf-8")
            markdown += f"\nMore of `{figure.name}`: [{written[-1].name}]({written[-1].name})\n"
    if importlib.util.find_spec("matplotlib") is not None:
        from plotting import plot

        written.append(directory / f"{result.stem}.png")
        plot(result.figures, written[-1])
        markdown += f"\n![Ratios]({written[-1].name})\n"
    else:
        markdown += "\nThere is no plot: matplotlib is not installed.\n"
    written.append(directory / f"{result.stem}.md")
    written[-1].write_text(markdown, encoding="utf-8")
    return written
