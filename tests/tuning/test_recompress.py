from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import entries_of, make_database, run_sql, single_entries, value
from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.check import check_database, repair_database
from rustassistant.entry import Entry
from rustassistant.errors import DamagedError, InterruptedRunError, NotFoundError, UsageError
from rustassistant.retention import clear
from rustassistant.runs import list_runs, show_run
from rustassistant.stores.sqlite.upkeep import recompression
from rustassistant.transfer.selection import Selection
from rustassistant.tuning import (
    Recompressed,
    RecompressOptions,
    estimate_recompression,
    recompress,
)
from support import Cache

BREAK = "UPDATE entries SET result = x'28b52ffd' WHERE id = {}"
HARD = RecompressOptions(level=19)
TRAIN = RecompressOptions(level=9, train=True)
PLAIN = RecompressOptions(level=9, dictionaries=False)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared results, copies, originals, rows in the trash, a dictionary."""
    database = make_database(tmp_path_factory.mktemp("sound"))
    clear(database, Selection(include=("part_1?.rs",)))
    assert value(database, "SELECT count(*) FROM trash")
    assert value(database, "SELECT count(*) FROM entries WHERE original IS NOT NULL")
    return database


@pytest.fixture
def database(sound: Path, tmp_path: Path) -> Path:
    return copied(sound, tmp_path)


def copied(sound: Path, place: Path) -> Path:
    copy = place / "cache.db"
    shutil.copyfile(sound, copy)
    copy.chmod(0o600)
    return copy


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompression, "BATCH_ROWS", 10)


def rows(database: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(apsw.Connection(str(database))) as connection:
        return connection.execute(sql, values).fetchall()


def frames(database: Path) -> list[tuple[Any, ...]]:
    return rows(database, "SELECT id, result, original, dictionary_id FROM entries ORDER BY id")


def dictionaries(database: Path) -> set[int]:
    return {row[0] for row in rows(database, "SELECT id FROM dictionaries")}


def assert_sound(database: Path, expected: set[Entry]) -> None:
    """All is there, in every column, and SQLite, sums, digests and relations agree."""
    assert entries_of(database) == expected
    found = check_database(database)
    assert found.problems == ()


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.lists(
        st.builds(
            RecompressOptions,
            level=st.integers(1, 22),
            train=st.booleans(),
            dictionaries=st.just(True),
            force=st.booleans(),
            types=st.sampled_from([None, ("docs",), ("docs", "analysis"), ("none",)]),
        )
        | st.builds(
            RecompressOptions,
            level=st.integers(1, 12),
            dictionaries=st.just(False),
            types=st.sampled_from([None, ("docs",)]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_every_entry_is_given_back_whatever_the_options(
    sound: Path, tmp_path: Path, several: list[RecompressOptions]
) -> None:
    database = copied(sound, tmp_path)
    expected = entries_of(database)
    for options in several:
        done = recompress(database, options)
        assert done.damaged == ()
        assert done.found == done.replaced + done.kept + done.changed
        assert_sound(database, expected)


def test_harder_is_smaller_and_a_rerun_writes_nothing(database: Path) -> None:
    expected = entries_of(database)
    first = recompress(database, HARD)
    assert first.after.frames < first.before.frames
    assert first.saved > 0
    assert first.replaced > 50
    before = database.read_bytes()
    again = recompress(database, HARD)
    assert (again.replaced, again.kept, again.skipped) == (0, again.found, 0)
    assert database.read_bytes() == before
    assert [run.command for run in list_runs(database)].count("recompress") == 1
    assert_sound(database, expected)


def test_what_would_grow_stays_unless_forced(database: Path) -> None:
    recompress(database, HARD)
    hard = frames(database)
    assert recompress(database, RecompressOptions(level=1)).replaced == 0
    assert frames(database) == hard
    done = recompress(database, RecompressOptions(level=1, force=True))
    assert done.saved < 0
    assert done.after.frames > done.before.frames


def test_training_replaces_the_dictionary_and_removes_the_old_one(database: Path) -> None:
    """The level stays, so that it is the dictionary that saves."""
    cache = Cache(database.parent / "more")
    for number in range(300):  # unlike what the first dictionary was trained on
        words = " ".join(f"{part * 7919 % 1009:x}-otherwise" for part in range(number, number + 60))
        cache.add(f"{number}.rs", content=b"%d" % number, result={"words": words})
    CacheMigrator(cache.root, database).migrate()
    expected = entries_of(database)
    old = dictionaries(database)
    done = recompress(database, RecompressOptions(level=3, train=True))
    assert set(done.trained) == {"docs"}
    assert done.saved > 0
    assert dictionaries(database) == (old - set(done.dropped)) | set(done.trained.values())
    used = {row[0] for row in rows(database, "SELECT DISTINCT dictionary_id FROM entries")}
    assert used - {None} <= dictionaries(database)
    assert done.dropped
    assert_sound(database, expected)
    before = database.read_bytes()
    again = recompress(database, RecompressOptions(level=3, train=True))
    assert (again.replaced, again.trained) == (0, {})
    assert database.read_bytes() == before
    # What comes in next is compressed with the new one.
    with AnalysisCache(database, repository="/r") as opened:
        opened.set(type="docs", content="n", file_path="n", provider="p", model="m", result="n")
    last = rows(database, "SELECT dictionary_id FROM entries ORDER BY id DESC LIMIT 1")
    assert last == [(done.trained["docs"],)]


def test_training_that_does_not_pay_leaves_the_dictionary(database: Path) -> None:
    old = dictionaries(database)
    recompress(database, HARD)
    done = recompress(database, RecompressOptions(level=1, train=True))
    assert (done.trained, done.replaced, done.dropped) == ({}, 0, ())
    assert dictionaries(database) == old


def test_without_dictionaries_none_is_left(database: Path) -> None:
    expected = entries_of(database)
    done = recompress(database, PLAIN)
    assert set(done.dropped)
    assert dictionaries(database) == set()
    assert done.after.dictionaries == 0
    assert_sound(database, expected)


def test_other_types_are_left_alone(database: Path) -> None:
    sql = (
        "SELECT e.id, e.result, e.dictionary_id FROM entries e JOIN folders d ON d.id = e.folder_id"
        " WHERE d.cache_type = ?"
    )
    before = rows(database, sql, "analysis")
    docs = rows(database, sql, "docs")
    recompress(database, RecompressOptions(level=19, types=("docs",)))
    assert rows(database, sql, "analysis") == before
    assert rows(database, sql, "docs") != docs


def test_dictionary_stays_while_others_have_the_database_open(database: Path) -> None:
    with AnalysisCache(database) as opened:
        assert next(iter(opened)) is not None
        expected = [(entry.file_path, entry.result) for entry in opened]
        done = recompress(database, PLAIN)
        assert done.left == tuple(sorted(dictionaries(database))) != ()
        assert done.dropped == ()
        assert [(entry.file_path, entry.result) for entry in opened] == expected
    assert recompress(database, PLAIN).dropped == done.left
    assert dictionaries(database) == set()


def test_dictionary_of_quarantined_rows_stays(database: Path) -> None:
    (entry_id,) = single_entries(database, 1)
    ((needed,),) = rows(database, "SELECT dictionary_id FROM entries WHERE id = ?", entry_id)
    run_sql(database, BREAK.format(entry_id))
    repair_database(database, keep_copy=False)
    assert rows(database, "SELECT 1 FROM quarantine")
    recompress(database, PLAIN)
    assert dictionaries(database) == {needed}
    assert not check_database(database).problems


def test_damaged_entry_is_named_and_left_as_it_is(database: Path) -> None:
    (entry_id,) = single_entries(database, 1)
    run_sql(
        database,
        f"UPDATE entries SET result = CAST(substr(result, 1, 40) || x'00' AS BLOB)"  # noqa: S608
        f" WHERE id = {entry_id}",
    )
    before = rows(database, "SELECT * FROM entries WHERE id = ?", entry_id)
    expected = entries_of(database)
    done = recompress(database, HARD)
    assert len(done.damaged) == 1
    assert f"entry {entry_id}: src/part_" in done.damaged[0].path
    assert done.damaged[0].cache_type in ("docs", "analysis")
    assert rows(database, "SELECT * FROM entries WHERE id = ?", entry_id) == before
    assert entries_of(database) == expected
    run = list_runs(database)[0]
    assert (run.command, run.outcome, run.failed) == ("recompress", "done", 1)
    assert run.migrated == done.replaced
    assert len(show_run(database, run.id).notes) == 1
    # Nothing new is wrong, nothing gets smaller: no further trace.
    assert len(recompress(database, HARD).damaged) == 1
    assert list_runs(database)[0].id == run.id


def test_result_that_is_not_what_its_digest_says_is_not_rewritten(database: Path) -> None:
    (one, other) = single_entries(database, 2)
    run_sql(
        database,
        f"UPDATE entries SET result_digest ="  # noqa: S608
        f" (SELECT result_digest FROM entries WHERE id = {other})"
        f" WHERE id = {one}",
    )
    before = rows(database, "SELECT * FROM entries WHERE id = ?", one)
    assert [damage.reason for damage in recompress(database, HARD).damaged] == [
        "a stored text differs from its SHA-256"
    ]
    assert rows(database, "SELECT * FROM entries WHERE id = ?", one) == before


def test_damaged_dictionary_is_never_compressed_with(database: Path) -> None:
    run_sql(database, "UPDATE dictionaries SET data = CAST(data || x'00' AS BLOB)")
    before = database.read_bytes()
    for options in (HARD, TRAIN, PLAIN):
        with pytest.raises(DamagedError, match="dictionary"):
            recompress(database, options)
    assert database.read_bytes() == before


KILLED = """
import os, signal, sys
from rustassistant.stores.sqlite.upkeep import recompression
from rustassistant.tuning import RecompressOptions, recompress
recompression.BATCH_ROWS = 10
database, batches, where = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "within":
    real, count = recompression.Recompression._write_log, 0
    def write_log(self):
        global count
        real(self)
        count += 1
        if count > batches:
            die()
    recompression.Recompression._write_log = write_log
    progress = None
