"""Adding, replacing and removing files of a tree that others write to at the same moment."""

from __future__ import annotations

import errno
import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from rustassistant.errors import (
    DestinationError,
    EntryError,
    LockedError,
    OutOfSpaceError,
)
from rustassistant.stores.json_tree import changing
from rustassistant.stores.json_tree.changing import Change, Expected, TreeChanges
from rustassistant.stores.json_tree.files import present
from rustassistant.stores.json_tree.places import Place
from rustassistant.stores.json_tree.standing import Standing, standing_of
from support import Cache, hash8, snapshot

PROJECT = "/home/dev/project"
PARTS = (hash8(PROJECT).encode(), b"cache", b"docs")
NEW = b"new"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Cache(tmp_path / "repos").add("x.rs")


@pytest.fixture
def changes(file: Path) -> TreeChanges:
    return TreeChanges(Standing(str(file.parents[3])))


def change(
    changes: TreeChanges,
    name: str,
    text: bytes | None,
    expected: Expected | None = None,
    *,
    keeps: bool = True,
    beside: bool = False,
    is_news: Expected | None = None,
) -> None:
    number = None if text is None else changes.stage(text)
    changes.settle()
    digest = sha256(text or b"").digest()
    place = Place(PARTS, 1, None)
    try:
        changes.do(
            Change(place, os.fsencode(name), number, digest, PROJECT, expected, is_news, keeps,
                   beside)
        )  # fmt: skip
        changes.finish()
    finally:
        changes.close()


def kept(file: Path) -> list[Path]:
    return list(file.parents[4].glob("repos.trash.backup-*/**/docs/*"))


def anything(_: bytes) -> bool:
    return True


def test_replaced_file_is_kept_as_it_lay(file: Path, changes: TreeChanges) -> None:
    old = file.read_bytes()
    change(changes, file.name, NEW, lambda text: text == old)
    assert file.read_bytes() == NEW
    (trash,) = kept(file)
    assert trash.read_bytes() == old
    assert str(trash).endswith(f"{hash8(PROJECT)}/cache/docs/x_rs.json")
    assert (trash.parents[2] / "meta.json").exists()
    assert [one.name for one in file.parents[3].iterdir()] == [hash8(PROJECT)]
    assert trash.parents[3].stat().st_mode & 0o077 == 0


def test_replaced_file_that_is_elsewhere_is_not_kept(file: Path, changes: TreeChanges) -> None:
    change(changes, file.name, NEW, anything, keeps=False)
    assert file.read_bytes() == NEW
    assert kept(file) == []


def test_replaced_file_may_stay_beside(file: Path, changes: TreeChanges) -> None:
    old = file.read_bytes()
    change(changes, file.name, NEW, anything, beside=True)
    texts = {one.name: one.read_bytes() for one in file.parent.iterdir()}
    assert texts.pop("x_rs.json") == NEW
    ((name, text),) = texts.items()
    assert text == old
    assert name == f"x_rs~{sha256(old).hexdigest()[:16]}.json"
    assert kept(file) == []


@pytest.mark.parametrize("text", [NEW, None], ids=["replaced", "removed"])
@pytest.mark.parametrize("in_place", [True, False])
def test_file_that_changes_at_the_last_moment_stays(
    text: bytes | None, in_place: bool, file: Path, changes: TreeChanges
) -> None:
    def meanwhile(_: bytes) -> bool:
        if in_place:
            file.write_bytes(b"by another")
        else:
            other = file.with_name("other")
            other.write_bytes(b"by another")
            other.rename(file)
        return True

    with pytest.raises(EntryError, match="changed by somebody else"):
        change(changes, file.name, text, meanwhile)
    assert file.read_bytes() == b"by another"


@pytest.mark.parametrize("text", [NEW, None], ids=["replaced", "removed"])
def test_file_that_is_not_what_was_found_stays(
    text: bytes | None, file: Path, changes: TreeChanges
) -> None:
    before = snapshot(file.parents[3])
    with pytest.raises(EntryError, match="changed by somebody else"):
        change(changes, file.name, text, lambda _: False)
    assert snapshot(file.parents[3]) == before
    assert kept(file) == []


