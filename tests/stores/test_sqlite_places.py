"""Where a cache database may lie, who may have it, and what becomes of it when things go wrong."""

from __future__ import annotations

import builtins
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from rustassistant.entry import Entry
from rustassistant.errors import (
    DestinationError,
    ForeignFileError,
    LockedError,
    NewerFileError,
    NotFoundError,
    OutOfSpaceError,
    RustAssistantError,
    UnsafePlaceError,
)
from rustassistant.stores.sqlite import SqliteStore, connection, surroundings
from rustassistant.stores.sqlite.naming import errors_named
from stores.store_suite import (
    FOLDER,
    MIGRATED,
    UNCHANGED,
    entry_in,
    find,
    lookup,
    put,
    query_for,
    record_of,
)
from support import as_nobody, snapshot

KILLED: Final = -signal.SIGKILL
needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/locks"), reason="this system does not say who holds locks"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 10)


def exit_code_of(action: Callable[[], object]) -> int:
    """Run ``action`` in a child process: what it exits with, negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuses(error: type[RustAssistantError], store: SqliteStore) -> list[RustAssistantError]:
    """What the check beforehand and the writer itself raise; each must be of that very class."""
    raised = []
    new = entry_in(file_path="src/new.rs")
    for attempt in (store.check_writable, lambda: put(store, FOLDER, new)):
        with pytest.raises(error) as caught:
            attempt()
        assert type(caught.value) is error
        raised.append(caught.value)
    return raised


class TestOtherPeoplesFiles:
    def assert_left_alone(self, path: Path, error: type[RustAssistantError], message: str) -> None:
        before = snapshot(path.parent)
        store = SqliteStore(path)
        for raised in refuses(error, store):
            assert message in raised.message
            assert str(path) in raised.message
            assert raised.hint
        with pytest.raises(error, match=message):
            find(store, entry_in())
        assert snapshot(path.parent) == before

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_database_of_another_program_is_left_as_it_is(
        self, tmp_path: Path, journal: str
    ) -> None:
        path = tmp_path / "theirs.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA journal_mode={journal}")
            database.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY)")
            database.commit()
        self.assert_left_alone(path, ForeignFileError, "another program")

    def test_database_that_another_program_has_open_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "theirs.db"
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=wal")
            database.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY)")
            database.commit()
            self.assert_left_alone(path, ForeignFileError, "another program")

    @pytest.mark.parametrize("content", [b"x", b"{}" * 5000, b"SQLite format 3\0" + b"\xff" * 9000])
    def test_file_that_is_no_database_is_left_as_it_is(
        self, tmp_path: Path, content: bytes
    ) -> None:
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        self.assert_left_alone(path, ForeignFileError, "not a SQLite database")

    def test_empty_file_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.db"
        path.touch()
        self.assert_left_alone(path, ForeignFileError, "empty file")

    def test_database_of_a_newer_version_is_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "cache.db"
        put(SqliteStore(path), FOLDER, entry_in())
        with closing(apsw.Connection(os.fspath(path))) as database:
            database.pragma("user_version", 2)
        self.assert_left_alone(path, NewerFileError, "format 2")

    def test_directory_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "directory"
        path.mkdir()
        self.assert_left_alone(path, DestinationError, "is a directory")
        with pytest.raises(DestinationError) as caught:
            SqliteStore(path).check_writable()
        assert str(path / "cache.db") in caught.value.hint

    def test_pipe_is_refused_without_waiting_for_its_other_end(self, tmp_path: Path) -> None:
        path = tmp_path / "pipe"
        os.mkfifo(path)
        self.assert_left_alone(path, ForeignFileError, "not a regular file")

    @pytest.mark.parametrize("mode", [0o644, 0o755])
    @pytest.mark.parametrize("below", ["cache.db", "sub/cache.db"])
    def test_place_below_a_file_is_refused(self, tmp_path: Path, mode: int, below: str) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"theirs")
        file.chmod(mode)
        before = snapshot(tmp_path)
        for raised in refuses(DestinationError, SqliteStore(file / below)):
            assert f"{file} is a file, not a directory" in raised.message
        with pytest.raises(NotFoundError):
            find(SqliteStore(file / below), entry_in())
        assert snapshot(tmp_path) == before

    def test_link_to_a_file_that_is_not_there_yet_is_followed(self, tmp_path: Path) -> None:
        path = tmp_path / "cache.db"
        path.symlink_to("nowhere.db")
        assert put(SqliteStore(path), FOLDER, entry_in()) == MIGRATED
        assert sorted(os.listdir(tmp_path)) == ["cache.db", "nowhere.db"]
        assert path.readlink() == Path("nowhere.db")


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "größe.db",
            "日本語.db",
            "a b?mode=ro#%41%00&.db",
            "line\nand\ttab.db",
            "'quoted\".db",
            "-journal",
            "x" * 200 + ".db",
        ],
    )
    def test_any_name_can_be_opened_again(self, tmp_path: Path, name: str) -> None:
        store, entry = SqliteStore(tmp_path / "größer" / name), entry_in()
        assert put(store, FOLDER, entry) == MIGRATED
        store.check_writable()
        assert put(store, FOLDER, entry) == UNCHANGED
        assert find(store, entry) == [entry]
        assert name in os.listdir(tmp_path / "größer")

    def test_name_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"caf\xe9.db")
        store, entry = SqliteStore(tmp_path / name), entry_in()
        for raised in refuses(DestinationError, store):
            assert "not UTF-8" in raised.message
        (tmp_path / name).touch()
        with pytest.raises(DestinationError, match="not UTF-8"):
            find(store, entry)

    def test_missing_directories_are_made(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "c" / "cache.db"
        store = SqliteStore(path)
        store.check_writable()
        assert os.listdir(tmp_path) == []
        assert put(store, FOLDER, entry_in()) == MIGRATED
        assert os.listdir(path.parent) == ["cache.db"]

    def test_link_to_a_database_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        link = tmp_path / "cache.db"
        put(SqliteStore(tmp_path / "real" / "cache.db"), FOLDER, entry_in())
        link.symlink_to("real/cache.db")
        assert put(SqliteStore(link), FOLDER, entry_in()) == UNCHANGED
        assert find(SqliteStore(link), entry_in()) == [entry_in()]
        assert link.is_symlink()

    def test_database_that_does_not_exist_is_not_made_by_looking(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "none" / "cache.db")
        with pytest.raises(NotFoundError, match=r"cache\.db") as caught:
            find(store, entry_in())
        assert caught.value.exit_code == 10
        assert store.info().size == 0
        assert (store.room() or 0) > 0
        assert os.listdir(tmp_path) == []


class TestPermissions:
    """Root may do anything, so these give root's rights up where they have them."""

    @pytest.fixture
    def place(self) -> Iterator[Path]:
        """A directory that others can reach, which pytest's own are not."""
        with tempfile.TemporaryDirectory() as name:
            place = Path(name)
            place.chmod(0o711)
            yield place
            for directory in place.iterdir():
                directory.chmod(0o700)  # else only root could remove what is in it

    @pytest.fixture
    def entry(self) -> Entry:
        return entry_in()

    def assert_refused(self, path: Path, hint: str) -> None:
        def attempt() -> None:
            for raised in refuses(DestinationError, SqliteStore(path)):
                assert str(path.parent) in raised.message
                assert hint in raised.hint

        before = snapshot(path.parent.parent)
        as_nobody(attempt)
        assert snapshot(path.parent.parent) == before

    def test_read_only_directory_is_refused(self, place: Path) -> None:
        directory = place / "read-only"
        directory.mkdir()
        directory.chmod(0o555)
        self.assert_refused(directory / "cache.db", f"{directory} is read-only for you")

    def test_directory_that_would_have_to_be_made_in_a_read_only_one_is_refused(
        self, place: Path
    ) -> None:
        directory = place / "read-only"
        directory.mkdir()
        directory.chmod(0o555)
        self.assert_refused(directory / "sub" / "cache.db", f"{directory} is read-only for you")

    def test_read_only_file_is_refused(self, place: Path, entry: Entry) -> None:
        path = place / "open" / "cache.db"
        put(SqliteStore(path), FOLDER, entry)
        path.parent.chmod(0o777)
        path.chmod(0o444)
        self.assert_refused(path, "The file is read-only for you")

    def test_database_in_a_read_only_directory_cannot_be_written(
        self, place: Path, entry: Entry
    ) -> None:
        path = place / "closed" / "cache.db"
        put(SqliteStore(path), FOLDER, entry)
        path.chmod(0o666)
        path.parent.chmod(0o555)
        self.assert_refused(path, f"{path.parent} is read-only for you")

    @pytest.mark.parametrize(("file_mode", "directory_mode"), [(0o444, 0o555)])
    def test_database_that_cannot_be_written_can_be_read(
        self, place: Path, entry: Entry, file_mode: int, directory_mode: int
    ) -> None:
        path = place / "shared" / "cache.db"
        put(SqliteStore(path), FOLDER, entry)
        path.chmod(file_mode)
        path.parent.chmod(directory_mode)
        before = snapshot(path.parent)

        def read() -> None:
            assert find(SqliteStore(path), entry) == [entry]
            assert lookup(SqliteStore(path), query_for(entry)) == entry

        as_nobody(read)
        assert snapshot(path.parent) == before

    def test_database_that_cannot_even_be_read_is_refused(self, place: Path, entry: Entry) -> None:
        path = place / "open" / "cache.db"
        put(SqliteStore(path), FOLDER, entry)
        path.parent.chmod(0o777)
        path.chmod(0o000)

        def attempt() -> None:
            store = SqliteStore(path)
            refuses(DestinationError, store)
            with pytest.raises(DestinationError, match=r"cache\.db"):
                find(store, entry)

        as_nobody(attempt)

    def test_directory_that_cannot_be_listed_is_no_surprise(
        self, place: Path, entry: Entry
    ) -> None:
        directory = place / "drop-box"
        directory.mkdir()
        directory.chmod(0o333)

        def attempt() -> None:
            # Working there would be as good as refusing; falling over is not.
            with suppress(DestinationError):
                assert put(SqliteStore(directory / "cache.db"), FOLDER, entry) == MIGRATED

        as_nobody(attempt)


