"""What a database has in its trash, holds fast, shares or keeps waiting, and a sync."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from rustassistant.codec import Encoder
from rustassistant.entry_json import parse
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.outcomes import Rules
from rustassistant.stores.sqlite.serving.spool import Spool
from rustassistant.stores.sqlite.store import SqliteStore
from support import dump, hash8
from sync.pairs import PROJECT, Database, Tree, filled, in_step, lines, made, sync

FOLDER = Folder(Repository(PROJECT, hash8(PROJECT)), "docs", "centralized")


def throw_away(database: Database, path: str, reason: str) -> None:
    ids = [row for row, entry in database._rows(live=True) if entry.file_path == path]
    with SqliteStore(database.path).writer() as writer:
        writer.throw_away(ids, reason=reason)


def execute(database: Database, sql: str) -> None:
    connection = apsw.Connection(str(database.path))
    try:
        connection.execute(sql)
    finally:
        connection.close()


def moved(tree: Tree, how: str) -> None:
    """The file of ``x.rs`` lies elsewhere, where the database does not know it."""
    file = tree.file("x.rs")
    if how == "name":
        file.rename(file.with_name("other.json"))
    elif how == "layout":
        file.parent.rename(file.parent.parent.parent / "docs")


@pytest.mark.parametrize("how", ["name", "layout", "as it was"])
@pytest.mark.parametrize("reason", ["evicted", "superseded", "cleared", "deleted"])
def test_result_in_the_trash_answers_again_wherever_its_file_lies(
    tree: Tree, database: Database, reason: str, how: str
) -> None:
    tree.analyse("x.rs", 1)
    tree.analyse("y.rs", 1)
    sync(tree.path, database.path)
    throw_away(database, "x.rs", reason)
    moved(tree, how)
    result, steps = sync(tree.path, database.path, forget=True)
    assert (lines(steps), result.failed) == (["+ b x.rs"], 0)
    assert database.paths() == ["x.rs", "y.rs"]
    result, steps = sync(tree.path, database.path, delete=True, max_delete="100%")
    assert (steps, result.equal, result.trash) == ([], 2, [])
    assert database.count() == 2


def test_result_that_does_not_answer_in_the_end_is_no_success(
    tree: Tree, database: Database
) -> None:
    """Whoever takes it away at once: it must not count as deleted by somebody later."""
    filled(tree, database, 3)
    execute(
        database,
        "CREATE TRIGGER taken_away AFTER INSERT ON entries"
        " BEGIN INSERT INTO trash VALUES (NEW.id, 'evicted', 0); END",
    )
    tree.analyse("x.rs", 2)
    result, steps = sync(tree.path, database.path)
    assert (result.failed, steps) == (1, [])
    execute(database, "DROP TRIGGER taken_away")
    sync(tree.path, database.path, delete=True)
    assert "x.rs" in tree.paths()
    assert "x.rs" in database.paths()


# What is pinned.


def test_pinned_result_is_not_deleted_and_that_is_told(tree: Tree, database: Database) -> None:
    filled(tree, database)
    execute(
        database,
        "INSERT INTO pins SELECT e.id, 0 FROM entries e JOIN files f ON f.id = e.file_id"
        " WHERE f.path = '0.rs'",
    )
    tree.delete("0.rs")
    tree.delete("1.rs")
    for expected in (["- b 1.rs", "= 0.rs"], ["= 0.rs"]):
        result, steps = sync(tree.path, database.path, delete=True)
        assert lines(steps) == expected
        assert (result.kept, [step.note for step in steps if "pinned" in step.note]) == (
            1,
            ["deleted on A, kept on B: it is pinned"],
        )
    assert "0.rs" in database.paths()
    execute(database, "DELETE FROM pins")
    _, steps = sync(tree.path, database.path, delete=True)
    assert lines(steps) == ["- b 0.rs"]


def test_result_that_shares_a_pinned_row_is_pinned_too(tree: Tree, database: Database) -> None:
    share(database, "x.rs", "y.rs", "z.rs")
    sync(tree.path, database.path)
    execute(database, "INSERT INTO pins SELECT id, 0 FROM entries")
    tree.delete("y.rs")
    _, steps = sync(tree.path, database.path, delete=True)
    assert lines(steps) == ["= y.rs"]


# Rows that are shared.


def share(database: Database, *paths: str) -> None:
    """Equal results of equal files, of which all but one share its row."""
    with SqliteStore(database.path).writer(Rules(dedup=True)) as writer:
        for path in paths:
            text = dump(made(path, 1, 0, "shared"))
            entry = parse(text, repository=PROJECT, cache_type="docs").entry
            writer.put(FOLDER, [Encoder().encode(entry, name=None, stamp=None)])


@pytest.mark.parametrize("batch", [1, 2, 1_000])
def test_what_shares_a_row_can_be_deleted_and_replaced_in_any_order(
    tree: Tree, database: Database, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rustassistant.sync.run._BATCH", batch)
    paths = [f"{number}.rs" for number in range(8)]
    share(database, *paths, "owner_of_nothing.rs")
    sync(database.path, tree.path)
    for path in paths[:4]:
        tree.delete(path)
    for path in paths[4:]:
        tree.analyse(path, 5)
    result, _ = sync(tree.path, database.path, delete=True, max_delete="100%")
    assert result.failures == []
    assert database.live() == tree.live()
    in_step(tree, database)


# What waits beside a database that could not be written.


def wait(database: Database, path: str) -> Path:
    spool = Spool(str(database.path))
    text = dump(made(path, 2, 0, "waits"))
    spool.add(parse(text, repository=PROJECT, cache_type="docs").entry, set_now=False)
    return Path(spool.directory)


def test_what_waits_beside_a_database_is_synced_too(tree: Tree, database: Database) -> None:
    filled(tree, database, 3)
    directory = wait(database, "x.rs")
    result, steps = sync(database.path, tree.path)
    assert (lines(steps), result.notes) == (["+ b x.rs"], [])
    assert tree.notes("x.rs") == database.notes("x.rs") == ["waits"]
    assert not directory.exists()
    in_step(tree, database)


def test_dry_run_says_that_something_waits(tree: Tree, database: Database) -> None:
    filled(tree, database, 3)
    directory = wait(database, "x.rs")
    result, steps = sync(database.path, tree.path, dry_run=True)
    assert (steps, result.notes) == (
        [],
        [(str(directory), "1 result waits there for the database, and can't be compared")],
    )
    assert directory.exists()
