"""The power fails between any two operations, and takes back what was not synced."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from faults.campaign import SEEDS, Campaign
from faults.children import Commits, Say, migrate
from faults.power import write_out
from faults.recording import Record, State, states
from faults.scenarios import NAMES, Counts, Scenario
from rustassistant.stores.sqlite import store as sqlite_store

STATES: Final[Counts] = {"new": 128, "grown": 128, "trained": 56}

_NOBODYS: Final = f"-{2**22 + 1}-"
"""A process id that no process has, in place of one that may be given to another."""


def recorded(scenario: Scenario, pragma: str = "") -> Record:
    """A migration. ``pragma`` weakens what its writer promises."""
    database = scenario.place()

    def action(say: Say) -> None:
        commits = Commits(say)
        if pragma:
            weaken(pragma)
        migrate(str(scenario.source.root), str(database), say, commits)

    record = Record(scenario.root_of(database), action)
    assert record.told.value("done"), record.told
    scenario.remove(database)
    return record


def weaken(pragma: str) -> None:
    """Let the writer's connection say less than the truth about what is durable."""
    opening = sqlite_store.open_for_writing  # type: ignore[attr-defined]

    def open_weakly(path: str) -> Any:
        connection = opening(path)
        connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    sqlite_store.open_for_writing = open_weakly  # type: ignore[attr-defined]


def check_state(scenario: Scenario, record: Record, state: State) -> bool:
    root = scenario.root()
    database = root / scenario.file
    files = {re.sub(r"(?<=\.new)-\d+-", _NOBODYS, path): state.files[path] for path in state.files}
    write_out(files, record.root, root)
    database.parent.mkdir(exist_ok=True)
    scenario.oracle.check(database, state.acknowledged)
    scenario.remove(database)
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_was_acknowledged_outlives_a_power_cut(
    place: Path, campaign: Campaign, name: str, seed: int
) -> None:
    scenario = Scenario(name, seed, place / name)
    record = recorded(scenario)
    for state in states(record, STATES[name], Random(seed)):
        campaign.case(
            "power loss",
            f"{state.name}, {name}, seed {seed}",
            partial(check_state, scenario, record, state),
        )
    campaign.conclude(least=STATES[name])


def test_campaign_notices_commits_that_are_not_synced(place: Path) -> None:
    scenario = Scenario("grown", 1, place / "grown")
    record = recorded(scenario, "synchronous=NORMAL")

    def check_them() -> None:
        for state in states(record, STATES["grown"], Random(1)):
            check_state(scenario, record, state)

    with pytest.raises(AssertionError, match="acknowledged, and lost"):
        check_them()
