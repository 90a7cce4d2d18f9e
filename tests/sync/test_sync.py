from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustassistant.codec import Encoder
from rustassistant.errors import (
    DamagedError,
    DestinationError,
    LockedError,
    NotFoundError,
    UnsafeSyncError,
    UsageError,
)
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.sqlite.store import SqliteStore
from rustassistant.sync import CacheSync, Choice, Question, Sign
from rustassistant.transfer.selection import Selection
from support import NOBODY, Cache, as_nobody, dump, fields_of, hash8, sample_entry, snapshot
from sync.pairs import PROJECT, Database, Side, Tree, lines, side_of, sync, texts, touch

KINDS = [("tree", "database"), ("database", "tree"), ("tree", "tree"), ("database", "database")]


@pytest.fixture(params=KINDS, ids="-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Side, Side]:
    a, b = request.param
    return side_of(a, tmp_path / "a"), side_of(b, tmp_path / "b")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "repos")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "cache.db")


def in_step(a: Side, b: Side) -> None:
    """A second sync finds nothing to do, and touches no byte of a tree."""
    before = [snapshot(side.path) for side in (a, b) if side.path.is_dir()]
    result, steps = sync(a.path, b.path)
    assert not result.did_something
    assert all(step.sign is Sign.LEAVE for step in steps)
    assert [snapshot(side.path) for side in (a, b) if side.path.is_dir()] == before


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


def conflict(a: Side, b: Side) -> None:
    a.analyse("x.rs", 1)
    a.analyse("other.rs", 1)
    sync(a.path, b.path)
    a.analyse("x.rs", 5, note="of a")
    b.analyse("x.rs", 6, note="of b")
    a.analyse("new.rs", 7)


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


# Hazards, by the names that rclone's bisync gives them.


def filled(a: Side, b: Side, count: int = 6) -> None:
    for number in range(count):
        a.analyse(f"{number}.rs", 1)
    sync(a.path, b.path)


def untouched(a: Side, b: Side, message: str, **options: object) -> UnsafeSyncError:
    """A sync refuses, saying so, and changes nothing."""
    before = a.live(), b.live()
    with pytest.raises(UnsafeSyncError, match=message) as raised:
        sync(a.path, b.path, **options)
    assert (a.live(), b.live()) == before
    assert raised.value.exit_code == 1
    assert raised.value.hint
    return raised.value


def away(side: Side) -> Path:
    elsewhere = side.path.with_name("elsewhere")
    side.path.rename(elsewhere)
    return elsewhere


@pytest.mark.parametrize("options", [{}, {"delete": True, "max_delete": "100%"}])
def test_one_side_unreachable(pair: tuple[Side, Side], options: dict[str, object]) -> None:
    a, b = pair
    filled(a, b)
    for side, other in ((a, b), (b, a)):
        elsewhere = away(side)
        with pytest.raises(UnsafeSyncError, match="is gone; it held 6 results"):
            sync(a.path, b.path, **options)
        assert not side.path.exists()
        assert len(other.live()) == 6
        elsewhere.rename(side.path)
    in_step(a, b)


@pytest.mark.parametrize("options", [{}, {"delete": True, "max_delete": "100%"}])
def test_empty_side_never_empties_the_other(
    pair: tuple[Side, Side], options: dict[str, object]
) -> None:
    a, b = pair
    filled(a, b)
    for path in a.paths():
        a.delete(path)
    untouched(a, b, "is empty; it held 6 results", **options)


def test_mount_point_without_its_disk(tree: Tree, database: Database) -> None:
    filled(tree, database)
    shutil.rmtree(tree.path)
    tree.path.mkdir()
    untouched(tree, database, "is empty", delete=True)


def test_side_that_was_emptied_is_filled_again_once_the_last_sync_is_forgotten(
    pair: tuple[Side, Side],
) -> None:
    a, b = pair
    filled(a, b)
    for path in a.paths():
        a.delete(path)
    sync(a.path, b.path, forget=True, delete=True)
    assert len(a.live()) == 6
    assert a.live() == b.live()


def test_listing_truncated(pair: tuple[Side, Side]) -> None:
    a, b = pair
    filled(a, b)
    for path in a.paths()[:4]:
        a.delete(path)
    error = untouched(a, b, "4 of 6 results have vanished", delete=True)
    assert "--max-delete" in error.hint
    untouched(a, b, "4 of 6 results have vanished")
    untouched(a, b, "more than --max-delete 3", delete=True, max_delete="3")
    sync(a.path, b.path, delete=True, max_delete="4")
    assert len(b.live()) == 2


