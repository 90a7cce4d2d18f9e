"""A database that was put back to an older state has not lost anything on purpose."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rustassistant.errors import UnsafeSyncError
from rustassistant.retention.trashcan import empty
from rustassistant.stores.sqlite.store import SqliteStore
from sync.pairs import Database, Tree, filled, in_step, sync

OPTIONS = {"delete": True, "max_delete": "100%"}


def copied(database: Database) -> Path:
    """A copy of the file, whose log is folded into it when nobody has it open."""
    copy = database.path.with_suffix(".copy")
    shutil.copy(database.path, copy)
    return copy


def put_back(database: Database, copy: Path) -> None:
    for suffix in ("-wal", "-shm"):
        database.path.with_name(database.path.name + suffix).unlink(missing_ok=True)
    shutil.copy(copy, database.path)


def refused(tree: Tree, database: Database) -> None:
    before = tree.live(), database.live()
    for options in ({}, OPTIONS):
        with pytest.raises(UnsafeSyncError, match="an older state of this database") as raised:
            sync(tree.path, database.path, **options)
    assert "--forget" in raised.value.hint
    assert (tree.live(), database.live()) == before
    result, _ = sync(tree.path, database.path, forget=True, **OPTIONS)
    assert result.b.added
    assert before[0] <= tree.live()
    assert database.live() >= tree.live()
    in_step(tree, database)


def test_copy_from_before_the_last_sync_that_wrote_to_it(tree: Tree, database: Database) -> None:
    filled(tree, database)
    copy = copied(database)
    tree.analyse("new.rs", 2)
    sync(tree.path, database.path)
    put_back(database, copy)
    refused(tree, database)


def test_copy_from_before_programs_set_results(tree: Tree, database: Database) -> None:
    filled(tree, database)
    copy = copied(database)
    database.analyse("new.rs", 2)
    sync(tree.path, database.path)
    put_back(database, copy)
    refused(tree, database)


def test_copy_in_which_as_many_results_have_been_set_since(tree: Tree, database: Database) -> None:
    filled(tree, database)
    copy = copied(database)
    database.analyse("new.rs", 2)
    sync(tree.path, database.path)
    put_back(database, copy)
    database.analyse("other.rs", 3)
    database.analyse("third.rs", 3)
    refused(tree, database)


def test_copy_to_which_others_have_been_synced_since(
    tree: Tree, database: Database, tmp_path: Path
) -> None:
    filled(tree, database)
    copy = copied(database)
    for number in range(3):
        tree.analyse(f"new{number}.rs", 2)
    sync(tree.path, database.path)
    put_back(database, copy)
    for name in ("one", "two"):
        other = Tree(tmp_path / name)
        other.analyse(f"{name}.rs", 3)
        sync(other.path, database.path)
    refused(tree, database)


def test_another_database_in_its_place(tree: Tree, database: Database, tmp_path: Path) -> None:
    filled(tree, database)
    other = Database(tmp_path / "other.db")
    for number in range(20):
        other.analyse(f"other{number}.rs", 1)
    put_back(database, other.path)
    refused(tree, database)


def test_emptied_trash_is_no_older_state(tree: Tree, database: Database) -> None:
    filled(tree, database)
    database.analyse("last.rs", 2)
    sync(tree.path, database.path)
    tree.delete("last.rs")
    sync(tree.path, database.path, delete=True)
    assert empty(database.path) == 1
    tree.analyse("next.rs", 3)  # gets the row of the one that ended
    _, steps = sync(tree.path, database.path, **OPTIONS)
    assert [step.file_path for step in steps] == ["next.rs"]
    assert empty(database.path) == 0
    in_step(tree, database)


def test_copy_of_how_it_is_now_is_no_older_state(tree: Tree, database: Database) -> None:
    filled(tree, database)
    tree.analyse("new.rs", 2)
    sync(tree.path, database.path)
    put_back(database, copied(database))
    in_step(tree, database)
    with SqliteStore(database.path).writer():
        pass
    in_step(tree, database)