else:
    progress = lambda done, total, damaged: done >= 10 * batches and die()
options = RecompressOptions(level=9, train=True, force=True)
recompress(database, options, jobs=1, progress=progress)
"""


@pytest.mark.parametrize("where", ["between", "within"])
def test_killed_run_loses_nothing_and_is_gone_on_with(
    database: Path, small_batches: None, where: str
) -> None:
    expected = entries_of(database)
    batches = 4
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(database), str(batches), where],
        env=os.environ,
        check=False,
    )
    assert done.returncode == -9
    assert_sound(database, expected)
    assert list_runs(database)[0].outcome is None
    with_options = RecompressOptions(level=9, train=True, force=True)
    # Beginning the run and each batch wrote its row; what was not committed is done again.
    finished = batches if where == "between" else batches - (1 if trained(database) else 0)
    rest = recompress(database, with_options)
    assert rest.skipped == 10 * finished
    assert rest.skipped + rest.found == len(frames(database))
    assert_sound(database, expected)
    assert list_runs(database)[0].outcome == "done"
    assert recompress(database, with_options).skipped == 0


def trained(database: Path) -> bool:
    options: str = rows(database, "SELECT options FROM runs ORDER BY id DESC LIMIT 1")[0][0]
    return '"dictionaries": {"' in options


def test_other_options_begin_anew(database: Path, small_batches: None) -> None:
    with pytest.raises(InterruptedRunError):
        recompress(database, HARD, cancelled=lambda: True)
    assert list_runs(database)[0].outcome == "interrupted"
    assert recompress(database, RecompressOptions(level=18)).skipped == 0


def test_interrupted_run_finishes_its_batch_and_is_gone_on_with(
    database: Path, small_batches: None
) -> None:
    expected = entries_of(database)
    seen: list[int] = []
    with pytest.raises(InterruptedRunError, match="every one can be read"):
        recompress(
            database,
            HARD,
            progress=lambda done, total, damaged: seen.append(done),
            cancelled=lambda: len(seen) == 2,
        )
    assert seen == [10, 20]
    assert_sound(database, expected)
    rest = recompress(database, HARD, progress=lambda done, total, damaged: seen.append(done))
    assert rest.skipped == 20
    assert seen[2:] == sorted(set(seen[2:]))
    assert seen[2] == 30
    assert seen[-1] == len(frames(database))


def test_migration_gets_in_between_batches(database: Path, small_batches: None) -> None:
    cache = Cache(database.parent / "more")
    for number in range(20):
        cache.add(f"new/{number}.rs", content=b"new %d" % number)
    expected = entries_of(database)
    moved: list[int] = []

    def progress(done: int, total: int, damaged: int) -> None:
        if not moved:
            moved.append(CacheMigrator(cache.root, database).migrate().total_migrated)

    recompress(database, TRAIN, progress=progress)
    assert moved == [20]
    found = entries_of(database)
    assert expected < found
    assert len(found) == len(expected) + 20
    assert not check_database(database).problems


READER = """
import sys
from contextlib import closing
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.rows import EntryReader, entry_sql
def look():
    with closing(open_for_reading(sys.argv[1])) as connection:
        return list(EntryReader(connection).select(entry_sql(more=", e.id") + "ORDER BY e.id", ()))
