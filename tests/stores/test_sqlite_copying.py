from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from rustassistant import CacheMigrator
from rustassistant.errors import (
    BackupError,
    DamagedError,
    ForeignFileError,
    LockedError,
    NewerFileError,
    NotFoundError,
)
from rustassistant.stores.renaming import rename_new
from rustassistant.stores.sqlite import copying
from rustassistant.stores.sqlite.copying import copy_database, put_in_place
from support import Cache

ENTRIES = 30

OTHER = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute(sys.argv[2]).fetchall()
print("ready", flush=True)
for line in sys.stdin:
    connection.execute(line.strip()).fetchall()
    print("done", flush=True)
"""


class Other:
    """Another process with the database open."""

    def __init__(self, path: Path, first: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(path), first],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._heard("ready")

    def run(self, sql: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(sql + "\n")
        self.process.stdin.flush()
        self._heard("done")

    def _heard(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == word + "\n"


@contextmanager
def other(path: Path, first: str = "SELECT count(*) FROM entries") -> Iterator[Other]:
    opened = Other(path, first)
    with opened.process:
        try:
            yield opened
        finally:
            opened.process.kill()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return filled(tmp_path / "cache.db", ENTRIES)


def filled(path: Path, entries: int) -> Path:
    cache = Cache(path.with_name(f"{path.name}-source"))
    for number in range(entries):
        text = {"text": os.urandom(1500).hex(), "number": number}
        cache.add(f"src/{number}.rs", content=b"%d" % number, result=text)
    assert CacheMigrator(cache.root, path, jobs=1).migrate().total_migrated == entries
    return path


def count(path: Path, table: str = "entries") -> int:
    with closing(apsw.Connection(str(path))) as connection:
        found: int = connection.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608
    return found


def spoil(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes in a file, and nothing else of it."""
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


# --- Copies.


def test_copy_has_every_entry_and_is_private(database: Path, tmp_path: Path) -> None:
    before = database.read_bytes()
    target = tmp_path / "copy.db"
    copied = copy_database(str(database), str(target))
    assert copied == (ENTRIES, target.stat().st_size, (), 0)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("copy.db?*")), "one file is all"
    with CacheMigrator(f"{database}-source", target) as migrator:
        assert migrator.verify().compared == ENTRIES
        assert migrator.migrate().total_migrated == 0
    assert database.read_bytes() == before


def test_copy_is_of_one_moment_while_another_process_writes(tmp_path: Path, database: Path) -> None:
    target = tmp_path / "copy.db"
    with other(database) as writer:
        writes = 0

        def progress(done: int, total: int) -> None:
            nonlocal writes
            writes += 1
            writer.run("INSERT INTO repositories (path) VALUES (hex(randomblob(9)))")

        copied = copy_database(str(database), str(target), progress)
        assert writes >= 3
        assert count(database, "repositories") == 1 + writes, "the writer was not kept waiting"
    assert copied.entries == ENTRIES
    assert count(target, "repositories") == 1


def test_copy_holds_what_is_in_the_log_only(tmp_path: Path, database: Path) -> None:
    target = tmp_path / "copy.db"
    with other(database, "PRAGMA wal_autocheckpoint=0") as writer:
        writer.run("INSERT INTO repositories (path) VALUES ('/in/the/log')")
        main = database.read_bytes()
        copy_database(str(database), str(target))
        assert database.read_bytes() == main, "it is in the log still"
    assert count(target, "repositories") == 2


def test_progress_counts_up_to_all(tmp_path: Path, database: Path) -> None:
    told: list[tuple[int, int]] = []
    copy_database(str(database), str(tmp_path / "copy.db"), lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] > 0
    assert len({total for _, total in told}) == 1


def test_nothing_is_copied_over_a_file(tmp_path: Path, database: Path) -> None:
    (tmp_path / "precious").write_bytes(b"kept")
    with pytest.raises(FileExistsError):
        copy_database(str(database), str(tmp_path / "precious"))
    assert (tmp_path / "precious").read_bytes() == b"kept"


@pytest.mark.parametrize("at_rest", [False, True])
def test_what_is_no_cache_is_refused(tmp_path: Path, at_rest: bool) -> None:
    target = str(tmp_path / "copy.db")

    def copy(source: Path) -> None:
        copy_database(str(source), target, at_rest=at_rest)

    with pytest.raises(NotFoundError):
        copy(tmp_path / "missing.db")
    (tmp_path / "text").write_bytes(b"SQLite format 3? No, a text." * 10)
    with pytest.raises(ForeignFileError):
        copy(tmp_path / "text")
    with closing(apsw.Connection(str(tmp_path / "other.db"))) as connection:
        connection.execute("CREATE TABLE birds (name)")
    with pytest.raises(ForeignFileError, match="of another program"):
        copy(tmp_path / "other.db")
    newer = filled(tmp_path / "newer.db", 1)
    with closing(apsw.Connection(str(newer))) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(NewerFileError):
        copy(newer)
    assert not os.path.exists(target)


