from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rustassistant.codec import Encoder
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.sqlite.store import SqliteStore
from rustassistant.sync import Choice, Question
from rustassistant.transfer.selection import Selection
from support import hash8, sample_entry, snapshot
from sync.pairs import (
    PROJECT,
    Database,
    Side,
    Tree,
    conflict,
    filled,
    in_step,
    lines,
    sync,
    texts,
    touch,
)

# The first sync, and plain news.


def test_first_sync_is_a_union(pair: tuple[Side, Side]) -> None:
    a, b = pair
    a.analyse("only_a.rs", 1)
    b.analyse("only_b.rs", 2)
    a.analyse("both.rs", 3)
    b.analyse("both.rs", 3)
    result, steps = sync(a.path, b.path)
    assert lines(steps) == ["+ a only_b.rs", "+ b only_a.rs"]
    assert a.live() == b.live()
    assert (result.equal, result.is_first) == (3, True)
    in_step(a, b)


@pytest.mark.parametrize("missing", ["cache.db", "sqlite:cache", "repos", "json:tree.db"])
def test_side_that_does_not_exist_is_made(tmp_path: Path, tree: Tree, missing: str) -> None:
    tree.analyse("x.rs", 1)
    scheme, _, name = missing.rpartition(":")
    place = tmp_path / "new" / name
    sync(tree.path, Path(f"{scheme}:{place}") if scheme else place)
    if place.is_dir():
        assert snapshot(place).keys() == snapshot(tree.path).keys()
    else:
        assert Database(place).live() == tree.live()


def test_change_and_addition_travel_both_ways(pair: tuple[Side, Side]) -> None:
    a, b = pair
    a.analyse("one.rs", 1)
    a.analyse("two.rs", 1)
    sync(a.path, b.path)
    a.analyse("one.rs", 5)
    b.analyse("two.rs", 6)
    b.analyse("new.rs", 7)
    _, steps = sync(b.path, a.path)
    assert lines(steps) == ["+ b new.rs", "~ a one.rs", "~ b two.rs"]
    assert a.live() == b.live()
    assert a.notes("one.rs") == ["one.rs at 5"]
    assert a.notes("two.rs") == ["two.rs at 6"]
    in_step(a, b)


def test_what_is_replaced_is_kept(pair: tuple[Side, Side]) -> None:
    a, b = pair
    a.analyse("x.rs", 1)
    old = a.live()
    sync(a.path, b.path)
    a.analyse("x.rs", 5)
    sync(a.path, b.path)
    assert b.live() == a.live()
    assert old <= b.kept()


def test_change_of_a_tree_to_an_older_result_travels_too(tree: Tree, database: Database) -> None:
    tree.analyse("x.rs", 1)
    sync(tree.path, database.path)
    tree.analyse("x.rs", 5)
    newer = tree.live()
    sync(tree.path, database.path)
    tree.analyse("x.rs", 1)
    sync(tree.path, database.path)
    assert database.live() == tree.live()
    assert newer <= database.kept()
    in_step(tree, database)
    tree.analyse("x.rs", 5)  # and back to what is in the trash now
    sync(tree.path, database.path)
    assert database.live() == tree.live() == newer
    in_step(tree, database)


def test_database_keeps_results_for_older_content_and_a_tree_shows_the_newest(
    tree: Tree, database: Database
) -> None:
    for second in (1, 2, 3):
        database.analyse("x.rs", second, content=second)
    sync(tree.path, database.path)
    assert tree.notes("x.rs") == ["x.rs at 3"]
    tree.analyse("x.rs", 4, content=4)
    result, _ = sync(tree.path, database.path, delete=True)
    assert len(database.live()) == 4
    assert (result.b.added, result.b.deleted) == (1, 0)
    in_step(tree, database)


def test_time_of_a_file_means_nothing(tree: Tree, tmp_path: Path) -> None:
    other = Tree(tmp_path / "other")
    tree.analyse("x.rs", 9)
    other.analyse("x.rs", 1)
    touch(tree.path, 1)
    touch(other.path, 4_000_000_000)
    sync(tree.path, other.path)
    assert other.notes("x.rs") == tree.notes("x.rs") == ["x.rs at 9"]
    touch(tree.path, 4_000_000_000)
    in_step(tree, other)


