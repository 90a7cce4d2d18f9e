"""What a benchmark finds out: figures by round, each beside the one it is held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from corpus import Tree, tree_of
from measure import run

Ways = Mapping[str, Callable[[], float]]


class Spread(NamedTuple):
    """The median of some rounds, and the least and the most of them."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One comparison: by name, what each way took in each round.

    ``unit`` is s, MiB, bytes or µs; ``baseline`` the name that ratios are to, within the same
    round; ``skipped`` says why there are no rows, and ``failed`` that there should be some.
    ``attachment`` is a Markdown text of its own.
    """

    name: str
    title: str
    unit: str = "s"
    baseline: str = ""
    entries: int = 0
    rows: dict[str, list[float]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    skipped: str = ""
    failed: bool = False
    attachment: str = ""

    def ratios(self, name: str) -> list[float]:
        """To the baseline, round by round."""
        pairs = zip(self.rows[name], self.rows[self.baseline], strict=True)
        return [value / base for value, base in pairs]

    def as_json(self) -> dict[str, Any]:
        """All of it but the attachment, with medians and spreads."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "baseline": self.baseline,
            "entries": self.entries,
            "rows": [
                {
                    "name": name,
                    "values": values,
                    **spread(values)._asdict(),
                    "ratios": self.ratios(name),
                    "ratio": spread(self.ratios(name))._asdict(),
                }
                for name, values in self.rows.items()
            ],
            "remarks": list(self.remarks),
            "skipped": self.skipped,
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Setting:
    """What every benchmark is given: a place to work, and how much to do there.

    ``size`` entries where size is the point, ``small`` ones for what is slow or compared with
    others. ``peer_sizes`` are bytes that peers' databases took, for whoever asks next.
    """

    work: Path
    rounds: int
    size: int
    small: int
    told: Callable[[str], None]
    peer_sizes: dict[str, int] = field(default_factory=dict)

    def tree(self, entries: int) -> Tree:
        """A cache tree, made if it is not there yet."""
        if not (self.work / f"tree-{entries}" / "made.json").is_file():
            self.told(f"making {entries:,} entries")
        return tree_of(self.work, entries)

    def in_turns(self, ways: Ways, rounds: int | None = None) -> dict[str, list[float]]:
        """Each way once a round, so that what slows the machine for a while slows them all."""
        taken: dict[str, list[float]] = {name: [] for name in ways}
        count = self.rounds if rounds is None else rounds
        for number in range(count):
            for name, way in ways.items():
                self.told(f"  round {number + 1} of {count}: {name}")
                taken[name].append(way())
        return taken


def seconds(command: Sequence[str | Path]) -> float:
    """Of wall time, to the command's end."""
    return run(command).seconds
