"""Many processes at one database: two that migrate, sixteen that make it, many that read."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from faults.campaign import SEEDS, Campaign
from faults.children import Child, Commits, Say, Told, migrate, together
from faults.oracle import Held
from faults.scenarios import NAMES, Scenario

ROUNDS = 4
OPENS = 16
READERS = 32


def migrating(scenario: Scenario, database: Path, say: Say) -> None:
    migrate(str(scenario.source.root), str(database), say, Commits(say))


def check_all(scenario: Scenario, database: Path, told: list[Told]) -> None:
    """Each has done its work, or has been told that another was at it."""
    refused = [name for one in told for name, _ in one.said.get("refused", ())]
    assert set(refused) <= {"LockedError"}, refused
    assert any(one.value("done") for one in told)
    acknowledged = frozenset().union(*(one.acknowledged for one in told))
    # Of two that close it at one moment, each leaves the log to the other; the next one folds it.
    own = {database.name + suffix for suffix in ("", "-wal", "-shm")}
    leftovers = set(os.listdir(database.parent)) - own
    assert not leftovers, f"left behind: {leftovers}"
    scenario.oracle.check(database, acknowledged)
    scenario.remove(database)


def migrate_together(scenario: Scenario, count: int) -> bool:
    database = scenario.place()
    told = together([partial(migrating, scenario, database)] * count)
    check_all(scenario, database, told)
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_two_migrations_at_once_lose_nothing(
    place: Path, campaign: Campaign, name: str, seed: int
) -> None:
    scenario = Scenario(name, seed, place / name)
    for number in range(ROUNDS):
        campaign.case(
            "two migrations",
            f"round {number}, {name}, seed {seed}",
            partial(migrate_together, scenario, 2),
        )
    campaign.conclude(least=ROUNDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_sixteen_processes_make_one_database(place: Path, campaign: Campaign, seed: int) -> None:
    scenario = Scenario("new", seed, place / "new")
    for number in range(ROUNDS // 2):
        campaign.case(
            f"{OPENS} cold opens",
            f"round {number}, seed {seed}",
            partial(migrate_together, scenario, OPENS),
        )
    campaign.conclude(least=ROUNDS // 2)


def read_while_another_writes(scenario: Scenario) -> bool:
    """What was there before the writer began is there for every reader at every moment."""
    database = scenario.place()
    begun = Held(database, scenario.source.entries).paths
    assert begun
    until = os.pipe()

    def reading(say: Say) -> None:
        os.close(until[1])
        os.set_blocking(until[0], False)
        rounds = 0
        while True:
            is_last = _has_ended(until[0])
            held = Held(database, scenario.source.entries)
            assert not held.wrong, held.wrong
            assert not held.damaged, held.damaged
            assert begun <= held.paths, "gone while another was writing"
            rounds += 1
            if is_last:
                say("read", [rounds, len(held.paths)])
                return
            if rounds == 1:
                say("begun", None)

    readers = [Child(reading) for _ in range(READERS)]
    try:
        for reader in readers:
            reader.wait_for_word()
        writer = Child(partial(migrating, scenario, database)).end()
    finally:
        os.close(until[0])
        os.close(until[1])
    for reader in readers:
        rounds, last = reader.end().value("read")
        assert rounds >= 2
        assert last == len(scenario.source.entries), "a reader does not see what was committed"
    check_all(scenario, database, [writer])
    return True


def _has_ended(pipe: int) -> bool:
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize("seed", SEEDS)
def test_thirty_two_processes_read_while_one_writes(
    place: Path, campaign: Campaign, seed: int
) -> None:
    scenario = Scenario("grown", seed, place / "grown")
    campaign.case(
        f"{READERS} readers, one writer",
        f"seed {seed}",
        partial(read_while_another_writes, scenario),
    )
    campaign.conclude(least=1)
