"""The Rust program's database as a destination: it finds all that it could ever look up."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, cast

import apsw
import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustassistant.codec import Encoder
from rustassistant.entry import Entry
from rustassistant.entry_json import render
from rustassistant.errors import (
    DestinationError,
    EntryError,
    ForeignFileError,
    LockedError,
    RustAssistantError,
)
from rustassistant.stores import open_destination
from rustassistant.stores.base import Destination, Folder, Found, Repository
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.outcomes import (
    Failure,
    OnConflict,
    Outcome,
    Outcomes,
    Problem,
    Put,
    Rules,
)
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.v1 import V1Store, opening
from rustassistant.stores.v1.kept import MAX_NESTING, as_kept, readable
from rustassistant.transfer.engine import transfer
from stores import store_suite
from stores.store_suite import (
    DICTIONARY,
    FLAT,
    FOLDER,
    HOME,
    MIGRATED,
    PROMPT,
    UNCHANGED,
    DestinationSuite,
    entry_in,
    find,
    given_back,
    known,
    lookup,
    put,
    query_for,
    record_of,
)
from stores.v1_support import change, files_beside, make_v1, row_of, rows_in, rust_get
from support import Cache, sample_entry, snapshot

SECOND: Final = 10**9
NOW: Final = 1_770_174_834 * SECOND
TODOS: Final = Folder(HOME, "todos", "centralized")
WORDS: Final = b" ".join(b"%d" % (number * number % 977) for number in range(20_000))
FORK: Final = Folder(Repository("/home/dev/fork", "0c55a4f1"), "docs", "centralized")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BUSY_TIMEOUT_MS", 10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "v1").mkdir()
    return tmp_path / "v1" / "cache.db"


@pytest.fixture
def store(path: Path) -> V1Store:
    return V1Store(path)


def plain_entry(**changes: Any) -> Entry:
    """An entry that v1 keeps as it is: whole seconds, a compact result, and a key of its own."""
    fields: dict[str, Any] = {"analyzed_at": NOW, "result": b'{"summary":"short"}'}
    if "file_path" in changes:
        fields["file_hash"] = hashlib.sha256(changes["file_path"].encode()).digest()
    return sample_entry(**(fields | changes))


class TestV1Store(DestinationSuite):
    """The promises of every store, as far as rows found by their key alone can keep them."""

    def make_store(self, tmp_path: Path) -> Destination:
        return V1Store(tmp_path / "cache.db")

    def reopen(self, store: Destination) -> Destination:
        return V1Store(cast("V1Store", store).path)

    @pytest.fixture(autouse=True)
    def entries_that_v1_keeps_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store_suite, "sample_entry", plain_entry)

    # What v1 does instead of the promises below.

    def test_no_stamps_are_kept(self, store: Destination) -> None:
        assert put(store, FOLDER, record_of(plain_entry(), stamp=5)) == MIGRATED
        assert known(self.reopen(store)) == {}

    def test_dictionaries_serve_their_run_only(self, store: Destination) -> None:
        entry = plain_entry(result=b"[%s]" % readable(DICTIONARY[: len(DICTIONARY) // 4]))
        with store.writer() as writer:
            dictionary = writer.add_dictionary("docs", DICTIONARY)
            assert writer.add_dictionary("docs", DICTIONARY) == dictionary
            encoder = Encoder(dictionaries=[dictionary])
            assert writer.put(FOLDER, [record_of(entry, by=encoder)]).outcomes == MIGRATED
        with self.reopen(store).writer() as writer:
            assert list(writer.dictionaries()) == []
        assert find(self.reopen(store), entry) == [entry]

    def test_where_an_entry_lay_makes_no_difference(self, store: Destination) -> None:
        entry = plain_entry()
        assert put(store, FOLDER, entry) == MIGRATED
        for folder in (FLAT, Folder(HOME, "docs", "centralized", "old"),
                       Folder(Repository(HOME.path, None), "docs", "local")):  # fmt: skip
            assert put(store, folder, entry) == UNCHANGED

    def test_leaving_with_an_exception_undoes(self, store: Destination) -> None:
        before, after = plain_entry(file_path="before.rs"), plain_entry(file_path="after.rs")

        def work() -> None:
            with store.writer() as writer:
                writer.put(FOLDER, [record_of(before)])
                writer.commit()
                writer.put(FOLDER, [record_of(after)])
                raise KeyError

        with pytest.raises(KeyError):
            work()
        assert find(self.reopen(store), before) == [before]
        assert find(self.reopen(store), after) == []

    @pytest.mark.parametrize("newest_first", [False, True])
    def test_newest_answers(self, store: Destination, newest_first: bool) -> None:
        moments = (-5, 3, 10)
        entries = [plain_entry(analyzed_at=m * SECOND, result=b"%d" % m) for m in moments]
        put(store, FOLDER, *(reversed(entries) if newest_first else entries))
        assert lookup(self.reopen(store), query_for(entries[0])) == entries[-1]
        assert find(self.reopen(store), entries[0]) == [entries[-1]]


_KEPT: Final = (
    "test_batch_is_invisible_until_commit",
    "test_committed_batch_is_there_after_reopening",
    "test_leaving_the_writer_commits",
    "test_writer_goes_on_after_a_commit",
    "test_two_writers_at_once_are_refused",
    "test_looking_whether_it_can_be_written_makes_nothing",
    "test_putting_the_same_again_is_unchanged",
    "test_same_entry_twice_in_one_batch_is_kept_once",
    "test_nothing_is_an_empty_answer",
    "test_lookup_gives_what_any_repository_paid_for",
    "test_old_entry_answers_where_nothing_has_the_prompt",
    "test_exact_lookup_refuses_old_entries",
    "test_lookup_that_differs_in_one_part_is_a_miss",
    "test_candidates_tell_all_that_is_known_of_a_content",
    "test_finder_can_be_sent_to_another_process_and_used_again",
    "test_file_without_a_stamp_is_not_known",
    "test_entries_that_differ_in_more_than_their_place_share_no_row",
)
"""What is not among these, v1 cannot promise: it has one row for a key, so entries of one key don't
stay side by side; it keeps JSON, whole seconds and no file's own text; it does not remember where
entries lay, nor any stamp; and its rows are compressed without dictionaries."""

for _name in _KEPT:
    assert callable(getattr(DestinationSuite, _name)), _name
for _name in dir(DestinationSuite):
    if _name.startswith("test_") and _name not in _KEPT:
        setattr(TestV1Store, _name, None)


def put_all(
    store: Destination, *pairs: tuple[Folder, Entry], rules: Rules | None = None
) -> list[Put]:
    """Each a batch of its own, all in one run."""
    with store.writer(rules or Rules()) as writer:
        return [writer.put(folder, [record_of(entry)]) for folder, entry in pairs]


def all_found(path: Path) -> list[Found]:
    found: list[Found] = []
    for part in V1Store(path).partitions():
        assert not isinstance(part, Failure)
        if not isinstance(part, Problem):
            for item in part.read():
                assert isinstance(item, Found)
                found.append(item)
    return found


class TestWhatTheRustProgramSees:
    def test_every_key_of_a_cache_is_found(self, tmp_path: Path, path: Path) -> None:
        cache = Cache(tmp_path / "repos")
        for number in range(5):
            cache.add(f"{number}.rs", content=b"%d" % number)
            cache.add(f"{number}.rs", content=b"%d" % number, repository="/home/dev/fork")
            cache.add(f"old{number}.rs", content=b"old%d" % number, old=True, cache_type="todos")
        report = transfer(JsonTree(cache.root), V1Store(path))
        assert (report.outcomes.migrated, report.failed, report.found) == (10, 5, 15)
        for number in range(5):
            content = hashlib.sha256(b"%d" % number).hexdigest()
            assert rust_get(path, content, "grok-beta", PROMPT)["path"] == f"{number}.rs"
            old = hashlib.sha256(b"old%d" % number).hexdigest()
            assert rust_get(path, old, "grok-beta")["path"] == f"old{number}.rs"
        again = transfer(JsonTree(cache.root), V1Store(path))
        assert (again.outcomes, again.failed) == (Outcomes(unchanged=10), 5)

    def test_row_is_as_it_would_write_it(self, store: V1Store, path: Path) -> None:
        entry = entry_in(
            file_path="src/größe.rs",
            result=b'{ "b" : 1.50,\n "a": "\\u00e9 \xc3\xa9", "b": 1E5, "words": "%s" }' % WORDS,
        )
        put(store, FOLDER, entry)
        (row,) = rows_in(path)
        assert row[1:10] == (
            "docs", HOME.path, "src/größe.rs", entry.file_hash.hex(), entry.key, "xai",
            "grok-beta", PROMPT, 1,
        )  # fmt: skip
        assert row[11:] == (1234, 13, "2026-02-04 03:13:54", "2026-02-04 03:13:54", 0)
        blob = row[10]
        parameters = zstandard.get_frame_parameters(blob)
        assert parameters.dict_id == 0
        text = zstandard.ZstdDecompressor().decompressobj().decompress(blob)
        assert text == b'{"b":1.50,"a":"\\u00e9 \xc3\xa9","b":1E5,"words":"%s"}' % WORDS
        levels = [zstandard.ZstdCompressor(level=level).compress(text) for level in (2, 3, 4)]
        assert [blob == one for one in levels] == [False, True, False]

    def test_old_entry_has_the_key_of_an_empty_prompt_hash(
        self, store: V1Store, path: Path
    ) -> None:
        entry = plain_entry(prompt_hash=None, schema_version=None, tokens_used=None)
        put(store, FOLDER, entry)
        ((prompt_hash, version, key, tokens),) = rows_in(
            path, "prompt_hash, schema_version, cache_key, tokens_used"
        )
        assert (prompt_hash, version, key, tokens) == ("", 1, entry.key, None)
        assert rust_get(path, entry.file_hash.hex(), "grok-beta") == {"summary": "short"}

    def test_tables_and_indices_are_its_own(self, store: V1Store, tmp_path: Path) -> None:
        put(store, FOLDER, plain_entry())
        theirs = make_v1(tmp_path / "theirs.db")
        assert shape_of(Path(store.path)) == shape_of(theirs)
        assert rows_in(Path(store.path), "id, cache_hits, cache_misses", "cache_stats") == [
            (1, 0, 0)
        ]

    def test_file_is_for_its_owner_alone(self, store: V1Store, path: Path) -> None:
        put(store, FOLDER, plain_entry())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert files_beside(path) == ["cache.db"]

    def test_named_by_its_scheme(self, path: Path) -> None:
        destination = open_destination(f"v1:{path}")
        assert put(destination, FOLDER, plain_entry()) == MIGRATED
        assert destination.info() == ("v1", str(path), path.stat().st_size)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"schema_version": -1}, "schema version"),
            ({"schema_version": 2**32}, "schema version"),
            ({"result": b"\0 no JSON"}, "not JSON"),
            ({"result": b""}, "not JSON"),
            ({"result": b'"\xff"'}, "not UTF-8"),
            ({"result": b"[" * (MAX_NESTING + 1) + b"]" * (MAX_NESTING + 1)}, "nested deeper"),
            ({"result": b"[" * 9000 + b"]" * 9000}, "nested too deeply"),
            ({"result": b"[1e400]"}, "number"),
            ({"result": b"[-1%s]" % (b"0" * 400)}, "number"),
        ],
    )
    def test_what_it_could_not_read_is_refused_by_name(
        self, store: V1Store, path: Path, changes: dict[str, Any], reason: str
    ) -> None:
        good, bad = plain_entry(file_path="good.rs"), plain_entry(file_path="bad.rs", **changes)
        (result,) = put_all(store, (FOLDER, good))
        with store.writer() as writer:
            result = writer.put(FOLDER, [record_of(bad), record_of(good)])
        assert result.outcomes == UNCHANGED
        assert list(result.each) == [Outcome.FAILED, Outcome.UNCHANGED]
        (failure,) = result.failures
        assert reason in failure.reason
        assert "bad.rs" in failure.path
        assert len(rows_in(path)) == 1

    @pytest.mark.parametrize(
        "result",
        [
            b"[" * MAX_NESTING + b"]" * MAX_NESTING,
            b"[" * (MAX_NESTING - 1) + b"[],[]" + b"]" * (MAX_NESTING - 1),
            b'"%s"' % (b"[{" * 500),
            b"[1e300,12345678901234567890123]",
            b'"1e999"',
            b"1" * 308,
        ],
    )
    def test_what_it_can_read_goes_in(self, store: V1Store, result: bytes) -> None:
        assert put(store, FOLDER, plain_entry(result=result)) == MIGRATED


def shape_of(path: Path) -> Any:
    """Tables with their columns, and indices with theirs."""
    with closing(apsw.Connection(str(path))) as database:
        names = database.execute(
            "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_autoindex%'"
        ).fetchall()
        return {
            (kind, name): database.execute(f"PRAGMA {kind}_info({name})").fetchall()
            for kind, name in names
        }


class TestOneRowForAKey:
    def rivals(self) -> list[tuple[Folder, Entry]]:
        """Five entries with one key: of other types, paths, repositories, and times."""
        return [
            (FOLDER, plain_entry(analyzed_at=NOW + 1, result=b"1")),
            (FOLDER, entry_in(FOLDER, analyzed_at=NOW + 9, result=b"2", file_path="b.rs")),
            (TODOS, entry_in(TODOS, analyzed_at=NOW + 9, result=b"3")),
            (FORK, entry_in(FORK, analyzed_at=NOW + 9, result=b"3")),
            (FORK, entry_in(FORK, analyzed_at=NOW - SECOND, result=b"5", file_path="c.rs")),
        ]

    def test_newest_goes_in_and_the_others_are_named_in_any_order(self, tmp_path: Path) -> None:
        kept = set()
        for number, order in enumerate(itertools.permutations(self.rivals())):
            path = tmp_path / f"{number}.db"
            results = put_all(V1Store(path), *order)
            total = sum(result.outcomes.migrated for result in results)
            failures = [failure for result in results for failure in result.failures]
            assert (total, len(failures)) == (1, 4)
            assert not any(result.conflicts for result in results)
            (row,) = rows_in(path, "cache_type, repo_path, file_path, hex(result_blob)")
            kept.add(row)
            losers = {failure.path for failure in failures}
            assert f"{row[1]}/{row[2]} ({row[0]})" not in losers
            assert len(losers) == 4
            for failure in failures:
                assert "one entry for a key" in failure.reason
        assert len(kept) == 1

    def test_report_of_a_run_adds_up(self, tmp_path: Path, path: Path) -> None:
        cache = Cache(tmp_path / "repos")
        for number, second in enumerate((3, 9, 1, 7, 5)):
            moment = f"2026-02-04T03:13:0{second}+00:00"
            cache.add(repository=f"/repo{number}", analyzed_at=moment)
        report = transfer(JsonTree(cache.root), V1Store(path))
        assert (report.outcomes.migrated, report.failed, report.found) == (1, 4, 5)
        assert rows_in(path, "repo_path, created_at") == [("/repo1", "2026-02-04 03:13:09")]
        assert not any("/repo1/" in failure.path for failure in report.failures)
        for failure in report.failures:
            assert "/repo" in failure.reason

    def test_oldest_goes_in_where_that_is_asked_for(self, store: V1Store, path: Path) -> None:
        rules = Rules(on_conflict=OnConflict.OLDEST)
        put_all(store, *self.rivals(), rules=rules)
        assert rows_in(path, "file_path") == [("c.rs",)]
        put_all(store, *self.rivals(), rules=rules)
        assert rows_in(path, "file_path") == [("c.rs",)]

    def test_second_run_changes_nothing(self, store: V1Store, path: Path) -> None:
        put_all(store, *self.rivals())
        before = rows_in(path)
        results = put_all(store, *self.rivals())
        assert sum(result.outcomes.unchanged for result in results) == 1
        assert sum(result.outcomes.migrated for result in results) == 0
        assert rows_in(path) == before


class TestFileOfTheRustProgram:
    def test_its_rows_and_their_uses_stay(self, path: Path) -> None:
        own = row_of("theirs.rs", content=b"theirs", access_count=7)
        defective = row_of("short.rs", content=b"short", cache_key="ab" * 16)
        make_v1(path, own, defective)
        change(path, "UPDATE cache_stats SET cache_hits = 5, cache_misses = 6")
        before = rows_in(path)
        assert put(V1Store(path), FOLDER, plain_entry()) == MIGRATED
        assert rows_in(path)[:2] == before
        assert rows_in(path, "cache_hits, cache_misses", "cache_stats") == [(5, 6)]

    def test_newer_entry_takes_a_row_but_not_its_uses(self, path: Path) -> None:
        make_v1(path, row_of("theirs.rs", access_count=7, created_at="2026-02-04 03:13:53"))
        entry = entry_in(analyzed_at=NOW, result=b'"ours"')
        with V1Store(path).writer() as writer:
            result = writer.put(FOLDER, [record_of(entry)])
        assert result.outcomes == MIGRATED
        (conflict,) = result.conflicts
        assert (conflict.incoming, conflict.present) == (NOW, NOW - SECOND)
        assert conflict.incoming_answers
        assert rows_in(path, "id, file_path, access_count, last_accessed, created_at") == [
            (1, "src/lib.rs", 7, "2026-02-05 10:00:00", "2026-02-04 03:13:54")
        ]
        assert rust_get(path, entry.file_hash.hex(), "grok-beta", PROMPT) == "ours"

    def test_row_that_gave_way_is_not_lost(self, path: Path) -> None:
        make_v1(path, row_of("theirs.rs", created_at="2026-02-04 03:13:53"))
        put(V1Store(path), FOLDER, entry_in(analyzed_at=NOW, result=b'"ours"'))
        assert sorted(found.entry.file_path for found in all_found(path)) == [
            "src/lib.rs", "theirs.rs",
        ]  # fmt: skip
        assert V1Store(path).survey().total == 2

    @pytest.mark.parametrize("created_at", ["2026-02-04 03:13:54", "2026-02-04 03:13:55"])
    def test_row_that_is_not_older_stays(self, path: Path, created_at: str) -> None:
        make_v1(path, row_of("theirs.rs", created_at=created_at))
        before = rows_in(path)
        with V1Store(path).writer() as writer:
            result = writer.put(FOLDER, [record_of(entry_in(analyzed_at=NOW + 999_999_999))])
        assert result.outcomes == Outcomes()
        assert list(result.each) == [Outcome.FAILED]
        assert "theirs.rs" in result.failures[0].reason
        assert rows_in(path) == before

    def test_good_result_takes_the_place_of_a_damaged_one(self, path: Path) -> None:
        make_v1(path, row_of("theirs.rs", created_at="2027-01-01 00:00:00", result_blob=b"junk"))
        assert put(V1Store(path), FOLDER, entry_in(analyzed_at=NOW, result=b"1")) == MIGRATED
        content = hashlib.sha256(b"fn main() {}\n").hexdigest()
        assert rust_get(path, content, "grok-beta", PROMPT) == 1

    def test_row_it_wrote_itself_is_recognised(self, path: Path) -> None:
        make_v1(path, row_of("src/lib.rs", repo_path=HOME.path, result=b'{"summary":"short"}'))
        assert put(V1Store(path), FOLDER, entry_in(result=b'{ "summary": "short" }')) == UNCHANGED

    def test_what_is_missing_is_made(self, path: Path) -> None:
        make_v1(path, row_of("a.rs", content=b"a"))
        change(path, "DROP TABLE cache_stats")
        change(path, "DROP INDEX idx_model")
        put(V1Store(path), FOLDER, plain_entry())
        assert rows_in(path, "id", "cache_stats") == [(1,)]
        assert ("index", "idx_model") in shape_of(path)

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_journal_mode_is_left_to_it(self, path: Path, journal: str) -> None:
        make_v1(path, journal=journal)
        assert put(V1Store(path), FOLDER, plain_entry()) == MIGRATED
        with closing(apsw.Connection(str(path))) as database:
            assert database.pragma("journal_mode") == journal

    @pytest.mark.parametrize("journal", ["delete", "wal"])
    def test_locked_file_is_left_alone(self, path: Path, journal: str) -> None:
        make_v1(path, row_of("a.rs", content=b"a"), journal=journal)
        with closing(apsw.Connection(str(path))) as rust:
            rust.execute("BEGIN IMMEDIATE")
            with pytest.raises(LockedError) as error:
                put(V1Store(path), FOLDER, plain_entry())
            assert error.value.exit_code == 11
            rust.execute("COMMIT")
        assert len(rows_in(path)) == 1

    def test_lock_is_taken_again_after_a_commit(self, path: Path) -> None:
        make_v1(path)
        with V1Store(path).writer() as writer:
            writer.commit()
            with closing(apsw.Connection(str(path))) as rust, pytest.raises(apsw.BusyError):
                rust.execute("UPDATE cache_stats SET cache_hits = 1")

    def test_it_reads_on_while_we_write(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "_CACHE_KIB", 16)
        make_v1(path, row_of("theirs.rs"))
        with V1Store(path).writer() as writer:
            entries = [plain_entry(file_path=f"{number}.rs") for number in range(2000)]
            writer.put(FOLDER, [record_of(entry) for entry in entries])
            with closing(apsw.Connection(str(path))) as rust:
                assert rust.execute("SELECT count(*) FROM cache_entries").get == 1
        assert len(rows_in(path, "id")) == 2001

    @pytest.mark.parametrize(
        "sql",
        [
            "CREATE TABLE somebodys (id INTEGER)",
            "CREATE TABLE cache_entries (cache_type, file_path, file_hash, model, result_blob)",
        ],
    )
    def test_other_files_are_left_as_they_are(self, path: Path, sql: str) -> None:
        change(path, sql)
        refuses(V1Store(path), ForeignFileError)

    def test_database_of_ours_is_left_as_it_is(self, path: Path) -> None:
        put(SqliteStore(path), FOLDER, plain_entry())
        refuses(V1Store(path), ForeignFileError)

    def test_our_own_store_says_what_to_do_with_it(self, path: Path) -> None:
        make_v1(path, row_of())
        with pytest.raises(ForeignFileError) as error:
            SqliteStore(path).check_writable()
        assert "--source" in error.value.hint

    def test_directory_is_no_file(self, path: Path) -> None:
        refuses(V1Store(path.parent), DestinationError)


def refuses(store: V1Store, error: type[RustAssistantError]) -> None:
    directory = Path(store.path).parent
    before = snapshot(directory)
    with pytest.raises(error):
        store.check_writable()
    with pytest.raises(error):
        put(store, FOLDER, plain_entry())
    assert snapshot(directory) == before


class TestRehearsal:
    @pytest.mark.parametrize("exists", [False, True])
    def test_it_tells_what_would_be_and_leaves_nothing(self, path: Path, exists: bool) -> None:
        if exists:
            make_v1(path, row_of("theirs.rs", created_at="2026-02-04 03:13:53"))
        before = snapshot(path.parent)
        store = V1Store(path)
        with store.rehearsal() as copy:
            first = put_all(copy, (FOLDER, plain_entry()), (FOLDER, plain_entry(file_path="b.rs")))
            assert put(copy, FOLDER, plain_entry()) == UNCHANGED
            size = copy.info().size
        assert snapshot(path.parent) == before
        real = put_all(store, (FOLDER, plain_entry()), (FOLDER, plain_entry(file_path="b.rs")))
        assert [(one.outcomes, list(one.each)) for one in first] == [
            (one.outcomes, list(one.each)) for one in real
        ]
        assert abs(size - store.info().size) <= 2 * 4096


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


class TestReadable:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False,
                allow_infinity=False) | _texts,
            lambda inner: st.lists(inner, max_size=4)
            | st.dictionaries(_texts, inner, max_size=4),
            max_leaves=10,
        ),
        st.integers(0, 4),
        st.booleans(),
    )  # fmt: skip
    def test_only_white_space_between_tokens_goes(
        self, value: Any, indent: int, ascii_only: bool
    ) -> None:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
        wanted = json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only).encode()
        assert readable(text) == wanted

    def test_half_a_surrogate_pair_is_no_json_to_the_rust_program(self) -> None:
        with pytest.raises(EntryError, match="not JSON"):
            readable(b'"\\ud800"')


_int64 = st.integers(-(2**63), 2**63 - 1)
_results = st.sampled_from([b"null", b"{}", b' { "a" : 1.0, "a":1e3 }\n', b'"\xc3\xa9"', b"[ 1 ]"])
_entries = st.builds(
    Entry,
    repository=st.sampled_from(["/a", "/b/\xe9"]),
    cache_type=st.sampled_from(["docs", "todos", "security"]),
    file_path=st.sampled_from(["a/b", "a_b"]) | _texts,
    file_hash=st.sampled_from([bytes(32), bytes(31) + b"\1"]) | st.binary(min_size=32, max_size=32),
    analyzed_at=st.integers(-1, 2 * SECOND) | _int64.filter(lambda at: at >= SECOND - 2**63),
    provider=_texts,
    model=st.sampled_from(["m", "m:p", ""]) | _texts,
    prompt_hash=st.sampled_from([None, "", "p", "p:1"]),
    schema_version=st.sampled_from([None, 0, 1, 2]) | st.integers(0, 2**32 - 1),
    result=_results,
    tokens_used=st.none() | _int64,
    file_size=st.none() | st.integers(0, 2**63 - 1),
)


class TestRoundTrip:
    @given(entries=st.lists(_entries, max_size=8))
    @settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
    def test_what_is_read_is_what_was_written_as_far_as_v1_can_keep_it(
        self, entries: list[Entry], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.mktemp("v1") / "cache.db"
        newest = winners(entries)
        results = put_all(V1Store(path), *((folder_of(entry), entry) for entry in entries))
        found = {one.entry.key: bare(one) for one in all_found(path)}
        assert found.keys() == newest.keys()
        for key, entry in found.items():
            assert entry in [as_kept(one) for one in newest[key]]
            (blob,) = blobs(path, key)
            assert result_of(blob) == entry.result
        assert not [note for one in all_found(path) for note in one.notes]
        outcomes = Outcomes()
        for result in results:
            outcomes.add(result.outcomes)
        failed = sum(len(result.failures) for result in results)
        assert outcomes.migrated + outcomes.unchanged + failed == len(entries)
        assert outcomes.migrated == len(newest)
        with V1Store(path).finder() as finder:
            for entry in found.values():
                back = given_back(finder.find(folder_of(entry), entry))
                assert [msgspec.structs.replace(one, original=None) for one in back] == [entry]
                answer = finder.lookup(query_for(entry))
                assert answer is not None
                assert answer.file_hash == entry.file_hash


def winners(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """For each key the newest, or several that nothing but their least part tells apart."""
    newest: dict[str, list[Entry]] = {}
    for entry in entries:
        rivals = newest.setdefault(entry.key, [])
        if not rivals or standing(entry) > standing(rivals[0]):
            newest[entry.key] = [entry]
        elif standing(entry) == standing(rivals[0]):
            rivals.append(entry)
    return newest


def standing(entry: Entry) -> tuple[int, bytes]:
    return (entry.analyzed_at, hashlib.sha256(readable(entry.result)).digest())


def folder_of(entry: Entry) -> Folder:
    directory = hashlib.sha256(entry.repository.encode()).hexdigest()[:8]
    return Folder(Repository(entry.repository, directory), entry.cache_type, "centralized")


def bare(found: Found) -> Entry:
    return msgspec.structs.replace(found.entry, original=None)


def blobs(path: Path, key: str) -> Iterator[bytes]:
    with closing(apsw.Connection(str(path))) as database:
        for (blob,) in database.execute(
            "SELECT result_blob FROM cache_entries WHERE cache_key = ?", (key,)
        ):
            yield blob


def result_of(blob: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(blob)


def test_entry_keeps_its_key_through_v1_and_a_json_cache(tmp_path: Path) -> None:
    """Even the odd one, whose version an entry's file would not say."""
    entry = entry_in(prompt_hash=None, schema_version=3, result=b"1")
    put(V1Store(tmp_path / "cache.db"), FOLDER, entry)
    (found,) = all_found(tmp_path / "cache.db")
    assert found.entry.key == entry.key
    cache = Cache(tmp_path / "repos")
    cache.add(text=render(found.entry))
    ours = SqliteStore(tmp_path / "ours.db")
    transfer(JsonTree(cache.root), ours)
    assert lookup(ours, query_for(entry, prompt_hash=None)) is not None