def test_database_of_the_rust_program_is_copied_too(tmp_path: Path) -> None:
    source = tmp_path / "v1.db"
    with closing(apsw.Connection(str(source))) as connection:
        connection.execute("CREATE TABLE cache_entries (id INTEGER PRIMARY KEY, result_blob BLOB)")
        connection.execute("INSERT INTO cache_entries VALUES (1, x'00'), (2, x'01')")
    copied = copy_database(str(source), str(tmp_path / "copy.db"))
    assert copied.entries == 2
    assert count(tmp_path / "copy.db", "cache_entries") == 2


@pytest.mark.parametrize("at_rest", [False, True])
def test_damaged_page_is_found(tmp_path: Path, database: Path, at_rest: bool) -> None:
    data = bytearray(database.read_bytes())
    data[8192 : 2 * 8192] = b"\x5a" * 8192
    database.write_bytes(data)
    with pytest.raises(DamagedError, match=r"cache\.db is damaged"):
        copy_database(str(database), str(tmp_path / "copy.db"), at_rest=at_rest)


def test_damaged_index_is_found(tmp_path: Path, database: Path) -> None:
    """No row shows that: only SQLite's own check does."""
    with closing(apsw.Connection(str(database))) as connection:
        page: int = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'entries_by_folder'"
        ).get
    data = bytearray(database.read_bytes())
    data[page * 8192 - 1] ^= 1
    database.write_bytes(data)
    with pytest.raises(DamagedError, match="index entries_by_folder"):
        copy_database(str(database), str(tmp_path / "copy.db"))


def test_truncated_database_is_damaged(tmp_path: Path, database: Path) -> None:
    os.truncate(database, database.stat().st_size - 8192)
    with pytest.raises(DamagedError):
        copy_database(str(database), str(tmp_path / "copy.db"), at_rest=True)


def test_entry_that_cannot_be_read_is_named_and_copied_all_the_same(
    tmp_path: Path, database: Path
) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        frame: bytes = connection.execute("SELECT result FROM entries WHERE id = 7").get
    middle = len(frame) // 2
    piece = frame[middle : middle + 20]
    spoil(database, piece, bytes(byte ^ 1 for byte in piece))
    copied = copy_database(str(database), str(tmp_path / "copy.db"))
    assert (copied.entries, copied.damaged_count) == (ENTRIES, 1)
    assert "entry 7 " in copied.damaged[0]
    assert count(tmp_path / "copy.db") == ENTRIES


