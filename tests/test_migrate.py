from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from rustassistant import (
    CacheMigrator,
    MigrationFailure,
    MigrationProgress,
    MigrationResult,
    RustAssistantError,
    Verification,
)
from rustassistant.errors import (
    BackupError,
    ForeignFileError,
    InterruptedRunError,
    LockedError,
    NotACacheError,
    NotFoundError,
    OutOfSpaceError,
    UsageError,
)
from rustassistant.stores.sqlite import connection
from support import Cache, snapshot

LONG_AGO = 1_770_000_000


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Six entries of two repositories, in five folders."""
    cache = Cache(tmp_path / "repos")
    for repository in ("/home/dev/one", "/home/dev/two"):
        cache.add(repository=repository)
        cache.add(repository=repository, cache_type="refactor")
    cache.add("src/old.rs", repository="/home/dev/one", cache_type="todos", old=True)
    cache.add("src/new.rs", repository="/home/dev/one", cache_type="todos", old=True)
    return cache


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def change(database: Path, sql: str) -> None:
    with closing(apsw.Connection(str(database))) as opened:
        opened.execute(sql)
        assert opened.changes() > 0


def settle(cache: Cache) -> None:
    """Make the files old enough for their times to be trusted, so that they need no reading."""
    for path in cache.root.rglob("*.json"):
        os.utime(path, (LONG_AGO, LONG_AGO))


# The published names


def test_published_field_names_are_there_in_their_order() -> None:
    published: dict[type, list[str]] = {
        MigrationProgress: ["total", "migrated", "failed", "current_file"],
        MigrationFailure: ["file_path", "cache_type", "error"],
    }
    for kind, names in published.items():
        fields = [field.name for field in dataclasses.fields(kind)]
        assert fields[: len(names)] == names
    result = {field.name for field in dataclasses.fields(MigrationResult)} | {"space_saved"}
    assert result >= {
        "total_entries",
        "total_migrated",
        "total_failed",
        "source_size",
        "destination_size",
        "space_saved",
        "failures",
    }


def test_published_calls_work_as_they_are_published(cache: Cache, database: Path) -> None:
    seen: list[MigrationProgress] = []
    migrator = CacheMigrator(cache.root, database)
    assert migrator.backup(cache.root.with_name("copy")) == cache.root.with_name("copy")
    result = migrator.migrate(seen.append)
    assert (result.total_entries, result.total_migrated, result.total_failed) == (6, 6, 0)
    assert seen[-1].total == seen[-1].migrated == 6
    assert migrator.verify()


def test_results_are_data_that_nobody_can_change(cache: Cache, database: Path) -> None:
    result = CacheMigrator(cache.root, database).migrate()
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.total_failed = 0  # type: ignore[misc]
    assert dataclasses.asdict(result)["failures"] == ()


# Migrating


def test_context_manager_gives_the_migrator_and_leaves_nothing_open(
    cache: Cache, database: Path
) -> None:
    with CacheMigrator(cache.root, database) as migrator:
        assert isinstance(migrator, CacheMigrator)
        migrator.migrate()
        migrator.verify()
    leftovers = sorted(path.name for path in database.parent.glob("*cache.db*"))
    assert leftovers == ["cache.db"]  # one file that can be copied: its log has been folded in
    open_files = {os.path.realpath(link) for link in Path("/proc/self/fd").glob("*")}
    assert os.path.realpath(database) not in open_files


def test_context_manager_lets_errors_through(cache: Cache, database: Path) -> None:
    with pytest.raises(ZeroDivisionError), CacheMigrator(cache.root, database):
        _ = 1 / 0


def test_counts_add_up_to_every_file_there_is(cache: Cache, database: Path) -> None:
    cache.add("src/dup.rs", repository="/home/dev/one", name="one.json")
    cache.add("src/dup.rs", repository="/home/dev/one", name="two.json")
    broken = cache.add("broken.rs", repository="/home/dev/one", text=b"{}")
    (broken.parent / "notes.txt").write_bytes(b"no entry")
    first = CacheMigrator(cache.root, database).migrate()
    assert (first.total_entries, first.total_migrated, first.total_duplicates) == (9, 7, 1)
    assert (first.total_unchanged, first.total_filtered, first.total_failed) == (0, 0, 1)
    second = CacheMigrator(cache.root, database).migrate()
    assert (second.total_entries, second.total_migrated, second.total_unchanged) == (9, 0, 8)
    for result in (first, second):
        (failure,) = result.failures
        assert (failure.file_path, failure.cache_type) == (str(broken), "docs")
        assert "file_path" in failure.error
        files = [path for path in cache.root.rglob("*.json") if path.name != "meta.json"]
        assert result.source_size == sum(path.stat().st_size for path in files)
        assert result.destination_size == database.stat().st_size
        assert result.space_saved == result.source_size - result.destination_size
        assert result.seconds > 0


def test_source_is_never_written_to(cache: Cache, database: Path) -> None:
    before = snapshot(cache.root)
    with CacheMigrator(cache.root, database) as migrator:
        migrator.backup()
        migrator.migrate()
        migrator.verify()
    assert snapshot(cache.root) == before


def test_making_a_migrator_touches_nothing(tmp_path: Path) -> None:
    CacheMigrator(tmp_path / "absent", tmp_path / "cache.db")
    assert list(tmp_path.iterdir()) == []


def test_progress_only_grows_and_ends_at_the_total(cache: Cache, database: Path) -> None:
    cache.add("broken.rs", repository="/home/dev/one", text=b"")
    seen: list[MigrationProgress] = []
    CacheMigrator(cache.root, database).migrate(seen.append)
    assert len(seen) == 5  # one for each folder, here
    for earlier, later in pairwise(seen):
        assert earlier.done < later.done
        assert earlier.migrated <= later.migrated
        assert earlier.failed <= later.failed
    for now in seen:
        assert now.total == 7
        assert now.migrated + now.failed == now.done
        assert Path(now.current_file).is_file()
        assert Path(now.current_file).is_relative_to(cache.root)
    assert (seen[-1].done, seen[-1].failed) == (7, 1)


def test_progress_of_a_second_run_counts_what_is_unchanged_as_done(
    cache: Cache, database: Path
) -> None:
    CacheMigrator(cache.root, database).migrate()
    seen: list[MigrationProgress] = []
    CacheMigrator(cache.root, database).migrate(seen.append)
    assert (seen[-1].done, seen[-1].migrated) == (6, 0)


def test_error_in_the_callback_comes_out_and_spoils_nothing(cache: Cache, database: Path) -> None:
    def fail(now: MigrationProgress) -> None:
        raise ZeroDivisionError(now.done)

    with pytest.raises(ZeroDivisionError):
        CacheMigrator(cache.root, database).migrate(fail)
    with CacheMigrator(cache.root, database) as migrator:
        assert migrator.migrate().total_migrated == 6
        assert migrator.verify()


def test_cancelled_run_keeps_what_is_done_and_the_next_goes_on(
    cache: Cache, database: Path
) -> None:
    stop = threading.Event()
    migrator = CacheMigrator(cache.root, database, cancelled=stop.is_set)
    with pytest.raises(InterruptedRunError) as stopped:
        migrator.migrate(lambda now: stop.set() if now.done >= 2 else None)
    assert stopped.value.exit_code == 130
    assert "2 of 6" in stopped.value.message
    rest = CacheMigrator(cache.root, database).migrate()
    assert (rest.total_unchanged, rest.total_migrated) == (2, 4)


def test_cancelled_verification_is_no_verification(cache: Cache, database: Path) -> None:
    CacheMigrator(cache.root, database).migrate()
    with pytest.raises(InterruptedRunError):
        CacheMigrator(cache.root, database, cancelled=lambda: True).verify()


def test_two_sources_fill_one_database(cache: Cache, tmp_path: Path, database: Path) -> None:
    other = Cache(tmp_path / "other")
    other.add(repository="/home/dev/three")
    assert CacheMigrator(cache.root, database).migrate().total_migrated == 6
    assert CacheMigrator(other.root, database).migrate().total_migrated == 1
    assert CacheMigrator(cache.root, database).verify()
    assert CacheMigrator(other.root, database).verify()


@pytest.mark.parametrize(("jobs", "level"), [(2, 3), (1, 1), (None, 22)])
def test_options_change_no_entry(
    cache: Cache, database: Path, jobs: int | None, level: int
) -> None:
    with CacheMigrator(cache.root, database, jobs=jobs, level=level) as migrator:
        assert migrator.migrate().total_migrated == 6
        assert migrator.verify()


# Wrong calls


@pytest.mark.parametrize("jobs", [0, -1])
def test_too_few_jobs_are_refused_before_anything_is_done(
    cache: Cache, database: Path, jobs: int
) -> None:
    with pytest.raises(UsageError, match=f"{jobs} worker processes"):
        CacheMigrator(cache.root, database, jobs=jobs)


@pytest.mark.parametrize("level", [0, 23, -5])
def test_level_that_zstd_has_not_is_wrong_usage(cache: Cache, database: Path, level: int) -> None:
    with pytest.raises(RustAssistantError, match=f"level {level} does not exist") as refused:
        CacheMigrator(cache.root, database, level=level)
    assert "1 (fastest) to 22 (smallest)" in refused.value.hint
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("which", ["source", "destination"])
def test_empty_path_names_nothing(
    cache: Cache, database: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cache.root)
    places = {"source": str(cache.root), "destination": str(database)} | {which: ""}
    with pytest.raises(UsageError, match="empty path"):
        CacheMigrator(places["source"], places["destination"])


def test_missing_source_raises_and_makes_nothing(tmp_path: Path, database: Path) -> None:
    migrator = CacheMigrator(tmp_path / "absent", database)
    for call in (migrator.migrate, migrator.backup, migrator.verify):
        with pytest.raises(NotFoundError, match="absent does not exist"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_directory_that_is_no_cache_is_refused(tmp_path: Path, database: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.rs").write_bytes(b"fn main() {}\n")
    with pytest.raises(NotACacheError):
        CacheMigrator(tmp_path / "code", database).migrate()
    assert not database.exists()


def test_foreign_destination_is_refused_untouched(cache: Cache, database: Path) -> None:
    database.write_bytes(b"somebody's notes\n" * 100)
    with pytest.raises(ForeignFileError):
        CacheMigrator(cache.root, database).migrate()
    assert database.read_bytes() == b"somebody's notes\n" * 100


def test_locked_destination_is_refused_and_left_as_it_is(
    cache: Cache, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 20)
    CacheMigrator(cache.root, database).migrate()
    cache.add("src/more.rs")
    with closing(apsw.Connection(str(database))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError):
            CacheMigrator(cache.root, database).migrate()
    assert CacheMigrator(cache.root, database).migrate().total_migrated == 1


def test_every_error_says_what_to_do(cache: Cache, tmp_path: Path, database: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "main.rs").touch()
    (tmp_path / "notes").write_bytes(b"x" * 5000)
    calls: list[Any] = [
        lambda: CacheMigrator(tmp_path / "absent", database).migrate(),
        lambda: CacheMigrator(tmp_path / "code", database).migrate(),
        lambda: CacheMigrator(tmp_path / "notes", database).migrate(),
        lambda: CacheMigrator(cache.root, tmp_path / "notes").migrate(),
        lambda: CacheMigrator(cache.root, tmp_path / "code").migrate(),
        lambda: CacheMigrator(cache.root, tmp_path / "notes" / "cache.db").migrate(),
        lambda: CacheMigrator(cache.root, database).verify(),
        lambda: CacheMigrator(cache.root, database).backup(cache.root / "inside"),
        lambda: CacheMigrator(cache.root, database).backup(tmp_path / "no" / "where"),
        lambda: CacheMigrator(cache.root, database, jobs=0),
        lambda: CacheMigrator(cache.root, database, level=0),
        lambda: CacheMigrator(cache.root, database, cancelled=lambda: True).migrate(),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(RustAssistantError) as raised:
            call()
        assert raised.value.message, number
        assert raised.value.hint, raised.value.message
        assert str(raised.value) == raised.value.message


# Where things lie


def test_tilde_is_the_home_directory(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with CacheMigrator("~/repos", "~/new/cache.db") as migrator:
        assert migrator.source == cache.root
        assert migrator.backup() == tmp_path / "repos.backup"
        assert migrator.backup("~/elsewhere") == tmp_path / "elsewhere"
        migrator.migrate()
    assert (tmp_path / "new" / "cache.db").is_file()


def test_places_are_fixed_when_the_migrator_is_made(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    migrator = CacheMigrator("repos", "cache.db")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert migrator.migrate().total_migrated == 6
    assert (tmp_path / "cache.db").is_file()
    assert migrator.backup() == tmp_path / "repos.backup"
    assert list((tmp_path / "away").iterdir()) == []
    assert migrator.verify()


@pytest.mark.parametrize("kind", [str, Path, os.fspath])
def test_places_may_be_text_or_paths(cache: Cache, database: Path, kind: Any) -> None:
    assert CacheMigrator(kind(cache.root), kind(database)).migrate().total_migrated == 6


# Backups


def test_backup_goes_beside_the_source_and_equals_it(cache: Cache, database: Path) -> None:
    seen: list[tuple[int, int]] = []
    migrator = CacheMigrator(f"{cache.root}/", database)
    made = migrator.backup(progress=lambda done, total: seen.append((done, total)))
    assert made == migrator.backup_path == cache.root.with_name("repos.backup")
    assert snapshot(made) == snapshot(cache.root)
    total = sum(path.stat().st_size for path in cache.root.rglob("*") if path.is_file())
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


def test_backup_never_overwrites_an_earlier_one(cache: Cache, database: Path) -> None:
    migrator = CacheMigrator(cache.root, database)
    first = migrator.backup()
    kept = snapshot(first)
    cache.add("src/later.rs", repository="/home/dev/one")
    made = {first, migrator.backup(), migrator.backup()}
    assert len(made) == 3
    assert all(path.name.startswith("repos.backup") for path in made)
    assert snapshot(first) == kept
    assert all(snapshot(path) == snapshot(cache.root) for path in made - {first})


def test_backup_of_a_repository_leaves_its_code_out(tmp_path: Path, database: Path) -> None:
    repository = tmp_path / "code"
    cache = Cache(repository / ".rustassistant" / "cache")
    (cache.root / "docs").mkdir()
    (repository / "main.rs").write_bytes(b"fn main() {}\n")
    made = CacheMigrator(repository, database).backup()
    assert made == tmp_path / "code.backup"
    assert [path.name for path in made.iterdir()] == [".rustassistant"]
    assert snapshot(made / ".rustassistant") == snapshot(repository / ".rustassistant")


def test_backup_is_a_source_like_the_one_it_was_made_from(cache: Cache, database: Path) -> None:
    migrator = CacheMigrator(cache.root, database)
    made = migrator.backup()
    migrator.migrate()
    assert CacheMigrator(made, database).verify()


def test_backup_into_its_own_source_is_refused(cache: Cache, database: Path) -> None:
    before = snapshot(cache.root)
    with pytest.raises(BackupError, match="inside"):
        CacheMigrator(cache.root, database).backup(cache.root / "backup")
    assert snapshot(cache.root) == before


# Verifying


def test_verification_is_true_exactly_if_nothing_differs(cache: Cache, database: Path) -> None:
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    found = migrator.verify()
    assert found
    assert found.passed
    assert (found.compared, found.differences, found.failures) == (6, (), ())
    changed = cache.add(repository="/home/dev/two", cache_type="refactor", tokens_used=5)
    found = migrator.verify()
    assert not found
    assert not found.passed
    (difference,) = found.differences
    assert (difference.path, difference.cache_type) == (str(changed), "refactor")
    assert difference.what == "differs in tokens_used"
    assert found.compared == 6


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entries SET tokens_used = 5 WHERE id = 1",
        "UPDATE entries SET analyzed_at = analyzed_at + 1 WHERE id = 1",
        "UPDATE files SET size = 5 WHERE id = 1",
        "UPDATE entries SET result_digest = zeroblob(16) WHERE id = 1",
        "DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)",
    ],
)
def test_verification_finds_what_was_changed_in_the_database(
    cache: Cache, database: Path, sql: str
) -> None:
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    change(database, sql)
    assert not migrator.verify()


def test_verification_finds_what_was_never_migrated(cache: Cache, database: Path) -> None:
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    new = cache.add("src/later.rs", repository="/home/dev/one", cache_type="todos")
    (difference,) = migrator.verify().differences
    assert (difference.path, difference.cache_type) == (str(new), "todos")
    assert "missing" in difference.what


def test_verification_finds_damage(cache: Cache, database: Path) -> None:
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    change(database, "UPDATE entries SET result = zeroblob(9) WHERE result IS NOT NULL")
    found = migrator.verify()
    assert not found
    assert {one.what.partition(":")[0] for one in found.differences} == {
        "damaged in the destination"
    }


def test_verification_reads_the_source_again(cache: Cache, database: Path) -> None:
    settle(cache)
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    path = cache.add("src/old.rs", repository="/home/dev/one", cache_type="todos", tokens_used=9)
    settle(cache)
    (difference,) = migrator.verify().differences
    assert difference.path == str(path)


def test_more_in_the_database_than_in_the_source_is_no_difference(
    cache: Cache, database: Path
) -> None:
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    next(cache.root.rglob("src_old_rs.json")).unlink()
    found = migrator.verify()
    assert found
    assert found.compared == 5


def test_unreadable_files_are_told_but_are_no_difference(cache: Cache, database: Path) -> None:
    broken = cache.add("broken.rs", repository="/home/dev/one", text=b"")
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    found = migrator.verify()
    assert found
    assert [one.file_path for one in found.failures] == [str(broken)]


def test_verification_writes_nothing(cache: Cache, database: Path, tmp_path: Path) -> None:
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    before = snapshot(tmp_path)
    migrator.verify()
    assert snapshot(tmp_path) == before


def test_verification_tells_how_far_it_is(cache: Cache, database: Path) -> None:
    migrator = CacheMigrator(cache.root, database)
    migrator.migrate()
    seen: list[MigrationProgress] = []
    assert isinstance(migrator.verify(seen.append), Verification)
    assert [now.done for now in seen] == sorted(now.done for now in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].failed) == (6, 6, 0)


# Threads and event loops


def test_migration_can_be_awaited_from_a_thread(cache: Cache, database: Path) -> None:
    async def main() -> MigrationResult:
        with CacheMigrator(cache.root, database) as migrator:
            result = await asyncio.to_thread(migrator.migrate)
            assert await asyncio.to_thread(migrator.verify)
        return result

    assert asyncio.run(main()).total_migrated == 6


def test_several_threads_migrate_into_databases_of_their_own(cache: Cache, tmp_path: Path) -> None:
    meeting = threading.Barrier(4)

    def migrate(number: int) -> bool:
        with CacheMigrator(cache.root, tmp_path / f"{number}.db", level=1 + number) as migrator:
            meeting.wait()
            assert migrator.migrate().total_migrated == 6
            return bool(migrator.verify())

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(migrate, range(4)))


def test_several_threads_may_use_one_database_one_after_the_other(
    cache: Cache, database: Path
) -> None:
    meeting = threading.Barrier(3)

    def migrate(_: int) -> int:
        meeting.wait()
        return CacheMigrator(cache.root, database).migrate().total_migrated

    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(migrate, range(3))) == [0, 0, 6]
    assert CacheMigrator(cache.root, database).verify()


def test_script_without_a_main_guard_runs_once_even_with_workers(
    cache: Cache, database: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from rustassistant import CacheMigrator\n"
        "print('started')\n"
        "print(CacheMigrator(*sys.argv[1:3], jobs=2).migrate().total_migrated)\n"
    )
    done = subprocess.run(
        [sys.executable, script, cache.root, database], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("started\n6\n", "")


@pytest.mark.parametrize(("shared_disk", "refused"), [(True, True), (False, False)])
def test_backup_and_database_on_one_disk_need_room_for_both(
    cache: Cache, database: Path, monkeypatch: pytest.MonkeyPatch, shared_disk: bool, refused: bool
) -> None:
    size = sum(path.stat().st_size for path in cache.root.rglob("*/cache/*/*.json"))
    monkeypatch.setattr("rustassistant.stores.sqlite.SqliteStore.room", lambda _: size)
    devices = iter([1, 1 if shared_disk else 2])
    monkeypatch.setattr("rustassistant.migrate._device", lambda _: next(devices))
    migrator = CacheMigrator(cache.root, database)
    migrator.check()
    if refused:
        with pytest.raises(OutOfSpaceError, match="are missing"):
            migrator.check(backup=True)
    else:
        migrator.check(backup=True)
    assert not database.exists()
