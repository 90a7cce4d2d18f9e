"""Any sequence of migrating, setting, using, pinning, evicting, clearing, restoring, emptying and
compacting, against sets that the same is done to."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rustassistant import AnalysisCache, CacheMigrator, Selection
from rustassistant.check import check_database
from rustassistant.errors import DamagedError, UnreachableSizeError
from rustassistant.pricing import Prices
from rustassistant.retention import (
    Chosen,
    Policy,
    Worth,
    clear,
    compact,
    empty,
    evict,
    pin,
    restore,
    unpin,
)
from rustassistant.stores.sqlite.rows import EntryReader, copy_sql, entry_sql
from rustassistant.stores.sqlite.upkeep.live_size import (
    COPY_BYTES,
    ENTRY_BYTES,
    FIXED_BYTES,
    live_size,
)
from support import Cache

REPOSITORIES = st.sampled_from(("/r", "/s"))
PATHS = st.sampled_from(("a.rs", "b.rs"))
CONTENTS = st.sampled_from((b"x", b"y"))
RESULTS = st.sampled_from(("one", "two" * 200, "three" * 500))
POLICIES = st.sampled_from(Policy)
WORTH = Worth(Prices())

Known = tuple[Any, ...]
"""What tells a paid-for result: identity, moment, text."""


class Row(NamedTuple):
    """A row as it stands, with all its places."""

    id: int
    analyzed_at: int
    owner: int
    frame: int
    original: int
    copies: int
    live: bool
    pinned: bool


class Retention(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.mkdtemp()
        self.database = Path(self.directory, "cache.db")
        self.tree = Cache(Path(self.directory, "repos"))
        self.moments = itertools.count()
        self.held: set[Known] = set()
        self.live: set[Known] = set()
        self.keep("/r", "a.rs", b"x", "one")

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    # What the database says.

    def look(self) -> tuple[set[Known], set[Known], dict[int, set[Known]]]:
        """Everything that is held, what of it is live, and what each row stands for."""
        held, live = set(), set()
        by_row: dict[int, set[Known]] = {}
        with closing(apsw.Connection(str(self.database))) as connection:
            reader = EntryReader(connection)
            trash = {row[0] for row in connection.execute("SELECT entry_id FROM trash")}
            for sql in (entry_sql(), copy_sql()):
                for row in connection.execute(sql):
                    entry = reader.entry(row)
                    assert not isinstance(entry, DamagedError)
                    known = (*entry.identity, entry.analyzed_at, entry.result)
                    held.add(known)
                    by_row.setdefault(row[0], set()).add(known)
                    if row[0] not in trash:
                        live.add(known)
        return held, live, by_row

    def rows(self) -> list[Row]:
        with closing(apsw.Connection(str(self.database))) as connection:
            return [
                Row(*row)
                for row in connection.execute(
                    "SELECT id, analyzed_at, ifnull(result_of, id),"
                    " (SELECT length(o.result) FROM entries o"
                    "  WHERE o.id = ifnull(e.result_of, e.id)),"
                    " ifnull(length(original), 0),"
                    " (SELECT count(*) FROM copies WHERE entry_id = e.id),"
                    " id NOT IN (SELECT entry_id FROM trash), id IN (SELECT entry_id FROM pins)"
                    " FROM entries e ORDER BY analyzed_at, id"
                )
            ]

    @staticmethod
    def size(rows: list[Row]) -> int:
        """The live size by its definition, counted anew."""
        live = [row for row in rows if row.live]
        frames = {row.owner: row.frame for row in live}
        own = sum(ENTRY_BYTES + row.original + COPY_BYTES * row.copies for row in live)
        return FIXED_BYTES + own + sum(frames.values())

    def now_live(self, expected: set[Known], *, held: set[Known] | None = None) -> None:
        """The model is what the database says, and both are what is expected."""
        now_held, now_live, _ = self.look()
        assert now_live == expected
        assert now_held == (self.held if held is None else held)
        self.held, self.live = now_held, now_live

    def came(self) -> None:
        """Something came in: nothing that was held is gone."""
        held, live, _ = self.look()
        assert self.held <= held
        self.held, self.live = held, live

    # What is done to it.

    @rule(repository=REPOSITORIES, path=PATHS, content=CONTENTS, result=RESULTS)
    def keep(self, repository: str, path: str, content: bytes, result: str) -> None:
        before = set(self.live)
        with AnalysisCache(self.database) as cache:
            cache.set(
                type="docs", repository=repository, file_path=path, content=content,
                provider="p", model="m", result=result, tokens_used=len(result),
            )  # fmt: skip
        self.came()
        assert len(self.live - before) <= 1
        with AnalysisCache(self.database) as cache:
            got = cache.get(type="docs", content=content, repository=repository, file_path=path)
            assert got is not None
            assert got.result == result

    @rule(repository=REPOSITORIES, path=PATHS, content=CONTENTS, result=RESULTS, odd=st.booleans())
    def write_file(
        self, repository: str, path: str, content: bytes, result: str, odd: bool
    ) -> None:
        moment = next(self.moments)
        extra: dict[str, Any] = {"unknown": 1} if odd else {}
        self.tree.add(
            path, repository=repository, content=content, result=result, **extra,
            analyzed_at=f"2026-01-01T00:{moment // 60:02d}:{moment % 60:02d}+00:00",
        )  # fmt: skip

    @rule(dedup=st.booleans())
    def migrate(self, dedup: bool) -> None:
        with CacheMigrator(self.tree.root, self.database, dedup=dedup, jobs=1) as migrator:
            result = migrator.migrate()
            assert not result.failures
            assert migrator.verify()
        self.came()

    @rule(content=CONTENTS)
    def use(self, content: bytes) -> None:
        with AnalysisCache(self.database) as cache:
            got = cache.get(type="docs", content=content)
        hashes = {known[3] for known in self.live}
        assert (got is not None) == (got is not None and got.file_hash in hashes)
        self.now_live(self.live)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), pins=st.booleans())
    def pin(self, data: st.DataObject, pins: bool) -> None:
        one = data.draw(st.sampled_from(self.rows()))
        (pin if pins else unpin)(self.database, [str(one.id)])
        assert next(row for row in self.rows() if row.id == one.id).pinned == pins
        self.now_live(self.live)

    @rule(policy=POLICIES, part=st.floats(0, 1), narrowed=st.booleans())
    def evict(self, policy: Policy, part: float, narrowed: bool) -> None:
        selection = Selection(repositories=("/r",)) if narrowed else Selection()
        before = self.rows()
        size = self.size(before)
        target = FIXED_BYTES + int((size - FIXED_BYTES) * part)
        stay = {known for row in before if row.pinned for known in self.look()[2][row.id]}
        stay |= {known for known in self.live if narrowed and known[0] != "/r"}
        try:
            done = evict(self.database, target, WORTH, policy=policy, selection=selection)
        except UnreachableSizeError:
            self.now_live(self.live)
            assert stay & self.live
            return
        held, live, _ = self.look()
        assert held == self.held
        assert stay & self.live <= live <= self.live
        assert done.entries == len(self.live) - len(live)
        after = self.size(self.rows())
        assert (done.size_before, done.size_after) == (size, after)
        assert after <= target or not done.entries
        if policy is Policy.OLDEST and not narrowed and not any(row.copies for row in before):
            assert {row.id for row in self.rows() if row.live} == self.oldest_go(before, target)
        self.live = live

    def oldest_go(self, rows: list[Row], target: int) -> set[int]:
        """Who is left if the oldest go one by one until it fits."""
        left = list(rows)
        for row in rows:
            if self.size(left) <= target:
                break
            if row.live and not row.pinned:
                left.remove(row)
        return {row.id for row in left if row.live}

    @rule(narrowed=st.booleans(), dry_run=st.booleans())
    def clear(self, narrowed: bool, dry_run: bool) -> None:
        selection = Selection(repositories=("/r",)) if narrowed else Selection()
        by_row = self.look()[2]
        pinned = {known for row in self.rows() if row.pinned for known in by_row[row.id]}
        going = {known for known in self.live - pinned if not narrowed or known[0] == "/r"}
        done = clear(self.database, selection, dry_run=dry_run)
        assert done.entries == len(going)
        self.now_live(self.live if dry_run else self.live - going)
        assert done.size_after <= done.size_before

    @rule()
    def restore_all(self) -> None:
        restore(self.database, Chosen())
        restore(self.database, Chosen(reason="superseded"))
        self.now_live(self.held)

    @precondition(lambda self: self.held != self.live)
    @rule(data=st.data())
    def restore_one(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([row for row in self.rows() if not row.live]))
        back = self.look()[2][one.id]
        assert restore(self.database, Chosen(ids=(one.id,))) == 1
        self.now_live(self.live | back)

    @rule(narrowed=st.booleans())
    def empty(self, narrowed: bool) -> None:
        by_row = self.look()[2]
        kept = set(self.live)
        for row in self.rows():
            known = by_row[row.id]
            if row.pinned or (narrowed and all(one[0] != "/r" for one in known)):
                kept |= known
        chosen = Chosen(selection=Selection(repositories=("/r",)) if narrowed else Selection())
        empty(self.database, chosen)
        self.now_live(self.live, held=kept)

    @rule()
    def compact(self) -> None:
        done = compact(self.database)
        assert done.compared
        assert done.is_shrunk
        self.now_live(self.live)

    @invariant()
    def all_is_sound_and_every_sum_right(self) -> None:
        found = check_database(self.database)
        assert found.sound, found.problems
        with closing(apsw.Connection(str(self.database))) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert live_size(connection) == self.size(self.rows())


TestRetention = Retention.TestCase
TestRetention.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
