"""What is read fails: the source's files and directories, and the database while it is asked."""

from __future__ import annotations

import os
import resource
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from faults.campaign import SEEDS, Campaign, spread
from faults.children import Commits, Say, in_child, migrate
from faults.file_layer import FileLayer, Operation, Proceed, SourceLayer
from faults.oracle import Held
from faults.scenarios import Scenario
from faults.test_io_errors import Failing
from rustassistant.entry import Entry
from rustassistant.entry_json import render
from rustassistant.errors import RustAssistantError
from rustassistant.migrate import CacheMigrator
from rustassistant.stores.base import Query
from rustassistant.stores.sqlite import SqliteStore

POINTS: Final = 24


def migrate_from_a_bad_disk(scenario: Scenario, number: int, *, for_good: bool) -> bool:
    """Every file is in the destination or named as failed, unless the run as a whole refuses."""
    database = scenario.place()

    def action(say: Say) -> None:
        Commits(say)
        layer = SourceLayer(str(scenario.source.root), number, for_good=for_good)
        try:
            result = CacheMigrator(scenario.source.root, database, jobs=1).migrate()
        except RustAssistantError as error:
            say("refused", str(error))
        else:
            say("failures", [failure.file_path for failure in result.failures])
            say("notes", [path for path, _ in result.notes])
        say("failed", layer.failed)

    told = in_child(action)
    if not told.value("failed"):
        return False
    astray: set[str] = set()
    if told.value("failures") is not None:
        # Where it was read at another time, its repository's name is known, and all is as ever.
        astray = {path for path in told.value("notes") if path.endswith("meta.json")}
        check_named(scenario, database, set(told.value("failures")), astray)
    if astray:  # what came there under another name stays there under it too
        result = CacheMigrator(scenario.source.root, database, jobs=1).migrate()
        assert {failure.file_path for failure in result.failures} == scenario.source.broken
        held = Held(database, scenario.source.entries)
        assert held.paths == {file.path for file in scenario.source.entries}
    else:
        scenario.oracle.check(database, told.acknowledged)
    scenario.remove(database)
    return True


def check_named(scenario: Scenario, database: Path, named: set[str], astray: set[str]) -> None:
    """Each file is in the destination or named, never both, never neither.

    ``named`` may be directories too. Repositories whose ``meta.json`` is ``astray`` are left out,
    and of "both" the copies of a file that are equal to it.
    """
    held = Held(database, scenario.source.entries).paths
    times = Counter(file.text for file in scenario.source.files)
    for file in scenario.source.files:
        above = [file.path, *map(str, Path(file.path).parents)]
        if any(os.path.dirname(one) in above for one in astray):
            continue
        is_named = any(one in named for one in above)
        assert is_named or file.path in held, f"{file.path} is neither"
        assert not (is_named and file.path in held) or times[file.text] > 1, f"{file.path} is both"


def requests(scenario: Scenario) -> int:
    """How often an undisturbed run asks for something of the source."""
    database = scenario.place()

    def action(say: Say) -> None:
        layer = SourceLayer(str(scenario.source.root), 0)
        CacheMigrator(scenario.source.root, database, jobs=1).migrate()
        say("count", layer.count)

    count: int = in_child(action).value("count")
    scenario.remove(database)
    return count


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_source_that_cannot_be_read_is_told(
    place: Path, campaign: Campaign, for_good: bool, seed: int
) -> None:
    scenario = Scenario("new", seed, place / "new")
    for number in spread(requests(scenario), POINTS, Random(seed)):
        campaign.case(
            "I/O error in the source",
            f"{'for good' if for_good else 'once'} at request {number}, seed {seed}",
            partial(migrate_from_a_bad_disk, scenario, number, for_good=for_good),
        )
    campaign.conclude(least=POINTS)


def ask_a_bad_disk(scenario: Scenario, database: Path, failing: Failing) -> bool:
    """An answer is right, or it is an error: never another entry, and never a miss."""
    texts: dict[tuple[str, bytes], set[bytes]] = {}
    for file in scenario.source.entries:
        texts.setdefault((file.known.cache_type, file.known.file_hash), set()).add(file.text)

    def ask() -> None:
        with SqliteStore(database).finder() as finder:
            for file in scenario.source.entries:
                found = finder.find(file.place, file.known)
                assert any(isinstance(one, Entry) and render(one) == file.text for one in found)
            for (cache_type, file_hash), those in texts.items():
                answer = finder.lookup(Query(cache_type, file_hash))
                assert answer is not None
                assert render(answer) in those

    def action(say: Say) -> None:
        FileLayer(str(scenario.root_of(database)), failing)
        for verifying in (False, True):
            try:
                if verifying:
                    CacheMigrator(scenario.source.root, database, jobs=1).verify()
                else:
                    ask()
            except RustAssistantError as error:
                say("error", str(error))
        say("fired", failing.fired)
        failing.mended = True
        ask()
        assert CacheMigrator(scenario.source.root, database, jobs=1).verify()

    told = in_child(action)
    if not told.value("fired"):
        return False
    scenario.oracle.check_left(database)
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
def test_database_that_cannot_be_read_gives_an_error_and_not_a_miss(
    place: Path, campaign: Campaign, for_good: bool, seed: int
) -> None:
    scenario = Scenario("trained", seed, place / "trained")
    database = scenario.place()
    CacheMigrator(scenario.source.root, database, jobs=1).migrate()

    def counting(say: Say) -> None:
        seen: list[int] = []

        def note(operation: Operation, proceed: Proceed) -> Any:
            seen.append(operation.number)
            return proceed(operation.data)

        FileLayer(str(scenario.root_of(database)), note)
        ask_quietly(scenario, database)
        say("count", len(seen))

    count = in_child(counting).value("count")
    for number in spread(count, POINTS, Random(seed)):
        failing = Failing(number, full=False, for_good=for_good)
        campaign.case(
            "I/O error while reading",
            f"{'for good' if for_good else 'once'} at operation {number}, seed {seed}",
            partial(ask_a_bad_disk, scenario, database, failing),
        )
    campaign.conclude(least=min(POINTS, count) - 1)


def ask_quietly(scenario: Scenario, database: Path) -> None:
    """The same questions on a good disk."""
    Held(database, scenario.source.entries)
    CacheMigrator(scenario.source.root, database, jobs=1).verify()


def migrate_with_a_limit(scenario: Scenario, limit: int) -> bool:
    """No file may grow beyond ``limit`` bytes, SQLite's shared memory included."""
    database = scenario.place()

    def action(say: Say) -> None:
        commits = Commits(say)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
        migrate(str(scenario.source.root), str(database), say, commits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        say("left", os.listdir(database.parent) if database.parent.exists() else [])
        migrate(str(scenario.source.root), str(database), say, commits)

    told = in_child(action)
    if "refused" not in told.said:
        return False
    name, message = told.value("refused")
    assert name in ("OutOfSpaceError", "DestinationError"), message
    assert told.value("done"), "did not go on in the same process"
    scenario.oracle.check(database, told.acknowledged)
    scenario.remove(database)
    return True


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_where_files_may_not_grow(
    place: Path, campaign: Campaign, seed: int
) -> None:
    scenario = Scenario("new", seed, place / "new")
    database = scenario.place()
    CacheMigrator(scenario.source.root, database, jobs=1).migrate()
    size = database.stat().st_size
    random = Random(seed)
    for number in range(POINTS):
        limit = random.randrange(size // 2)
        campaign.case(
            "file size limited",
            f"to {limit} bytes, number {number}, seed {seed}",
            partial(migrate_with_a_limit, scenario, limit),
        )
    campaign.conclude(least=POINTS // 2)
