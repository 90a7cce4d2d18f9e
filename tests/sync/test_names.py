"""Names of files in a tree, of which two paths may have to share one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import dump, hash8
from sync.pairs import PROJECT, Database, Side, Tree, in_step, lines, made, side_of, sync

ONE, OTHER = "src/a/b.rs", "src/a_b.rs"
"""Both are ``src_a_b_rs.json``."""


@pytest.fixture(params=["tree", "database"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Side:
    return side_of(request.param, tmp_path / "other")


def names(tree: Tree) -> list[str]:
    return sorted(file.name for file in tree.path.glob("*/cache/docs/*.json"))


@pytest.mark.parametrize("delete", [False, True])
def test_file_overwritten_by_another_of_its_name_is_put_back_beside_it(
    tree: Tree, other: Side, delete: bool
) -> None:
    for number in range(3):
        tree.analyse(f"{number}.rs", 1)
    tree.analyse(ONE, 1)
    sync(tree.path, other.path)
    displaced = tree.file(ONE).read_bytes()
    tree.analyse(OTHER, 2)
    assert displaced not in tree.live()
    result, steps = sync(tree.path, other.path, delete=delete)
    assert lines(steps) == [f"+ a {ONE}", f"+ b {OTHER}"]
    assert (result.kept, result.equal) == (0, 5)
    assert displaced in other.live()
    assert displaced in tree.live()
    assert tree.file(OTHER).read_bytes() not in (displaced, b"")  # the newcomer keeps the name
    in_step(tree, other)


def test_file_overwritten_by_another_of_its_name_is_put_back_by_a_later_run_too(
    tree: Tree, other: Side
) -> None:
    tree.analyse(ONE, 1)
    tree.analyse("x.rs", 1)
    sync(tree.path, other.path)
    tree.analyse(OTHER, 2)
    sync(tree.path, other.path, dry_run=True)
    sync(tree.path, other.path, delete=True, max_delete="100%")
    assert tree.paths() == other.paths() == [ONE, OTHER, "x.rs"]


def test_paths_that_share_a_name_may_be_analysed_in_turns(tree: Tree, other: Side) -> None:
    tree.analyse("x.rs", 1)
    for second, path in enumerate([ONE, OTHER] * 4, start=1):
        tree.analyse(path, second)
        result, _ = sync(tree.path, other.path, delete=True)
        assert result.failed == 0
        assert f"{path} at {second}" in tree.notes(path)
        assert f"{path} at {second}" in other.notes(path)
        in_step(tree, other)
    for side in (tree, other):
        assert f"{ONE} at 7" in side.notes(ONE)
        assert f"{OTHER} at 8" in side.notes(OTHER)


def test_file_that_is_deleted_and_not_overwritten_is_deleted(
    tree: Tree, database: Database
) -> None:
    for second, path in enumerate((ONE, OTHER, "x.rs")):
        database.analyse(path, second)
    sync(tree.path, database.path)
    tree.delete(ONE)  # the older, which has the longer name
    tree.analyse(OTHER, 5)
    _, steps = sync(tree.path, database.path, delete=True)
    assert f"- b {ONE}" in lines(steps)
    assert database.paths() == [OTHER, "x.rs"]


# Names that tell a digest.


@pytest.mark.parametrize("later", [0, 7])
def test_name_is_changed_only_where_it_is_taken(tmp_path: Path, later: int) -> None:
    """Two directories of one repository: in each the name is free."""
    tree, other = Tree(tmp_path / "a"), Tree(tmp_path / "b")
    tree.analyse("x.rs", 1, note="one")
    second = tree.path / "00000000"
    shutil.copytree(tree.path / hash8(PROJECT), second)
    (second / "cache" / "docs" / "x_rs.json").write_bytes(dump(made("x.rs", 5, later, "two")))
    sync(tree.path, other.path)
    assert names(other) == names(tree) == ["x_rs.json", "x_rs.json"]
    in_step(tree, other)
    (second / "cache" / "docs" / "y_rs.json").write_bytes(dump(made("y.rs", 5, 0, "new")))
    tree.analyse("z.rs", 5)
    sync(tree.path, other.path)
    for file in tree.path.glob("*/cache/docs/*.json"):  # each lies in the directory of its own
        assert (other.path / file.relative_to(tree.path)).read_bytes() == file.read_bytes()


def test_result_that_had_to_lie_beside_another_gets_its_own_name_where_that_is_free(
    tmp_path: Path,
) -> None:
    tree, other = Tree(tmp_path / "a"), Tree(tmp_path / "b")
    database = Database(tmp_path / "cache.db")
    for path in (ONE, OTHER):
        database.analyse(path, 1)
    sync(tree.path, database.path)
    (beside,) = [name for name in names(tree) if "~" in name]
    directory = tree.file(ONE).parent
    (directory / "src_a_b_rs.json").unlink()  # what is left has the longer name
    sync(tree.path, other.path)
    assert names(other) == ["src_a_b_rs.json"]
    assert names(tree) == [beside]
    in_step(tree, other)


def test_newest_of_those_that_could_have_a_name_gets_it(tmp_path: Path) -> None:
    a, b, fresh = (Tree(tmp_path / name) for name in ("a", "b", "fresh"))
    a.analyse("x.rs", 1)
    sync(a.path, b.path)
    a.analyse("x.rs", 5, note="of a")
    b.analyse("x.rs", 6, note="of b")
    sync(a.path, b.path, resolve="keep-both")
    sync(a.path, fresh.path)
    assert fresh.live() == a.live()
    assert b"of b" in fresh.file("x.rs").read_bytes()


def test_replaced_result_s_longer_name_is_not_inherited(tmp_path: Path) -> None:
    tree, database = Tree(tmp_path / "a"), Database(tmp_path / "cache.db")
    for path in (ONE, OTHER):
        database.analyse(path, 1)
    sync(tree.path, database.path)
    (beside,) = [name for name in names(tree) if "~" in name]
    path = OTHER if OTHER.encode() in (tree.file(ONE).parent / beside).read_bytes() else ONE
    rest = ONE if path == OTHER else OTHER
    tree.delete(rest)
    sync(tree.path, database.path, delete=True)
    before = tree.live()
    database.analyse(path, 9)
    sync(tree.path, database.path)
    assert names(tree) == ["src_a_b_rs.json"]
    assert tree.notes(path) == [f"{path} at 9"]
    assert before <= tree.kept() | database.kept()
    in_step(tree, database)