def test_copy_that_differs_is_refused(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that keeps something else than it was given."""
    real = copying._sync_file

    def sync(path: str) -> None:
        real(path)
        with closing(apsw.Connection(path)) as connection:
            connection.execute("UPDATE files SET path = 'elsewhere' WHERE id = 3")

    monkeypatch.setattr(copying, "_sync_file", sync)
    with pytest.raises(BackupError, match="differs from it in table files"):
        copy_database(str(database), str(tmp_path / "copy.db"))


def test_copy_at_rest_leaves_its_source_and_its_directory_untouched(
    tmp_path: Path, database: Path
) -> None:
    home = tmp_path / "medium"
    home.mkdir()
    source = Path(database.rename(home / "cache.db"))
    source.chmod(0o400)
    home.chmod(0o500)
    before = (source.read_bytes(), source.stat().st_mtime_ns, home.stat().st_mtime_ns)
    try:
        copy_database(str(source), str(tmp_path / "copy.db"), at_rest=True)
        assert os.listdir(home) == ["cache.db"]
    finally:
        home.chmod(0o700)
    assert (source.read_bytes(), source.stat().st_mtime_ns, home.stat().st_mtime_ns) == before


# --- Putting a copy in place.


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Another database, to be put in the place of the first."""
    return filled(tmp_path / "new.db", 3)


def place(new: Path, target: Path) -> Path:
    aside = target.with_name("aside.db")
    put_in_place(str(new), str(target), str(aside))
    return aside


def beside(path: Path) -> set[str]:
    return {name for name in os.listdir(path.parent) if not name.endswith("-source")}


def contents(path: Path) -> dict[str, bytes]:
    """All but shared memory, which SQLite makes anew."""
    names = (name for name in beside(path) if not name.endswith("-shm"))
    return {name: Path(path.parent, name).read_bytes() for name in names}


@pytest.fixture(params=["in one step", "one after the other"])
def exchanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "in one step":
        monkeypatch.setattr(copying, "exchange", lambda *_: False)


@pytest.mark.usefixtures("exchanging")
def test_old_database_is_kept_aside(database: Path, new: Path) -> None:
    old, fresh = database.read_bytes(), new.read_bytes()
    aside = place(new, database)
    assert (database.read_bytes(), aside.read_bytes()) == (fresh, old)
    assert beside(database) == {"cache.db", "aside.db"}


def test_free_place_is_taken_and_a_taken_one_refused(tmp_path: Path, new: Path) -> None:
    target = tmp_path / "fresh.db"
    fresh = new.read_bytes()
    put_in_place(str(new), str(target), None)
    assert target.read_bytes() == fresh
    again = filled(tmp_path / "again.db", 1)
    with pytest.raises(FileExistsError):
        put_in_place(str(again), str(target), None)
    assert target.read_bytes() == fresh
    assert again.exists()


def test_log_without_its_database_is_not_played_into_the_new_one(
    tmp_path: Path, database: Path, new: Path
) -> None:
    with other(database, "PRAGMA wal_autocheckpoint=0") as writer:
        writer.run("UPDATE entries SET tokens_used = 0")
    assert os.path.getsize(f"{database}-wal")
    database.unlink()
    put_in_place(str(new), str(database), None)
    assert count(database) == 3
    assert list(tmp_path.glob("cache.db-wal.orphan-*"))


@pytest.mark.usefixtures("exchanging")
def test_log_of_a_killed_writer_stays_with_the_old_one(database: Path, new: Path) -> None:
    with other(database, "PRAGMA wal_autocheckpoint=0") as writer:
        writer.run("INSERT INTO repositories (path) VALUES ('/in/the/log')")
    assert os.path.getsize(f"{database}-wal")
    aside = place(new, database)
    assert not os.path.exists(f"{aside}-wal"), "it was folded into it"
    assert count(aside, "repositories") == 2
    assert count(database, "repositories") == 1
    assert count(database) == 3


@pytest.mark.usefixtures("exchanging")
def test_log_of_a_damaged_one_goes_along_unread(
    database: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with other(database, "PRAGMA wal_autocheckpoint=0") as writer:
        writer.run("UPDATE entries SET tokens_used = 0")
    log = Path(f"{database}-wal").read_bytes()
    database.write_bytes(b"garbage" * 5000)
    aside = place(new, database)
    assert count(database) == 3
    assert aside.read_bytes() == b"garbage" * 5000
    assert Path(f"{aside}-wal").read_bytes() == log
    assert not os.path.exists(f"{database}-wal")


@pytest.mark.parametrize(
    "state", ["SELECT count(*) FROM entries", "BEGIN IMMEDIATE", "BEGIN; SELECT 1 FROM entries"]
)
def test_database_that_somebody_has_open_is_left_alone(
    database: Path, new: Path, state: str
) -> None:
    fresh, old = new.read_bytes(), database.read_bytes()
    with other(database, state) as holder:
        with pytest.raises(LockedError, match=f"process {holder.process.pid} ") as caught:
            place(new, database)
        assert "Nothing was changed" in caught.value.hint
        assert (database.read_bytes(), new.read_bytes()) == (old, fresh)
        assert not database.with_name("aside.db").exists()
    place(new, database)
    assert database.read_bytes() == fresh


def test_database_that_this_process_has_open_is_left_alone(database: Path, new: Path) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("SELECT count(*) FROM entries").fetchall()
        with pytest.raises(LockedError):
            place(new, database)
        assert connection.execute("SELECT count(*) FROM entries").get == ENTRIES
    place(new, database)


@pytest.mark.parametrize("at", range(3))
def test_failing_midway_puts_the_old_one_back(
    database: Path, new: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with other(database, "PRAGMA wal_autocheckpoint=0") as writer:
        writer.run("UPDATE entries SET tokens_used = 0")
    database.write_bytes(b"garbage" * 5000)
    before = contents(database)
    real, calls = rename_new, 0

    def failing(old: str, name: str) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise OSError(5, "Input/output error")
        real(old, name)

    monkeypatch.setattr(copying, "rename_new", failing)
    with pytest.raises(OSError, match="Input/output"):
        place(new, database)
    assert contents(database) == before
