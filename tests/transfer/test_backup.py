from __future__ import annotations

import builtins
import errno
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from rustassistant import CacheMigrator
from rustassistant.errors import BackupError, OutOfSpaceError
from rustassistant.stores.base import Tree
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.memory import MemoryStore
from rustassistant.transfer import backup
from rustassistant.transfer.engine import transfer
from support import NOBODY, Cache, as_nobody, snapshot
from transfer import trees
from transfer.trees import age, state, varied


def back_up(tree: Tree, wanted: str, *, progress: Callable[[int, int], None] | None = None) -> str:
    return backup.back_up(tree, wanted, progress=progress).path


class Interrupted(BaseException):
    """As KeyboardInterrupt, but not one that pytest would take for its own."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return varied(tmp_path / "repos")


def whole(path: Path) -> Tree:
    return Tree(str(path))


def beside(source: Path) -> set[str]:
    return set(os.listdir(source.parent))


# --- What is copied.


def test_a_backup_is_the_same_in_bytes_modes_times_and_links(source: Path) -> None:
    before = state(source)
    target = back_up(whole(source), f"{source}.backup")
    assert target == f"{source}.backup"
    assert state(Path(target)) == before
    assert state(source) == before, "and the source is as it was"


def test_fifos_and_empty_directories_are_kept(source: Path) -> None:
    target = Path(back_up(whole(source), f"{source}.backup"))
    [fifo] = target.rglob("fifo")
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert stat.S_IMODE(fifo.stat().st_mode) == 0o640
    assert list((target / "hollow").iterdir()) == []
    assert stat.S_IMODE((target / "hollow").stat().st_mode) == 0o750


def test_links_are_copied_as_links(source: Path) -> None:
    target = Path(back_up(whole(source), f"{source}.backup"))
    links = {path.name: os.readlink(path) for path in target.rglob("*") if path.is_symlink()}
    assert links == {
        "link.json": "private.json",
        "dangling": "nowhere/at/all",
        "up": "../..",
        os.fsdecode(b"link-\xfe"): os.fsdecode(b"not-utf8-\xff"),
    }


def test_sockets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "repos"
    place.mkdir()
    (place / "file").write_bytes(b"x")
    monkeypatch.chdir(place)  # a socket's path may be no longer than a hundred bytes or so
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        target = Path(back_up(whole(place), f"{place}.backup"))
    assert os.listdir(target) == ["file"]


def test_an_empty_directory_has_a_backup_too(tmp_path: Path) -> None:
    (tmp_path / "repos").mkdir()
    target = back_up(whole(tmp_path / "repos"), str(tmp_path / "copy"))
    assert os.listdir(target) == []


def test_progress_counts_up_to_all_bytes(source: Path) -> None:
    told: list[tuple[int, int]] = []
    back_up(whole(source), f"{source}.backup", progress=lambda *now: told.append(now))
    files = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    total = sum(path.stat().st_size for path in files)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert {total for _, total in told} == {total}
    assert told[-1] == (total, total)
    assert len(told) == len(files)


def test_nobody_else_can_read_a_backup_while_it_is_made(source: Path) -> None:
    source.chmod(0o755)
    modes = set()

    def look(_done: int, _total: int) -> None:
        [partial] = [name for name in beside(source) if "partial" in name]
        modes.add(stat.S_IMODE((source.parent / partial).stat().st_mode))

    target = Path(back_up(whole(source), f"{source}.backup", progress=look))
    assert modes == {0o700}
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


# --- Its name.


def test_what_exists_is_never_overwritten(source: Path) -> None:
    older = source.parent / "repos.backup"
    older.mkdir()
    (older / "precious").write_bytes(b"x")
    before = snapshot(older)
    names = {back_up(whole(source), str(older)) for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith(f"{older}-2") for name in names), "they are dated"
    assert snapshot(older) == before
    for name in names:
        assert state(Path(name)) == state(source)


@pytest.mark.parametrize("kind", ["file", "dangling link", "empty directory"])
def test_whatever_exists_is_never_overwritten(source: Path, kind: str) -> None:
    older = source.parent / "repos.backup"
    if kind == "file":
        older.write_bytes(b"precious")
    elif kind == "dangling link":
        older.symlink_to("/nowhere/at/all")
    else:
        older.mkdir()
    before = snapshot(source.parent)
    target = back_up(whole(source), str(older))
    assert target != str(older)
    after = snapshot(source.parent)
    assert {name: after[name] for name in before} == before


def test_a_relative_name_and_a_trailing_slash_are_understood(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    assert back_up(whole(source), "copy/") == str(source.parent / "copy")
    assert state(source.parent / "copy") == state(source)


@pytest.mark.parametrize("slashes", ["", "/", "//"])
def test_a_source_with_a_trailing_slash_has_its_backup_beside_it(
    source: Path, slashes: str
) -> None:
    with CacheMigrator(f"{source}{slashes}", source.parent / "cache.db") as migrator:
        target = migrator.backup()
    assert target == source.parent / "repos.backup"
    assert state(target) == state(source)
    assert not list(source.rglob("*.backup"))


@pytest.mark.parametrize("below", ["copy", "hollow/copy", "../repos/copy"])
def test_a_backup_inside_its_source_is_refused(source: Path, below: str) -> None:
    before = snapshot(source)
    with pytest.raises(BackupError, match="would lie inside") as caught:
        back_up(whole(source), str(source / below))
    assert "outside" in caught.value.hint
    assert snapshot(source) == before


def test_a_backup_inside_its_source_by_way_of_a_link_is_refused(source: Path) -> None:
    (source.parent / "detour").symlink_to(source / "hollow")
    before = snapshot(source)
    with pytest.raises(BackupError, match="would lie inside"):
        back_up(whole(source), str(source.parent / "detour" / "copy"))
    assert snapshot(source) == before


def test_a_name_that_merely_begins_like_the_source_is_not_inside(source: Path) -> None:
    assert back_up(whole(source), f"{source}-copy") == f"{source}-copy"


def test_a_place_that_does_not_exist_is_refused(source: Path) -> None:
    with pytest.raises(BackupError, match="the backup was not made") as caught:
        back_up(whole(source), str(source.parent / "no" / "such" / "place"))
    assert "another place" in caught.value.hint


# --- Failing leaves nothing behind.


@pytest.mark.parametrize("at", range(6))
def test_an_interrupted_backup_leaves_nothing_behind(source: Path, at: int) -> None:
    before = snapshot(source.parent)
    calls = 0

    def interrupt(_done: int, _total: int) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise Interrupted

    with pytest.raises(Interrupted):
        back_up(whole(source), f"{source}.backup", progress=interrupt)
    assert snapshot(source.parent) == before


def test_until_it_is_whole_it_does_not_bear_its_name(source: Path) -> None:
    def look(_done: int, _total: int) -> None:
        assert not os.path.lexists(f"{source}.backup")

    back_up(whole(source), f"{source}.backup", progress=look)
    assert os.path.lexists(f"{source}.backup")


def _read_only_directories(root: Path) -> Path:
    """A tree of which even its owner can't remove a thing without changing modes first."""
    source = root / "repos"
    for number in range(4):
        directory = source / str(number)
        directory.mkdir(parents=True)
        (directory / "file.json").write_bytes(b"{}")
    for path in [root, source, *source.rglob("*")]:
        os.chown(path, NOBODY, NOBODY) if os.getuid() == 0 else None
    for number in range(4):
        (source / str(number)).chmod(0o555)
    return source