def test_half_may_be_deleted(pair: tuple[Side, Side]) -> None:
    a, b = pair
    filled(a, b)
    for path in a.paths()[:3]:
        a.delete(path)
    sync(a.path, b.path, delete=True)
    assert len(b.live()) == 3


def test_directory_that_cannot_be_listed() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        if os.getuid() == 0:
            os.chown(place, NOBODY, NOBODY)

        def refused() -> None:
            os.environ["RUSTASSISTANT_HOME"] = str(place / "home")
            tree, database = Tree(place / "repos"), Database(place / "cache.db")
            filled(tree, database)
            closed = tree.file("0.rs").parent
            closed.chmod(0)
            for other in (database.path, place / "new.db"):
                with pytest.raises(UnsafeSyncError, match="cannot be listed"):
                    sync(tree.path, other, delete=True, max_delete="100%")
            assert not (place / "new.db").exists()
            closed.chmod(0o700)
            assert len(database.live()) == 6
            in_step(tree, database)

        as_nobody(refused)


def test_directory_that_became_a_link(tree: Tree, database: Database) -> None:
    filled(tree, database)
    folder = tree.file("0.rs").parent
    folder.rename(tree.path.with_name("moved"))
    folder.symlink_to(tree.path.with_name("moved"))
    with pytest.raises(UnsafeSyncError, match="can't be told"):
        sync(tree.path, database.path, delete=True, max_delete="100%")
    assert len(database.live()) == 6


def test_file_that_can_no_longer_be_read_is_not_deleted_on_the_other_side(
    tree: Tree, database: Database
) -> None:
    filled(tree, database)
    tree.file("0.rs").write_bytes(b"{")
    result, steps = sync(tree.path, database.path, delete=True)
    assert (steps, result.failed) == ([], 1)
    assert result.failures[0].path.endswith("0_rs.json")
    assert len(database.live()) == 6
    database.analyse("0.rs", 9)
    sync(tree.path, database.path)
    assert tree.file("0.rs").read_bytes() == b"{"


def test_file_changed_during_the_run(pair: tuple[Side, Side]) -> None:
    """Asking about one conflict is a moment at which others may change anything."""
    a, b = pair
    conflict(a, b)
    a.analyse("copied.rs", 2)
    a.analyse("other.rs", 2)

    def meanwhile(_: Question) -> Choice:
        a.analyse("copied.rs", 3)
        b.analyse("other.rs", 4)
        return Choice.A

    result, _ = sync(a.path, b.path, resolve="ask", ask=meanwhile)
    assert {one.reason for one in result.failures} == {
        "was changed by somebody else meanwhile: left for the next run"
    } or isinstance(a, Database)
    assert b.notes("other.rs")[-1:] == ["other.rs at 4"]
    sync(a.path, b.path)
    for side in pair:
        assert side.notes("copied.rs") == ["copied.rs at 3"]
        assert side.notes("other.rs") == ["other.rs at 4"]
        assert side.notes("x.rs") == ["of a"]
    in_step(a, b)


def test_file_added_on_the_other_side_during_the_run(pair: tuple[Side, Side]) -> None:
    a, b = pair
    conflict(a, b)

    def meanwhile(_: Question) -> Choice:
        b.analyse("new.rs", 8)
        return Choice.A

    result, _ = sync(a.path, b.path, resolve="ask", ask=meanwhile)
    assert result.failed == 1
    assert b.notes("new.rs") == ["new.rs at 8"]
    sync(a.path, b.path)
    for side in pair:
        assert side.notes("new.rs") == ["new.rs at 8"]
    in_step(a, b)


def test_others_who_write_meanwhile_hinder_nothing_else(
    tmp_path: Path, tree: Tree, database: Database
) -> None:
    conflict(tree, database)
    for repository in ("/home/a", "/home/b"):
        for cache_type in ("analysis", "todos"):
            tree.cache.add(
                "vendored.py",
                repository=repository,
                cache_type=cache_type,
                result={"note": repository + cache_type},
            )

    def meanwhile(_: Question) -> Choice:
        database.analyse("another.rs", 8)
        return Choice.A

    result, _ = sync(tree.path, database.path, resolve="ask", ask=meanwhile)
    assert (result.failed, result.b.added) == (0, 5)


def test_file_deleted_during_the_run(tree: Tree, database: Database) -> None:
    conflict(tree, database)

    def meanwhile(_: Question) -> Choice:
        tree.delete("new.rs")
        return Choice.A

    result, _ = sync(tree.path, database.path, resolve="ask", ask=meanwhile)
    assert result.failed == 1
    assert "new.rs" not in database.paths()
    in_step(tree, database)


