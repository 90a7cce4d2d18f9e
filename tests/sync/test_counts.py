"""What a sync counts: equal is what both sides hold when it ends."""

from __future__ import annotations

import pytest

from sync.pairs import Database, Side, Tree, conflict, sync


def equal(a: Side, b: Side) -> int:
    return len(a.live() & b.live())


def test_what_is_replaced_in_a_tree_is_equal_no_more(tree: Tree, database: Database) -> None:
    database.analyse("x.rs", 3, content=0)
    sync(tree.path, database.path)
    database.analyse("x.rs", 7, content=1)
    rehearsed, _ = sync(tree.path, database.path, dry_run=True)
    result, _ = sync(tree.path, database.path)
    assert rehearsed.equal == result.equal == equal(tree, database) == 1
    assert sync(tree.path, database.path)[0].equal == 1


@pytest.mark.parametrize("resolve", ["newest", "a", "b", "keep-both", "fail"])
def test_equal_is_what_agrees_at_the_end_and_a_rehearsal_says_the_same(
    pair: tuple[Side, Side], resolve: str
) -> None:
    a, b = pair
    a.analyse("gone.rs", 1)
    b.analyse("content.rs", 1, content=1)
    b.analyse("content.rs", 2, content=2)
    conflict(a, b)
    a.delete("gone.rs")
    b.analyse("content.rs", 3, content=3)
    options = {"resolve": resolve, "delete": True}
    rehearsed, _ = sync(a.path, b.path, dry_run=True, **options)
    result, _ = sync(a.path, b.path, **options)
    assert rehearsed.equal == result.equal == equal(a, b)
    assert sync(a.path, b.path, **options)[0].equal == result.equal


def test_what_fails_is_not_counted_as_equal(tree: Tree, database: Database) -> None:
    tree.analyse("x.rs", 1)
    tree.analyse("y.rs", 1)
    sync(tree.path, database.path)
    database.analyse("x.rs", 2)
    tree.file("x.rs").write_bytes(b"{")
    result, _ = sync(tree.path, database.path)
    assert result.failed
    assert result.equal == 1