@pytest.fixture
def open_tmp() -> Iterator[Path]:
    """A directory that an unprivileged user can reach and write to, unlike pytest's own."""
    mask = os.umask(0o022)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)
    os.umask(mask)


def test_an_interrupted_copy_of_read_only_directories_leaves_nothing_behind(
    open_tmp: Path,
) -> None:
    source = _read_only_directories(open_tmp)

    def interrupt(done: int, total: int) -> None:
        if done == total:
            raise Interrupted

    def act() -> None:
        with pytest.raises(Interrupted):
            back_up(whole(source), f"{source}.backup", progress=interrupt)

    as_nobody(act)
    assert beside(source) == {"repos"}


def test_read_only_directories_are_copied_as_such(open_tmp: Path) -> None:
    source = _read_only_directories(open_tmp)
    before = state(source)

    def act() -> None:
        back_up(whole(source), f"{source}.backup")

    as_nobody(act)
    assert state(Path(f"{source}.backup")) == before


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_cannot_be_read_fails_the_backup_and_leaves_nothing(open_tmp: Path, what: str) -> None:
    source = open_tmp / "repos"
    Cache(source).add()
    secret = source / "secret"
    if what == "file":
        secret.write_bytes(b"x")
    else:
        secret.mkdir()
    secret.chmod(0)
    if os.getuid() == 0:
        os.chown(secret, 0, 0)

    def act() -> None:
        with pytest.raises(BackupError, match=r"secret: Permission denied") as caught:
            back_up(whole(source), f"{source}.backup")
        assert "another place" in caught.value.hint

    as_nobody(act)
    assert beside(source) == {"repos"}


def test_a_place_that_cannot_be_written_fails_the_backup(open_tmp: Path) -> None:
    source = open_tmp / "deep" / "repos"
    Cache(source).add()
    source.parent.chmod(0o555)

    def act() -> None:
        with pytest.raises(BackupError, match=r"was not made: .*Permission denied"):
            back_up(whole(source), f"{source}.backup")

    as_nobody(act)
    assert beside(source) == {"repos"}


class Spoiling:
    """A file whose writes are not quite what was asked for."""

    def __init__(self, file: IO[bytes], spoil: Callable[[bytes], bytes]) -> None:
        self._file = file
        self._spoil = spoil

    def write(self, data: bytes) -> int:
        self._file.write(self._spoil(data))
        return len(data)

    def __enter__(self) -> Spoiling:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def spoil_writes(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes]) -> None:
    """Have what the backup writes to files go wrong."""

    def spoiled_open(place: Any, mode: str = "r") -> Any:
        file = builtins.open(place, mode)  # noqa: SIM115 - whoever asked for it closes it
        return Spoiling(file, spoil) if "x" in mode else file

    monkeypatch.setattr(backup, "open", spoiled_open, raising=False)