def test_two_syncs_of_one_pair_at_once(pair: tuple[Side, Side]) -> None:
    a, b = pair
    conflict(a, b)

    def meanwhile(_: Question) -> Choice:
        with pytest.raises(LockedError, match=str(os.getpid())):
            sync(b.path, a.path)
        return Choice.A

    sync(a.path, b.path, resolve="ask", ask=meanwhile)
    assert b.notes("x.rs") == ["of a"]


def test_memory_of_the_last_sync_is_damaged(pair: tuple[Side, Side], own_home: Path) -> None:
    a, b = pair
    filled(a, b)
    (state,) = (own_home / "sync").glob("*.db")
    state.write_bytes(b"x" * state.stat().st_size)
    with pytest.raises(DamagedError) as raised:
        sync(a.path, b.path)
    assert str(state) in raised.value.message
    state.unlink()
    a.delete("0.rs")
    sync(a.path, b.path, delete=True)
    assert len(a.live()) == len(b.live()) == 6


def test_nothing_can_be_remembered(
    pair: tuple[Side, Side], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RUSTASSISTANT_HOME", str(tmp_path / "file"))
    pair[0].analyse("x.rs", 1)
    with pytest.raises(DestinationError, match="file"):
        sync(pair[0].path, pair[1].path)
    assert pair[1].live() == set()


def test_place_has_become_another_kind_of_cache(tree: Tree, database: Database) -> None:
    filled(tree, database)
    shutil.rmtree(tree.path)
    shutil.copy(database.path, tree.path)
    with pytest.raises(UnsafeSyncError, match="is a database; at the last sync it was a tree"):
        sync(tree.path, database.path)


# Places.


def test_neither_side_exists(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        sync(tmp_path / "a", tmp_path / "b.db")
    assert list(tmp_path.iterdir()) == []


def test_places_that_can_be_no_pair(tree: Tree, tmp_path: Path) -> None:
    tree.analyse("x.rs", 1)
    (tmp_path / "link").symlink_to(tree.path)
    inside = tree.path / hash8(PROJECT)
    for a, b in [
        (tree.path, tree.path),
        (tree.path, tmp_path / "link"),
        (tree.path, inside),
        (tree.path, "jsonl:x.jsonl"),
        (tree.path, "v1:x.db"),
        (tree.path, ""),
    ]:
        with pytest.raises(UsageError):
            CacheSync(a, str(b)).run()


def test_own_caches_of_two_checkouts_are_one_repository(tmp_path: Path) -> None:
    for name, path in (("one", "x.rs"), ("two", "y.rs")):
        place = tmp_path / name / ".rustassistant" / "cache" / "docs"
        place.mkdir(parents=True)
        (place / path.replace(".", "_")).with_suffix(".json").write_bytes(dump(fields_of(path)))
    sync(tmp_path / "one", tmp_path / "two" / ".rustassistant")
    for name in ("one", "two"):
        assert len(list((tmp_path / name / ".rustassistant").rglob("*.json"))) == 2
        assert [one.name for one in (tmp_path / name).iterdir()] == [".rustassistant"]
    result, steps = sync(tmp_path / "one", tmp_path / "two")
    assert (result.equal, steps) == (2, [])


def test_cache_of_one_repository_takes_no_entries_of_others(
    tmp_path: Path, database: Database
) -> None:
    project = tmp_path / "project"
    place = project / ".rustassistant" / "cache" / "docs"
    place.mkdir(parents=True)
    (place / "x_rs.json").write_bytes(dump(fields_of("x.rs")))
    database.analyse("other.rs", 1)
    result, _ = sync(project, database.path)
    assert (result.a.added, result.b.added, result.filtered) == (0, 1, 1)
    (place / "x_rs.json").unlink()
    (place / "y_rs.json").write_bytes(dump(fields_of("y.rs")))
    (place / "z_rs.json").write_bytes(dump(fields_of("z.rs")))
    sync(project, database.path, max_delete="100%")
    assert len(list(place.iterdir())) == 2


def test_own_cache_goes_through_a_database_into_a_central_tree(
    tmp_path: Path, database: Database
) -> None:
    project = tmp_path / "project"
    place = project / ".rustassistant" / "cache" / "docs"
    place.mkdir(parents=True)
    (place / "x_rs.json").write_bytes(dump(fields_of("x.rs")))
    sync(project, database.path)
    central = tmp_path / "central"
    sync(database.path, central)
    result, steps = sync(central, project)
    assert (result.equal, steps) == (1, [])
    meta = json.loads((central / hash8(str(project)) / "meta.json").read_bytes())
    assert meta["path"] == str(project)


def test_home_of_several_caches_has_to_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / ".rustassistant" / "cache" / "repos").mkdir(parents=True)
    with pytest.raises(UsageError) as raised:
        sync(tmp_path / ".rustassistant", tmp_path / "x.db")
    assert "cache/repos" in raised.value.hint


def test_files_whose_paths_share_a_name_are_both_kept(tree: Tree, database: Database) -> None:
    database.analyse("src/a_b.rs", 1)
    database.analyse("src/a/b.rs", 2)
    sync(database.path, tree.path)
    assert tree.paths() == ["src/a/b.rs", "src/a_b.rs"]
    in_step(tree, database)


def test_what_a_program_wrote_in_its_own_way_travels_to_the_last_byte(
    tree: Tree, database: Database, tmp_path: Path
) -> None:
    odd = json.dumps(fields_of("odd.rs") | {"extra": 1}).encode()
    tree.cache.add("odd.rs", text=odd)
    tree.cache.add("old.rs", old=True)
    versioned = dump(fields_of("v.rs", old=True) | {"schema_version": 3})
    tree.cache.add("v.rs", text=versioned)
    sync(tree.path, database.path)
    other = Tree(tmp_path / "other")
    sync(database.path, other.path)
    assert other.live() == tree.live()
    in_step(tree, database)
    in_step(other, database)
    in_step(tree, other)


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


# Anything, in any order.

side = st.sampled_from([0, 1])
path = st.sampled_from(["x.rs", "y.rs", "src/x.rs"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("analyse"), side, path, st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("delete"), side, path),
        st.tuples(st.just("touch"), side, st.sampled_from([1, 4_000_000_000])),
        st.tuples(
            st.just("sync"),
            st.sampled_from(["newest", "a", "b", "keep-both", "fail"]),
            st.booleans(),
        ),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.sampled_from(KINDS), history=steps)
def test_any_history_ends_in_step_and_loses_nothing(
    kinds: tuple[str, str],
    history: list[tuple[Any, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("history")
    sides = [side_of(kind, place / name) for kind, name in zip(kinds, "ab", strict=True)]
    known: set[bytes] = set()
    unwanted: set[bytes] = set()
    steps: list[tuple[Any, ...]] = [*history, ("sync", "newest", True)]
    for step in steps:
        if step[0] == "sync":
            try:
                sync(sides[0].path, sides[1].path, resolve=step[1], delete=step[2],
                     max_delete="100%")  # fmt: skip
            except UnsafeSyncError:  # one of them was emptied
                assert not all(side.live() for side in sides)
                sync(sides[0].path, sides[1].path, forget=True)
        else:
            changed = sides[step[1]]
            before = changed.live()
            if step[0] == "analyse":
                changed.analyse(*step[2:])
            elif step[0] == "delete":
                changed.delete(step[2])
            elif changed.path.is_dir():
                touch(changed.path, int(step[2]))
            unwanted |= before - changed.live()
            known |= changed.live()
        assert known - unwanted <= sides[0].kept() | sides[1].kept()
    in_step(sides[0], sides[1])
    for one, other in (sides, sides[::-1]):
        if isinstance(other, Database):
            assert one.live() <= other.live()


def test_cache_of_another_machine_with_other_directory_names(
    tree: Tree, database: Database, tmp_path: Path
) -> None:
    """One repository's path is enough, whatever its cache's directory is called."""
    tree.analyse("x.rs", 1)
    other = Tree(tmp_path / "other")
    other.analyse("y.rs", 1)
    (other.path / hash8(PROJECT)).rename(other.path / "renamed")
    sync(tree.path, other.path)
    assert sorted(one.name for one in other.path.iterdir()) == ["renamed"]
    assert tree.paths() == other.paths() == ["x.rs", "y.rs"]
    in_step(tree, other)


def test_directory_of_another_repository_is_not_written_to(tmp_path: Path) -> None:
    one, other = Cache(tmp_path / "one"), Cache(tmp_path / "other")
    one.add("x.rs", repository="/home/a")
    other.add("y.rs", repository="/home/b")
    (other.root / hash8("/home/b")).rename(other.root / hash8("/home/a"))
    sync(one.root, other.root)
    result, told = sync(one.root, other.root)
    assert (result.equal, told) == (2, [])


def test_equal_files_of_two_repositories_do_not_hinder_each_other(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for repository in ("/home/a", "/home/b"):
        cache.add("vendored.py", repository=repository, result={"note": repository})
        cache.add("vendored.py", repository=repository, cache_type="todos")
    sync(cache.root, tmp_path / "new.db")
    result, _ = sync(cache.root, tmp_path / "new.db")
    assert (result.equal, result.failed) == (4, 0)
    newer = cache.add("vendored.py", repository="/home/a", tokens_used=7)
    sync(cache.root, tmp_path / "new.db")
    assert newer.read_bytes() in Database(tmp_path / "new.db").live()
