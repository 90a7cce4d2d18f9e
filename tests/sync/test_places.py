"""Which places can be kept in step, and what goes where in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rustassistant.errors import (
    NotFoundError,
    UsageError,
)
from rustassistant.sync import CacheSync
from rustassistant.sync.options import parse_max_delete
from support import Cache, dump, fields_of, hash8
from sync.pairs import (
    PROJECT,
    Database,
    Tree,
    in_step,
    sync,
)


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


@pytest.mark.parametrize("text", ["nan%", "nan", "inf%", "-1", "-1%", "101%", "1.5", "", "%"])
def test_number_of_deletions_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not a number of results"):
        parse_max_delete(text)


def test_link_that_leads_nowhere_becomes_what_its_name_says(tree: Tree, tmp_path: Path) -> None:
    tree.analyse("x.rs", 1)
    for name, target in (("directory", "made"), ("link.db", "made.db")):
        (tmp_path / name).symlink_to(tmp_path / target)
        sync(tree.path, tmp_path / name)
    assert Tree(tmp_path / "made").live() == tree.live()
    assert Database(tmp_path / "made.db").live() == tree.live()


def test_two_names_of_one_file_are_no_pair(tree: Tree, database: Database, tmp_path: Path) -> None:
    database.analyse("x.rs", 1)
    (tmp_path / "other.db").hardlink_to(database.path)
    with pytest.raises(UsageError, match="is both sides"):
        sync(database.path, tmp_path / "other.db")
