"""How large the fault campaign is, where its chance comes from, and how its cases are counted.

``RUSTASSISTANT_TORTURE=10`` makes it ten times as large: as many seeds, each with sources and
instants of its own. ``RUSTASSISTANT_TORTURE_SEED`` begins with another seed, and
``RUSTASSISTANT_TORTURE_ONLY`` runs the cases alone whose name contains it.
"""

from __future__ import annotations

import os
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

FIRST_SEED: Final = int(os.environ.get("RUSTASSISTANT_TORTURE_SEED", "2026"))
SCALE: Final = max(1, int(os.environ.get("RUSTASSISTANT_TORTURE", "1")))
ONLY: Final = os.environ.get("RUSTASSISTANT_TORTURE_ONLY", "")
SEEDS: Final = tuple(range(FIRST_SEED, FIRST_SEED + SCALE))
"""The environment is read when the tests are collected: while they run, they see none of it."""

_SHOWN: Final = 5
_LENGTH: Final = 1_500
"""Of so many failed cases, and of each so many characters, the reason is told."""


class Tally:
    """Cases of each kind, the faults that fired among them, and those after which all held."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        self.notes: Counter[str] = Counter()

    def add(self, kind: str, cases: int, fired: int, held: int) -> None:
        """Count more of a kind."""
        for index, more in enumerate((cases, fired, held)):
            self.counts[kind][index] += more

    def table(self) -> Iterator[str]:
        """For people: a line for each kind, and one for their sum."""
        total = [sum(column) for column in zip(*self.counts.values(), strict=True)]
        rows = [*sorted(self.counts.items()), ("all", total)]
        width = max(len(kind) for kind, _ in rows)
        yield f"{'kind':{width}}  {'cases':>7}  {'fired':>7}  {'held':>7}"
        for kind, numbers in rows:
            yield f"{kind:{width}}  " + "  ".join(f"{number:7}" for number in numbers)
        for text, number in sorted(self.notes.items()):
            yield f"{text}: {number}"


class Campaign:
    """Runs the cases of one test, all of them even if one fails, and counts them."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._failed: list[str] = []
        self._fired = 0

    def case(self, kind: str, name: str, run: Callable[[], bool]) -> bool:
        """Run one case. ``run`` tells whether its fault fired, and raises if something is lost.

        A case whose fault never fired shows nothing, and counts for nothing.
        """
        name = f"{kind} {name}"
        if ONLY not in name:
            return False
        fired, held = True, False
        try:
            fired = run()
            held = fired
        except Exception:
            self._failed.append(f"--- {name}\n{traceback.format_exc(chain=False)[-_LENGTH:]}")
        self._fired += fired
        self._tally.add(kind, 1, fired, held)
        return fired

    def count(self, kind: str, *, fired: bool) -> None:
        """A case that went well. Whoever calls this raises by itself when one does not."""
        self._fired += fired
        self._tally.add(kind, 1, fired, fired)

    def note(self, text: str) -> None:
        """Count something worth knowing that is no failure."""
        self._tally.notes[text] += 1

    def conclude(self, *, least: int) -> None:
        """Fail if a case did, naming each, or if too few faults fired to speak of a campaign."""
        if self._failed:
            shown = "\n".join(self._failed[:_SHOWN])
            names = "\n".join(failed.splitlines()[0] for failed in self._failed)
            raise AssertionError(
                f"{len(self._failed)} cases failed:\n{names}\n\n"
                "One of them alone: RUSTASSISTANT_TORTURE_SEED=<seed> "
                f"RUSTASSISTANT_TORTURE_ONLY='<name>' pytest tests/faults\n\n{shown}"
            )
        assert ONLY or self._fired >= least, f"only {self._fired} faults fired, of {least}"


def spread(total: int, wanted: int, random: Random) -> list[int]:
    """So many numbers from 1 to ``total``, evenly spread, beginning anywhere."""
    wanted = min(wanted, total)
    begin = random.random()
    return [1 + int((index + begin) * total / wanted) % total for index in range(wanted)]
