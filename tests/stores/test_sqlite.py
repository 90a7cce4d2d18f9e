"""The SQLite store keeps the promises of every store, and those of its file format."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, cast

import apsw
import msgspec
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rustassistant.codec import MAGIC, MAX_TEXT_BYTES, Encoder
from rustassistant.entry import Entry, full_key
from rustassistant.errors import DamagedError, DestinationError, RustAssistantError
from rustassistant.stores.base import Destination, Folder, Query, Repository
from rustassistant.stores.sqlite import SqliteStore, connection
from rustassistant.stores.sqlite import writer as sqlite_writer
from rustassistant.stores.sqlite.connection import open_for_writing
from rustassistant.stores.sqlite.rows import checked
from stores.store_suite import (
    DICTIONARY,
    FLAT,
    FOLDER,
    HOME,
    INT64,
    MIGRATED,
    UNCHANGED,
    DestinationSuite,
    entry_in,
    find,
    given_back,
    kept_entry,
    known,
    lookup,
    put,
    query_for,
    record_of,
)

V1_COLUMNS: Final = [
    "id", "cache_type", "repo_path", "file_path", "file_hash", "cache_key", "provider", "model",
    "prompt_hash", "schema_version", "result_blob", "tokens_used", "file_size", "created_at",
    "last_accessed", "access_count",
]  # fmt: skip

needs_strict = pytest.mark.skipif(
    sqlite3.sqlite_version_info < (3, 37), reason="this Python's SQLite knows no STRICT tables"
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a lock shows nothing that refusing at once does not."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def store(path: Path) -> SqliteStore:
    return SqliteStore(path)


class TestSqliteStore(DestinationSuite):
    def make_store(self, tmp_path: Path) -> Destination:
        return SqliteStore(tmp_path / "cache.db")

    def reopen(self, store: Destination) -> Destination:
        return SqliteStore(cast("SqliteStore", store).path)


def ask(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows, by a program that knows nothing of ours."""
    with closing(apsw.Connection(os.fspath(path))) as database:
        return cast("list[tuple[Any, ...]]", database.execute(sql, values).fetchall())


def tamper(path: Path, sql: str, *values: Any) -> None:
    with closing(apsw.Connection(os.fspath(path))) as database:
        database.execute("PRAGMA foreign_keys=OFF")
        database.execute(sql, values)
        assert database.changes() == 1, "the row to be damaged is not there"


