"""A run recorded as what it did to the disk, and the states in which a power cut may leave that."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from faults.campaign import spread
from faults.children import Acknowledged, Say, Told, in_child
from faults.file_layer import FileLayer
from faults.power import WAYS, Disk, Event, Files, Recorder, read_in

_ROUNDS: Final = 20
"""Over the run, until there are enough states; often nothing is unsynced."""


class Record:
    """What a run did to everything below ``root``, and how that was before.

    ``action`` runs in a child; what it says to be ``safe`` becomes an event among those of files.
    """

    def __init__(
        self, root: Path, action: Callable[[Say], None], *, is_plain: bool = False
    ) -> None:
        self.root = str(root)
        self.before = read_in(root)
        file = root.with_suffix(".events")

        def recording(say: Say) -> None:
            recorder = Recorder()

            def tell(word: str, value: Any) -> None:
                if word == "safe":
                    recorder.events.append(Event("safe", safe=tuple(map(tuple, value))))
                else:
                    say(word, value)

            FileLayer(self.root, recorder, is_plain=is_plain)
            action(tell)
            file.write_bytes(pickle.dumps([tuple(event) for event in recorder.events]))

        self.told: Told = in_child(recording)
        self.events = [Event(*one) for one in pickle.loads(file.read_bytes())]  # noqa: S301
        file.unlink()


class State(NamedTuple):
    """Files as a power cut may leave them, and what had been acknowledged by then."""

    name: str
    files: Files
    acknowledged: Acknowledged


def states(
    record: Record,
    wanted: int,
    random: Random,
    *,
    after: tuple[str, str, str] | None = None,
) -> Iterator[State]:
    """So many states in which something was taken back, evenly spread over the run and its end.

    With ``after``, only those in which that has been acknowledged.
    """
    made = 0
    for _ in range(_ROUNDS):
        disk = Disk(record.root, record.before)
        spread_out = spread(len(record.events), max(1, wanted - 1), random)
        instants = sorted({*spread_out, len(record.events)})
        played = 0
        for instant, how in zip(instants, cycle(random.sample(WAYS, len(WAYS))), strict=False):
            disk.play(record.events[played:instant])
            played = instant
            if after is not None and after not in disk.acknowledged:
                continue
            files = disk.after_power_cut(how, random)
            if files != disk.files():
                yield State(f"{how} after operation {instant}", files, frozenset(disk.acknowledged))
                made += 1
            if made == wanted:
                return
