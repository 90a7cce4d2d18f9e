from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rustassistant import backups
from rustassistant.backups import Kind, restore
from rustassistant.errors import (
    BackupError,
    NotACacheError,
    NotFoundError,
    OccupiedError,
    OutOfSpaceError,
    RestoreError,
)
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree.store import JsonPartition
from rustassistant.stores.outcomes import Problem
from rustassistant.stores.renaming import rename_new
from rustassistant.transfer import restore as restoring
from support import Cache, as_nobody
from transfer.trees import repository, state, varied

ACTS = """
import os, sys
from rustassistant import backups
from rustassistant.transfer import restore

calls = 0

def die(*_):
    global calls
    calls += 1
    if calls > {after}:
        os.kill(os.getpid(), 9)
    return False

{before}
backups.{call}
"""


def killed(call: str, *, after: int = 0, before: str = "") -> None:
    """Run that in a process that is killed with signal 9 on the way."""
    done = subprocess.run(
        [sys.executable, "-c", ACTS.format(call=call, after=after, before=before)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return varied(tmp_path / "repos")


@pytest.fixture(params=["directory", "archive"])
def made(request: pytest.FixtureRequest, source: Path) -> Path:
    """A backup of the source, of either kind."""
    suffix = ".tar.zst" if request.param == "archive" else ".backup"
    return Path(backups.back_up(source, f"{source}{suffix}").path)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A cache that lies where the backup is to go."""
    cache = Cache(tmp_path / "home" / "repos")
    cache.add("src/old.rs")
    return cache.root


def names(path: Path) -> set[str]:
    return set(os.listdir(path))


# --- There and back.


def test_what_is_restored_is_the_same_in_bytes_modes_times_and_links(
    made: Path, source: Path, tmp_path: Path
) -> None:
    before, packed = state(source), made.stat()
    done = restore(made, tmp_path / "back")
    assert state(tmp_path / "back") == before
    assert (done.path, done.kept) == (str(tmp_path / "back"), None)
    assert (made.stat().st_mtime_ns, made.stat().st_size) == (packed.st_mtime_ns, packed.st_size)
    assert names(tmp_path) == {"repos", "back", made.name}


def test_what_it_is_shows_in_what_is_there_not_in_its_name(made: Path, tmp_path: Path) -> None:
    kind = backups.kind_of(made)
    renamed = made.rename(tmp_path / "cache.db")
    assert backups.kind_of(renamed) == kind
    assert restore(renamed, tmp_path / "back").kind is kind
    assert kind in (Kind.DIRECTORY, Kind.ARCHIVE)


def test_missing_directories_are_made_private(made: Path, tmp_path: Path) -> None:
    restore(made, tmp_path / "new" / "home" / "repos")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "home").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["tar.zst", "backup"])
@pytest.mark.parametrize("place", ["clone", "clone/.rustassistant"])
def test_a_repositorys_cache_goes_into_the_repository(
    tmp_path: Path, kind: str, place: str
) -> None:
    root = repository(tmp_path / "project")
    made = backups.back_up(root, tmp_path / f"project.{kind}").path
    code = tmp_path / "clone" / "lib.rs"
    code.parent.mkdir()
    code.write_text("fn main() {}")
    done = restore(made, tmp_path / place)
    assert done.path == str(tmp_path / "clone" / ".rustassistant")
    assert state(tmp_path / "clone" / ".rustassistant") == state(root / ".rustassistant")
    assert code.read_text() == "fn main() {}"
    with pytest.raises(OccupiedError):
        restore(made, tmp_path / place)
    kept = restore(made, tmp_path / place, force=True).kept
    assert kept is not None
    assert Path(kept).parent == code.parent
    assert code.exists()


# --- What lies there.


def test_nothing_is_overwritten_unless_asked(made: Path, old: Path) -> None:
    before = state(old)
    with pytest.raises(OccupiedError, match="exists already") as caught:
        restore(made, old)
    assert "--force" in caught.value.hint
    assert caught.value.exit_code == 1
    assert state(old) == before
    assert names(old.parent) == {"repos"}


@pytest.fixture(params=["in one step", "one after the other"])
def exchanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems can't swap two names."""
    if request.param != "in one step":
        monkeypatch.setattr(restoring, "exchange", lambda *_: False)


@pytest.mark.usefixtures("exchanging")
def test_what_lay_there_is_kept_beside_it(made: Path, old: Path, source: Path) -> None:
    before = state(old)
    done = restore(made, old, force=True)
    assert done.kept is not None
    assert done.kept.startswith(f"{old}.backup-2")
    assert state(Path(done.kept)) == before
    assert state(old) == state(source)
    assert names(old.parent) == {"repos", os.path.basename(done.kept)}


def test_what_is_kept_in_a_cache_is_no_part_of_it(tmp_path: Path) -> None:
    """One repository's directory in a central cache is replaced."""
    cache = Cache(tmp_path / "repos")
    cache.add()
    directory = cache.repository()
    made = backups.back_up(directory, tmp_path / "one.tar.zst").path
    restore(made, directory, force=True)
    found = list(JsonTree(cache.root).partitions())
    assert len([item for item in found if isinstance(item, Problem)]) == 1
    assert [len(item.names) for item in found if isinstance(item, JsonPartition)] == [1]


@pytest.mark.parametrize("kind", ["home", "repository", "file"])
def test_what_is_no_cache_is_not_moved_aside(made: Path, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_bytes(b"precious")
    elif kind == "repository":
        repository(place)
    else:
        (place / "documents").mkdir(parents=True)
        (place / "letter.txt").write_text("dear")
    before = place.read_bytes() if kind == "file" else state(place)
    with pytest.raises((OccupiedError, NotACacheError)):
        restore(made, place, force=True)
    assert (place.read_bytes() if kind == "file" else state(place)) == before
    assert names(tmp_path) == {"repos", made.name, "place"}


def test_a_link_to_the_cache_stays_one(made: Path, old: Path, tmp_path: Path, source: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(old)
    done = restore(made, link, force=True)
    assert done.path == str(old)
    assert link.is_symlink()
    assert state(old) == state(source)


def test_a_backup_is_not_restored_into_itself(source: Path) -> None:
    made = backups.back_up(source).path
    before = state(Path(made))
    with pytest.raises(RestoreError, match="inside the backup"):
        restore(made, Path(made) / "below")
    with pytest.raises(RestoreError):
        restore(made, made, force=True)
    assert state(Path(made)) == before


@pytest.mark.parametrize("force", [False, True])
def test_what_fails_leaves_all_as_it_was(
    made: Path, old: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    before = state(old)
    place = old if force else old.with_name("new")

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "sync", fails)
    with pytest.raises(OutOfSpaceError, match="is full"):
        restore(made, place, force=force)
    assert state(old) == before
    assert names(old.parent) == {"repos"}


@pytest.mark.parametrize("at", range(3))
def test_a_swap_that_fails_midway_is_undone(
    made: Path, old: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    before = state(old)
    real, calls = rename_new, 0

    def failing(one: str, other: str) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), one)
        real(one, other)

    monkeypatch.setattr(restoring, "exchange", lambda *_: False)
    monkeypatch.setattr(restoring, "rename_new", failing)
    with pytest.raises(RestoreError, match="Input/output error"):
        restore(made, old, force=True)
    assert state(old) == before
    assert names(old.parent) == {"repos"}


def test_a_swap_that_the_system_refuses_is_undone(
    made: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(old)

    def busy(*_: object) -> bool:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(restoring, "exchange", busy)
    with pytest.raises(RestoreError, match="busy"):
        restore(made, old, force=True)
    assert state(old) == before
    assert names(old.parent) == {"repos"}


def test_a_disk_too_full_is_refused_at_once(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OutOfSpaceError, match=r"only 0\.0 MiB free"):
        restore(made, tmp_path / "deep" / "back")
    assert names(tmp_path) == {"repos", made.name}


# --- Killed on the way.


def test_a_killed_backup_leaves_nothing_that_looks_like_one(source: Path, made: Path) -> None:
    place = source.parent / ("second.tar.zst" if made.is_file() else "second")
    killed(f"back_up({str(source)!r}, {str(place)!r}, progress=die)", after=4)
    assert not place.exists()
    [left] = source.parent.glob("second*")
    assert ".partial-" in left.name
    backups.back_up(source, place)
    assert not left.exists(), "the next one removes it"
    assert names(source.parent) == {"repos", made.name, place.name}


def test_a_killed_restore_leaves_what_lay_there(made: Path, old: Path, source: Path) -> None:
    before = state(old)
    killed(f"restore({str(made)!r}, {str(old)!r}, force=True, progress=die)", after=4)
    assert state(old) == before
    restore(made, old, force=True)
    assert state(old) == state(source)
    assert not list(old.parent.glob("*.partial-*"))


@pytest.mark.parametrize("at", ["before it", "after it"])
def test_killed_at_the_swap_nothing_is_lost(made: Path, old: Path, source: Path, at: str) -> None:
    before = {"before it": "restore.exchange = die", "after it": "restore.sync_directory = die"}
    was = state(old)
    killed(f"restore({str(made)!r}, {str(old)!r}, force=True)", before=before[at])
    found = {path.name.partition("-")[0]: state(path) for path in old.parent.iterdir()}
    if at == "before it":
        assert found == {"repos": was, "repos.backup": state(source)}
    else:
        assert found == {"repos": state(source), "repos.backup": was}


# --- What is no backup.


def test_what_is_missing_exits_with_ten(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        restore(tmp_path / "missing", tmp_path / "back")
    assert caught.value.exit_code == 10


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\x28\xb5\x2f", b"SQLite format 3\0" + b"x" * 200]
)
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd").write_bytes(content)
    with pytest.raises((RestoreError, BackupError), match="is no backup"):
        restore(tmp_path / "odd", tmp_path / "back")
    assert names(tmp_path) == {"odd"}


def test_a_directory_that_holds_no_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").write_text("dear")
    with pytest.raises(NotACacheError, match="holds no RustAssistant cache"):
        restore(tmp_path / "documents", tmp_path / "back")


@pytest.fixture
def open_tmp() -> Iterator[Path]:
    """A directory that an unprivileged user can reach and write to, unlike pytest's own."""
    mask = os.umask(0o022)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)
    os.umask(mask)


def test_without_permission_it_is_said_what_and_nothing_is_left(open_tmp: Path) -> None:
    cache = Cache(open_tmp / "repos")
    cache.add()
    made = backups.back_up(cache.root, open_tmp / "made.tar.zst").path
    Path(made).chmod(0o644)
    (open_tmp / "closed").mkdir()
    (open_tmp / "closed").chmod(0o555)

    def act() -> None:
        with pytest.raises(RestoreError, match="Permission denied"):
            restore(made, open_tmp / "closed" / "back")
        Path(open_tmp / "own").mkdir()
        restore(made, open_tmp / "own" / "back")

    as_nobody(act)
    assert names(open_tmp / "closed") == set()
    assert names(open_tmp / "own") == {"back"}
    as_nobody(lambda: shutil.rmtree(open_tmp / "own"))
