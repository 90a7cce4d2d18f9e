"""Ways other than migration for results to go, and the faults that strike them there.

A `Journey` is one such way, always with the same things on it. What strikes it is the same for all.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from faults.campaign import Campaign, spread
from faults.children import Commits, Say, Told, in_child
from faults.file_layer import CHANGES, FileLayer, Operation, Proceed
from faults.power import write_out
from faults.recording import Record, State, states
from faults.test_crashes import Crash
from faults.test_io_errors import GROWING, Failing
from faults.victims import Victim

FINISHED: Final = ("finished", "", "")
"""What is acknowledged at the end of a run: everything is where it belongs, and durable."""

PLAIN: Final = 0.25
"""Of all journeys, so many are on a disk without links."""

_MISLED: Final = frozenset(("NotFoundError", "NotACacheError", "ForeignFileError"))
"""What may be told besides if looking for a file fails: as if it were not there, or no file."""


class Journey(Protocol):
    """``name`` tells it apart, by what it is and from which seed it was made; ``errors`` are those
    that may come of a bad disk. With ``is_plain``, the disk knows no links.

    A case begins with `begin` or `empty`, and ends with `end`.
    """

    name: str
    errors: frozenset[str]
    is_plain: bool

    def begin(self) -> Path:
        """A directory with everything as it is before the run."""

    def empty(self) -> Path:
        """The same, with nothing in it."""

    def ready(self, say: Say) -> Commits | None:
        """Let a small run, in a child, take as many steps as a large one; what is said is safe."""

    def act(self, root: Path, say: Say) -> None:
        """The run, in a child that does nothing else; tells how it ended."""

    def arguments(self, root: Path) -> list[str]:
        """The run as a command that works in two processes if that can be."""

    def check(self, root: Path, told: Told) -> None:
        """What must hold at once, and after reruns; ``told`` is what the run could still tell."""


def end(root: Path) -> None:
    """Make room for the next case."""
    shutil.rmtree(root)


def operations(journey: Journey) -> list[Operation]:
    """All that an undisturbed run does to files; without what it writes."""
    root = journey.begin()

    def action(say: Say) -> None:
        seen: list[tuple[int, str, str]] = []

        def note(operation: Operation, proceed: Proceed) -> Any:
            seen.append((operation.number, operation.kind, operation.path))
            return proceed(operation.data)

        FileLayer(str(root), note, is_plain=journey.is_plain)
        journey.act(root, say)
        say("seen", seen)

    told = in_child(action)
    end(root)
    assert "done" in told.said, told
    return [Operation(*one) for one in told.value("seen")]


def crash_it(journey: Journey, campaign: Campaign, wanted: int, seed: int) -> None:
    """The process dies before an operation, or in the middle of a write."""
    points = [one for one in operations(journey) if one.kind in CHANGES]
    for index in spread(len(points), wanted, Random(f"crash {seed}")):
        point = points[index - 1]
        torn = index % 2 == 0
        campaign.case(
            "crash",
            f"{'in the middle of' if torn else 'before'} operation {point.number} ({point.kind}), "
            f"{journey.name}",
            partial(_crash, journey, point.number, torn=torn),
        )


def _crash(journey: Journey, number: int, *, torn: bool) -> bool:
    root = journey.begin()

    def action(say: Say) -> None:
        FileLayer(str(root), Crash(number, torn=torn), is_plain=journey.is_plain)
        journey.act(root, say)

    told = in_child(action)
    if told.was_killed:
        journey.check(root, told)
    end(root)
    return told.was_killed


def fail_it(journey: Journey, campaign: Campaign, wanted: int, seed: int) -> None:
    """The disk fails or is full: once, for good, or for good at one path."""
    points = operations(journey)
    random = Random(f"fail {seed}")
    growing = [one for one in points if one.kind in GROWING]
    ways = ("once", "for good", "at that path for good")
    for full, some in ((False, points), (True, growing)):
        for number, index in enumerate(spread(len(some), wanted // 2, random)):
            point, how = some[index - 1], ways[number % 2 if full else number % 3]
            failing = Failing(
                point.number,
                full=full,
                for_good=how == "for good",
                path=point.path if how == ways[2] else None,
            )
            campaign.case(
                "I/O error, disk full" if full else "I/O error",
                f"{how} at operation {point.number} ({point.kind}), {journey.name}",
                partial(_fail, journey, failing, again=number % 2 == 0),
            )


def _fail(journey: Journey, failing: Failing, *, again: bool) -> bool:
    """``again``: the same process goes on once the disk is mended."""
    root = journey.begin()

    def action(say: Say) -> None:
        FileLayer(str(root), failing, is_plain=journey.is_plain)
        journey.act(root, say)
        say("fired", sorted(failing.kinds))
        failing.mended = True
        if again:
            journey.act(root, lambda word, value: say(f"again {word}", value))

    told = in_child(action)
    kinds = told.value("fired")
    if kinds:
        for name, _, message in told.said.get("refused", ()):
            right = journey.errors | (_MISLED if "look" in kinds else frozenset())
            assert name in right, f"the disk failed, and what is told is {name}: {message}"
        assert not again or "again done" in told.said, f"did not go on: {told.said}"
        journey.check(root, told)
    end(root)
    return bool(kinds)


def kill_it(journey: Journey, campaign: Campaign, wanted: int, seed: int) -> None:
    """Kill -9 at random moments: of the one process, or of it and its workers."""
    root = journey.begin()
    begun = time.monotonic()
    with closing(Victim(journey.arguments(root), journey.ready)) as victim:
        status = victim.end()
    lasts = time.monotonic() - begun
    assert status == 0, f"an undisturbed run ends with {status}"
    end(root)
    fired = number = 0
    while fired < wanted and number < 5 * wanted:
        number += 1
        whom = ("parent", "group")[number % 2]
        random = Random(f"kill {number} {seed}")
        fired += campaign.case(
            "kill -9",
            f"of the {whom}, number {number}, {journey.name}",
            partial(_kill, journey, whom, random, lasts),
        )


def _kill(journey: Journey, whom: str, random: Random, lasts: float) -> bool:
    root = journey.begin()
    with closing(Victim(journey.arguments(root), journey.ready)) as victim:
        victim.kill(whom, random, lasts)
        status = victim.end()
        if status == -signal.SIGKILL:
            safe = [list(one) for one in victim.acknowledged]
            journey.check(root, Told(status, {"safe": [safe]}))
        else:
            assert status == 0, f"ends with {status}"
    end(root)
    return status == -signal.SIGKILL


def cut_its_power(journey: Journey, campaign: Campaign, wanted: int, seed: int) -> None:
    """The power fails between any two operations, and takes back what was not synced."""
    root = journey.begin()
    record = Record(root, partial(journey.act, root), is_plain=journey.is_plain)
    assert "done" in record.told.said, record.told
    end(root)
    cut(journey, record, campaign, states(record, wanted, Random(f"power {seed}")))


def cut_it_unsynced(journey: Any, campaign: Campaign, wanted: int, seed: int) -> None:
    """The same, where what was done before the run may be taken back too."""
    record, some = journey.record(wanted, seed)
    end(Path(record.root))
    cut(journey, record, campaign, some)


def cut(journey: Journey, record: Record, campaign: Campaign, some: Iterator[State]) -> None:
    """Check each of these states."""
    for state in some:
        campaign.case(
            "power loss", f"{state.name}, {journey.name}", partial(_cut, journey, record, state)
        )


def _cut(journey: Journey, record: Record, state: State) -> bool:
    root = journey.empty()
    write_out(state.files, record.root, root)
    journey.check(root, Told(0, {"safe": [list(state.acknowledged)]}))
    end(root)
    return True
