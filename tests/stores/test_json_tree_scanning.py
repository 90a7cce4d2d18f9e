from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rustassistant.stores.json_tree import JsonTree, scanning
from rustassistant.stores.json_tree.scanning import Rescan, scan
from rustassistant.stores.outcomes import Failure, Problem
from support import Cache

LONG_AGO = 1_600_000_000 * 10**9


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "docs"
    path.mkdir()
    for name in "cab":
        (path / f"{name}.json").write_bytes(b"{}")
    return aged(path)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Directories that are looked into."""
    paths: list[str] = []
    listing = os.scandir

    def spy(path: str) -> object:
        paths.append(path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", spy)
    monkeypatch.setattr(scanning, "names_alone", None)
    return paths


def aged(path: Path) -> Path:
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


def test_entries_are_told_from_what_else_lies_there(directory: Path) -> None:
    (directory / "z.json").mkdir()
    (directory / "link.json").symlink_to(directory / "a.json")
    (directory / "README.md").write_text("")
    os.mkfifo(directory / "b2.json")
    names, rest = scan(str(directory))
    assert names == ["a.json", "b.json", "c.json"]
    assert [one.name for one in rest] == ["README.md", "b2.json", "link.json", "z.json"]


def test_a_directory_where_nothing_came_or_went_is_looked_into_once(
    directory: Path, listed: list[str]
) -> None:
    rescan = Rescan()
    first = rescan.first(str(directory))
    (directory / "a.json").write_bytes(b'{"changed": true}')
    assert rescan.again(str(directory)) == first == (["a.json", "b.json", "c.json"], [])
    assert listed == [str(directory)]
    assert rescan.again(str(directory)) == first
    assert len(listed) == 2, "what was told is forgotten"


def replace_the_directory(directory: Path) -> None:
    directory.rename(directory.with_name("old"))
    directory.mkdir()
    (directory / "d.json").write_bytes(b"{}")
    aged(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda directory: (directory / "d.json").write_bytes(b"{}"),
        lambda directory: (directory / "a.json").unlink(),
        lambda directory: (directory / "a.json").rename(directory / "A.json"),
        lambda directory: (directory / "d.json").mkdir(),
        replace_the_directory,
    ],
    ids=["new", "gone", "renamed", "directory", "another"],
)
def test_a_directory_that_has_changed_is_looked_into_again(
    directory: Path, change: Callable[[Path], object]
) -> None:
    rescan = Rescan()
    before = rescan.first(str(directory))
    change(directory)
    aged(directory)  # whoever sets its time back can't set back when that was done
    after = rescan.again(str(directory))
    assert after != before
    assert after.names == scan(str(directory)).names


def test_a_directory_that_holds_anything_else_is_looked_into_again(directory: Path) -> None:
    (directory / "below").mkdir()
    (directory / "link.json").symlink_to(directory / "a.json")
    rescan = Rescan()
    rescan.first(str(aged(directory)))
    again = rescan.again(str(directory))
    assert [one.name for one in again.rest] == ["below", "link.json"]


def test_so_fresh_a_directory_is_not_remembered(directory: Path, listed: list[str]) -> None:
    # Another file could come at the same time, by the clock.
    rescan = Rescan()
    os.utime(directory)
    rescan.first(str(directory))
    rescan.again(str(directory))
    assert len(listed) == 2


def test_no_more_is_remembered_than_there_is_room_for(
    directory: Path, tmp_path: Path, listed: list[str]
) -> None:
    other = tmp_path / "todos"
    other.mkdir()
    (other / "a.json").write_bytes(b"{}")
    aged(other)
    rescan = Rescan(room=len("a.json/b.json/c.json"))
    for path in (other, directory):
        rescan.first(str(path))
    rescan.again(str(directory))
    assert listed == [str(other), str(directory), str(directory)]
    rescan.again(str(other))
    assert len(listed) == 3
    rescan.first(str(directory))
    rescan.again(str(directory))
    assert len(listed) == 4, "what was told makes room"


def test_a_directory_that_is_gone_is_an_error(directory: Path) -> None:
    rescan = Rescan()
    rescan.first(str(directory))
    directory.rename(directory.with_name("old"))
    with pytest.raises(FileNotFoundError):
        rescan.again(str(directory))


def test_what_came_after_the_survey_is_listed(tmp_path: Path, listed: list[str]) -> None:
    cache = Cache(tmp_path / "repos")
    todos = cache.add("b.rs", cache_type="todos").parent
    docs = cache.add("a.rs").parent
    for directory in (docs, todos):
        aged(directory)
    tree = JsonTree(cache.root)
    assert tree.survey().total == 2
    cache.add("c.rs")
    names = [item.names for item in tree.partitions() if not isinstance(item, Failure | Problem)]
    assert names == [("a_rs.json", "c_rs.json"), ("b_rs.json",)]
    assert (listed.count(str(docs)), listed.count(str(todos))) == (2, 1)


def test_the_room_is_far_below_what_a_run_may_take() -> None:
    assert scanning._ROOM < 16 * 2**20
