"""Whose a directory of a tree is: what ``meta.json`` says, and what is done while it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import dump, hash8
from sync.pairs import PROJECT, Database, Side, Tree, in_step, lines, made, side_of, sync

OTHER = "/home/dev/other"
LOSSES = {
    "empty": b"",
    "cut off": b'{"path": "/home/d',
    "names no path": b'{"schema_version": 1}',
    "missing": None,
}


def meta_of(tree: Tree) -> Path:
    return tree.path / hash8(PROJECT) / "meta.json"


def lose(tree: Tree, how: str) -> bytes:
    meta = meta_of(tree)
    before = meta.read_bytes()
    text = LOSSES[how]
    if text is None:
        meta.unlink()
    else:
        meta.write_bytes(text)
    return before


@pytest.fixture(params=["tree", "database"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Side:
    return side_of(request.param, tmp_path / "other")


def with_two_repositories(tree: Tree, other: Side) -> None:
    for number in range(3):
        tree.analyse(f"{number}.rs", 1)
    for number in range(6):
        tree.cache.add(f"other{number}.rs", repository=OTHER)
    sync(tree.path, other.path)


@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("how", LOSSES)
def test_directory_whose_owner_is_not_told_for_a_while_stays_as_it_is_on_both_sides(
    tree: Tree, other: Side, how: str, delete: bool
) -> None:
    with_two_repositories(tree, other)
    before = tree.live(), other.live()
    meta = lose(tree, how)
    for _ in range(2):
        result, steps = sync(tree.path, other.path, delete=delete, max_delete="100%")
        assert (steps, result.failed) == ([], 1)
        assert result.failures[0].path == str(meta_of(tree))
        assert PROJECT in result.failures[0].reason
        assert (tree.live(), other.live()) == before
    meta_of(tree).write_bytes(meta)
    result, steps = sync(tree.path, other.path, delete=delete)
    assert (steps, result.failed, result.equal) == ([], 0, 9)
    in_step(tree, other)


def test_nothing_comes_to_goes_from_or_leaves_a_directory_whose_owner_is_not_told(
    tree: Tree, other: Side
) -> None:
    with_two_repositories(tree, other)
    meta = lose(tree, "missing")
    tree.analyse("new.rs", 2)
    tree.delete("0.rs")
    other.analyse("newer.rs", 2)
    other.delete("1.rs")
    tree.cache.add("told.rs", repository=OTHER)
    _, steps = sync(tree.path, other.path, delete=True, max_delete="100%")
    assert lines(steps) == ["+ b told.rs"]
    assert other.notes("0.rs") == ["0.rs at 1"]
    meta_of(tree).write_bytes(meta)
    _, steps = sync(tree.path, other.path, delete=True, max_delete="100%")
    assert lines(steps) == ["+ a newer.rs", "+ b new.rs", "- a 1.rs", "- b 0.rs"]
    in_step(tree, other)


def test_owner_is_remembered_when_nothing_is_left_in_its_directory(tree: Tree, other: Side) -> None:
    with_two_repositories(tree, other)
    meta = lose(tree, "missing")
    for number in range(3):
        tree.delete(f"{number}.rs")
    for _ in range(2):
        _, steps = sync(tree.path, other.path, delete=True, max_delete="100%")
        assert steps == []
        assert len(other.live()) == 9
    meta_of(tree).write_bytes(meta)
    _, steps = sync(tree.path, other.path, delete=True)
    assert lines(steps) == ["- b 0.rs", "- b 1.rs", "- b 2.rs"]


def test_forgetting_the_last_sync_doubles_nothing_of_a_directory_whose_owner_is_not_told(
    tree: Tree, other: Side
) -> None:
    with_two_repositories(tree, other)
    lose(tree, "empty")
    result, steps = sync(tree.path, other.path, forget=True)
    assert (steps, result.failed) == ([], 1)


def test_first_sync_puts_nothing_beside_a_directory_of_that_name(
    tree: Tree, tmp_path: Path
) -> None:
    """The name stands for the directory; under another it would never be found again."""
    other = Tree(tmp_path / "other")
    for one in (tree, other):
        one.analyse("x.rs", 1)
    lose(tree, "missing")
    for delete in (False, True):
        result, steps = sync(tree.path, other.path, delete=delete, max_delete="100%")
        assert steps == []
        assert {"meta.json" in one.reason for one in result.failures} == {True}
        assert [one.name for one in tree.path.iterdir()] == [hash8(PROJECT)]
        assert [one.name for one in other.path.iterdir()] == [hash8(PROJECT)]


def test_deletions_do_not_travel_from_a_directory_that_names_no_owner(
    tree: Tree, other: Side
) -> None:
    for number in range(3):
        tree.analyse(f"{number}.rs", 1)
    lose(tree, "missing")
    sync(tree.path, other.path)
    assert len(other.live()) == 3
    tree.delete("0.rs")
    result, steps = sync(tree.path, other.path, delete=True)
    assert lines(steps) == ["= 0.rs"]
    assert result.kept == 1
    assert "meta.json" in steps[0].note
    assert len(other.live()) == 3


def test_owner_that_is_told_only_later_costs_no_result(tree: Tree, other: Side) -> None:
    for number in range(3):
        tree.analyse(f"{number}.rs", 1)
    meta = lose(tree, "missing")
    sync(tree.path, other.path)
    before = tree.live(), other.live()
    meta_of(tree).write_bytes(meta)
    for _ in range(2):
        sync(tree.path, other.path, delete=True, max_delete="100%")
        assert (tree.live(), other.live()) == before
    if isinstance(other, Tree):
        meta_of(other).write_bytes(meta)
        in_step(tree, other)


# Names that are alike.


def named_as_its_path(root: Path, path: str, *files: str) -> None:
    """A repository whose directory in the cache is called as the repository itself."""
    directory = root / "project"
    for number, name in enumerate(files):
        file = directory / "cache" / "docs" / name.replace(".", "_")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".json").write_bytes(dump(made(name, number, 0, path)))
    (directory / "meta.json").write_text(json.dumps({"path": path}))


@pytest.mark.parametrize("kind", ["tree", "database"])
def test_repositories_whose_directories_are_called_alike_are_two(tmp_path: Path, kind: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    named_as_its_path(one, "/home/al/project", "x.rs", "y.rs")
    named_as_its_path(two, "/home/bo/project", "x.rs", "q.rs")
    if kind == "database":
        two, source = tmp_path / "two.db", two
        sync(source, two)
    result, steps = sync(one, two)
    assert (lines(steps), result.resolved) == (
        ["+ a q.rs", "+ a x.rs", "+ b x.rs", "+ b y.rs"],
        0,
    )
    tree = Tree(one)
    assert tree.notes("x.rs") == ["/home/al/project", "/home/bo/project"]
    result, steps = sync(one, two)
    assert (steps, result.equal) == ([], 4)


def test_directory_without_an_owner_goes_by_its_name(tree: Tree, database: Database) -> None:
    tree.analyse("x.rs", 1)
    lose(tree, "missing")
    sync(tree.path, database.path)
    elsewhere = tree.path.rename(tree.path.with_name("elsewhere"))
    result, steps = sync(elsewhere, database.path)
    assert (steps, result.equal) == ([], 1)