first = look()
print("ready", flush=True)
print(*{look() == first for _ in iter(sys.stdin.readline, "")}, flush=True)
"""


def test_reader_in_another_process_sees_the_same_throughout(
    database: Path, small_batches: None
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        look = reader.stdin

        def progress(done: int, total: int, damaged: int) -> None:
            look.write("\n")
            look.flush()

        for options in (HARD, PLAIN, TRAIN, RecompressOptions(level=1, force=True)):
            recompress(database, options, progress=progress)
        look.close()
        assert reader.stdout.read() == "True\n"


def test_workers_give_what_one_process_gives(sound: Path, tmp_path: Path) -> None:
    made: list[tuple[Recompressed, list[tuple[Any, ...]]]] = []
    for jobs in (1, 2):
        place = tmp_path / str(jobs)
        place.mkdir()
        database = copied(sound, place)
        done = recompress(database, HARD, jobs=jobs)
        made.append((done, frames(database)))
    assert made[0][1] == made[1][1]
    assert made[0][0].saved == made[1][0].saved


def test_estimate_writes_nothing_and_comes_near(database: Path) -> None:
    before = database.read_bytes()
    for options in (HARD, PLAIN, TRAIN):
        found = estimate_recompression(database, options)
        assert {one.cache_type for one in found} == {"analysis", "docs"}
        assert all(one.sampled for one in found)
        assert database.read_bytes() == before
    guessed = sum(one.before - one.after for one in estimate_recompression(database, HARD))
    done = recompress(database, HARD)
    assert guessed == pytest.approx(done.saved, rel=0.5)


def test_what_makes_no_sense_is_refused(database: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--no-dictionary"):
        recompress(database, RecompressOptions(train=True, dictionaries=False))
    with pytest.raises(UsageError, match="level 23"):
        recompress(database, RecompressOptions(level=23))
    with pytest.raises(NotFoundError):
        recompress(tmp_path / "no.db")
    assert not (tmp_path / "no.db").exists()


def test_empty_database_is_fine(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    for options in (HARD, TRAIN, PLAIN):
        assert recompress(tmp_path / "cache.db", options).found == 0
        assert estimate_recompression(tmp_path / "cache.db", options) == ()
