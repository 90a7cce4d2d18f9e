"""What can go wrong, by the names that rclone's bisync gives it: https://rclone.org/bisync/"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rustassistant.errors import (
    DamagedError,
    DestinationError,
    LockedError,
    UnsafeSyncError,
)
from rustassistant.sync import Choice, Question, Sign
from rustassistant.sync.state import State
from support import NOBODY, as_nobody
from sync.pairs import (
    Database,
    Side,
    Tree,
    conflict,
    filled,
    in_step,
    sync,
)


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


def test_what_can_not_be_read_when_a_side_comes_back_is_no_deletion(
    tree: Tree, database: Database
) -> None:
    filled(tree, database)
    tree.file("0.rs").write_bytes(b"{")
    files = tree.file("0.rs").parents[2]
    files.rename(tree.path.with_name("elsewhere"))
    untouched(tree, database, "is empty", delete=True)
    tree.path.with_name("elsewhere").rename(files)
    result, steps = sync(tree.path, database.path, delete=True)
    assert (result.failed, steps) == (1, [])
    assert len(database.live()) == 6


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


def test_file_that_is_cut_off_before_it_was_ever_read_is_no_deletion(
    tree: Tree, database: Database
) -> None:
    for number in range(4):
        database.analyse(f"{number}.rs", 1)
    sync(tree.path, database.path)
    whole = tree.file("1.rs").read_bytes()
    tree.file("1.rs").write_bytes(whole[:100])
    result, steps = sync(tree.path, database.path, delete=True)
    assert result.failed == 1
    assert [(step.sign, step.file_path) for step in steps] == [(Sign.LEAVE, "1.rs")]
    assert "1.rs" in database.paths()
    tree.file("1.rs").write_bytes(whole)
    in_step(tree, database)


@pytest.mark.usefixtures("read_in_python")
def test_file_that_cannot_be_found_on_a_bad_disk_is_no_deletion(
    tree: Tree, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tree, database)
    in_step(tree, database)  # so that the files are known
    bad = tree.file("1.rs")
    os.utime(bad, (1, 1))

    def failing(real: Any) -> Any:
        def fails(path: Any, *args: Any, **options: Any) -> Any:
            if not isinstance(path, int) and os.path.basename(os.fsdecode(path)) == bad.name:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(path, *args, **options)

        return fails

    for name in ("open", "stat", "lstat"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    result, _ = sync(tree.path, database.path, delete=True)
    monkeypatch.undo()
    assert result.failed == 1
    assert "1.rs" in database.paths()


def test_results_of_others_are_on_the_disk_before_they_are_remembered(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pair
    filled(a, b, 2)
    in_step(a, b)
    a.analyse("new.rs", 5)
    a.analyse("same.rs", 6)
    b.analyse("same.rs", 6)
    waited: set[int] = set()
    fsync, agree = os.fsync, State.agree

    def syncs(descriptor: int) -> None:
        waited.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def agrees(*args: Any) -> None:
        for tree in (side for side in (a, b) if isinstance(side, Tree)):
            for file in (tree.file("new.rs"), tree.file("same.rs")):
                assert {file.stat().st_ino, file.parent.stat().st_ino} <= waited
        agree(*args)

    monkeypatch.setattr(os, "fsync", syncs)
    monkeypatch.setattr(State, "agree", agrees)
    result, _ = sync(a.path, b.path)
    assert result.a.added + result.b.added == 1


def test_many_results_of_others_are_waited_for_at_once(
    tree: Tree, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(os, "sync", lambda: waits.append(len(database.live())))
    for number in range(60):
        tree.analyse(f"{number}.rs", 1)
    sync(tree.path, database.path)
    assert waits == [0]


def test_result_of_others_that_cannot_be_made_durable_is_not_remembered(
    tree: Tree, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tree, database)
    tree.analyse("new.rs", 5)
    inode, fsync = tree.file("new.rs").stat().st_ino, os.fsync

    def failing(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DestinationError, match="new_rs"):
        sync(tree.path, database.path)
    monkeypatch.undo()
    tree.delete("new.rs")  # as a power cut would
    assert sync(tree.path, database.path, delete=True)[1] == []


def test_full_disk_only_hides_who_holds_the_lock(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    pair[0].analyse("x.rs", 1)
    monkeypatch.setattr(os, "pwrite", full)
    sync(pair[0].path, pair[1].path)
    assert pair[1].paths() == ["x.rs"]
