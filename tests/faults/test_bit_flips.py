"""One bit is not what was written: in a page, in a frame, in a log left by a killed run."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw
import pytest

from faults.campaign import SEEDS, Campaign, spread
from faults.file_layer import CHANGES
from faults.oracle import REFUSALS, is_sound, verified
from faults.scenarios import NAMES, Counts, Scenario
from faults.sources import File
from faults.test_crashes import Crash
from rustassistant.check import check_database, repair_database
from rustassistant.entry import Entry
from rustassistant.entry_json import render
from rustassistant.errors import DamagedError
from rustassistant.migrate import CacheMigrator
from rustassistant.stores.base import Finder, Query
from rustassistant.stores.sqlite import SqliteStore

FLIPS: Final[Counts] = {"new": 30, "grown": 26, "trained": 12}
"""Of each place."""

_REPAIRED: Final = 0.4
"""How many of them are repaired too, which takes longer than everything else."""


def flip(file: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    with file.open("r+b") as opened:
        opened.seek(bit // 8)
        old = opened.read(1)[0]
        opened.seek(bit // 8)
        opened.write(bytes([old ^ 1 << bit % 8]))


class Answers:
    """What a database answers for each file of a source."""

    def __init__(self, database: Path, files: list[File]) -> None:
        self.equal: set[str] = set()
        self.reported: set[str] = set()
        self.missing: set[str] = set()
        texts: defaultdict[tuple[str, bytes], set[bytes]] = defaultdict(set)
        for file in files:
            texts[file.known.cache_type, file.known.file_hash].add(file.text)
        try:
            with SqliteStore(database).finder() as finder:
                for file in files:
                    self._find(finder, file)
                for (cache_type, file_hash), those in texts.items():
                    _look_up(finder, Query(cache_type, file_hash), those)
        except REFUSALS:
            self.reported = {file.path for file in files} - self.equal

    def _find(self, finder: Finder, file: File) -> None:
        try:
            found = finder.find(file.place, file.known)
        except REFUSALS:
            self.reported.add(file.path)
            return
        if any(isinstance(one, Entry) and render(one) == file.text for one in found):
            self.equal.add(file.path)
        elif any(isinstance(one, DamagedError) for one in found):
            self.reported.add(file.path)
        else:
            self.missing.add(file.path)


def _look_up(finder: Finder, query: Query, texts: set[bytes]) -> None:
    try:
        answer = finder.lookup(query)
    except REFUSALS:
        return
    assert answer is None or render(answer) in texts, f"a wrong answer: {answer}"


def check(scenario: Scenario, database: Path) -> Answers:
    """Nothing wrong is given back, what is missing or damaged is found, and nothing gets worse."""
    source = scenario.source
    answers = Answers(database, source.entries)
    amiss = set(verified(source, database))
    unnoticed = {file.path for file in source.entries} - answers.equal - amiss
    assert not unnoticed, f"verifying does not notice {unnoticed}"
    try:
        CacheMigrator(source.root, database, jobs=1).migrate()
    except REFUSALS:
        assert amiss or not is_sound(database), "a rerun refuses, and nothing is found amiss"
    else:
        left = answers.equal - Answers(database, source.entries).equal
        assert not left, f"a rerun has lost {left}"
    scenario.oracle.check_source()
    return answers


def check_repair(scenario: Scenario, database: Path, answers: Answers) -> None:
    """Checking finds what reading does; repairing from the source brings everything back."""
    everything = {file.path for file in scenario.source.entries}
    try:
        found = check_database(database)
        assert answers.equal == everything or not found.sound, "checking finds nothing amiss"
        repaired = repair_database(database, sources=[scenario.source.root])
    except REFUSALS:  # so much is wrong that nothing is touched: it is to be made anew
        assert answers.equal != everything, "refused, and nothing is missing"
        return
    assert repaired.left.sound, repaired.left
    assert Answers(database, scenario.source.entries).equal == everything
    assert not verified(scenario.source, database)
    scenario.oracle.check_source()


def finished(scenario: Scenario) -> Path:
    """A database that nothing happened to, alone in a directory."""
    database = scenario.place()
    CacheMigrator(scenario.source.root, database, jobs=1).migrate()
    return database


def a_copy(database: Path) -> Path:
    """The same file in a directory beside."""
    copy = database.parent / "copy" / database.name
    copy.parent.mkdir()
    shutil.copy(database, copy)
    return copy


def flip_a_page(scenario: Scenario, campaign: Campaign, random: Random) -> bool:
    database = finished(scenario)
    flip(database, random.randrange(8 * database.stat().st_size))
    copy = a_copy(database) if random.random() < _REPAIRED else None
    answers = check(scenario, database)
    if copy is not None:
        check_repair(scenario, copy, answers)
    if answers.missing:  # an index is damaged, and SQLite does not see it
        campaign.note("flipped bits that hide entries from a lookup, and not from verifying")
    scenario.remove(database)
    return True


def flip_a_frame(scenario: Scenario, campaign: Campaign, random: Random) -> bool:
    database = finished(scenario)
    text = database.read_bytes()
    with closing(apsw.Connection(str(database))) as connection:
        rows: list[Any] = connection.execute(
            "SELECT result FROM entries WHERE result IS NOT NULL"
        ).fetchall()
    # A long one is spread over several pages.
    frame = random.choice([frame for (frame,) in rows if text.count(frame) == 1])
    flip(database, 8 * text.index(frame) + random.randrange(8 * len(frame)))
    copy = a_copy(database) if random.random() < _REPAIRED else None
    answers = check(scenario, database)
    if copy is not None:
        check_repair(scenario, copy, answers)
    assert not answers.missing
    if not answers.reported:  # zstd ignores a bit of the frame's header
        assert len(answers.equal) == len(scenario.source.entries)
        campaign.note("flipped bits that change nothing of what a frame means")
    scenario.remove(database)
    return True


def flip_a_log(scenario: Scenario, number: int, random: Random) -> bool:
    database = scenario.place()
    scenario.run(database, Crash(number, torn=False))
    log = database.with_name(database.name + "-wal")
    if not log.exists() or not log.stat().st_size:
        scenario.remove(database)
        return False
    flip(log, random.randrange(8 * log.stat().st_size))
    check(scenario, database)
    if is_sound(database):
        scenario.oracle.check_rerun(database)
    scenario.remove(database)
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("flip_one", [flip_a_page, flip_a_frame], ids=["page", "frame"])
@pytest.mark.parametrize("name", NAMES)
def test_flipped_bit_of_the_database_is_found_and_not_served(
    place: Path,
    campaign: Campaign,
    name: str,
    flip_one: Callable[[Scenario, Campaign, Random], bool],
    seed: int,
) -> None:
    scenario = Scenario(name, seed, place / name)
    what = flip_one.__name__.rpartition("_")[2]
    for number in range(FLIPS[name]):
        random = Random(f"{what} {name} {number} {seed}")
        campaign.case(
            f"bit flip in a {what}",
            f"number {number}, {name}, seed {seed}",
            partial(flip_one, scenario, campaign, random),
        )
    campaign.conclude(least=FLIPS[name])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", NAMES)
def test_flipped_bit_of_a_log_is_found_and_not_served(
    place: Path, campaign: Campaign, name: str, seed: int
) -> None:
    scenario = Scenario(name, seed, place / name)
    fired = 0
    for number in instants(scenario, Random(seed)):
        fired += campaign.case(
            "bit flip in a log",
            f"left at operation {number}, {name}, seed {seed}",
            partial(flip_a_log, scenario, number, Random(f"log {number} {seed}")),
        )
        if fired == FLIPS[name]:
            break
    campaign.conclude(least=FLIPS[name])


def instants(scenario: Scenario, random: Random) -> Iterator[int]:
    """Operations at which there is a log."""
    points = [one.number for one in scenario.operations() if one.kind in CHANGES]
    logged = [
        one.number
        for one in scenario.operations()
        if one.path.endswith("cache.db-wal") and one.kind == "write"
    ]
    later = [number for number in points if number > logged[2]]
    return (later[index - 1] for index in spread(len(later), 3 * FLIPS[scenario.name], random))
