"""Kill -9 at random instants: the parent, a worker, all of them."""

from __future__ import annotations

import signal
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import apsw
import pytest

from faults.campaign import SEEDS, Campaign
from faults.children import Commits
from faults.oracle import Oracle
from faults.sources import Source, build
from faults.victims import CAN_WATCH, Victim
from rustassistant.migrate import CacheMigrator

pytestmark = pytest.mark.skipif(not CAN_WATCH, reason="there is no /proc to find processes in")

KILLS: Final = 9
"""Of each kind, in each of two tests, for each seed."""

FILES: Final = 90
_COMMITS: Final = partial(Commits, commit_rows=8, partition_files=5)
_JITTER: Final = 0.02
_MOST_COMMITS: Final = 9


class Prey:
    """A source that takes a while, and what an undisturbed run makes of it."""

    def __init__(self, place: Path, random: Random) -> None:
        self.source: Source = build(place / "source", random, FILES)
        undisturbed = place / "undisturbed.db"
        CacheMigrator(self.source.root, undisturbed, jobs=1).migrate()
        self.oracle = Oracle(self.source, undisturbed)


def kill_once(prey: Prey, database: Path, whom: str, random: Random) -> bool:
    arguments = ["cache", "migrate", "--quiet", "--jobs", "2",
                 "--source", str(prey.source.root), "--destination", str(database)]  # fmt: skip
    with closing(Victim(arguments, _COMMITS)) as victim:
        fired = victim.wait_for_commits(random.randint(0, _MOST_COMMITS))
        fired = fired and victim.kill(whom, random, _JITTER)
        status = victim.end()
        if whom == "worker":
            assert status == 3, "the broken files are named, and nothing else is amiss"
            result = CacheMigrator(prey.source.root, database, jobs=1).migrate()
            assert result.total_migrated == 0, "a worker's death has cost entries"
        else:
            fired = fired and status == -signal.SIGKILL  # it may have ended meanwhile
        prey.oracle.check(database, victim.acknowledged)
    assert_unlocked(database)
    return fired


def assert_unlocked(database: Path) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("BEGIN IMMEDIATE; ROLLBACK")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("whom", ["parent", "worker", "group"])
def test_nothing_is_lost_by_kill_9(
    place: Path, campaign: Campaign, whom: str, part: int, seed: int
) -> None:
    prey = Prey(place, Random(f"{part} {seed}"))
    fired = number = 0
    while fired < KILLS and number < 3 * KILLS:
        number += 1
        root = place / f"case{number}"
        root.mkdir()
        fired += campaign.case(
            "kill -9",
            f"of the {whom}, number {number} of part {part}, seed {seed}",
            partial(
                kill_once,
                prey,
                root / "cache.db",
                whom,
                Random(f"{whom} {number} {part} {seed}"),
            ),
        )
    campaign.conclude(least=KILLS)
