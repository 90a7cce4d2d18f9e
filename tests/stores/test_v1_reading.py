"""The Rust program's database as a source: all of it comes out, repaired; it stays as it is."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import zstandard

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.entry import Entry, full_key
from rustassistant.entry_json import parse, render
from rustassistant.errors import (
    DamagedError,
    LockedError,
    NotACacheError,
    NotFoundError,
    SourceUnreadableError,
)
from rustassistant.stores import open_source
from rustassistant.stores.base import Found, Look, Query
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.v1 import V1Store, opening, partitions
from rustassistant.transfer.engine import transfer
from stores.v1_support import (
    CONTENT,
    PROMPT,
    change,
    files_beside,
    frame,
    make_loose,
    make_v1,
    migrate_as_rust_does,
    row_of,
    rows_in,
)
from support import Cache, as_nobody, hash8, snapshot

PROJECT = "/home/dev/project"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_MS", 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """In a directory of its own, so that whatever appears beside it shows."""
    (tmp_path / "v1").mkdir()
    return tmp_path / "v1" / "cache.db"


Items = list[Found | Failure | Problem]


def items_of(path: Path) -> Items:
    """All that a run would get, in order."""
    items: Items = []
    for part in V1Store(path).partitions():
        if isinstance(part, Failure | Problem):
            items.append(part)
        else:
            items.extend(part.read())
    return items


def found_in(path: Path) -> list[Found]:
    return [item for item in items_of(path) if isinstance(item, Found)]


def failures_in(path: Path) -> list[Failure]:
    return [item for item in items_of(path) if isinstance(item, Failure)]


def problems_in(path: Path) -> list[str]:
    return [item.text for item in items_of(path) if isinstance(item, Problem)]


def only(path: Path) -> Found:
    (found,) = found_in(path)
    return found


class TestEntries:
    def test_row_comes_out_with_every_field(self, path: Path) -> None:
        found = only(make_v1(path, row_of("src/größe.rs", result=b'{"b":1.50,"a":"\\u00e9"}')))
        assert found.entry == Entry(
            repository=PROJECT,
            cache_type="docs",
            file_path="src/größe.rs",
            file_hash=bytes.fromhex(row_of()["file_hash"]),
            analyzed_at=1_770_174_834 * 10**9,
            provider="xai",
            model="grok-beta",
            prompt_hash=PROMPT,
            schema_version=1,
            result=b'{"b":1.50,"a":"\\u00e9"}',
            tokens_used=1234,
            file_size=len(CONTENT),
        )
        assert found.notes == ()
        assert "row 1" in found.path
        assert "src/größe.rs" in found.path

    def test_rows_lie_where_the_rust_program_would_look_for_files(self, path: Path) -> None:
        make_v1(path, row_of())
        (part,) = (item for item in V1Store(path).partitions() if not isinstance(item, Problem))
        assert not isinstance(part, Failure)
        assert part.folder.repository.path == PROJECT
        assert part.folder.repository.directory == hash8(PROJECT)
        assert (part.folder.cache_type, part.folder.layout) == ("docs", "centralized")
        assert part.names == ("src_lib_rs.json",)

    def test_frame_that_tells_its_size_is_read_too(self, path: Path) -> None:
        blob = zstandard.ZstdCompressor(level=19).compress(b"[1]")
        assert only(make_v1(path, row_of(result_blob=blob))).entry.result == b"[1]"

    def test_several_frames_are_one_text(self, path: Path) -> None:
        blob = frame(b'["%s"' % (b"x" * 5000)) + frame(b",2]")
        result = only(make_v1(path, row_of(result_blob=blob))).entry.result
        assert result == b'["%s",2]' % (b"x" * 5000)

    def test_old_entry_is_one_without_prompt_hash(self, path: Path) -> None:
        found = only(make_v1(path, row_of(prompt_hash="")))
        assert (found.entry.prompt_hash, found.entry.schema_version) == (None, None)
        assert found.notes == ()

    def test_version_of_an_old_entry_is_kept_where_it_says_more(self, path: Path) -> None:
        entry = only(make_v1(path, row_of(prompt_hash="", schema_version=2))).entry
        assert (entry.prompt_hash, entry.schema_version) == (None, 2)
        again = parse(render(entry), repository=entry.repository, cache_type="docs").entry
        assert again.key == entry.key

    def test_hash_in_capitals_is_the_same_hash(self, path: Path) -> None:
        row = row_of()
        make_v1(path, row | {"file_hash": row["file_hash"].upper()})
        entry = only(path).entry
        assert entry.key == row["cache_key"]
        with V1Store(path).finder() as finder:
            assert finder.lookup(Query("docs", entry.file_hash)) == entry

    def test_any_type_comes_out(self, path: Path) -> None:
        found = only(make_v1(path, row_of(cache_type="security")))
        assert found.entry.cache_type == "security"

    @pytest.mark.parametrize(
        "created_at", ["2026-02-04T03:13:54+00:00", "2026-02-04T04:13:54.000+01:00"]
    )
    def test_other_spellings_of_a_time_are_understood(self, path: Path, created_at: str) -> None:
        found = only(make_v1(path, row_of(created_at=created_at)))
        assert found.entry.analyzed_at == 1_770_174_834 * 10**9

    def test_all_rows_of_all_folders_come_out_once(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(partitions, "PARTITION_ROWS", 3)
        rows = [
            row_of(f"{number}.rs", content=b"%d" % number, repo_path=repository, cache_type=kind)
            for number, (repository, kind) in enumerate(
                (repository, kind)
                for repository in ("/a", "/b", "")
                for kind in ("docs", "todos")
                for _ in range(7)
            )
        ]
        make_v1(path, *rows)
        names = sorted(found.entry.file_path for found in found_in(path))
        assert names == sorted(row["file_path"] for row in rows)
        assert V1Store(path).survey().files == {"docs": 21, "todos": 21}

    def test_partition_can_be_sent_to_another_process_and_divided(self, path: Path) -> None:
        make_v1(path, *(row_of(f"{number}.rs", content=b"%d" % number) for number in range(4)))
        part = next(item for item in V1Store(path).partitions() if not isinstance(item, Problem))
        assert not isinstance(part, Failure)
        again = pickle.loads(pickle.dumps(part.part([1, 3])))  # noqa: S301 - made right here
        assert [item.entry.file_path for item in again.read()] == ["1.rs", "3.rs"]

    def test_survey_samples_and_measures_results_uncompressed(self, path: Path) -> None:
        rows = (
            row_of(f"{number}.rs", content=b"%d" % number, result=b'"%s"' % (b"x" * 3000))
            for number in range(50)
        )
        survey = V1Store(make_v1(path, *rows)).survey()
        assert survey.total == 50
        assert 3000 < survey.mean_size < 4000
        read = [item for part in survey.samples for item in part.read()]
        assert len(read) == 50


class TestRepairs:
    @pytest.mark.parametrize(
        ("key", "said"),
        [
            ("", "empty"),
            ("f" * 32, "does not follow"),
            ("f" * 64, "does not follow"),
            (row_of()["cache_key"][:31], "does not follow"),
        ],
    )
    def test_wrong_key_is_repaired_and_told(self, path: Path, key: str, said: str) -> None:
        found = only(make_v1(path, row_of(cache_key=key)))
        assert len(found.notes) == 1
        assert said in found.notes[0]
        assert found.entry.key == row_of()["cache_key"]

    def test_row_without_repository_lies_under_the_databases_own_path(self, path: Path) -> None:
        found = only(make_v1(path, row_of(repo_path="")))
        assert found.entry.repository == str(path)
        assert any("1 rows name no repository" in text for text in problems_in(path))

    def test_keys_that_are_cut_short_are_told_of_once(self, path: Path) -> None:
        rows = [row_of(f"{number}.rs", content=b"%d" % number) for number in range(3)]
        for row in rows[1:]:
            row["cache_key"] = row["cache_key"][:32]
        make_v1(path, *rows)
        assert [found.notes for found in found_in(path)] == [(), (), ()]
        assert any("2 rows have keys of 32 digits" in text for text in problems_in(path))

    def test_every_row_of_a_defective_migration_is_found_afterwards(
        self, tmp_path: Path, path: Path
    ) -> None:
        cache = Cache(tmp_path / "repos")
        for number in range(6):
            content = b"%d" % number
            cache.add(f"{number}.rs", content=content)
            cache.add(f"{number}.rs", content=content, repository="/home/dev/fork")
            cache.add(f"{number}.rs", content=content, cache_type="todos", prompt_hash="default")
            cache.add(f"old{number}.rs", content=content + b"old", old=True)
        assert migrate_as_rust_does(cache.root, path) == 24
        left = rows_in(path, "cache_type, file_hash, model, prompt_hash, schema_version")
        assert len(left) == 13  # copies and old entries have overwritten each other
        ours = SqliteStore(tmp_path / "ours.db")
        report = transfer(V1Store(path), ours)
        assert (report.outcomes.migrated, report.failed) == (13, 0)
        texts = [problem.text for problem in report.problems]
        assert any("12 rows have keys of 32 digits" in text for text in texts)
        assert any("13 rows name no repository" in text for text in texts)
        assert any("cache_key is empty" in text for text in texts)
        with ours.finder() as finder:
            for cache_type, file_hash, model, prompt_hash, version in left:
                asked = Query(cache_type, bytes.fromhex(file_hash), model, prompt_hash, version)
                answer = finder.lookup(asked)
                assert answer is not None
                assert answer.key == full_key(file_hash, model, prompt_hash, version)

    @pytest.mark.parametrize(
        ("column", "value", "field", "becomes"),
        [
            ("created_at", "yesterday", "analyzed_at", 0),
            ("created_at", 1770174834, "analyzed_at", 0),
            ("created_at", None, "analyzed_at", 0),
            ("tokens_used", "many", "tokens_used", None),
            ("file_size", -1, "file_size", None),
            ("file_size", 1.5, "file_size", None),
            ("provider", None, "provider", ""),
        ],
    )
    def test_odd_value_does_not_cost_the_entry(
        self, path: Path, column: str, value: Any, field: str, becomes: Any
    ) -> None:
        found = only(make_loose(path, row_of(**{column: value})))
        assert getattr(found.entry, field) == becomes
        assert [column in note for note in found.notes] == [True]

    @pytest.mark.parametrize(
        "column",
        ["cache_key", "prompt_hash", "schema_version", "tokens_used", "file_size", "created_at",
         "provider", "repo_path", "access_count"],
    )  # fmt: skip
    def test_table_without_a_column_is_read(self, path: Path, column: str) -> None:
        row = row_of()
        del row[column]
        found = only(make_loose(path, row))
        assert found.entry.result == only_result(row)
        assert not any(column in note for note in found.notes if "repository" not in note)
        assert any(f"has no {column}" in text for text in problems_in(path))

    def test_table_with_further_columns_is_read(self, path: Path) -> None:
        assert only(make_loose(path, row_of(reviewed_by="Zoë"))).entry.model == "grok-beta"


def only_result(row: dict[str, Any]) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(row["result_blob"])


class TestDamage:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"file_hash": "abc"}, "64 hex digits"),
            ({"file_hash": "g" * 64}, "64 hex digits"),
            ({"file_hash": None}, "file_hash"),
            ({"model": None}, "model"),
            ({"file_path": 7}, "file_path"),
            ({"prompt_hash": 7}, "prompt_hash"),
            ({"schema_version": "new"}, "schema_version"),
            ({"result_blob": None}, "missing"),
            ({"result_blob": "text"}, "no blob"),
            ({"result_blob": b"garbage"}, "decompress"),
            ({"result_blob": b""}, "not JSON"),
            ({"result_blob": frame(b"[1]")[:-1]}, "in the middle"),
            ({"result_blob": frame(b"[1]") + b"!"}, "decompress"),
            ({"result": b"[1"}, "not JSON"),
            ({"result": b"[1] [2]"}, "not JSON"),
            ({"result": b'1, "tokens_used": 5'}, "not JSON"),
            ({"result": b'"\xff"'}, "not UTF-8"),
            ({"result": b"[" * 300 + b"]" * 300}, "nested"),
            ({"result": b"[" * 5000 + b"]" * 5000}, "nested too deeply"),
        ],
    )
    def test_bad_row_is_a_failure_with_its_number_and_hides_no_other(
        self, path: Path, changes: dict[str, Any], reason: str
    ) -> None:
        rows = [row_of(f"{number}.rs", content=b"%d" % number) for number in range(3)]
        rows[1] = row_of("1.rs", content=b"1", cache_key="", **changes)
        make_loose(path, *rows)
        (failure,) = failures_in(path)
        assert reason in failure.reason
        assert "row 2" in failure.path
        assert failure.cache_type == "docs"
        assert [found.entry.file_path for found in found_in(path)] == ["0.rs", "2.rs"]

    def test_text_that_is_not_utf_8_fails_its_own_row_only(self, path: Path) -> None:
        make_v1(path, row_of("a.rs"), row_of("b.rs", content=b"b"))
        change(path, "UPDATE cache_entries SET file_path = CAST(x'ff61' AS TEXT) WHERE id = 1")
        (failure,) = failures_in(path)
        assert "row 1" in failure.path
        assert only(path).entry.file_path == "b.rs"

    @pytest.mark.parametrize("tells_size", [True, False])
    def test_result_that_grows_without_end_is_refused(self, path: Path, tells_size: bool) -> None:
        compressor = zstandard.ZstdCompressor(level=1, write_content_size=tells_size)
        make_v1(path, row_of(result_blob=compressor.compress(bytes(MAX_TEXT_BYTES + 1))))
        (failure,) = failures_in(path)
        assert "longer than" in failure.reason

    def test_damaged_page_is_told(self, path: Path) -> None:
        make_v1(path, *(row_of(f"{number}.rs", content=b"%d" % number) for number in range(300)))
        page = 4096
        size = path.stat().st_size
        with path.open("r+b") as file:
            for start in range(page * 20, size, page * 10):
                file.seek(start)
                file.write(bytes(page))
        try:
            items = items_of(path)
        except DamagedError:
            return
        assert any(isinstance(item, Failure) for item in items)


class TestStaysAsItIs:
    """Whatever state the file is in, reading changes nothing and leaves nothing."""

    def unchanged(self, path: Path, action: Callable[[], object]) -> Any:
        before = snapshot(path.parent)
        result = action()
        assert snapshot(path.parent) == before
        return result

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_file_that_nobody_has_open(self, path: Path, journal: str) -> None:
        make_v1(path, row_of(), journal=journal)
        assert files_beside(path) == ["cache.db"]
        assert len(self.unchanged(path, lambda: found_in(path))) == 1
        self.unchanged(path, lambda: V1Store(path).survey())

    @pytest.mark.parametrize("with_shared_memory", [False, True])
    def test_log_that_a_dead_process_left_is_read(
        self, path: Path, with_shared_memory: bool
    ) -> None:
        make_v1(path, row_of("first.rs"), journal="wal")
        die_after(path, row_of("second.rs", content=b"2"))
        if not with_shared_memory:
            os.unlink(f"{path}-shm")
        before = snapshot(path.parent)
        assert len(found_in(path)) == 2
        after = snapshot(path.parent)
        # Shared memory is not content: whoever comes first after a crash makes it anew.
        assert {name for name in after if not name.endswith("-shm")} == {
            name for name in before if not name.endswith("-shm")
        }
        for name in ("cache.db", "cache.db-wal"):
            assert after[name] == before[name]
        assert after.keys() == before.keys()

    def test_log_of_a_running_program_is_read(self, path: Path) -> None:
        make_v1(path, row_of("first.rs"), journal="wal")
        with closing(apsw.Connection(str(path))) as rust:
            rust.execute("UPDATE cache_stats SET cache_hits = 1")
            before = files_beside(path)
            assert before == ["cache.db", "cache.db-shm", "cache.db-wal"]
            rust.execute("BEGIN; UPDATE cache_entries SET access_count = 9")
            assert len(found_in(path)) == 1
            assert not any("uses" in text for text in problems_in(path))
            rust.execute("COMMIT")
            assert any("9 uses of 1 entries" in text for text in problems_in(path))
            assert files_beside(path) == before

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_file_and_directory_that_may_not_be_written(self, journal: str) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = make_v1(Path(directory, "cache.db"), row_of(), journal=journal)
            path.chmod(0o444)
            Path(directory).chmod(0o555)

            def read() -> None:
                assert len(found_in(path)) == 1

            try:
                self.unchanged(path, lambda: as_nobody(read))
            finally:
                Path(directory).chmod(0o755)

    def test_transaction_that_a_dead_process_left_half_done_is_an_error(self, path: Path) -> None:
        make_v1(path, row_of(result=b'"%s"' % os.urandom(200_000).hex().encode()))
        die_in_the_middle(path)
        assert files_beside(path) == ["cache.db", "cache.db-journal"]

        def read() -> None:
            with pytest.raises(SourceUnreadableError, match="middle of a change") as error:
                items_of(path)
            assert "Copy it" in error.value.hint

        self.unchanged(path, read)

    def test_file_that_is_locked_is_told_so(self, path: Path) -> None:
        make_v1(path, row_of())
        with closing(apsw.Connection(str(path))) as rust:
            rust.execute("BEGIN EXCLUSIVE")
            with pytest.raises(LockedError) as error:
                items_of(path)
        assert error.value.exit_code == 11
        assert len(found_in(path)) == 1

    def test_program_that_begins_to_write_meanwhile_is_noticed(self, path: Path) -> None:
        rows = [row_of(f"{number}.rs", content=b"%d" % number) for number in range(3)]
        make_v1(path, *rows, journal="wal")
        part = next(item for item in V1Store(path).partitions() if not isinstance(item, Problem))
        assert not isinstance(part, Failure)
        reading = part.read()
        assert isinstance(next(reading), Found)
        with closing(apsw.Connection(str(path))) as rust:
            rust.execute("DELETE FROM cache_entries")
            with pytest.raises(LockedError, match="another program began"):
                list(reading)


def die_after(path: Path, row: dict[str, Any]) -> None:
    """Another process commits a row to the log and is gone before it can clean up."""
    columns = ", ".join(row)
    places = ", ".join("?" * len(row))
    in_a_child_that_dies(
        path,
        lambda database: (
            database.execute(
                f"INSERT INTO cache_entries ({columns}) VALUES ({places})",  # noqa: S608
                tuple(row.values()),
            ),
            database.commit(),  # type: ignore[func-returns-value]
        ),
    )


def die_in_the_middle(path: Path) -> None:
    def write(database: sqlite3.Connection) -> None:
        database.execute("PRAGMA cache_size=1")
        database.execute("UPDATE cache_entries SET result_blob = randomblob(2000000)")

    in_a_child_that_dies(path, write)


def in_a_child_that_dies(path: Path, action: Callable[[sqlite3.Connection], object]) -> None:
    child = os.fork()
    if child == 0:
        try:
            action(sqlite3.connect(path))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


class TestRunAgain:
    def test_second_run_finds_everything_unchanged(self, tmp_path: Path, path: Path) -> None:
        make_v1(path, *(row_of(f"{number}.rs", content=b"%d" % number) for number in range(5)))
        ours = SqliteStore(tmp_path / "ours.db")
        assert transfer(V1Store(path), ours).outcomes.migrated == 5
        change(path, "UPDATE cache_entries SET access_count = 4, last_accessed = datetime('now')")
        again = transfer(V1Store(path), ours)
        assert (again.outcomes.unchanged, again.outcomes.migrated) == (5, 0)
        change(path, "UPDATE cache_entries SET result_blob = ? WHERE id = 3", frame(b'"new"'))
        third = transfer(V1Store(path), ours)
        assert (third.outcomes.unchanged, third.outcomes.migrated) == (4, 1)

    def test_row_that_is_known_is_not_decompressed(self, path: Path) -> None:
        found = only(make_v1(path, row_of()))
        assert found.stamp is not None
        *_, part = V1Store(path).partitions()
        assert not isinstance(part, Failure | Problem)
        assert part.look([[1, found.stamp]]) == Look((0,), found.size)
        assert part.look([[1]]) == part.look([None]) == Look()
        change(path, "UPDATE cache_entries SET created_at = '2026-02-04 03:13:55'")
        assert part.look([[found.stamp]]) == Look()


class TestWhatItIs:
    def test_file_is_recognised_by_what_is_in_it(self, path: Path) -> None:
        source = open_source(str(make_v1(path, row_of())))
        assert source.info().kind == "v1"
        assert source.info().size == path.stat().st_size
        assert source.survey().total == 1
        assert open_source(f"v1:{path}").info() == source.info()

    def test_database_of_ours_is_another_kind(self, tmp_path: Path) -> None:
        with SqliteStore(tmp_path / "ours.db").writer():
            pass
        assert open_source(str(tmp_path / "ours.db")).info().kind == "sqlite"
        with pytest.raises(NotACacheError):
            V1Store(tmp_path / "ours.db").survey()

    @pytest.mark.parametrize(
        "sql",
        [
            "CREATE TABLE somebodys (id INTEGER)",
            "CREATE TABLE cache_entries (key TEXT PRIMARY KEY, value TEXT)",
            "CREATE VIEW cache_entries AS SELECT 1 AS cache_type",
        ],
    )
    def test_database_of_another_program_is_none_of_ours(self, path: Path, sql: str) -> None:
        change(path, sql)
        with pytest.raises(NotACacheError, match="not a database of the Rust program"):
            open_source(str(path)).survey()

    def test_what_does_not_exist_is_named(self, path: Path) -> None:
        with pytest.raises(NotFoundError, match="none"):
            V1Store(path.parent / "none.db").survey()

    def test_file_that_is_no_database_is_refused(self, path: Path) -> None:
        path.write_text("SQLite format 3 is what this is about\n" * 10)
        with pytest.raises(NotACacheError):
            V1Store(path).survey()
        path.unlink()
        path.mkdir()
        with pytest.raises(NotACacheError):
            V1Store(path).survey()

    def test_uses_that_are_left_behind_are_counted(self, path: Path) -> None:
        rows = (
            row_of(f"{number}.rs", content=b"%d" % number, access_count=number)
            for number in range(4)
        )
        texts = problems_in(make_v1(path, *rows))
        assert any("6 uses of 3 entries" in text for text in texts)
        assert any("created_at" in text for text in texts)
