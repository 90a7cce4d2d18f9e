"""Following what is told of changes: the same decisions as a whole sync's, about less."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustassistant.errors import LockedError, UnsafeSyncError
from rustassistant.stores.sqlite.store import SqliteStore
from rustassistant.sync import CacheSync, Step, SyncResult
from rustassistant.sync.lookout import Lookout, lookout_for
from rustassistant.sync.news import News, TooManyGoneError
from sync.pairs import KINDS, Database, Side, Tree, in_step, lines, side_of, sync

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other kernels are not asked")

PATHS = ["x.rs", "y.rs", "src/x.rs", "src_x.rs"]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("analyse"), st.sampled_from([0, 1]), st.sampled_from(PATHS),
            st.integers(0, 5), st.integers(0, 1),
        ),
        st.tuples(st.just("delete"), st.sampled_from([0, 1]), st.sampled_from(PATHS)),
        st.just(("sync",)),
    ),
    min_size=2,
    max_size=10,
)  # fmt: skip


class Followed:
    """A pair that is kept in step as a watch does it, but when it is told to."""

    def __init__(self, a: Side, b: Side, **options: Any) -> None:
        self.sides = (a, b)
        self.sync = CacheSync(a.path, b.path, **options)
        self.lookouts: list[Lookout] = [lookout_for(side) for side in self.sync.sides]
        self.steps: list[Step] = []

    def whole(self) -> SyncResult:
        for one in self.lookouts:
            one.begin()
        self.steps.clear()
        return self.sync.run(self.steps.append, followed=True)

    def news(self) -> tuple[News, News]:
        a, b = (one.news() for one in self.lookouts)
        return a, b

    def follow(self, news: tuple[News, News] | None = None) -> SyncResult:
        self.steps.clear()
        return self.sync.follow(self.news() if news is None else news, self.steps.append)

    def close(self) -> None:
        for one in self.lookouts:
            one.close()


@contextmanager
def followed(a: Side, b: Side, **options: Any) -> Iterator[Followed]:
    pair = Followed(a, b, **options)
    try:
        yield pair
    finally:
        pair.close()


@pytest.fixture
def kept(tree: Tree, database: Database) -> Iterator[Followed]:
    """Six results, in step, and followed from there on."""
    for number in range(6):
        tree.analyse(f"{number}.rs", 1)
    with followed(tree, database, delete=True) as pair:
        pair.whole()
        pair.follow()
        yield pair


def how(result: SyncResult) -> tuple[object, ...]:
    return (result.a, result.b, result.equal, result.kept, result.left, result.resolved,
            result.filtered, result.failed)  # fmt: skip


def done(steps: list[Step]) -> list[str]:
    """What is only left as it was is not told again."""
    return lines([step for step in steps if step.to])


def outcome(run: Any) -> object:
    try:
        return how(run())
    except UnsafeSyncError as error:
        return error.message.partition(" holds ")[0].rpartition("/")[2]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.sampled_from(KINDS),
    resolve=st.sampled_from(["newest", "a", "b", "keep-both", "fail"]),
    delete=st.booleans(),
    history=STEPS,
)
def test_following_does_exactly_what_whole_syncs_do(
    kinds: tuple[str, str],
    resolve: str,
    delete: bool,
    history: list[tuple[Any, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    options = {"resolve": resolve, "delete": delete, "max_delete": "100%"}
    with ExitStack() as stack:
        pairs = []
        for name in ("whole", "followed"):
            place = tmp_path_factory.mktemp(name)
            a, b = (side_of(kind, place / side) for kind, side in zip(kinds, "ab", strict=True))
            pairs.append(stack.enter_context(followed(a, b, **options)))
        whole, other = pairs
        for pair in pairs:
            pair.sides[0].analyse("kept.rs", 0)
            pair.whole()
        for step in [*history, ("sync",), ("sync",)]:
            if step[0] == "sync":
                assert outcome(other.follow) == outcome(whole.whole)
                assert done(other.steps) == done(whole.steps)
            else:
                for pair in pairs:
                    getattr(pair.sides[step[1]], step[0])(*step[2:])
        for number in (0, 1):
            assert other.sides[number].live() == whole.sides[number].live()
            assert other.sides[number].kept() == whole.sides[number].kept()


NOTHING = (News(), News())


def test_what_no_news_name_is_not_looked_at(kept: Followed) -> None:
    tree, database = kept.sides
    tree.analyse("0.rs", 2)
    tree.analyse("1.rs", 2)
    news = kept.news()
    for names in news[0].names.values():
        names.discard(b"0_rs.json")
    assert kept.follow(news).b.changed == 1
    assert database.notes("0.rs") == ["0.rs at 1"]
    assert kept.whole().b.changed == 1


def test_only_new_rows_of_a_database_are_read(kept: Followed, database: Database) -> None:
    database.analyse("new.rs", 2)
    database.delete("1.rs")
    with closing(apsw.Connection(str(database.path))) as connection:
        connection.execute("UPDATE files SET size = size + 1 WHERE path = '0.rs'")
    assert kept.follow().failed == 0
    assert kept.sides[0].paths() == ["0.rs", "2.rs", "3.rs", "4.rs", "5.rs", "new.rs"]
    result = kept.whole()
    assert result.failed == 1
    assert "columns are not what was stored" in result.failures[0].reason


def test_what_went_to_the_trash_and_came_back_is_seen(kept: Followed, database: Database) -> None:
    tree = kept.sides[0]
    database.delete("0.rs")
    assert kept.follow().a.deleted == 1
    with SqliteStore(database.path).writer() as writer:
        writer.take_back([row for row, entry in database._rows(live=False)])
    assert kept.follow().a.added == 1
    assert len(tree.live()) == 6


def test_rows_that_are_gone_for_good_make_the_database_be_read_whole(
    kept: Followed, database: Database
) -> None:
    database.delete("0.rs")
    with closing(apsw.Connection(str(database.path))) as connection:
        connection.execute("DELETE FROM entries WHERE id IN (SELECT entry_id FROM trash)")
        connection.execute("DELETE FROM trash")
    assert kept.follow().a.deleted == 1


def test_database_that_was_exchanged_is_read_whole(kept: Followed, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    shutil.copy(kept.sides[1].path, other)
    with closing(apsw.Connection(str(other))) as connection:
        connection.execute("UPDATE files SET size = size + 1 WHERE path = '0.rs'")
    other.rename(kept.sides[1].path)
    assert kept.follow().failed == 1


def test_result_whose_name_goes_to_anothers_comes_back(kept: Followed, tree: Tree) -> None:
    tree.analyse("src/x.rs", 2)
    kept.follow()
    tree.analyse("src_x.rs", 3)
    kept.follow()
    assert (tree.notes("src/x.rs"), tree.notes("src_x.rs")) == (
        ["src/x.rs at 2"],
        ["src_x.rs at 3"],
    )


def test_directory_whose_owner_is_not_told_for_a_while_loses_nothing(
    kept: Followed, tree: Tree, database: Database
) -> None:
    meta = tree.file("0.rs").parents[2] / "meta.json"
    text = meta.read_bytes()
    meta.write_bytes(b"")
    result = kept.follow()
    assert (result.failed, result.did_something) == (1, False)
    tree.analyse("new.rs", 2)
    tree.delete("0.rs")
    assert not kept.follow().did_something
    meta.write_bytes(text)
    result = kept.follow()
    assert (result.b.added, result.b.deleted, result.failed) == (1, 1, 0)
    assert len(database.live()) == 6


def test_repository_that_is_new_arrives(kept: Followed, tree: Tree, database: Database) -> None:
    tree.cache.add("other.rs", repository="/home/dev/other")
    tree.cache.add("deep.rs", cache_type="todos")
    kept.follow()
    assert database.paths() == [*(f"{number}.rs" for number in range(6)), "deep.rs", "other.rs"]
    tree.analyse("later.rs", 1)
    assert kept.follow().b.added == 1


def test_directory_that_is_gone_is_judged_by_a_whole_listing(kept: Followed, tree: Tree) -> None:
    database = kept.sides[1]
    moved = tree.file("0.rs").parent
    moved.rename(tree.path / "moved")
    with pytest.raises(UnsafeSyncError, match="is empty; it held 6 results"):
        kept.follow()
    with pytest.raises(UnsafeSyncError, match="is empty"):
        kept.whole()
    assert len(database.live()) == 6


def test_directory_that_became_a_link_is_no_deletion(
    kept: Followed, tree: Tree, tmp_path: Path
) -> None:
    tree.cache.add("x.rs", cache_type="todos")
    kept.follow()
    docs = tree.file("0.rs").parent
    news = News()
    news.names[os.fsencode(docs)] = {os.fsencode(tree.file("0.rs").name)}
    docs.rename(tmp_path / "elsewhere")
    docs.symlink_to(tmp_path)
    with pytest.raises(UnsafeSyncError, match="can't be told"):
        kept.follow((news, News()))
    assert len(kept.sides[1].live()) == 7


def test_side_that_is_gone_never_empties_the_other(kept: Followed, tree: Tree) -> None:
    shutil.rmtree(tree.path)
    with pytest.raises(UnsafeSyncError, match="is gone"):
        kept.follow()
    assert len(kept.sides[1].live()) == 6


def test_share_that_may_vanish_is_counted_over_all_news(tree: Tree, database: Database) -> None:
    for number in range(6):
        tree.analyse(f"{number}.rs", 1)
    with followed(tree, database) as pair:  # deletions stay, and add up
        pair.whole()
        for number in range(3):
            tree.delete(f"{number}.rs")
            result = pair.follow()
            assert (result.kept, result.equal) == (number + 1, 5 - number)
        tree.delete("3.rs")
        with pytest.raises(UnsafeSyncError, match="4 of 6 results have vanished"):
            pair.follow()


def test_many_deletions_are_left_to_a_whole_sync(tree: Tree, database: Database) -> None:
    for number in range(50):
        tree.analyse(f"{number}.rs", 1)
    with followed(tree, database, delete=True) as pair:
        pair.whole()
        for number in range(24):
            tree.delete(f"{number}.rs")
        with pytest.raises(TooManyGoneError):
            pair.follow()
        assert len(database.live()) == 50
        assert pair.whole().b.deleted == 24


def test_sync_by_somebody_else_in_between_makes_it_look_at_everything(kept: Followed) -> None:
    tree, database = kept.sides
    tree.analyse("0.rs", 2)
    news = kept.news()
    sync(tree.path, database.path, delete=True)
    tree.analyse("1.rs", 2)
    kept.news()
    assert kept.follow(news).b.changed == 1
    in_step(tree, database)


def test_locked_database_delays_and_loses_nothing(kept: Followed, database: Database) -> None:
    tree = kept.sides[0]
    tree.analyse("0.rs", 2)
    with SqliteStore(database.path).writer(), pytest.raises(LockedError):
        kept.follow()
    result = kept.follow(NOTHING)
    assert (result.b.changed, result.waiting) == (1, 0)


def test_what_could_not_be_read_is_told_until_it_can(kept: Followed, tree: Tree) -> None:
    file = tree.file("0.rs")
    text = file.read_bytes()
    file.write_bytes(b"{")
    assert kept.follow().failed == 1
    tree.analyse("1.rs", 2)
    result = kept.follow()
    assert (result.failed, result.b.changed) == (1, 1)
    assert [one.path for one in result.failures] == [str(file)]
    file.write_bytes(text)
    assert kept.follow().failed == 0


def test_link_in_the_place_of_a_file_is_no_deletion(
    kept: Followed, tree: Tree, tmp_path: Path
) -> None:
    file = tree.file("0.rs")
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    result = kept.follow()
    assert "a symbolic link" in result.failures[0].reason
    assert how(result) == how(kept.whole())
    assert len(kept.sides[1].live()) == 6


def test_conflict_that_is_left_is_counted_by_later_runs(tree: Tree, database: Database) -> None:
    tree.analyse("x.rs", 1)
    with followed(tree, database, resolve="fail") as pair:
        pair.whole()
        tree.analyse("x.rs", 5, note="of the tree")
        database.analyse("x.rs", 6, note="of the database")
        assert pair.follow().left == 1
        tree.analyse("y.rs", 1)
        result = pair.follow()
        assert (result.left, result.b.added, result.equal) == (1, 1, 1)
        assert not [step for step in pair.steps if step.file_path == "x.rs"]
