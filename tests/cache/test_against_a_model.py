"""Any sequence of calls, two programs on one file, against a dictionary that does the same."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rustassistant import AnalysisCache
from rustassistant.errors import LockedError
from rustassistant.stores.sqlite import SqliteStore

PROGRAMS = st.integers(0, 1)


class Identity(NamedTuple):
    repository: str
    type: str
    file_path: str
    content: str
    model: str
    prompt: str
    schema_version: int


IDENTITIES = st.builds(
    Identity,
    st.sampled_from(("/r", "/s")),
    st.sampled_from(("docs", "todos")),
    st.sampled_from(("a.py", "b.py")),
    st.sampled_from(("", "x")),
    st.sampled_from(("m", "n")),
    st.sampled_from(("p", "q")),
    st.sampled_from((1, 2)),
)
RESULTS = st.sampled_from((None, 1, "one", [1], {"a": 1}))


def some_of(words: Identity, chosen: list[bool]) -> dict[str, Any]:
    named = zip(words._asdict().items(), chosen, strict=True)
    return {name: value for (name, value), is_chosen in named if is_chosen}


def is_among(identity: Identity, words: dict[str, Any]) -> bool:
    return all(getattr(identity, name) == value for name, value in words.items())


class Programs(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.mkdtemp()
        self.database = Path(self.directory, "cache.db")
        self.model: dict[Identity, tuple[int, Any]] = {}
        self.moments = itertools.count()
        self.held = ExitStack()
        self.is_held = False
        self.programs = [self.opened(), self.opened()]

    def opened(self) -> AnalysisCache:
        return AnalysisCache(self.database, write_timeout=0)

    def teardown(self) -> None:
        self.held.close()
        for program in self.programs:
            program.close()
        shutil.rmtree(self.directory)

    @rule(program=PROGRAMS, identity=IDENTITIES, result=RESULTS)
    def set(self, program: int, identity: Identity, result: Any) -> None:
        self.programs[program].set(**identity._asdict(), provider="p", result=result)
        self.model[identity] = (next(self.moments), result)

    @rule(
        program=PROGRAMS,
        identity=IDENTITIES,
        chosen=st.lists(st.booleans(), min_size=7, max_size=7).filter(any),
    )
    def delete(self, program: int, identity: Identity, chosen: list[bool]) -> None:
        words = some_of(identity, chosen)
        gone = [one for one in self.model if is_among(one, words)]
        try:
            assert self.programs[program].delete(**words) == len(gone)
        except LockedError:
            assert self.is_held
        else:
            for one in gone:
                del self.model[one]

    @rule(
        program=PROGRAMS,
        identity=IDENTITIES,
        chosen=st.tuples(st.booleans(), st.booleans()),
        parts=st.lists(st.booleans(), min_size=3, max_size=3),
    )
    def get(
        self, program: int, identity: Identity, chosen: tuple[bool, ...], parts: list[bool]
    ) -> None:
        near = some_of(identity, [chosen[0], False, chosen[1], False, False, False, False])
        words = some_of(identity, [False, True, False, True, *parts])
        got = self.programs[program].get(**words, **near)
        ranked = [
            (sum(getattr(one, name) == value for name, value in near.items()), moment, result)
            for one, (moment, result) in self.model.items()
            if is_among(one, words)
        ]
        if not ranked:
            assert got is None
        else:
            assert got is not None
            assert got.result == max(ranked, key=lambda rank: rank[:2])[2]

    @rule(program=PROGRAMS, identity=IDENTITIES, result=RESULTS)
    def get_or_compute(self, program: int, identity: Identity, result: Any) -> None:
        near = some_of(identity, [True, False, True, False, False, False, False])
        key = some_of(identity, [False, True, False, True, True, True, True])
        there = any(is_among(one, key) for one in self.model)
        got = self.programs[program].get_or_compute(
            **key, **near, provider="p", compute=lambda: result
        )
        assert got.computed is not there
        if not there:
            assert got.result == result
            self.model[identity] = (next(self.moments), result)

    @rule(program=PROGRAMS)
    def reopen(self, program: int) -> None:
        self.programs[program].close()
        self.programs[program] = self.opened()

    @precondition(lambda self: not self.is_held and self.database.exists())
    @rule()
    def somebody_holds_the_database(self) -> None:
        self.held.enter_context(SqliteStore(self.database).writer())
        self.is_held = True

    @precondition(lambda self: self.is_held)
    @rule()
    def lets_it_go(self) -> None:
        self.held.close()
        self.is_held = False

    @invariant()
    def all_of_them_list_what_there_is(self) -> None:
        expected = sorted(
            (one.repository, one.type, one.file_path, one.model, one.schema_version, str(result))
            for one, (_, result) in self.model.items()
        )
        for program in self.programs:
            listed = sorted(
                (one.repository, one.type, one.file_path, one.model, one.schema_version,
                 str(one.result))
                for one in program
            )  # fmt: skip
            assert listed == expected


TestPrograms = Programs.TestCase
TestPrograms.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
