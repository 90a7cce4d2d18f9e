"""A cache that changes, is migrated, killed and asked in any order, beside plain dictionaries."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from faults.campaign import SEEDS, Campaign
from faults.children import Commits, Say, in_child, migrate
from faults.file_layer import FileLayer
from faults.oracle import Held, assert_sound, verified
from faults.sources import REPOSITORIES, TYPES, File, Source, age
from faults.test_crashes import Crash
from rustassistant.check import check_database
from rustassistant.entry_json import render
from rustassistant.migrate import CacheMigrator
from rustassistant.stores.base import Finder, Query
from rustassistant.stores.sqlite import SqliteStore
from support import Cache, dump, fields_of, snapshot

EXAMPLES = 20
STEPS = 20

Name = tuple[int, str, str, str]
"""Of an entry: which of two caches it is in, repository, type and path."""

CACHES = 2

names = st.tuples(
    st.integers(0, CACHES - 1),
    st.sampled_from(REPOSITORIES),
    st.sampled_from(TYPES[:2]),
    st.sampled_from("abcd"),
)
which = st.sampled_from([(0,), (1,), (0, 1), (1, 0)])
"""Caches to migrate at once, in that order."""

CONTENTS = (b"", b"one")
writes = st.tuples(names, st.sampled_from(CONTENTS), st.integers(0, 6), st.integers(0, 9))
"""Name, analysed text, day of the analysis, and what the result is."""


class CacheMachine(RuleBasedStateMachine):
    """``files`` is the source by path; ``sure`` and ``possible`` are what the database must and may
    hold, by path and text: a killed run leaves some of what it was at."""

    campaign: ClassVar[Campaign]
    place: ClassVar[Path]

    present = Bundle("present")

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=self.place))
        self.caches = [Cache(self.home / f"source{number}") for number in range(CACHES)]
        for cache, repository in itertools.product(self.caches, REPOSITORIES):
            cache.repository(repository)
        self.database = self.home / "made" / "cache.db"
        self.files: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.sure: dict[tuple[str, bytes], File] = {}
        self.possible: dict[tuple[str, bytes], File] = {}
        self.times = itertools.count(1_760_000_000)

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    # --- What happens to the source.

    @rule(target=present, writes=st.lists(writes, min_size=1, max_size=8))
    def write(self, writes: list[tuple[Name, bytes, int, int]]) -> Any:
        """Files are added, or changed: another result, another content, earlier or later."""
        for name, content, moment, number in writes:
            self._write(name, content, moment, number)
        return multiple(*(name for name, *_ in writes))

    def _write(self, name: Name, content: bytes, moment: int, number: int) -> None:
        cache, repository, cache_type, path = name
        fields: dict[str, Any] = {
            "content": content,
            "cache_type": cache_type,
            "analyzed_at": f"2026-02-0{moment + 1}T00:00:00+00:00",
            "result": {"number": number},
            "old": number == 3,
        }
        text = dump(fields_of(path, **fields) | {"unknown": 1}) if number == 7 else None
        self._written(self.caches[cache].add(path, repository=repository, text=text, **fields))

    @rule(name=present, text=st.sampled_from([b"", b"{", b"[]"]))
    def spoil(self, name: Name, text: bytes) -> None:
        """A file is cut off, or overwritten with something else."""
        cache, repository, cache_type, path = name
        add = self.caches[cache].add
        file = add(path, repository=repository, cache_type=cache_type, text=text)
        self._written(file)
        self.broken.add(str(file))

    def _path(self, name: Name) -> Path:
        cache, repository, cache_type, path = name
        return self.caches[cache].repository(repository) / "cache" / cache_type / f"{path}.json"

    def _written(self, file: Path) -> None:
        moment = next(self.times)
        os.utime(file, (moment, moment))
        self.files[str(file)] = file.read_bytes()
        self.broken.discard(str(file))

    @rule(name=consumes(present))
    def remove(self, name: Name) -> None:
        """Its result is kept where it has come to; nothing is taken from the database."""
        file = self._path(name)
        file.unlink(missing_ok=True)
        self.files.pop(str(file), None)
        self.broken.discard(str(file))

    @rule(name=present)
    def touch(self, name: Name) -> None:
        file = self._path(name)
        if file.exists():
            age(file)

    # --- What is done with it.

    @rule(which=which)
    def migrate(self, which: Sequence[int]) -> None:
        """One cache, or both at once."""
        sources = [self._source(number) for number in which]
        roots = [source.root for source in sources]
        result = CacheMigrator(roots, self.database, jobs=1).migrate()
        broken = set().union(*(source.broken for source in sources))
        assert {failure.file_path for failure in result.failures} == broken
        assert result.total_failed == len(broken)
        assert result.total_entries == sum(len(source.files) for source in sources)
        for source in sources:
            self._holds(source.entries, self.sure)
        leftovers = set(os.listdir(self.database.parent)) - {self.database.name}
        assert not leftovers
        before = snapshot(self.database.parent)
        CacheMigrator(roots, self.database, jobs=1).migrate()
        assert snapshot(self.database.parent) == before, "a run that had nothing to do wrote"

    @rule(which=which, share=st.floats(0, 1), torn=st.booleans())
    def kill(self, which: Sequence[int], share: float, torn: bool) -> None:
        """The process dies at some operation of a migration."""
        sources = [self._source(number) for number in which]
        number = 1 + int(share * (300 if not self.database.exists() else 80))

        def action(say: Say) -> None:
            commits = Commits(say, commit_rows=2, partition_files=2)
            FileLayer(str(self.database.parent), Crash(number, torn=torn))
            migrate([str(source.root) for source in sources], str(self.database), say, commits)

        told = in_child(action)
        assert told.was_killed or told.value("done"), told.said
        entries = [entry for source in sources for entry in source.entries]
        self._holds(entries, self.possible)
        safe = [file for file in entries if file.acknowledged_as in told.acknowledged]
        self._holds(safe if told.was_killed else entries, self.sure)
        self.campaign.count("kill in a state machine", fired=told.was_killed)

    @rule(number=st.integers(0, CACHES - 1))
    def verify(self, number: int) -> None:
        """It passes if, and only if, everything in the source is in the database."""
        if not self.database.exists():
            return
        source = self._source(number)
        amiss = set(verified(source, self.database))
        held = Held(self.database, [*source.entries, *self.possible.values()]).texts
        missing = [file.path for file in source.entries if (file.path, file.text) not in held]
        assert amiss == set(missing)

    @rule()
    def check(self) -> None:
        """Nothing is wrong, whatever has happened."""
        if self.database.exists():
            assert check_database(self.database).sound

    @rule()
    def get(self) -> None:
        """The newest of what there is answers."""
        if self.database.exists():
            with SqliteStore(self.database).finder() as finder:
                for cache_type, content in itertools.product(TYPES[:2], CONTENTS):
                    self._get(finder, cache_type, fields_of(content=content)["file_hash"])

    def _get(self, finder: Finder, cache_type: str, file_hash: str) -> None:
        query = Query(cache_type, bytes.fromhex(file_hash))

        def asked(files: dict[tuple[str, bytes], File]) -> list[File]:
            return [
                file
                for file in files.values()
                if (file.known.cache_type, file.known.file_hash) == query[:2]
            ]

        answer = finder.lookup(query)
        newest = max((file.known.analyzed_at for file in asked(self.sure)), default=None)
        if answer is None:
            assert newest is None, "a miss for what is there"
            return
        assert render(answer) in {file.text for file in asked(self.possible)}
        assert newest is None or answer.analyzed_at >= newest

    def _source(self, number: int) -> Source:
        source = Source(self.caches[number].root)
        assert source.broken == self.broken & {file.path for file in source.files}
        return source

    def _holds(self, files: list[File], into: dict[tuple[str, bytes], File]) -> None:
        for kept in (into, self.possible):
            kept.update({(file.path, file.text): file for file in files})

    # --- What holds at every moment.

    @invariant()
    def source_is_as_its_owner_left_it(self) -> None:
        texts = {
            str(file): file.read_bytes()
            for cache in self.caches
            for file in cache.root.glob("*/cache/*/*")
        }
        assert texts == self.files

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        if not self.database.exists():
            assert not self.sure
            return
        assert_sound(self.database)
        held = Held(self.database, self.possible.values())
        assert not held.damaged
        assert not held.wrong
        lost = self.sure.keys() - held.texts
        assert not lost


@pytest.mark.parametrize("seed", SEEDS)
def test_any_history_of_a_cache_ends_well(place: Path, campaign: Campaign, seed: int) -> None:
    machine = type("Machine", (CacheMachine,), {"campaign": campaign, "place": place})
    run_state_machine_as_test(
        hypothesis.seed(seed)(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    campaign.conclude(least=1)