def test_git_sees_no_change_after_syncing_what_has_not_changed(
    tree: Tree, database: Database
) -> None:
    for number in range(20):
        tree.analyse(f"src/{number}.rs", number)
    git = ["git", "-C", str(tree.path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    for _ in range(2):
        result, _ = sync(database.path, tree.path)
        status = subprocess.run([*git, "status", "--short"], check=True, capture_output=True)
        assert (status.stdout, result.notes) == (b"", [])
    assert database.live() == tree.live()


def test_both_orders_of_the_places_are_one_pair(pair: tuple[Side, Side]) -> None:
    a, b = pair
    a.analyse("x.rs", 1)
    a.analyse("y.rs", 1)
    a.analyse("z.rs", 1)
    sync(a.path, b.path)
    a.delete("x.rs")
    _, steps = sync(b.path, a.path, delete=True)
    assert lines(steps) == ["- a x.rs"]
    assert b.paths() == ["y.rs", "z.rs"]


# Deletions.


def test_deletion_waits_for_leave(pair: tuple[Side, Side]) -> None:
    a, b = pair
    for name in ("x.rs", "y.rs", "z.rs"):
        a.analyse(name, 1)
    everything = a.live()
    sync(a.path, b.path)
    a.delete("x.rs")
    for _ in range(2):
        result, steps = sync(a.path, b.path)
        assert lines(steps) == ["= x.rs"]
        assert (result.kept, result.did_something) == (1, False)
        assert a.paths() == ["y.rs", "z.rs"]
    result, steps = sync(a.path, b.path, delete=True)
    assert lines(steps) == ["- b x.rs"]
    assert a.live() == b.live()
    assert b.kept() == everything
    in_step(a, b)


def test_changed_on_one_side_and_deleted_on_the_other_stays(pair: tuple[Side, Side]) -> None:
    a, b = pair
    for name in ("x.rs", "y.rs", "z.rs"):
        a.analyse(name, 1)
    sync(a.path, b.path)
    a.analyse("x.rs", 2)
    b.delete("x.rs")
    sync(a.path, b.path, delete=True)
    assert a.notes("x.rs") == b.notes("x.rs") == ["x.rs at 2"]


def test_deleted_file_can_be_read_from_the_trash_as_a_cache(tree: Tree, database: Database) -> None:
    for name in ("x.rs", "y.rs", "z.rs"):
        tree.analyse(name, 1)
    sync(tree.path, database.path)
    gone = tree.file("x.rs").read_bytes()
    database.delete("x.rs")
    result, _ = sync(tree.path, database.path, delete=True)
    (trash,) = result.trash
    assert list(texts(Path(trash))) == [gone]
    migrated = database.path.with_name("other.db")
    sync(Path(trash), migrated)
    assert Database(migrated).live() == {gone}


# Conflicts.


@pytest.mark.parametrize(("resolve", "notes"), [("newest", "of b"), ("a", "of a"), ("b", "of b")])
def test_conflict_is_resolved_as_asked(pair: tuple[Side, Side], resolve: str, notes: str) -> None:
    a, b = pair
    conflict(a, b)
    everything = a.live() | b.live()
    result, _ = sync(a.path, b.path, resolve=resolve)
    assert a.notes("x.rs") == b.notes("x.rs") == [notes]
    assert (result.resolved, result.left) == (1, 0)
    assert everything <= a.kept() | b.kept()
    in_step(a, b)


def test_both_of_a_conflict_can_be_kept(pair: tuple[Side, Side]) -> None:
    a, b = pair
    conflict(a, b)
    sync(a.path, b.path, resolve="keep-both")
    assert a.notes("x.rs") == b.notes("x.rs") == ["of a", "of b"]
    for side in pair:
        if isinstance(side, Tree):  # the Rust program looks there, and finds the newer
            assert json.loads(side.file("x.rs").read_bytes())["result"]["note"] == "of b"
    in_step(a, b)


def test_conflict_that_is_left_stops_nothing_else_and_stays_one(pair: tuple[Side, Side]) -> None:
    a, b = pair
    conflict(a, b)
    for _ in range(2):
        result, steps = sync(a.path, b.path, resolve="fail")
        assert result.left == 1
        assert "! x.rs" in lines(steps)
        assert (a.notes("x.rs"), b.notes("x.rs")) == (["of a"], ["of b"])
        assert "new.rs" in b.paths()
    sync(a.path, b.path, resolve="a")
    assert b.notes("x.rs") == ["of a"]


def test_who_is_asked_sees_how_the_two_differ(pair: tuple[Side, Side]) -> None:
    a, b = pair
    conflict(a, b)
    shown: list[list[str]] = []

    def ask(question: Question) -> Choice:
        shown.append(question.show())
        assert question.facts.file_path == "x.rs"
        return Choice.A

    sync(a.path, b.path, resolve="ask", ask=ask)
    assert shown == [['note: "of a" | "of b"']]
    assert b.notes("x.rs") == ["of a"]


def test_without_anybody_to_ask_conflicts_are_left(pair: tuple[Side, Side]) -> None:
    conflict(*pair)
    result, _ = sync(pair[0].path, pair[1].path, resolve="ask")
    assert result.left == 1


# Filters.


def test_filters_limit_what_is_synced(pair: tuple[Side, Side]) -> None:
    a, b = pair
    a.analyse("src/x.rs", 1)
    a.analyse("test/y.rs", 1)
    only = Selection(include=("src/**",))
    result, _ = sync(a.path, b.path, selection=only)
    assert (b.paths(), result.filtered) == (["src/x.rs"], 1)
    sync(a.path, b.path)
    b.delete("test/y.rs")
    result, _ = sync(a.path, b.path, selection=only, delete=True)
    assert "test/y.rs" in a.paths()


def test_deleting_the_newest_brings_no_older_one_into_a_tree(
    tree: Tree, database: Database
) -> None:
    filled(tree, database, 3)
    for second in (1, 2, 3):
        database.analyse("x.rs", second, content=second)
    sync(tree.path, database.path)
    tree.delete("x.rs")
    sync(database.path, tree.path, delete=True)
    assert len(database.notes("x.rs")) == 2
    assert "x.rs" not in tree.paths()
    in_step(tree, database)


def put(database: Database, folder: Folder, **columns: Any) -> None:
    with SqliteStore(database.path).writer() as writer:
        entry = sample_entry(**columns)
        writer.put(folder, [Encoder().encode(entry, name=None, stamp=None)])


def test_what_a_file_says_otherwise_than_columns_is_no_change(
    tree: Tree, database: Database
) -> None:
    folder = Folder(Repository(PROJECT, hash8(PROJECT)), "docs", "centralized")
    put(database, folder, prompt_hash=None, schema_version=3)
    put(database, folder, file_path="y.rs", prompt_hash=None, schema_version=1)
    put(database, folder, file_path="z.rs", schema_version=None)
    result, _ = sync(database.path, tree.path)
    assert (result.b.added, result.failed) == (3, 0)
    in_step(tree, database)


def test_what_has_no_place_in_a_tree_is_told_each_time_and_stays(
    tree: Tree, database: Database
) -> None:
    put(database, Folder(Repository(PROJECT, hash8(PROJECT)), "..", "centralized"),
        cache_type="..")  # fmt: skip
    for _ in range(2):
        result, steps = sync(database.path, tree.path, delete=True)
        assert (result.failed, steps) == (1, [])
        assert database.count() == 1
    assert list(tree.path.iterdir()) == []


def test_dry_run_writes_nothing_and_says_what_would_be_done(
    pair: tuple[Side, Side], own_home: Path
) -> None:
    a, b = pair
    a.analyse("x.rs", 1)
    before = a.live(), b.live()
    result, steps = sync(a.path, b.path, dry_run=True)
    assert (lines(steps), result.b.added) == (["+ b x.rs"], 1)
    assert (a.live(), b.live()) == before
    assert not own_home.exists()
    _, told = sync(a.path, b.path)
    assert told == steps
    a.analyse("x.rs", 2)
    state = snapshot(own_home)
    _, steps = sync(a.path, b.path, dry_run=True)
    assert lines(steps) == ["~ b x.rs"]
    assert snapshot(own_home) == state