def left_in_the_middle(path: Path, table: str) -> None:
    """A program is killed while it changes a table: its journal stays, to be played back."""
    child = os.fork()
    if child == 0:
        connection = apsw.Connection(str(path))
        connection.execute("PRAGMA cache_size=1; BEGIN IMMEDIATE; CREATE TABLE half (blob)")
        connection.execute(f"DELETE FROM {table}")  # noqa: S608
        connection.executemany("INSERT INTO half VALUES (zeroblob(?))", [(3_000,)] * 200)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0


def test_file_that_a_killed_run_has_left_is_mended_and_gone_on_with(
    path: Path, store: V1Store
) -> None:
    before, after = plain_entry(file_path="before.rs"), plain_entry(file_path="after.rs")
    put(store, FOLDER, before)
    left_in_the_middle(path, "cache_entries")
    store.check_writable()
    assert put(store, FOLDER, after) == MIGRATED
    assert find(store, before) == [before]
    assert find(store, after) == [after]
    assert files_beside(path) == [path.name]


def test_database_of_others_that_was_left_in_the_middle_is_not_touched(
    path: Path, store: V1Store
) -> None:
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    left_in_the_middle(path, "theirs")
    before = snapshot(path.parent)
    with pytest.raises(ForeignFileError):
        put(store, FOLDER, plain_entry())
    assert snapshot(path.parent) == before


def test_commit_lasts_though_there_is_no_log(path: Path, store: V1Store) -> None:
    put(store, FOLDER, plain_entry())
    extra = 3
    with closing(opening.open_for_writing(str(path))) as connection:
        assert connection.pragma("synchronous") == extra
