"""The compiled look at files says what the one in Python says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.entry import CacheType
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.json_tree import reading, scanning, store
from rustassistant.stores.json_tree.store import JsonPartition

pytest.importorskip(
    "rustassistant.native.files", reason="there was no C compiler when this was installed"
)
TIMES = st.integers(-(2**65), 2**65)
SIZES = st.integers(0, 2**63 - 1)


def in_python(function: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "stamp", None)
        patched.setattr(store, "unchanged", None)
        patched.setattr(scanning, "names_alone", None)
        return function()


def status(size: int, modified: int, changed: int, inode: int) -> Any:
    class Status:
        st_size, st_mtime_ns, st_ctime_ns, st_ino = size, modified, changed, inode

    return Status()


@given(SIZES, TIMES, TIMES, st.integers(0, 2**64 - 1))
def test_stamps_are_the_same(size: int, modified: int, changed: int, inode: int) -> None:
    one = status(size, modified, changed, inode)
    made = reading.stamp_of(one)
    assert -(2**47) <= made < 2**47
    assert in_python(lambda: reading.stamp_of(one)) == made


def test_a_stamp_differs_with_each_of_its_facts() -> None:
    facts = (2_000, 1770174834878744252, 1770174834878744252, 4711)
    stamps = {reading.stamp_of(status(*facts))}
    for position in range(4):
        for more in (1, -1, 10**9):
            changed = list(facts)
            changed[position] += more
            stamps.add(reading.stamp_of(status(*changed)))
    assert len(stamps) == 13


def test_a_look_finds_what_the_one_in_python_finds(tmp_path: Path) -> None:
    names = ["as it was.json", "changed.json", "gone.json", "new.json", "two stamps.json", "\udcff"]
    for name in names:
        (tmp_path / name).write_text(name, errors="surrogateescape")
    known: list[tuple[int, ...] | None] = [
        (reading.stamp_of(os.lstat(tmp_path / name)),) for name in names
    ]
    known[3] = None
    known[4] = (1, *(known[4] or ()))
    (tmp_path / "changed.json").write_text("else")
    (tmp_path / "gone.json").unlink()
    folder = Folder(Repository("/home/dev/project"), CacheType.DOCS, "flat", "")
    partition = JsonPartition(folder, str(tmp_path), tuple(names))
    look = partition.look(known)
    assert list(look.unchanged) == [0, 4, 5]
    assert look.size == sum(os.lstat(tmp_path / names[one]).st_size for one in (0, 4, 5))
    other = in_python(lambda: partition.look(known))
    assert list(other.unchanged) == list(look.unchanged)
    assert other.size == look.size


def test_a_time_past_what_64_bits_hold_is_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text("text")
    before = reading.stamp_of(os.lstat(file))
    os.utime(file, (10**10, 10**10))  # the year 2286
    folder = Folder(Repository("/home/dev/project"), CacheType.DOCS, "flat", "")
    partition = JsonPartition(folder, str(tmp_path), ("one.json",))
    after = reading.stamp_of(os.lstat(file))
    assert in_python(lambda: reading.stamp_of(os.lstat(file))) == after != before
    for way in (partition.look, lambda known: in_python(lambda: partition.look(known))):
        assert not way([(before,)]).unchanged
        assert list(way([(after,)]).unchanged) == [0]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link.json"
    file.write_text("text")
    link.symlink_to(file)
    folder = Folder(Repository("/home/dev/project"), CacheType.DOCS, "flat", "")
    partition = JsonPartition(folder, str(tmp_path), ("link.json",))
    assert not partition.look([(reading.stamp_of(os.stat(file)),)]).unchanged
    assert list(partition.look([(reading.stamp_of(os.lstat(link)),)]).unchanged) == [0]


def other_than_an_entry(directory: Path, kind: str) -> None:
    path = directory / "other.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(directory / "a.json")
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        (directory / kind).write_text("no entry")


@pytest.mark.parametrize(
    "names", [[], [".json"], ["b.json", "a.json", "größe.json", "\udcff.json"]]
)
def test_entries_alone_are_listed_alike(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("text")
    listed = scanning.scan(str(tmp_path))
    assert listed == in_python(lambda: scanning.scan(str(tmp_path))) == (sorted(names), [])


@pytest.mark.parametrize(
    "kind", ["directory", "link", "FIFO", "json", "a.jso", "a.json~", "...", "x.JSON"]
)
def test_what_else_lies_there_is_told_alike(tmp_path: Path, kind: str) -> None:
    for number in range(20):
        (tmp_path / f"{number}.json").write_text("text")
    other_than_an_entry(tmp_path, kind)
    listed, other = (
        way(lambda: scanning.scan(str(tmp_path))) for way in (lambda list_it: list_it(), in_python)
    )
    assert listed.names == other.names
    assert [one.path for one in listed.rest] == [one.path for one in other.rest]
    assert len(listed.names) == 20
    assert len(listed.rest) == 1


def test_what_cannot_be_listed_is_an_error_alike(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for place, error in (("gone", FileNotFoundError), ("file", NotADirectoryError)):
        with pytest.raises(error):
            scanning.scan(str(tmp_path / place))