def files_beside(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


def noise(size: int) -> bytes:
    """Bytes that don't compress."""
    return b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(size // 32))


def put_with_dictionary(store: SqliteStore, *entries: Entry) -> None:
    with store.writer() as writer:
        encoder = Encoder(dictionaries=[writer.add_dictionary("docs", DICTIONARY)])
        writer.put(FOLDER, [record_of(entry, by=encoder) for entry in entries])


class TestFile:
    def test_file_says_what_it_is(self, store: SqliteStore, path: Path) -> None:
        put(store, FOLDER, entry_in())
        raw = path.read_bytes()
        assert raw[:16] == b"SQLite format 3\0"
        assert int.from_bytes(raw[16:18], "big") == 8192  # page size
        assert raw[18:20] == b"\2\2"  # write-ahead log
        assert int.from_bytes(raw[60:64], "big") == 1  # user_version
        assert raw[68:72] == b"RuAs"

    def test_every_table_is_strict(self, store: SqliteStore, path: Path) -> None:
        put(store, FOLDER, entry_in())
        tables = ask(
            path,
            "SELECT name, strict FROM pragma_table_list"
            " WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'",
        )
        assert dict(tables).keys() >= {"repositories", "folders", "files", "entries", "copies"}
        assert set(dict(tables).values()) == {1}

    def test_file_is_sound(self, store: SqliteStore, path: Path) -> None:
        put(store, FOLDER, *(entry_in(file_path=f"{i}.rs") for i in range(50)), kept_entry())
        put(store, FLAT, entry_in(file_path="1.rs"))
        assert ask(path, "PRAGMA integrity_check") == [("ok",)]
        assert ask(path, "PRAGMA foreign_key_check") == []

    @pytest.mark.parametrize("umask", [0o000, 0o077, 0o022])
    def test_file_and_the_directories_made_for_it_are_private(
        self, tmp_path: Path, umask: int
    ) -> None:
        before = os.umask(umask)
        try:
            path = tmp_path / "made" / "too" / "cache.db"
            store = SqliteStore(path)
            with store.writer() as writer:
                writer.put(FOLDER, [record_of(entry_in())])
                writer.commit()
                while_open = {file.name: _mode(file) for file in path.parent.iterdir()}
        finally:
            os.umask(before)
        assert while_open == dict.fromkeys(["cache.db", "cache.db-wal", "cache.db-shm"], 0o600)
        assert _mode(path) == 0o600
        assert _mode(path.parent) == _mode(path.parent.parent) == 0o700

    def test_nothing_lies_beside_the_file_after_writing(
        self, store: SqliteStore, path: Path
    ) -> None:
        put(store, FOLDER, entry_in())
        assert files_beside(path) == ["cache.db"]

    def test_nothing_lies_beside_the_file_after_reading(
        self, store: SqliteStore, path: Path
    ) -> None:
        entry = entry_in()
        put(store, FOLDER, entry)
        before = path.read_bytes(), path.stat().st_mtime_ns
        assert find(store, entry) == [entry]
        assert files_beside(path) == ["cache.db"]
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before

    def test_second_run_over_the_same_does_not_write_a_byte(
        self, store: SqliteStore, path: Path
    ) -> None:
        entries = [entry_in(), kept_entry()]
        put(store, FOLDER, *entries)
        put_with_dictionary(store, *entries)
        os.utime(path, ns=(1, 1))
        before = path.read_bytes()
        put_with_dictionary(store, *entries)
        assert known(store) == {"src_lib_rs.json": [1, 1]}
        with store.writer() as writer:
            writer.put(FOLDER, [record_of(entry) for entry in entries])
            assert len(writer.dictionaries()) == 1
            writer.commit()
        assert path.stat().st_mtime_ns == 1
        assert path.read_bytes() == before
        assert files_beside(path) == ["cache.db"]

    def test_asking_what_is_known_of_a_new_folder_does_not_write_a_byte(
        self, store: SqliteStore, path: Path
    ) -> None:
        put(store, FOLDER, entry_in())
        before = path.read_bytes()
        assert known(store, Folder(Repository("/new"), "docs", "local")) == {}
        assert path.read_bytes() == before

    def test_size_counts_the_log(self, store: SqliteStore, path: Path) -> None:
        with store.writer() as writer:
            writer.put(FOLDER, [record_of(entry_in(result=noise(40_000)))])
            writer.commit()
            log = path.with_name("cache.db-wal").stat().st_size
            assert log > 40_000
            assert store.info().size == path.stat().st_size + log
        assert store.info() == ("sqlite", str(path), path.stat().st_size)

    def test_equal_results_share_their_bytes(self, store: SqliteStore, path: Path) -> None:
        result = noise(64_000)
        fork = Folder(Repository("/home/dev/fork", "0c55a4f1"), "docs", "centralized")
        todos = Folder(HOME, "todos", "centralized")
        twins = [
            (FOLDER, entry_in(result=result)),
            (FOLDER, entry_in(result=result, file_path="twin.rs")),
            (fork, entry_in(fork, result=result)),
            (todos, entry_in(todos, result=result, analyzed_at=1)),
        ]
        for folder, entry in twins:
            assert put(store, folder, entry) == MIGRATED
        stored = ask(path, "SELECT result_of, length(result) > 64000 FROM entries ORDER BY id")
        assert stored == [(None, 1), (1, None), (1, None), (1, None)]
        assert path.stat().st_size < 64_000 * 2 + 200_000
        for folder, entry in twins:
            assert find(store, entry, folder) == [entry]
            assert lookup(store, query_for(entry)) in (twins[0][1], twins[1][1], twins[2][1], entry)

    def test_results_that_others_share_cannot_be_deleted(
        self, store: SqliteStore, path: Path
    ) -> None:
        twins = [entry_in(file_path="one.rs"), entry_in(file_path="two.rs"), kept_entry()]
        put(store, FOLDER, *twins)
        with pytest.raises(apsw.ConstraintError, match="other entries share this result"):
            ask(path, "DELETE FROM entries WHERE id = 1")
        assert find(store, twins[1]) == [twins[1]]
        ask(path, "DELETE FROM entries WHERE id = 2")
        ask(path, "DELETE FROM entries WHERE id = 1")  # the last that needed it
        assert ask(path, "SELECT count(*) FROM entries") == [(1,)]

    @pytest.mark.parametrize("entry", [entry_in(result=DICTIONARY), kept_entry()])
    def test_dictionaries_in_use_cannot_be_deleted(
        self, store: SqliteStore, path: Path, entry: Entry
    ) -> None:
        # The second stores its kept file alone with the dictionary: its result is another's.
        put(store, FOLDER, msgspec.structs.replace(entry, original=None, analyzed_at=1))
        put_with_dictionary(store, entry)
        with store.writer() as writer:
            writer.add_dictionary("docs", b"nobody uses this one")
        with pytest.raises(apsw.ConstraintError, match="compressed with this dictionary"):
            ask(path, "DELETE FROM dictionaries WHERE id = 1")
        ask(path, "DELETE FROM dictionaries WHERE id = 2")
        assert find(store, entry)[-1] == entry

    def test_another_writer_between_two_commits_is_noticed(
        self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fork = Folder(Repository("/home/dev/fork"), "docs", "local")
        theirs = entry_in(fork, model="new")
        again = entry_in(fork, model="new", file_path="again.rs")
        begin = type(writer_of(store))._begin
        turns = iter([False, True])

        def begin_late(writer: Any) -> None:
            if next(turns, False):
                monkeypatch.undo()
                assert put(SqliteStore(store.path), fork, theirs) == MIGRATED
            begin(writer)

        monkeypatch.setattr(type(writer_of(store)), "_begin", begin_late)
        with store.writer() as writer:
            writer.put(FOLDER, [record_of(entry_in())])
            writer.commit()
            assert writer.put(fork, [record_of(theirs), record_of(again)]).outcomes.migrated == 1
        assert find(store, again, fork) == [again]
        assert find(store, theirs, fork) == [theirs]

    def test_open_finder_sees_what_is_committed_meanwhile(self, store: SqliteStore) -> None:
        fork = Folder(Repository("/home/dev/fork"), "docs", "local")
        one, other = entry_in(), entry_in(fork, file_path="other.rs", file_hash=bytes(32))
        put(store, FOLDER, one)
        with store.finder() as finder:
            assert finder.find(fork, other) == []
            assert finder.lookup(query_for(other)) is None
            put(SqliteStore(store.path), fork, other)
            assert finder.lookup(query_for(other)) == other
            assert finder.find(fork, other) == [other]

    def test_what_is_plainly_there_is_what_looking_one_by_one_finds(
        self, store: SqliteStore, path: Path
    ) -> None:
        entries = [entry_in(file_path=f"src/{number}.rs") for number in range(70)]
        kept, shared = kept_entry(file_path="kept.rs"), entry_in(file_path="shared.rs")
        older, newer = (
            entry_in(file_path="two.rs", analyzed_at=at, result=b"%d" % at) for at in (1, 2)
        )
        put(store, FOLDER, *entries, kept, older, newer)
        put(store, FOLDER, record_of(shared), record_of(shared, name=b"again.json"))
        put(store, FLAT, entries[0])
        absent = entry_in(file_path="absent.rs")
        asked = [*entries, absent, kept, shared, older, newer]
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute("UPDATE entries SET seal = seal + 1 WHERE id = 5")
        with store.finder() as finder, finder.snapshot():
            plain = finder.held_here(FOLDER, asked)
            for entry, those in zip(asked, plain, strict=True):
                found = list(finder.held(FOLDER, entry))
                assert all(one in found for one in those)
                if entry in (entries[4], absent):
                    assert not those
                else:
                    assert entry in [one.entry for one in those]
            assert isinstance(next(iter(finder.held(FOLDER, entries[4]))), DamagedError)
            assert [one.removed for one in plain[-1]] == ["superseded", None]
            nowhere = Folder(Repository("/nowhere"), "docs", "flat")
            for folder in (nowhere, Folder(HOME, "todos", "flat")):
                assert [*finder.held_here(folder, entries[:2])] == [[], []]

    def test_finder_that_is_not_open_says_so(self, store: SqliteStore) -> None:
        put(store, FOLDER, entry_in())
        finder = store.finder()
        with pytest.raises(RustAssistantError, match="not open"):
            finder.candidates(bytes(32))
        with finder:
            pass
        with pytest.raises(RustAssistantError, match="not open"):
            finder.candidates(bytes(32))


def use_everything(store: SqliteStore, *entries: Entry) -> None:
    """All that a run asks of a writer."""
    with store.writer() as writer:
        writer.known(FOLDER)
        writer.dictionaries()
        writer.add_dictionary("docs", b"one that is not there yet")
        writer.put(FOLDER, [record_of(entry) for entry in entries])


def writer_of(store: SqliteStore) -> Any:
    with store.writer() as writer:
        return writer


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@needs_strict
def test_writer_waits_for_the_disk_at_each_commit(path: Path, store: SqliteStore) -> None:
    put(store, FOLDER, entry_in())
    with closing(open_for_writing(str(path))) as connection:
        assert connection.pragma("synchronous") == 2, "FULL: a commit that was reported stays"
        assert connection.pragma("journal_mode") == "wal"


def test_log_is_folded_into_the_file_while_the_lock_is_held(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "_CHECKPOINT_BYTES", 0)
    log = path.with_name("cache.db-wal")
    sizes = []
    with store.writer() as writer:
        empty = path.stat().st_size
        for number in range(8):
            text = b'"%d%b"' % (number, noise(20_000).hex().encode())
            entry = entry_in(file_path=f"{number}.rs", result=text)
            assert writer.put(FOLDER, [record_of(entry)]).outcomes.migrated == 1
            writer.commit()
            sizes.append(log.stat().st_size)
            with closing(apsw.Connection(str(path))) as other, pytest.raises(apsw.BusyError):
                other.execute("BEGIN IMMEDIATE")
        assert path.stat().st_size > empty + 7 * 20_000, "the main file has grown during the run"
        assert sizes[-1] < 2 * sizes[1], "the log has not"
    assert files_beside(path) == ["cache.db"]


@pytest.mark.parametrize("busy", [False, True])
def test_run_goes_on_where_the_log_cannot_be_folded(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(sqlite_writer, "_CHECKPOINT_BYTES", 0)
    entries = [entry_in(file_path=f"{number}.rs") for number in range(3)]
    with store.writer() as writer, closing(apsw.Connection(str(path))) as other:
        for entry in entries:
            writer.put(FOLDER, [record_of(entry)])
            if busy:  # a reader in the middle of the log keeps it from being folded whole
                other.execute("BEGIN; SELECT count(*) FROM entries").fetchall()
            else:  # as on a file system that has no shared memory, and so no log
                writer._path = f"{path}.elsewhere"
            writer.commit()
            if busy:
                other.execute("COMMIT")
    assert [find(store, entry) for entry in entries] == [[entry] for entry in entries]


def test_failing_disk_is_not_taken_for_a_foreign_file(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, FOLDER, entry_in())
    looks = os.stat

    def failing(place: Any, **how: Any) -> os.stat_result:
        if place == str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return looks(place, **how)

    monkeypatch.setattr(os, "stat", failing)
    with pytest.raises(DestinationError, match=r"reading or writing .* failed"):
        store.check_writable()


class TestView:
    """What the reference's users know, shown to any SQLite tool: here, the standard library's."""

    @pytest.fixture
    def rows(self, path: Path) -> Callable[[], list[sqlite3.Row]]:
        def read() -> list[sqlite3.Row]:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                database.row_factory = sqlite3.Row
                return database.execute("SELECT * FROM cache_entries ORDER BY id").fetchall()

        return read

    def test_it_has_the_columns_of_v1_and_their_values(
        self, store: SqliteStore, rows: Callable[[], list[sqlite3.Row]]
    ) -> None:
        entry = entry_in()
        put(store, FOLDER, entry)
        (row,) = rows()
        assert row.keys() == V1_COLUMNS
        result = zstandard.ZstdDecompressor().decompress(row["result_blob"])
        assert result == entry.result
        assert dict(row) | {"result_blob": result} == {
            "id": 1,
            "cache_type": "docs",
            "repo_path": "/home/dev/project",
            "file_path": "src/lib.rs",
            "file_hash": hashlib.sha256(b"fn main() {}\n").hexdigest(),
            "cache_key": entry.key,
            "provider": "xai",
            "model": "grok-beta",
            "prompt_hash": "b56f6b9b1ff77eac",
            "schema_version": 1,
            "result_blob": entry.result,
            "tokens_used": 1234,
            "file_size": 13,
            "created_at": "2026-02-04 03:13:54",
            "last_accessed": "2026-02-04 03:13:54",
            "access_count": 0,
        }

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompt_hash": None, "schema_version": None},
            {"model": "größe:日本", "prompt_hash": ""},
            {"model": "nul\0inside"},
            {"model": "m" * 50, "schema_version": -INT64},
            {"file_hash": b"\xab" * 32, "schema_version": 7},
        ],
    )
    def test_its_key_is_the_true_one(
        self,
        store: SqliteStore,
        rows: Callable[[], list[sqlite3.Row]],
        changes: dict[str, Any],
    ) -> None:
        entry = entry_in(**changes)
        put(store, FOLDER, entry)
        (row,) = rows()
        assert row["cache_key"] == entry.key
        assert row["cache_key"] == full_key(
            row["file_hash"], row["model"], row["prompt_hash"], row["schema_version"]
        )

    def test_showing_a_key_takes_little_work(self, store: SqliteStore, path: Path) -> None:
        entries = [entry_in(file_path=f"{number}.rs") for number in range(3)]
        put(store, FOLDER, *entries)
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            database.set_progress_handler(count, 1000)
            database.execute("SELECT cache_key FROM cache_entries").fetchall()
        # A thousand steps of SQLite's machine take some 20 microseconds: a table of ten thousand
        # entries should show while somebody waits for it.
        assert steps * 1000 / len(entries) < 400_000

    def test_old_entries_show_as_v1_has_them(
        self, store: SqliteStore, rows: Callable[[], list[sqlite3.Row]]
    ) -> None:
        put(
            store,
            FOLDER,
            entry_in(prompt_hash=None, schema_version=None, tokens_used=None, file_size=None),
        )
        (row,) = rows()
        assert (row["prompt_hash"], row["schema_version"]) == ("", 1)
        assert (row["tokens_used"], row["file_size"]) == (None, None)

    def test_shared_result_shows_in_each_row(
        self, store: SqliteStore, rows: Callable[[], list[sqlite3.Row]]
    ) -> None:
        put(store, FOLDER, entry_in(), entry_in(file_path="twin.rs"))
        one, other = rows()
        assert one["result_blob"] == other["result_blob"]
        assert (one["file_path"], other["file_path"]) == ("src/lib.rs", "twin.rs")

    @pytest.mark.parametrize(
        ("analyzed_at", "shown"),
        [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (-86_400 * 10**9, "1969-12-31 00:00:00"),
            (INT64 - 1, "2262-04-11 23:47:16"),
            (-INT64, "1677-09-21 00:12:43"),
        ],
    )
    def test_times_show_in_utc_without_their_fraction(
        self,
        store: SqliteStore,
        rows: Callable[[], list[sqlite3.Row]],
        analyzed_at: int,
        shown: str,
    ) -> None:
        put(store, FOLDER, entry_in(analyzed_at=analyzed_at))
        (row,) = rows()
        assert row["created_at"] == row["last_accessed"] == shown


class TestDamage:
    """What is read back is what was written, or an error that names the entry. Never else."""

    @pytest.fixture
    def entry(self) -> Entry:
        return entry_in(result=b'{"summary": "the function returns", "issues": [1, 2, 3]}')

    def assert_found_out(self, store: SqliteStore, entry: Entry) -> None:
        with pytest.raises(DamagedError) as found:
            find(store, entry)
        assert entry.file_path in str(found.value) or "cache.db" in str(found.value)
        with pytest.raises(DamagedError):
            lookup(store, query_for(entry))

    @pytest.mark.parametrize("with_dictionary", [False, True])
    @pytest.mark.parametrize("column", ["result", "original"])
    def test_no_flipped_bit_of_a_frame_is_served(
        self, store: SqliteStore, path: Path, with_dictionary: bool, column: str
    ) -> None:
        entry = kept_entry(result={"a": 1})
        if with_dictionary:
            put_with_dictionary(store, entry)
        else:
            put(store, FOLDER, entry)
        ((frame,),) = ask(path, f"SELECT {column} FROM entries")  # noqa: S608 - as named above
        refused = 0
        with closing(apsw.Connection(os.fspath(path))) as database, store.finder() as finder:
            for place in range(len(frame)):
                damaged = bytearray(frame)
                damaged[place] ^= 1 << place % 8
                database.execute(
                    f"UPDATE entries SET {column} = ?",  # noqa: S608
                    (bytes(damaged),),
                )
                try:
                    # A few bits of a frame mean nothing, and change nothing.
                    assert given_back(finder.find(FOLDER, entry)) == [entry]
                    assert finder.lookup(query_for(entry)) == entry
                except DamagedError:
                    refused += 1
        assert refused >= len(frame) * 9 // 10

    def test_another_sound_frame_in_place_of_the_result_is_found_out(
        self, store: SqliteStore, path: Path, entry: Entry
    ) -> None:
        put(store, FOLDER, entry)
        tamper(path, "UPDATE entries SET result = ?", record_of(entry_in(result=b"{}")).result)
        self.assert_found_out(store, entry)

    def test_flipped_digest_is_found_out(
        self, store: SqliteStore, path: Path, entry: Entry
    ) -> None:
        put(store, FOLDER, entry)
        ((digest,),) = ask(path, "SELECT result_digest FROM entries")
        for place in (0, 15):
            damaged = bytearray(digest)
            damaged[place] ^= 1
            tamper(path, "UPDATE entries SET result_digest = ?", bytes(damaged))
            self.assert_found_out(store, entry)

    @pytest.mark.parametrize(
        "damaged",
        [b"\0" * len(DICTIONARY), b"", DICTIONARY[:-1], b"\x37\xa4\x30\xec" + DICTIONARY],
        ids=["zeros", "empty", "cut off", "claims to be trained"],
    )
    def test_damaged_dictionary_is_found_out(
        self, store: SqliteStore, path: Path, damaged: bytes
    ) -> None:
        entry = entry_in(result=DICTIONARY)
        put_with_dictionary(store, entry)
        ask(path, "DROP TRIGGER dictionaries_never_change")
        tamper(path, "UPDATE dictionaries SET data = ?", damaged)
        self.assert_found_out(store, entry)

    def test_damaged_entry_hides_no_other(self, store: SqliteStore, path: Path) -> None:
        entries = [entry_in(analyzed_at=moment, result=b"%d" % moment) for moment in (1, 2, 3)]
        put(store, FOLDER, *entries)
        tamper(path, "UPDATE entries SET result = x'00' WHERE id = 2")
        with store.finder() as finder:
            one, damaged, other = finder.find(FOLDER, entries[0])
            assert (one, other) == (entries[0], entries[2])
            assert isinstance(damaged, DamagedError)
            assert "src/lib.rs" in damaged.message
            assert finder.lookup(query_for(entries[0])) == entries[2]

    def test_missing_dictionary_is_found_out(self, store: SqliteStore, path: Path) -> None:
        entry = entry_in(result=DICTIONARY)
        put_with_dictionary(store, entry)
        ask(path, "DROP TRIGGER dictionaries_never_change")
        tamper(path, "UPDATE dictionaries SET id = 77")
        self.assert_found_out(store, entry)

    @pytest.mark.parametrize("column", ["result", "original"])
    @pytest.mark.parametrize("size", [MAX_TEXT_BYTES + 1, 2**40, 2**62, 2**64 - 3])
    def test_frame_that_claims_to_be_giant_is_refused_without_taking_memory(
        self, store: SqliteStore, path: Path, column: str, size: int
    ) -> None:
        entry = kept_entry()
        put(store, FOLDER, entry)
        # RFC 8878, 3.1.1.1: eight bytes of content size, single segment, no checksum.
        frame = b"\xe0" + size.to_bytes(8, "little") + b"\x01\0\0"
        tamper(path, f"UPDATE entries SET {column} = ?", frame)  # noqa: S608
        self.assert_found_out(store, entry)
        with pytest.raises(DamagedError, match="more than can be right"):
            find(store, entry)

    def test_frame_that_does_not_say_its_size_is_refused(
        self, store: SqliteStore, path: Path, entry: Entry
    ) -> None:
        put(store, FOLDER, entry)
        endless = zstandard.ZstdCompressor(write_content_size=False).compress(entry.result)
        tamper(path, "UPDATE entries SET result = ?", endless.removeprefix(MAGIC))
        self.assert_found_out(store, entry)

    def test_bytes_after_a_frame_are_found_out(
        self, store: SqliteStore, path: Path, entry: Entry
    ) -> None:
        put(store, FOLDER, entry)
        tamper(path, "UPDATE entries SET result = CAST(result || x'00' AS BLOB)")
        self.assert_found_out(store, entry)

    @pytest.mark.parametrize(
        "change",
        [
            "entries SET tokens_used = 7",
            "entries SET tokens_used = NULL",
            "entries SET analyzed_at = analyzed_at + 1",
            "files SET size = size + 1",
            "files SET path = 'src/other.rs'",
            "files SET hash = x'" + "00" * 32 + "'",
            "producers SET provider = 'openai'",
            "producers SET model = 'grok-2'",
            "producers SET prompt_hash = NULL",
            "producers SET schema_version = 2",
        ],
    )
    def test_columns_that_disagree_with_the_kept_file_are_found_out(
        self, store: SqliteStore, path: Path, change: str
    ) -> None:
        put(store, FOLDER, kept_entry())
        tamper(path, f"UPDATE {change}")
        ((row,),) = ask(path, "SELECT hash FROM files")
        with pytest.raises(DamagedError, match=r"disagree|not what was stored"):
            lookup(store, Query("docs", row))

    def test_kept_file_of_another_entry_is_found_out(self, store: SqliteStore, path: Path) -> None:
        entry = kept_entry()
        put(store, FOLDER, entry)
        other = record_of(kept_entry(tokens_used=99)).original
        tamper(path, "UPDATE entries SET original = ?", other)
        self.assert_found_out(store, entry)

    def test_kept_file_that_is_no_entry_is_found_out(self, store: SqliteStore, path: Path) -> None:
        entry = kept_entry()
        put(store, FOLDER, entry)
        no_entry = Encoder().encode(entry_in(result=b"[]"), name=None, stamp=None).result
        tamper(path, "UPDATE entries SET original = ?", no_entry)
        self.assert_found_out(store, entry)

    @pytest.mark.parametrize("target", [3, 99])
    def test_pointer_to_another_result_is_found_out(
        self, store: SqliteStore, path: Path, target: int
    ) -> None:
        twins = [entry_in(file_path="one.rs"), entry_in(file_path="two.rs")]
        put(store, FOLDER, *twins, entry_in(file_path="three.rs", result=b"another"))
        tamper(path, "UPDATE entries SET result_of = ? WHERE id = 2", target)
        with pytest.raises(DamagedError):
            find(store, twins[1])

    def test_row_that_points_to_another_file_is_found_out(
        self, store: SqliteStore, path: Path
    ) -> None:
        one = entry_in(file_path="one.rs", result=b"1")
        other = entry_in(file_path="two.rs", file_hash=bytes(32), result=b"2", analyzed_at=5)
        put(store, FOLDER, one, other)
        tamper(path, "UPDATE entries SET file_id = 2 WHERE id = 1")
        with pytest.raises(DamagedError):
            # The newer of the two, which is about another content.
            lookup(store, query_for(other))

    def test_entry_whose_kept_file_is_damaged_is_stored_anew(
        self, store: SqliteStore, path: Path
    ) -> None:
        entry, other = kept_entry(), entry_in(file_path="other.rs")
        put(store, FOLDER, entry)
        tamper(path, "UPDATE entries SET original = ?", b"\x28\xb5\x2f\xfd garbage")
        assert put(store, FOLDER, other, entry).migrated == 2
        assert find(store, other) == [other]
        with store.finder() as finder:
            assert entry in finder.find(FOLDER, entry)

    def test_good_result_is_not_given_up_for_a_damaged_one(
        self, store: SqliteStore, path: Path
    ) -> None:
        entry, other = entry_in(), entry_in(file_path="other.rs")
        put(store, FOLDER, entry)
        tamper(path, "UPDATE entries SET result = x'00'")
        put(store, FOLDER, other)
        assert find(store, other) == [other]

    def test_used_dictionary_is_not_replaced(self, store: SqliteStore, path: Path) -> None:
        entry = entry_in(result=DICTIONARY)
        put_with_dictionary(store, entry)
        ask(
            path,
            "INSERT OR REPLACE INTO dictionaries"
            " SELECT id, zeroblob(32), 'x', x'00' FROM dictionaries",
        )
        assert find(store, entry) == [entry]
        with pytest.raises(apsw.ConstraintError, match="compressed with this dictionary"):
            ask(path, "UPDATE dictionaries SET data = x'00'")

    @pytest.mark.parametrize("table", ["entries", "files", "producers", "dictionaries"])
    def test_overwritten_page_is_found_out(
        self, store: SqliteStore, path: Path, table: str
    ) -> None:
        entry = entry_in(result=DICTIONARY)
        put_with_dictionary(store, entry)
        root = ask(path, "SELECT rootpage FROM sqlite_schema WHERE name = ?", table)[0][0]
        with path.open("r+b") as file:
            file.seek((root - 1) * 8192)
            file.write(b"\xff" * 8192)
        with pytest.raises(DamagedError, match=r"cache\.db"):
            find(store, entry)
        with pytest.raises(DamagedError, match=r"cache\.db"):
            use_everything(store, entry)

    def test_cut_off_file_is_found_out(self, store: SqliteStore, path: Path, entry: Entry) -> None:
        put(store, FOLDER, entry)
        os.truncate(path, 3 * 8192)
        with pytest.raises(DamagedError, match=r"cache\.db"):
            find(store, entry)
        with pytest.raises(DamagedError, match=r"cache\.db"):
            put(store, FOLDER, entry)
        assert path.stat().st_size == 3 * 8192

    @pytest.mark.parametrize("name", ["tokens_used", "sha256", "cache_type"])
    def test_damaged_schema_is_found_out(
        self, store: SqliteStore, path: Path, entry: Entry, name: str
    ) -> None:
        put_with_dictionary(store, entry)
        raw = path.read_bytes()
        assert name.encode() in raw
        path.write_bytes(raw.replace(name.encode(), b"x" + name[1:].encode()))
        with pytest.raises(DamagedError):
            use_everything(store, entry_in(file_path="new.rs"))

    def test_text_that_is_no_utf8_is_found_out(
        self, store: SqliteStore, path: Path, entry: Entry
    ) -> None:
        put(store, FOLDER, entry)
        raw = path.read_bytes()
        path.write_bytes(raw.replace(b"src/lib.rs", b"src/\xff\xfe\xfd.rs"))
        with pytest.raises(DamagedError):
            lookup(store, query_for(entry))
        path.write_bytes(raw.replace(b"grok-beta", b"gr\xff\xfe-beta"))
        with pytest.raises(DamagedError):
            lookup(store, query_for(entry, model=None))
        with pytest.raises(DamagedError):
            put(store, FOLDER, entry)

    def test_index_that_disagrees_with_its_table_is_found_out(
        self, store: SqliteStore, path: Path, entry: Entry
    ) -> None:
        put(store, FOLDER, entry)
        raw = path.read_bytes()
        assert raw.count(entry.model.encode()) == 2  # in the table of producers, and its index
        path.write_bytes(raw.replace(entry.model.encode(), b"grok-bets", 1))
        with pytest.raises(DamagedError, match=r"cache\.db"):
            put(store, FOLDER, entry_in(file_path="new.rs"))

    @pytest.mark.parametrize(
        "change", ["DELETE FROM entries WHERE id = 2", "UPDATE entries SET file_id = 99"]
    )
    def test_entry_that_only_an_index_still_knows_is_found_out(
        self, store: SqliteStore, path: Path, change: str
    ) -> None:
        entries = [entry_in(file_path=f"{number}.rs", result=b"1") for number in range(2)]
        put(store, FOLDER, *entries)
        with closing(apsw.Connection(os.fspath(path))) as database:
            # Change the table behind the index's back, as a damaged page would.
            root = database.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name = 'entries_by_folder'"
            ).get
            database.execute("DROP TRIGGER results_in_use")
            database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
            database.execute("PRAGMA writable_schema=ON")
            database.execute("DELETE FROM sqlite_schema WHERE name = 'entries_by_folder'")
        with closing(apsw.Connection(os.fspath(path))) as database:
            database.execute(change)
            database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
            database.execute("PRAGMA writable_schema=ON")
            database.execute(
                "INSERT INTO sqlite_schema VALUES ('index', 'entries_by_folder', 'entries', ?,"
                " 'CREATE INDEX entries_by_folder ON entries (folder_id, file_id)')",
                (root,),
            )
        with pytest.raises(DamagedError):
            lookup(store, query_for(entries[1]))


class _Sound:
    """One database, whose bytes are then damaged one bit at a time."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "cache.db"
        self.store = SqliteStore(self.path)
        self.entries = [
            entry_in(
                file_path=f"src/{number}.rs",
                file_hash=hashlib.sha256(b"%d" % number).digest(),
                result=b'{"summary": "the function returns %d"}' % (number // 2),
            )
            for number in range(6)
        ] + [kept_entry()]
        put_with_dictionary(self.store, *self.entries)
        self.raw = self.path.read_bytes()
        # Zeros are mostly free space, where a flipped bit means nothing.
        self.used = [place for place, byte in enumerate(self.raw) if byte]
        self.results = {entry.result for entry in self.entries}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> _Sound:
    return _Sound(tmp_path_factory.mktemp("sound"))


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@example(where=0.0, bit=0)
@settings(max_examples=200, deadline=None)
def test_flipped_bit_anywhere_is_an_error_of_ours_or_does_no_harm(
    sound: _Sound, where: float, bit: int
) -> None:
    damaged = bytearray(sound.raw)
    damaged[sound.used[int(where * len(sound.used))]] ^= 1 << bit
    for leftover in ("-wal", "-shm"):
        Path(f"{sound.path}{leftover}").unlink(missing_ok=True)
    sound.path.write_bytes(damaged)
    for entry in sound.entries:
        try:
            with sound.store.finder() as finder:
                found = [*given_back(finder.find(FOLDER, entry)), finder.lookup(query_for(entry))]
        except RustAssistantError:
            continue
        assert {one.result for one in found if one is not None} <= sound.results
    with suppress(RustAssistantError):
        use_everything(sound.store, *sound.entries)


def test_same_put_after_damage_was_repaired_is_unchanged(sound: _Sound) -> None:
    for leftover in ("-wal", "-shm"):
        Path(f"{sound.path}{leftover}").unlink(missing_ok=True)
    sound.path.write_bytes(sound.raw)
    assert put(sound.store, FOLDER, sound.entries[0]) == UNCHANGED


@pytest.mark.parametrize("row", [(b"src/lib.rs", None, 1), (None, None, 1), ("src/lib.rs", 2, 1)])
def test_column_of_another_type_is_damage(row: tuple[Any, ...]) -> None:
    sound = ("src/lib.rs", None, 1)
    with pytest.raises(DamagedError, match="not what was stored"):
        checked([sound, row, sound], sqlite_writer._KnownRows)
