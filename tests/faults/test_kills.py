"""Kill -9 at random instants: the parent, a worker, all of them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import IO, Final

import apsw
import pytest

from faults.campaign import SEEDS, Campaign
from faults.children import Acknowledged
from faults.oracle import Oracle
from faults.sources import Source, build
from rustassistant.migrate import CacheMigrator

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open") or not os.path.exists("/proc/self/stat"),
    reason="children of other processes are found in Linux's /proc",
)

KILLS: Final = 9
"""Of each kind, in each of two tests, for each seed."""

FILES: Final = 90
_PATIENCE: Final = 60
_JITTER: Final = 0.02
_MOST_COMMITS: Final = 9


class Victim:
    """A migration in two worker processes, as started from a shell."""

    def __init__(self, source: Path, database: Path) -> None:
        reader, writer = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.runner", str(writer), "cache", "migrate", "--quiet",
             "--jobs", "2", "--source", str(source), "--destination", str(database)],
            pass_fds=[writer],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writer)
        self._pipe: IO[str] = os.fdopen(reader, encoding="utf-8")
        self._safe: set[tuple[str, str, str]] = set()
        self._workers: dict[int, int] = {}

    def wait_for_commits(self, count: int) -> bool:
        """Whether it came so far; it may have ended before."""
        return all(self._read() for _ in range(count))

    def _read(self) -> bool:
        line = self._pipe.readline()
        if not line.endswith("\n"):
            return False
        self._safe.update((a, b, c) for a, b, c in json.loads(line)[1])
        return True

    def kill(self, whom: str, random: Random) -> bool:
        """Kill it, a worker or all of them, at some instant from now on; False if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(random.random() * _JITTER)
            return False
        for pid in _children(self._process.pid):
            with suppress(ProcessLookupError):  # it has just ended
                self._workers[pid] = os.pidfd_open(pid)
        workers = list(self._workers)
        random.shuffle(workers)
        victims = {"parent": [], "group": workers, "worker": workers[:1]}[whom]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if whom != "worker":
            self._process.kill()
        return whom == "parent" or bool(workers)

    def end(self) -> int:
        """Wait until it and its workers are gone; its exit status."""
        while self._read():
            pass
        status = self._process.wait(_PATIENCE)
        for pid, descriptor in self._workers.items():
            ended, _, _ = select.select([descriptor], [], [], _PATIENCE)
            assert ended, f"worker {pid} outlives its parent"
        return status

    @property
    def acknowledged(self) -> Acknowledged:
        return frozenset(self._safe)

    def close(self) -> None:
        """Leave nothing open, whatever happened."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        for descriptor in self._workers.values():
            os.close(descriptor)


def _children(parent: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                facts = Path("/proc", name, "stat").read_text(errors="replace")
            except OSError:
                continue
            state, owner = facts.rpartition(")")[2].split()[:2]
            if int(owner) == parent and state != "Z":
                found.append(int(name))
    return found


class Prey:
    """A source that takes a while, and what an undisturbed run makes of it."""

    def __init__(self, place: Path, random: Random) -> None:
        self.source: Source = build(place / "source", random, FILES)
        undisturbed = place / "undisturbed.db"
        CacheMigrator(self.source.root, undisturbed, jobs=1).migrate()
        self.oracle = Oracle(self.source, undisturbed)


def kill_once(prey: Prey, database: Path, whom: str, random: Random) -> bool:
    with closing(Victim(prey.source.root, database)) as victim:
        fired = victim.wait_for_commits(random.randint(0, _MOST_COMMITS))
        fired = fired and victim.kill(whom, random)
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
