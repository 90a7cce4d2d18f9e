"""The process is killed at every write, sync, truncation and change of a name."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from faults.campaign import SEEDS, Campaign, spread
from faults.children import die
from faults.file_layer import CHANGES, Operation, Proceed
from faults.scenarios import NAMES, Counts, Scenario

POINTS: Final[Counts] = {"new": 64, "grown": 64, "trained": 28}
"""Of each kind."""


class Crash:
    """Dies before an operation; ``torn``: in the middle of it, if it is a write."""

    def __init__(self, number: int, *, torn: bool) -> None:
        self._number = number
        self._torn = torn

    def __call__(self, operation: Operation, proceed: Proceed) -> Any:
        if operation.number == self._number:
            if self._torn and operation.kind == "write":
                proceed(operation.data[: len(operation.data) // 2])
            elif self._torn:
                proceed(b"")
            die()
        return proceed(operation.data)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_by_a_crash(
    place: Path, campaign: Campaign, name: str, torn: bool, seed: int
) -> None:
    scenario = Scenario(name, seed, place / name)
    kinds = {"write"} if torn else CHANGES
    points = [one for one in scenario.operations() if one.kind in kinds]
    for index in spread(len(points), POINTS[name], Random(seed)):
        point = points[index - 1]

        def crash(point: Operation = point) -> bool:
            database = scenario.place()
            told = scenario.run(database, Crash(point.number, torn=torn))
            if not told.was_killed:
                return False
            scenario.oracle.check(database, told.acknowledged)
            scenario.remove(database)
            return True

        how = "in the middle of" if torn else "before"
        campaign.case(
            "crash", f"{how} operation {point.number} ({point.kind}), {name}, seed {seed}", crash
        )
    campaign.conclude(least=min(POINTS[name], len(points)))
