from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from rustassistant import CacheMigrator, backups
from rustassistant.backups import Kind, back_up, restore
from rustassistant.errors import (
    BackupError,
    DamagedError,
    DestinationError,
    LockedError,
    NotFoundError,
    OccupiedError,
    OutOfSpaceError,
    RestoreError,
    UsageError,
)
from support import Cache, snapshot

MIGRATES = """
import sys
from rustassistant import CacheMigrator
print("ready", flush=True)
sys.stdin.readline()
CacheMigrator(sys.argv[1], sys.argv[2], jobs=1).migrate(
    lambda now: print(now.done, flush=True)
)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path / "repos")
    for number in range(10):
        made.add(f"src/{number}.rs", content=b"%d" % number)
    return made


@pytest.fixture
def database(tmp_path: Path, cache: Cache) -> Path:
    place = tmp_path / "cache.db"
    CacheMigrator(cache.root, place, jobs=1).migrate()
    return place


def holds(database: Path, cache: Cache) -> bool:
    return bool(CacheMigrator(cache.root, database, jobs=1).verify())


def names(path: Path) -> set[str]:
    return set(os.listdir(path))


@contextmanager
def opened(database: Path, sql: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the database open."""
    code = (
        "import sys, apsw; connection = apsw.Connection(sys.argv[1]);"
        "connection.execute(sys.argv[2]).fetchall(); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(database), sql],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


# --- Databases.


def test_database_there_and_back(database: Path, cache: Cache, tmp_path: Path) -> None:
    made = back_up(database)
    assert made.kind is Kind.DATABASE
    assert made.path == f"{database}.backup"
    assert (made.entries, made.total_damaged) == (10, 0)
    assert made.stored == os.path.getsize(made.path)
    assert names(tmp_path) == {"repos", "cache.db", "cache.db.backup"}
    done = restore(made.path, tmp_path / "back.db")
    assert (done.kind, done.entries, done.kept) == (Kind.DATABASE, 10, None)
    assert holds(tmp_path / "back.db", cache)


def test_what_exists_is_never_overwritten(database: Path, tmp_path: Path) -> None:
    first = back_up(database).path
    before = Path(first).read_bytes()
    second = back_up(database).path
    assert second.startswith(f"{first}-2")
    assert Path(first).read_bytes() == before
    assert names(tmp_path) == {"repos", "cache.db", *map(os.path.basename, (first, second))}


def test_backup_while_a_migration_writes_is_of_one_moment(
    tmp_path: Path, database: Path, cache: Cache
) -> None:
    for number in range(40):
        cache.add(f"new/{number}.rs", content=b"new %d" % number)
    with subprocess.Popen(
        [sys.executable, "-c", MIGRATES, str(cache.root), str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as migration:
        assert migration.stdin is not None
        assert migration.stdout is not None
        migration.stdout.readline()
        started = False

        def progress(_done: int, _total: int) -> None:
            nonlocal started
            if not started:
                started = True
                migration.communicate("go\n")

        made = back_up(database, progress=progress)
        assert started
        assert migration.wait() == 0
    assert made.entries == 10
    assert back_up(database, tmp_path / "later.db").entries == 50
    assert holds(database, cache)


def test_backup_of_a_database_that_a_writer_has_locked(database: Path) -> None:
    with opened(database, "BEGIN IMMEDIATE; DELETE FROM copies"):
        assert back_up(database).entries == 10


def test_restoring_over_a_database_keeps_it(database: Path, cache: Cache, tmp_path: Path) -> None:
    made = back_up(database).path
    before = database.read_bytes()
    with pytest.raises(OccupiedError):
        restore(made, database)
    assert database.read_bytes() == before
    done = restore(made, database, force=True)
    assert done.kept is not None
    assert Path(done.kept).read_bytes() == before
    assert holds(database, cache)
    assert len(names(tmp_path)) == 4


def test_log_left_by_a_killed_writer_does_not_reach_the_restored_one(
    database: Path, cache: Cache
) -> None:
    made = back_up(database).path
    with opened(database, "PRAGMA wal_autocheckpoint=0; UPDATE entries SET tokens_used = 0"):
        pass
    assert os.path.getsize(f"{database}-wal")
    assert not holds(database, cache)
    done = restore(made, database, force=True)
    assert holds(database, cache)
    assert done.kept is not None
    assert not holds(Path(done.kept), cache)


@pytest.mark.parametrize("sql", ["BEGIN IMMEDIATE", "SELECT count(*) FROM entries"])
def test_database_in_use_is_not_replaced(database: Path, tmp_path: Path, sql: str) -> None:
    made = back_up(database).path
    before, there = database.read_bytes(), names(tmp_path)
    with opened(database, sql) as holder:
        with pytest.raises(LockedError, match=f"in use by process {holder.pid} ") as caught:
            restore(made, database, force=True)
        assert caught.value.exit_code == 11
        assert database.read_bytes() == before
        assert {name for name in names(tmp_path) if not name.endswith(("-shm", "-wal"))} == there


def test_damaged_database_is_replaced_and_kept(database: Path, cache: Cache) -> None:
    made = back_up(database).path
    database.write_bytes(b"garbage" * 3000)
    done = restore(made, database, force=True)
    assert holds(database, cache)
    assert done.kept is not None
    assert Path(done.kept).read_bytes() == b"garbage" * 3000


def spoil_entry(database: Path) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        digest: bytes = connection.execute("SELECT result_digest FROM entries WHERE id = 4").get
    data = database.read_bytes()
    assert data.count(digest) == 1
    database.write_bytes(data.replace(digest, digest[:-1] + bytes([digest[-1] ^ 1])))


def test_backup_of_a_damaged_entry_is_made_and_says_so_and_is_not_restored(
    database: Path, tmp_path: Path
) -> None:
    spoil_entry(database)
    made = back_up(database)
    assert made.total_damaged == 1
    assert "entry 4 " in made.damaged[0]
    with pytest.raises(DamagedError, match="entry 4 ") as caught:
        restore(made.path, tmp_path / "back.db")
    assert caught.value.exit_code == 4
    assert not (tmp_path / "back.db").exists()


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_backup_that_is_cut_off_is_not_restored(
    database: Path, tmp_path: Path, keep: float
) -> None:
    made = back_up(database).path
    os.truncate(made, int(os.path.getsize(made) * keep))
    before = snapshot(tmp_path)
    with pytest.raises(DamagedError):
        restore(made, tmp_path / "back.db")
    assert snapshot(tmp_path).keys() == before.keys()


def test_backup_is_never_written_to(database: Path, tmp_path: Path) -> None:
    made = Path(back_up(database).path)
    made.chmod(0o400)
    before = (made.read_bytes(), made.stat().st_mtime_ns)
    restore(made, tmp_path / "back.db")
    assert (made.read_bytes(), made.stat().st_mtime_ns) == before


def test_killed_on_the_way_nothing_is_lost_and_the_next_cleans_up(
    database: Path, cache: Cache, tmp_path: Path
) -> None:
    def killed(call: str) -> None:
        code = (
            "import os; from rustassistant.backups import *; "
            f"{call[:-1]}, progress=lambda *_: os.kill(os.getpid(), 9))"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False)
        assert done.returncode == -signal.SIGKILL

    killed(f"back_up({str(database)!r})")
    assert not os.path.exists(f"{database}.backup")
    assert any(".partial-" in name for name in names(tmp_path))
    made = back_up(database).path
    before = database.read_bytes()
    killed(f"restore({made!r}, {str(database)!r}, force=True)")
    assert database.read_bytes() == before
    restore(made, database, force=True)
    assert holds(database, cache)
    assert not any(".partial-" in name for name in names(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for a quarter of a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount disks")
@pytest.mark.parametrize("claims_room", [False, True])
def test_a_full_disk_is_named_and_nothing_is_left_on_it(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, claims_room: bool
) -> None:
    cache = Cache(tmp_path / "large")
    for number in range(20):
        cache.add(f"src/{number}.rs", content=b"%d" % number, result=os.urandom(20_000).hex())
    database = tmp_path / "large.db"
    CacheMigrator(cache.root, database, jobs=1).migrate()
    packed = back_up(cache.root, tmp_path / "large.tar.zst").path
    if claims_room:  # somebody else fills it meanwhile
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
    for act in (
        lambda: back_up(database, small_disk / "x"),
        lambda: back_up(cache.root, small_disk / "x"),
        lambda: back_up(cache.root, small_disk / "x.tar.zst"),
        lambda: restore(database, small_disk / "x"),
        lambda: restore(cache.root, small_disk / "x"),
        lambda: restore(packed, small_disk / "x"),
    ):
        with pytest.raises(OutOfSpaceError, match=r"full|free|no room"):
            act()
        assert names(small_disk) == set()


def test_a_database_does_not_go_into_an_archive(database: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not into an archive"):
        back_up(database, tmp_path / "cache.tar.zst")


def test_a_database_is_not_restored_over_a_directory(database: Path, cache: Cache) -> None:
    made = back_up(database).path
    with pytest.raises(DestinationError, match="is a directory"):
        restore(made, cache.root, force=True)
    with pytest.raises(RestoreError, match="the backup itself"):
        restore(made, made, force=True)


# --- Names.


def test_a_directory_named_with_a_slash_gets_the_copy_in_it(
    database: Path, cache: Cache, tmp_path: Path
) -> None:
    (tmp_path / "backups").mkdir()
    assert back_up(database, f"{tmp_path}/backups/").path == f"{tmp_path}/backups/cache.db.backup"
    assert back_up(cache.root, f"{tmp_path}/backups/").path == f"{tmp_path}/backups/repos.backup"
    place = backups.place_for(database, f"{tmp_path}/backups/")
    assert place == f"{tmp_path}/backups/cache.db.backup"


def test_a_missing_cache_exits_with_ten(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        back_up(tmp_path / "missing")
    assert names(tmp_path) == set()


def test_a_place_that_does_not_exist_is_refused(database: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file"):
        back_up(database, tmp_path / "no" / "where.db")


@pytest.mark.parametrize("place", ["", "~"])
def test_empty_and_home_are_understood(place: str, database: Path) -> None:
    if place:
        with pytest.raises(OccupiedError):
            restore(back_up(database).path, place)
    else:
        with pytest.raises(UsageError):
            restore(place, place)


# --- Through the migrator.


def test_migrator_makes_archives_and_copies_of_databases(
    cache: Cache, database: Path, tmp_path: Path
) -> None:
    with CacheMigrator(cache.root, tmp_path / "other.db", jobs=1) as migrator:
        packed = migrator.backup(tmp_path / "repos.tar.zst")
    assert backups.kind_of(packed) is Kind.ARCHIVE
    with CacheMigrator(database, tmp_path / "other.db", jobs=1) as migrator:
        copy = migrator.backup()
    assert backups.kind_of(copy) is Kind.DATABASE
    assert holds(copy, cache)
