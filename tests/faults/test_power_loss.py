"""The power fails between any two operations, and takes back what was not synced."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import pytest

from faults.campaign import SEEDS, Campaign, spread
from faults.children import Acknowledged, Commits, Say, in_child, migrate
from faults.file_layer import FileLayer
from faults.power import WAYS, Disk, Event, Recorder, write_out
from faults.scenarios import NAMES, Counts, Scenario
from rustassistant.stores.sqlite import store as sqlite_store

STATES: Final[Counts] = {"new": 128, "grown": 128, "trained": 56}

_ROUNDS: Final = 20
"""Over the run, until there are enough states; often nothing is unsynced."""

_NOBODYS: Final = f"-{2**22 + 1}-"
"""A process id that no process has, in place of one that may be given to another."""


class Record:
    """What a run did to the disk, and how that was before."""

    def __init__(self, scenario: Scenario, pragma: str = "") -> None:
        database = scenario.place()
        self.root = str(scenario.root_of(database))
        self.database = os.path.relpath(database, self.root)
        self.before = {
            str(path): path.read_bytes() for path in Path(self.root).rglob("*") if path.is_file()
        }
        file = scenario.root_of(database).with_suffix(".events")

        def action(say: Say) -> None:
            recorder = Recorder()

            def acknowledge(word: str, value: list[tuple[str, str, str]]) -> None:
                recorder.events.append(Event("safe", safe=tuple(value)))

            commits = Commits(acknowledge)
            if pragma:
                weaken(pragma)
            FileLayer(self.root, recorder)
            migrate(str(scenario.source.root), str(database), say, commits)
            file.write_bytes(pickle.dumps([tuple(event) for event in recorder.events]))

        told = in_child(action)
        assert told.value("done"), told
        self.events = [Event(*one) for one in pickle.loads(file.read_bytes())]  # noqa: S301
        scenario.remove(database)


def weaken(pragma: str) -> None:
    """Let the writer's connection say less than the truth about what is durable."""
    opening = sqlite_store.open_for_writing  # type: ignore[attr-defined]

    def open_weakly(path: str) -> Any:
        connection = opening(path)
        connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    sqlite_store.open_for_writing = open_weakly  # type: ignore[attr-defined]


class State(NamedTuple):
    """Files as a power cut may leave them, and what had been acknowledged by then."""

    name: str
    files: dict[str, bytes]
    acknowledged: Acknowledged


def states(record: Record, wanted: int, random: Random) -> Iterator[State]:
    """So many states in which something was taken back, evenly spread over the run."""
    made = 0
    for _ in range(_ROUNDS):
        disk = Disk(record.before)
        instants = sorted(spread(len(record.events), wanted, random))
        played = 0
        for instant, how in zip(instants, cycle(random.sample(WAYS, len(WAYS))), strict=False):
            disk.play(record.events[played:instant])
            played = instant
            files = disk.after_power_cut(how, random)
            if files != disk.files():
                yield State(f"{how} after operation {instant}", files, frozenset(disk.acknowledged))
                made += 1
            if made == wanted:
                return


def check_state(scenario: Scenario, record: Record, state: State) -> bool:
    root = scenario.root()
    database = root / record.database
    database.parent.mkdir(exist_ok=True)
    files = {re.sub(r"(?<=\.new)-\d+-", _NOBODYS, path): state.files[path] for path in state.files}
    write_out(files, record.root, root)
    scenario.oracle.check(database, state.acknowledged)
    scenario.remove(database)
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_was_acknowledged_outlives_a_power_cut(
    place: Path, campaign: Campaign, name: str, seed: int
) -> None:
    scenario = Scenario(name, seed, place / name)
    record = Record(scenario)
    for state in states(record, STATES[name], Random(seed)):
        campaign.case(
            "power loss",
            f"{state.name}, {name}, seed {seed}",
            partial(check_state, scenario, record, state),
        )
    campaign.conclude(least=STATES[name])


def test_campaign_notices_commits_that_are_not_synced(place: Path) -> None:
    scenario = Scenario("grown", 1, place / "grown")
    record = Record(scenario, "synchronous=NORMAL")

    def check_them() -> None:
        for state in states(record, STATES["grown"], Random(1)):
            check_state(scenario, record, state)

    with pytest.raises(AssertionError, match="acknowledged, and lost"):
        check_them()