def test_removed_file_goes_to_the_trash(file: Path, changes: TreeChanges) -> None:
    old = file.read_bytes()
    change(changes, file.name, None, anything)
    assert not file.exists()
    (trash,) = kept(file)
    assert trash.read_bytes() == old


def test_name_that_another_path_has_is_not_taken(file: Path, changes: TreeChanges) -> None:
    old = file.read_bytes()
    change(changes, file.name, NEW, is_news=lambda _: False)
    assert file.read_bytes() == old
    assert (file.parent / f"x_rs~{sha256(NEW).hexdigest()[:16]}.json").read_bytes() == NEW


def test_name_that_has_come_into_use_since_is_left_alone(file: Path, changes: TreeChanges) -> None:
    before = snapshot(file.parents[3])
    with pytest.raises(EntryError, match="changed by somebody else"):
        change(changes, file.name, NEW, is_news=anything)
    assert snapshot(file.parents[3]) == before


def test_what_is_there_already_is_not_written_again(file: Path, changes: TreeChanges) -> None:
    before = snapshot(file.parent)
    change(changes, file.name, file.read_bytes())
    assert snapshot(file.parent) == before


def test_directory_that_is_a_link_is_not_followed(file: Path, changes: TreeChanges) -> None:
    elsewhere = file.parents[4] / "elsewhere"
    file.parent.rename(elsewhere)
    file.parent.symlink_to(elsewhere)
    for text in (NEW, None):
        with pytest.raises(EntryError, match="links are not followed"):
            change(changes, file.name, text, anything)
        changes = TreeChanges(Standing(str(file.parents[3])))
    changes.close()
    assert [one.name for one in elsewhere.iterdir()] == [file.name]


def test_tree_that_is_being_written_to_is_locked(file: Path, changes: TreeChanges) -> None:
    with pytest.raises(LockedError, match=str(os.getpid())):
        TreeChanges(Standing(str(file.parents[3])))
    changes.close()


def test_each_run_has_a_trash_of_its_own(file: Path, changes: TreeChanges) -> None:
    change(changes, file.name, None, anything)
    file.write_bytes(b"again")
    again = TreeChanges(Standing(str(file.parents[3])))
    change(again, file.name, None, anything)
    assert len(kept(file)) == 2


def test_what_a_directory_stands_for(tmp_path: Path) -> None:
    central = Cache(tmp_path / "repos")
    central.add()
    directory = tmp_path / "repos" / hash8(PROJECT)
    local = tmp_path / "code"
    (local / ".rustassistant" / "cache" / "docs").mkdir(parents=True)
    base = str(tmp_path / "repos")
    assert standing_of(base) == Standing(base)
    assert standing_of(str(directory)) == Standing(base, directory=directory.name)
    assert standing_of(str(directory / "cache")) == Standing(base, directory=directory.name)
    for place in (local, local / ".rustassistant", local / ".rustassistant" / "cache"):
        assert standing_of(str(place)) == Standing(str(local), local=str(local))
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none yet"):
        assert standing_of(str(tmp_path / name)) == Standing(str(tmp_path / name))


def test_name_of_a_file_that_cannot_be_read_is_waited_for(
    file: Path, changes: TreeChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(directory: int, name: bytes) -> bytes | None:
        if name == os.fsencode(file.name):
            raise EntryError("cannot be read: Input/output error")
        return present(directory, name)

    monkeypatch.setattr(changing, "present", unreadable)
    with pytest.raises(EntryError, match="cannot be read"):
        change(changes, file.name, NEW)
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_meta_json_of_the_trash_is_whole_or_not_there(
    file: Path, changes: TreeChanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OutOfSpaceError("the disk is full")

    monkeypatch.setattr(changes._root, "write", full)
    with pytest.raises(OutOfSpaceError):
        change(changes, file.name, None, anything)
    assert not list(file.parents[4].glob("repos.trash.backup-*/*/meta.json"))
    assert file.exists()


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_cannot_be_made_durable_is_told(
    file: Path, changes: TreeChanges, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    kind = {"file": stat.S_ISREG, "directory": stat.S_ISDIR}[what]

    def failing(descriptor: int) -> None:
        if kind(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "bad disk")

    changes.stage(b"")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DestinationError, match="bad disk"):
        change(changes, "y.json", NEW)