@pytest.mark.parametrize(
    "spoil",
    [lambda data: b"\0" + data[1:], lambda data: data[:-1], lambda data: data + b"\0"],
    ids=["a wrong byte", "a byte short", "a byte too many"],
)
def test_a_copy_that_differs_fails_the_backup_and_leaves_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[bytes], bytes]
) -> None:
    before = snapshot(source.parent)
    spoil_writes(monkeypatch, spoil)
    with pytest.raises(BackupError, match=r"the copy of .* differs from it"):
        back_up(whole(source), f"{source}.backup")
    assert snapshot(source.parent) == before


def test_a_disk_that_fills_up_midway_says_so_and_leaves_nothing(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(source.parent)

    def full(data: bytes) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spoil_writes(monkeypatch, full)
    with pytest.raises(OutOfSpaceError, match=r"repos\.backup"):
        back_up(whole(source), f"{source}.backup")
    assert snapshot(source.parent) == before


def test_a_disk_too_full_is_refused_with_what_is_missing(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(source.parent)
    (source / "huge").write_bytes(b"")
    os.truncate(source / "huge", 3 * 2**30)  # a hole: it takes no room here, but would as a copy
    asked: list[str] = []

    def usage(place: str) -> Any:
        asked.append(os.fspath(place))
        return SimpleNamespace(free=2**30)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OutOfSpaceError, match="the backup needs 3,078") as caught:
        back_up(whole(source), f"{source}.backup")
    assert "only 1,024.0 MiB free" in caught.value.message
    assert "2,054.0 MiB are missing" in caught.value.message
    assert "another place" in caught.value.hint
    assert asked == [str(source.parent)], "it is the target's disk that counts"
    (source / "huge").unlink()
    age(source)
    assert snapshot(source.parent).keys() == before.keys()


# --- Of a repository, only what is the cache's.


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return trees.repository(tmp_path / "project")


def test_of_a_repository_only_the_cache_is_copied(repository: Path) -> None:
    with CacheMigrator(repository, repository.parent / "cache.db") as migrator:
        target = migrator.backup()
    assert target == repository.parent / "project.backup"
    assert os.listdir(target) == [".rustassistant"]
    assert state(target / ".rustassistant") == state(repository / ".rustassistant")
    assert stat.S_IMODE(target.stat().st_mode) == 0o750


def test_the_copy_of_a_repositorys_cache_is_a_source_itself(repository: Path) -> None:
    target = back_up(JsonTree(repository).tree(), f"{repository}.backup")
    store = MemoryStore()
    report = transfer(JsonTree(target), store)
    assert (report.found, report.outcomes.migrated, report.failed) == (1, 1, 0)
    [entry] = store.entries()
    assert entry.file_path == "src/lib.rs"


def test_the_copy_of_a_central_cache_is_a_source_with_the_same_entries(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    cache.add("src/main.rs", repository="/home/dev/other", cache_type="todos")
    target = back_up(JsonTree(cache.root).tree(), str(tmp_path / "copy"))
    here, there = MemoryStore(), MemoryStore()
    transfer(JsonTree(cache.root), here)
    transfer(JsonTree(target), there)
    assert here.entries() == there.entries()
    assert len(there.entries()) == 2


def test_a_backup_of_a_repository_may_lie_in_it_but_not_in_its_cache(repository: Path) -> None:
    tree = JsonTree(repository).tree()
    target = back_up(tree, str(repository / "copy"))
    assert os.listdir(target) == [".rustassistant"]
    with pytest.raises(BackupError, match="would lie inside"):
        back_up(tree, str(repository / ".rustassistant" / "copy"))


def test_a_source_that_is_a_link_is_copied_for_what_it_leads_to(source: Path) -> None:
    link = source.parent / "linked"
    link.symlink_to(source)
    target = back_up(JsonTree(link).tree(), f"{link}.backup")
    assert not os.path.islink(target)
    assert state(Path(target)) == state(source)


def test_a_tree_nested_deeper_than_python_recurses_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "repos"
    source.mkdir()
    levels = 1_100
    directory = os.open(source, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    target = tmp_path / "repos.backup"
    try:
        assert back_up(Tree(str(source)), str(target)) == str(target)
        found = subprocess.run(["find", target, "-type", "d"], capture_output=True, check=True)
        assert len(found.stdout.splitlines()) == levels + 1
    finally:  # deeper than pytest could remove it
        subprocess.run(["rm", "-rf", source, *tmp_path.glob("repos.backup*")], check=True)


def test_two_backups_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(50):
        cache.add(f"src/{number}.rs")
    places = [str(tmp_path / "same" / f"{number}.backup") for number in range(4)]
    (tmp_path / "same").mkdir()
    with ThreadPoolExecutor() as threads:
        made = list(threads.map(lambda place: back_up(Tree(str(cache.root)), place), places))
    assert made == places
    assert sorted(os.listdir(tmp_path / "same")) == sorted(map(os.path.basename, places))
    assert all(snapshot(Path(place)) == snapshot(cache.root) for place in places)