_HOLD: Final = """
import apsw, sys
database = apsw.Connection(sys.argv[1])
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
database.execute("ROLLBACK")
database.close()
"""


class TestLocks:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        put(SqliteStore(tmp_path / "cache.db"), FOLDER, entry_in())
        return tmp_path / "cache.db"

    @contextmanager
    def held(self, path: Path) -> Iterator[int]:
        """Another process holds the write lock; its id."""
        command = [sys.executable, "-c", _HOLD, os.fspath(path)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            yield holder.pid
            holder.communicate("")
        assert holder.returncode == 0

    @needs_proc
    def test_process_that_holds_the_lock_is_named(self, path: Path) -> None:
        store = SqliteStore(path)
        with self.held(path) as pid:
            if f" {pid} " not in Path("/proc/locks").read_text(encoding="ascii"):
                pytest.skip("this kernel does not show that process's locks")
            with pytest.raises(LockedError) as caught, store.writer():
                pytest.fail("a second writer was let in")
            holder = surroundings.lock_holder(os.fspath(path))
        assert caught.value.exit_code == 11
        assert str(path) in caught.value.message
        assert f"process {pid} (" in caught.value.message
        assert holder.startswith(f"process {pid} ({sys.executable} -c")

    def test_locked_database_can_be_read_meanwhile_and_written_afterwards(self, path: Path) -> None:
        store = SqliteStore(path)
        with self.held(path):
            assert find(store, entry_in()) == [entry_in()]
            with pytest.raises(LockedError):
                put(store, FOLDER, entry_in(file_path="new.rs"))
            store.check_writable()  # a lock may be gone by the time it matters
        assert put(store, FOLDER, entry_in(file_path="new.rs")) == MIGRATED

    def test_lock_that_goes_in_time_is_waited_for(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 60_000)
        outcomes = []

        def wait() -> None:
            outcomes.append(put(SqliteStore(path), FOLDER, entry_in(file_path="late.rs")))

        waiting = threading.Thread(target=wait)
        with SqliteStore(path).writer() as writer:
            writer.put(FOLDER, [record_of(entry_in(file_path="early.rs"))])
            waiting.start()
        waiting.join()
        assert outcomes == [MIGRATED]

    @needs_proc
    def test_lock_that_nobody_holds_names_nobody(self, path: Path) -> None:
        assert surroundings.lock_holder(os.fspath(path)) == "another process"
        assert surroundings.lock_holder(os.fspath(path.with_name("none"))) == "another process"

    @needs_proc
    def test_lock_of_another_file_is_not_blamed(self, path: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.db"
        put(SqliteStore(other), FOLDER, entry_in())
        with self.held(other):
            assert surroundings.lock_holder(os.fspath(path)) == "another process"


class TestFullDisk:
    def fill(self, store: SqliteStore, limit: Callable[[Any], None]) -> list[Entry]:
        """Put until the disk is full; what was committed before that."""
        committed: list[Entry] = []

        def work() -> None:
            with store.writer() as writer:
                limit(writer)
                for number in range(100):
                    entry = _large_entry(number)
                    writer.put(FOLDER, [record_of(entry)])
                    writer.commit()
                    committed.append(entry)

        with pytest.raises(OutOfSpaceError, match="full") as caught:
            work()
        assert "run the same command again" in caught.value.hint
        assert 0 < len(committed) < 100
        return committed

    def assert_goes_on(self, store: SqliteStore, committed: list[Entry]) -> None:
        with closing(apsw.Connection(store.path)) as database:
            assert database.pragma("integrity_check") == "ok"
            assert database.execute("SELECT count(*) FROM entries").get == len(committed)
        for entry in committed:
            assert find(store, entry) == [entry]

    def test_what_was_committed_before_the_disk_was_full_stays(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "cache.db")
        committed = self.fill(
            store, lambda writer: writer._connection.pragma("max_page_count", 200)
        )
        self.assert_goes_on(store, committed)
        again = [_large_entry(number) for number in range(len(committed) + 2)]
        outcomes = put(store, FOLDER, *again)
        assert (outcomes.unchanged, outcomes.migrated) == (len(committed), 2)

    def test_batch_too_large_for_the_disk_is_not_there_in_part(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "cache.db")
        first, *others = [_large_entry(number) for number in range(20)]
        put(store, FOLDER, first)

        def work() -> None:
            with store.writer() as writer:
                writer._connection.pragma("max_page_count", 60)
                writer.put(FOLDER, [record_of(entry) for entry in others])

        with pytest.raises(OutOfSpaceError):
            work()
        self.assert_goes_on(store, [first])
        assert find(store, others[0]) == []

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", os.fspath(disk)]
        try:
            done = subprocess.run(mount, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode != 0:
            pytest.skip("only root may mount a small disk, and not everywhere")
        yield disk
        subprocess.run(["umount", os.fspath(disk)], check=True)

    def test_small_disk_keeps_what_was_committed(self, small_disk: Path) -> None:
        store = SqliteStore(small_disk / "cache.db")
        put(store, FOLDER, entry_in())
        committed = self.fill(store, lambda writer: None)
        self.assert_goes_on(store, [entry_in(), *committed])

    def test_database_is_not_made_in_part_on_a_full_disk(self, small_disk: Path) -> None:
        (small_disk / "filler").write_bytes(b"x" * (2**20 - 3 * 4096))
        with pytest.raises(OutOfSpaceError, match=r"cache\.db"):
            put(SqliteStore(small_disk / "cache.db"), FOLDER, entry_in())
        assert os.listdir(small_disk) == ["filler"]
        (small_disk / "filler").unlink()
        assert put(SqliteStore(small_disk / "cache.db"), FOLDER, entry_in()) == MIGRATED


def _large_entry(number: int) -> Entry:
    noise = b"".join(hashlib.sha256(b"%d %d" % (number, i)).digest() for i in range(1000))
    return entry_in(file_path=f"{number}.rs", result=noise)


class TestSuddenDeath:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "cache.db"

    @pytest.mark.parametrize("existed", [False, True])
    def test_killed_between_put_and_commit_leaves_the_last_commit(
        self, path: Path, existed: bool
    ) -> None:
        entries = [entry_in(file_path=f"{number}.rs") for number in range(3)]
        if existed:
            put(SqliteStore(path), FOLDER, entries[0])

        def work() -> None:
            with SqliteStore(path).writer() as writer:
                writer.put(FOLDER, [record_of(entry) for entry in entries[:2]])
                writer.commit()
                writer.put(FOLDER, [record_of(entries[2])])
                die()

        assert exit_code_of(work) == KILLED
        store = SqliteStore(path)
        assert [find(store, entry) for entry in entries] == [[entries[0]], [entries[1]], []]
        assert put(store, FOLDER, *entries).migrated == 1
        with closing(apsw.Connection(os.fspath(path))) as database:
            assert database.pragma("integrity_check") == "ok"
        assert os.listdir(path.parent) == ["cache.db"]

    def test_killed_while_spilling_a_large_batch_leaves_the_last_commit(self, path: Path) -> None:
        entries = [_large_entry(number) for number in range(40)]
        put(SqliteStore(path), FOLDER, entries[0])

        def work() -> None:
            with SqliteStore(path).writer() as writer:
                writer._connection.pragma("cache_size", 10)  # so that pages reach the log early
                writer.put(FOLDER, [record_of(entry) for entry in entries])
                die()

        assert exit_code_of(work) == KILLED
        assert path.with_name("cache.db-wal").stat().st_size > 500_000
        store = SqliteStore(path)
        assert find(store, entries[0]) == [entries[0]]
        assert find(store, entries[1]) == []
        assert put(store, FOLDER, *entries).migrated == 39

    def test_killed_in_the_middle_of_a_checkpoint_loses_nothing(self, path: Path) -> None:
        entries = [_large_entry(number) for number in range(5)]
        with SqliteStore(path).writer() as writer:
            writer.put(FOLDER, [record_of(entry) for entry in entries])
            writer.commit()
            database = bytearray(path.read_bytes())
            log = path.with_name("cache.db-wal").read_bytes()
        # The first page has gone from the log into the file, which says how long the file will
        # be; the pages after it have not. https://www.sqlite.org/fileformat2.html#walformat
        frames = range(32, len(log) - 24 - 8191, 24 + 8192)
        first_page = [at for at in frames if int.from_bytes(log[at : at + 4], "big") == 1]
        database[:8192] = log[first_page[-1] + 24 : first_page[-1] + 24 + 8192]
        assert int.from_bytes(database[28:32], "big") * 8192 > len(database)
        died = path.parent / "died" / "cache.db"
        died.parent.mkdir()
        died.write_bytes(database)
        died.with_name("cache.db-wal").write_bytes(log)
        assert [find(SqliteStore(died), entry) for entry in entries] == [[one] for one in entries]
        SqliteStore(died).check_writable()
        assert put(SqliteStore(died), FOLDER, *entries).unchanged == 5

    def test_killed_while_creating_leaves_no_half_file(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "rename", die)
        assert exit_code_of(lambda: put(SqliteStore(path), FOLDER, entry_in())) == KILLED
        monkeypatch.undo()
        (leftover,) = os.listdir(path.parent)
        assert leftover.startswith(".cache.db.new-")
        with pytest.raises(NotFoundError):
            find(SqliteStore(path), entry_in())
        assert put(SqliteStore(path), FOLDER, entry_in()) == MIGRATED
        assert os.listdir(path.parent) == ["cache.db"]

    def test_leftovers_of_the_dead_are_removed_and_nothing_else(self, path: Path) -> None:
        dead = os.fork()
        if dead == 0:
            os._exit(0)
        os.waitpid(dead, 0)
        alive = os.getppid()
        kept = [
            f".cache.db.new-{alive}",
            f".other.db.new-{dead}",
            f".cache.db.old-{dead}",
            ".cache.db.new-",
            ".cache.db.new-x",
        ]
        gone = [f".cache.db.new-{dead}", f".cache.db.new-{dead}-journal"]
        for name in kept + gone:
            (path.parent / name).write_bytes(b"left over")
        put(SqliteStore(path), FOLDER, entry_in())
        assert sorted(os.listdir(path.parent)) == sorted(["cache.db", *kept])

    def test_leftover_of_a_process_with_our_id_is_not_in_the_way(self, path: Path) -> None:
        # In a container, each run has the same process id.
        (path.parent / f".cache.db.new-{os.getpid()}").write_bytes(b"left over")
        assert put(SqliteStore(path), FOLDER, entry_in()) == MIGRATED
        assert os.listdir(path.parent) == ["cache.db"]


class TestCreation:
    def test_log_of_a_database_that_was_removed_is_not_played_into_a_new_one(
        self, path: Path
    ) -> None:
        put(SqliteStore(path), FOLDER, entry_in(file_path="removed.rs"))
        shutil.copy(path, path.with_name("other.db"))
        with closing(apsw.Connection(str(path))) as database:
            database.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
            log = path.with_name("cache.db-wal").read_bytes()
        path.unlink()
        path.with_name("cache.db-wal").write_bytes(log)
        assert put(SqliteStore(path), FOLDER, entry_in()) == MIGRATED
        assert find(SqliteStore(path), entry_in()) == [entry_in()]
        with closing(apsw.Connection(str(path))) as database:
            assert database.pragma("integrity_check") == "ok"
        [aside] = path.parent.glob("cache.db-wal.orphan-*")
        assert aside.read_bytes() == log

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "cache.db"

    def test_file_that_another_made_meanwhile_is_used(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        theirs, ours = entry_in(file_path="theirs.rs"), entry_in(file_path="ours.rs")

        lock = fcntl.flock

        def lock_late(descriptor: int, operation: int) -> None:
            monkeypatch.undo()
            assert exit_code_of(lambda: put(SqliteStore(path), FOLDER, theirs)) == 0
            lock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", lock_late)
        assert put(SqliteStore(path), FOLDER, ours) == MIGRATED
        assert os.listdir(path.parent) == ["cache.db"]
        assert find(SqliteStore(path), theirs) == [theirs]
        assert find(SqliteStore(path), ours) == [ours]

    def test_processes_that_create_it_at_once_all_keep_their_entries(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 60_000)
        entries = [entry_in(file_path=f"{number}.rs") for number in range(4)]
        start_read, start_write = os.pipe()
        children = []
        for entry in entries:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.close(start_write)
                    os.read(start_read, 1)  # returns when the parent closes the other end
                    put(SqliteStore(path), FOLDER, entry)
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            children.append(child)
        os.close(start_write)
        os.close(start_read)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
        assert [find(SqliteStore(path), entry) for entry in entries] == [[one] for one in entries]

    @pytest.mark.parametrize("reason", [errno.EPERM, errno.ENOTSUP])
    def test_file_system_without_hard_links_will_do(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
    ) -> None:
        def no_links(*_: object) -> None:
            raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr(os, "link", no_links)
        assert put(SqliteStore(path), FOLDER, entry_in()) == MIGRATED
        assert os.listdir(path.parent) == ["cache.db"]
        assert find(SqliteStore(path), entry_in()) == [entry_in()]


class TestNetworkFileSystems:
    """What /proc/self/mountinfo would say on machines with other disks than this one's."""

    LOCAL: Final = b"21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"

    @pytest.fixture
    def mounts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
        pretended = tmp_path / "mountinfo"

        def open_(file: str, *args: Any, **kwargs: Any) -> Any:
            place = pretended if file == "/proc/self/mountinfo" else file
            return builtins.open(place, *args, **kwargs)

        def pretend(lines: bytes) -> None:
            pretended.write_bytes(self.LOCAL + lines)
            monkeypatch.setattr(surroundings, "open", open_, raising=False)

        return pretend

    def line(self, point: bytes, kind: bytes = b"nfs4", options: bytes = b"shared:7") -> bytes:
        return b"40 21 0:44 / %s rw,relatime %s - %s server:/export rw\n" % (point, options, kind)

    @pytest.mark.parametrize(
        "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuse.rclone", "ceph", "lustre"]
    )
    def test_network_file_system_is_refused(
        self, tmp_path: Path, mounts: Callable[[bytes], None], kind: str
    ) -> None:
        place = tmp_path / "far"
        place.mkdir()
        mounts(self.line(os.fsencode(place), kind.encode()))
        for raised in refuses(UnsafePlaceError, SqliteStore(place / "sub" / "cache.db")):
            assert kind in raised.message
            assert "local disk" in raised.hint
        assert os.listdir(place) == []

    @pytest.mark.parametrize("kind", [b"ext4", b"btrfs", b"xfs", b"zfs", b"tmpfs", b"overlay"])
    def test_local_file_system_is_taken(
        self, tmp_path: Path, mounts: Callable[[bytes], None], kind: bytes
    ) -> None:
        mounts(self.line(os.fsencode(tmp_path), kind))
        assert surroundings.network_file_system(os.fspath(tmp_path)) is None

    def test_innermost_mount_decides(self, mounts: Callable[[bytes], None]) -> None:
        mounts(self.line(b"/far") + self.line(b"/far/near", b"ext4") + self.line(b"/f"))
        kind = surroundings.network_file_system
        assert kind("/far/cache") == "nfs4"
        assert kind("/far") == "nfs4"
        assert kind("/far/near/cache") is None
        assert kind("/farther") is None
        assert kind("/") is None

    def test_later_mount_over_the_same_place_decides(self, mounts: Callable[[bytes], None]) -> None:
        mounts(self.line(b"/a") + self.line(b"/a", b"ext4"))
        assert surroundings.network_file_system("/a/b") is None

    def test_root_on_the_network_is_seen(self, mounts: Callable[[bytes], None]) -> None:
        mounts(self.line(b"/"))
        assert surroundings.network_file_system("/anywhere") == "nfs4"

    @pytest.mark.parametrize(
        ("point", "path"),
        [
            (b"/with\\040space\\134slash", "/with space\\slash/cache"),
            (b"/with\\011tab\\012line", "/with\ttab\nline/cache"),
            ("/größe/日本".encode(), "/größe/日本/cache"),
            (b"/caf\xe9", os.fsdecode(b"/caf\xe9/cache")),
        ],
    )
    def test_mount_points_with_odd_names_are_seen(
        self, mounts: Callable[[bytes], None], point: bytes, path: str
    ) -> None:
        mounts(self.line(point))
        assert surroundings.network_file_system(path) == "nfs4"

    @pytest.mark.parametrize("options", [b"", b"master:3 propagate_from:2", b"shared:1 master:2"])
    def test_optional_fields_are_skipped(
        self, mounts: Callable[[bytes], None], options: bytes
    ) -> None:
        text = self.line(b"/far", options=options)
        mounts(text if options else text.replace(b"  -", b" -"))
        assert surroundings.network_file_system("/far/cache") == "nfs4"

    def test_mount_elsewhere_with_an_odd_name_stops_nobody(
        self, tmp_path: Path, mounts: Callable[[bytes], None]
    ) -> None:
        mounts(self.line(b"/media/caf\xe9"))
        assert put(SqliteStore(tmp_path / "cache.db"), FOLDER, entry_in()) == MIGRATED

    def test_link_into_a_network_file_system_is_seen(
        self, tmp_path: Path, mounts: Callable[[bytes], None]
    ) -> None:
        (tmp_path / "far").mkdir()
        (tmp_path / "link").symlink_to("far")
        mounts(self.line(os.fsencode(tmp_path / "far")))
        refuses(UnsafePlaceError, SqliteStore(tmp_path / "link" / "cache.db"))

    def test_file_that_is_a_link_into_a_network_file_system_is_seen(
        self, tmp_path: Path, mounts: Callable[[bytes], None]
    ) -> None:
        put(SqliteStore(tmp_path / "far" / "cache.db"), FOLDER, entry_in())
        (tmp_path / "cache.db").symlink_to("far/cache.db")
        mounts(self.line(os.fsencode(tmp_path / "far")))
        refuses(UnsafePlaceError, SqliteStore(tmp_path / "cache.db"))

    def test_system_that_lists_no_mounts_stops_nobody(
        self, tmp_path: Path, mounts: Callable[[bytes], None]
    ) -> None:
        mounts(b"")
        (tmp_path / "mountinfo").unlink()
        assert surroundings.network_file_system(os.fspath(tmp_path)) is None


class TestBadDisk:
    """What can't even be looked at is not to be taken for what is not there."""

    @pytest.fixture
    def unseen(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
        """Let looking at a path fail."""

        def failing(real: Any, bad: Path) -> Any:
            def fails(path: Any, *args: Any, **options: Any) -> Any:
                if not isinstance(path, int) and os.fsdecode(path) == str(bad):
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return real(path, *args, **options)

            return fails

        def fail(bad: Path) -> None:
            for name in ("stat", "lstat"):
                monkeypatch.setattr(os, name, failing(getattr(os, name), bad))

        return fail

    def test_database_that_cannot_be_found_is_not_made_anew(
        self, tmp_path: Path, unseen: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, path = SqliteStore(tmp_path / "cache.db"), tmp_path / "cache.db"
        put(store, FOLDER, entry_in())
        before = snapshot(tmp_path)
        unseen(path)
        with pytest.raises(DestinationError):
            put(store, FOLDER, entry_in(file_path="new.rs"))
        monkeypatch.undo()
        assert snapshot(tmp_path) == before

    def test_log_that_is_gone_when_its_size_is_asked_for_has_none(
        self, tmp_path: Path, unseen: Callable[[Path], None]
    ) -> None:
        store = SqliteStore(tmp_path / "cache.db")
        put(store, FOLDER, entry_in())
        size = store.info().size
        unseen(tmp_path / "cache.db-wal")
        assert store.info().size == size
        assert put(store, FOLDER, entry_in(file_path="new.rs")) == MIGRATED

    @pytest.mark.parametrize(
        ("number", "expected"),
        [(errno.ENOSPC, OutOfSpaceError), (errno.EIO, DestinationError)],
    )
    def test_what_the_system_says_of_a_database_is_told_as_an_error_of_ours(
        self, tmp_path: Path, number: int, expected: type[RustAssistantError]
    ) -> None:
        with (
            pytest.raises(expected, match=r"cache\.db") as raised,
            errors_named(str(tmp_path / "cache.db")),
        ):
            raise OSError(number, os.strerror(number))
        assert type(raised.value) is expected
