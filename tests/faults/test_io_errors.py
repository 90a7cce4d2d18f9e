"""The disk fails or is full at every operation, once or for good."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw
import pytest

from faults.campaign import SEEDS, Campaign, spread
from faults.children import Commits, Say, in_child, migrate
from faults.file_layer import FileLayer, Operation, Proceed
from faults.scenarios import NAMES, Counts, Scenario

POINTS: Final[Counts] = {"new": 32, "grown": 30, "trained": 14}
"""Of each kind of fault."""

_CODES: Final = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "sync directory": apsw.SQLITE_IOERR_DIR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "delete": apsw.SQLITE_IOERR_DELETE,
    "size": apsw.SQLITE_IOERR_FSTAT,
    "create": apsw.SQLITE_CANTOPEN,
    "open": apsw.SQLITE_CANTOPEN,
}
GROWING: Final = frozenset(("write", "create", "mkdir", "link"))
"""What fails on a full disk."""


_BY_NUMBER: Final = frozenset(("read", "write", "truncate", "sync", "sync directory"))
"""What is asked of an open file: its errors name no path."""

_RIGHT_ERRORS: Final = ("OutOfSpaceError", "DestinationError")


class Failing:
    """At an operation the disk fails or is full; ``for_good``: from then on, until it is
    ``mended``; with ``path``, at that path for good."""

    def __init__(self, number: int, *, full: bool, for_good: bool, path: str | None = None) -> None:
        self._number = number
        self._path = path
        self.is_full = full
        self._for_good = for_good
        self.fired = False
        self.kinds: set[str] = set()
        self.mended = False

    def __call__(self, operation: Operation, proceed: Proceed) -> Any:
        number = operation.number
        is_meant = self._for_good or operation.path == self._path
        is_due = number == self._number or (is_meant and number > self._number)
        if self.mended or not is_due or (self.is_full and operation.kind not in GROWING):
            return proceed(operation.data)
        if operation.kind == "sync all":
            return proceed(operation.data)  # the one call that never fails
        self.fired = True
        self.kinds.add(operation.kind)
        if operation.by_python:
            if self.is_full and operation.kind == "write":
                proceed(operation.data[: len(operation.data) // 2])
            reason = self._reason()
            raise (
                OSError(*reason)
                if operation.kind in _BY_NUMBER
                else OSError(*reason, operation.path)
            )
        if self.is_full and operation.kind == "write":
            proceed(operation.data[: len(operation.data) // 2])
            raise apsw.exception_for(apsw.SQLITE_FULL)
        raise apsw.exception_for(_CODES[operation.kind])

    def _reason(self) -> tuple[int, str]:
        number = errno.ENOSPC if self.is_full else errno.EIO
        return number, os.strerror(number)


def run(scenario: Scenario, failing: Failing, *, again: bool, tidy: bool) -> bool:
    """Migrate under the fault; then, in the same process, again without it.

    ``tidy``: it is no excuse for leaving files behind that are not the database's own.
    """
    database = scenario.place()

    def action(say: Say) -> None:
        commits = Commits(say)
        FileLayer(str(scenario.root_of(database)), failing)
        migrate(str(scenario.source.root), str(database), say, commits)
        say("fired", failing.fired)
        failing.mended = True
        if database.parent.exists():
            say("left", os.listdir(database.parent))
        if again:
            migrate(str(scenario.source.root), str(database), say, commits)

    told = in_child(action)
    if not told.value("fired"):
        return False
    for name, message in told.said.get("refused", ())[:1]:
        assert name in _RIGHT_ERRORS, f"the disk failed, and what is told is {name}: {message}"
    left = set(told.value("left") or ())
    own = {database.name + suffix for suffix in ("", "-wal", "-shm")}
    assert not tidy or left <= own, f"left behind: {left - own}"
    if again:
        assert told.value("done"), f"did not go on in the same process: {told.said}"
    scenario.oracle.check(database, told.acknowledged)
    scenario.remove(database)
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("full", [False, True], ids=["failing", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_lost_on_a_bad_disk(
    place: Path, campaign: Campaign, name: str, full: bool, for_good: bool, seed: int
) -> None:
    scenario = Scenario(name, seed, place / name)
    points = [one for one in scenario.operations() if not full or one.kind in GROWING]
    for index in spread(len(points), POINTS[name], Random(seed)):
        point = points[index - 1]
        failing = Failing(point.number, full=full, for_good=for_good)
        how = "for good" if for_good else "once"
        campaign.case(
            "I/O error, disk full" if full else "I/O error",
            f"{how} at operation {point.number} ({point.kind}), {name}, seed {seed}",
            partial(
                run,
                scenario,
                failing,
                again=not for_good or index % 2 == 0,
                tidy=full or (not for_good and point.kind != "delete"),
            ),
        )
    campaign.conclude(least=POINTS[name])
