from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import (
    PAGE,
    entries_of,
    flip,
    make_database,
    overwrite,
    pages_of,
    run_sql,
    value,
)
from rustassistant.check import RepairResult, check_database, repair_database
from rustassistant.errors import LockedError, NotFoundError, RustAssistantError
from rustassistant.migrate import CacheMigrator
from rustassistant.stores.sqlite.rows import EntryReader
from support import as_nobody, snapshot

BROKEN_FRAME = "x'28b52ffd'"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def database(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "cache.db"
    shutil.copyfile(sound, copy)
    copy.chmod(0o600)
    return copy


def rows(database: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(apsw.Connection(str(database))) as connection:
        return connection.execute(sql, values).fetchall()


def kept(database: Path, outcome: str = "lost") -> list[tuple[Any, ...]]:
    return rows(
        database, "SELECT table_name FROM quarantine WHERE outcome = ? ORDER BY id", outcome
    )


def assert_repaired(database: Path, sound: Path, result: RepairResult, *, lost: int) -> None:
    """Nothing is wrong any more, and all is there that was not named as lost."""
    assert result.left.sound
    assert check_database(database).problems == ()
    before, after = entries_of(sound), entries_of(database)
    assert after <= before
    assert len(before - after) == lost
    assert len(result.found.lost) == lost


def test_sound_database_is_left_as_it_is(database: Path) -> None:
    before = database.read_bytes()
    result = repair_database(database)
    assert result.found.sound
    assert result.kept is None
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["cache.db"]


def test_damaged_entry_is_set_aside_as_it_stood(database: Path, sound: Path) -> None:
    run_sql(database, f"UPDATE entries SET result = {BROKEN_FRAME} WHERE id = 20")  # noqa: S608
    (stood,) = rows(database, "SELECT * FROM entries WHERE id = 20")
    assert_repaired(database, sound, repair_database(database), lost=1)
    ((table, path, tokens, reason, packed),) = rows(
        database,
        "SELECT table_name, file_path, tokens_used, reason, original_row FROM quarantine",
    )
    assert (table, path, tokens) == ("entries", stood_path(sound, 20), stood[5])
    assert "decompress" in reason
    assert tuple(msgspec.msgpack.decode(packed).values()) == stood


def stood_path(database: Path, entry_id: int) -> object:
    return value(
        database,
        f"SELECT path FROM files WHERE id = (SELECT file_id FROM entries WHERE id = {entry_id})",  # noqa: S608
    )


def test_file_as_it_was_stays_beside_the_repaired_one(database: Path) -> None:
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    before = database.read_bytes()
    result = repair_database(database)
    assert result.kept is not None
    assert result.kept.read_bytes() == before
    assert stat.S_IMODE(result.kept.stat().st_mode) == 0o600
    assert {problem.row_id for problem in check_database(result.kept).lost} == {20}


def test_copy_is_not_kept_if_nobody_wants_it(database: Path) -> None:
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    assert repair_database(database, keep_copy=False).kept is None
    assert [path.name for path in database.parent.iterdir()] == ["cache.db"]


def test_what_the_log_holds_is_in_the_copy(database: Path) -> None:
    with closing(apsw.Connection(str(database))) as other:
        other.pragma("wal_autocheckpoint", 0)
        other.execute("UPDATE entries SET seal = seal + 1 WHERE id = 20")
        result = repair_database(database)
    assert result.kept is not None
    assert {problem.row_id for problem in check_database(result.kept).lost} == {20}
    assert check_database(database).sound


def test_sharers_of_a_damaged_entry_inherit_its_result(database: Path, sound: Path) -> None:
    owner = value(database, "SELECT min(result_of) FROM entries")
    run_sql(database, f"UPDATE entries SET tokens_used = 5 WHERE id = {owner}")  # noqa: S608
    result = repair_database(database)
    assert result.left.sound
    missing = entries_of(sound) - entries_of(database)
    assert {entry.file_path for entry in missing} == {stood_path(sound, int(str(owner)))}


def test_sharer_that_keeps_its_file_inherits_too(database: Path, sound: Path) -> None:
    """Its row's frames may be compressed with another dictionary than the result it gets."""
    owner, heir = rows(
        database,
        "SELECT result_of, id FROM entries WHERE result_of NOT NULL AND original NOT NULL",
    )[0]
    run_sql(
        database,
        f"UPDATE entries SET tokens_used = 5 WHERE id = {owner}",  # noqa: S608
        "UPDATE entries SET dictionary_id = NULL WHERE result IS NULL AND original IS NULL",
    )
    run_sql(database, f"DELETE FROM copies WHERE entry_id = {owner}")  # noqa: S608
    result = repair_database(database)
    assert result.left.sound
    assert {entry.file_path for entry in entries_of(sound) - entries_of(database)} == {
        stood_path(sound, owner)
    }
    assert value(database, f"SELECT result NOT NULL FROM entries WHERE id = {heir}")  # noqa: S608


def test_places_of_a_damaged_entry_that_are_sound_become_entries(
    database: Path, sound: Path
) -> None:
    owner = value(database, "SELECT min(entry_id) FROM copies WHERE file_id NOT NULL")
    run_sql(
        database,
        f"UPDATE entries SET file_id = file_id - 1 WHERE id = {owner}",  # noqa: S608
    )
    result = repair_database(database)
    assert result.left.sound
    missing = entries_of(sound) - entries_of(database)
    assert len(missing) == len(result.found.lost) == 1
    assert value(database, "SELECT count(*) FROM copies WHERE file_id IS NOT NULL") == 0


def test_entry_is_pointed_to_an_equal_result_elsewhere(database: Path, sound: Path) -> None:
    run_sql(
        database,
        "UPDATE entries SET result_of = NULL, dictionary_id = o.dictionary_id, result = o.result"
        " FROM entries o WHERE o.id = entries.result_of AND entries.original IS NULL",
    )
    first = value(
        database,
        "SELECT min(a.id) FROM entries a JOIN entries b"
        " ON a.result_digest = b.result_digest AND a.id <> b.id"
        " AND a.result NOT NULL AND b.result NOT NULL",
    )
    run_sql(database, f"UPDATE entries SET result = {BROKEN_FRAME} WHERE id = {first}")  # noqa: S608
    assert_repaired(database, sound, repair_database(database), lost=0)
    assert kept(database, "mended") == [("entries",)]


def test_damaged_dictionary_is_set_aside_with_all_that_it_costs(
    database: Path, sound: Path
) -> None:
    data = value(database, "SELECT data FROM dictionaries WHERE id = 1")
    run_sql(database, "UPDATE dictionaries SET data = zeroblob(4096) WHERE id = 1")
    result = repair_database(database)
    assert_repaired(database, sound, result, lost=len(result.found.lost))
    assert len(result.found.lost) > 50
    assert value(database, "SELECT count(*) FROM dictionaries") == 0
    ((named, packed),) = rows(
        database,
        "SELECT dictionary, original_row FROM quarantine WHERE table_name = 'dictionaries'",
    )
    row = msgspec.msgpack.decode(packed)
    assert (row["sha256"], len(row["data"])) == (named, 4096)
    assert isinstance(data, bytes)


def test_dictionary_under_a_wrong_name_gets_the_right_one(database: Path, sound: Path) -> None:
    digest = value(database, "SELECT sha256 FROM dictionaries WHERE id = 1")
    run_sql(database, "UPDATE dictionaries SET sha256 = zeroblob(32) WHERE id = 1")
    assert_repaired(database, sound, repair_database(database), lost=0)
    assert value(database, "SELECT sha256 FROM dictionaries WHERE id = 1") == digest


def test_dictionary_that_is_marked_as_text_costs_no_entry(database: Path, sound: Path) -> None:
    """One bit in the header of its row; its bytes are as they were, and no text."""
    page = pages_of(database, "dictionaries")[0]
    content = database.read_bytes()[(page - 1) * PAGE : page * PAGE]
    at = content.index(b"\x00\x4c\x15") + 3  # no id, 32 bytes, "docs", and then the type of data
    while content[at] & 0x80:
        at += 1
    flip(database, (page - 1) * PAGE + at, 0)
    assert len(check_database(database).lost) > 50  # until then no reader can have them
    result = repair_database(database)
    assert result.left.sound
    assert entries_of(database) == entries_of(sound)


def test_dictionary_that_rows_in_quarantine_need_can_not_be_deleted(database: Path) -> None:
    run_sql(database, "UPDATE entries SET seal = seal + 1", "UPDATE copies SET seal = seal + 1")
    assert repair_database(database).left.sound
    assert value(database, "SELECT count(*) FROM entries WHERE dictionary_id = 1") == 0
    with closing(apsw.Connection(str(database))) as connection:
        with pytest.raises(apsw.ConstraintError, match="in quarantine"):
            connection.execute("DELETE FROM dictionaries WHERE id = 1")
        row = msgspec.msgpack.decode(
            connection.execute(
                "SELECT min(original_row) FROM quarantine WHERE dictionary NOT NULL"
            ).get
        )
        text = EntryReader(connection).text(row["result"], 1, row["result_digest"])
    assert text.startswith(b"{")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE files SET place = place + 1 WHERE id = 3",
        "UPDATE files SET repository_id = 3 - repository_id WHERE id = 3",
        "UPDATE copies SET source_stamp = 4",
        "INSERT INTO trash VALUES (99999, 'deleted', 1)",
        "INSERT INTO run_failures VALUES (99, 'failure', 'a', 'docs', 'b')",
        "INSERT INTO uses VALUES (99999, 1, 1)",
        "UPDATE totals SET tokens = tokens + 1",
        "DELETE FROM totals",
        "UPDATE repositories SET path = '/home/dev/other' WHERE id = 1",
        "DROP INDEX entries_by_folder",
        "DROP VIEW cache_entries",
        "CREATE UNIQUE INDEX extra ON entries (seal)",
        "CREATE VIEW extra AS SELECT 1",
        "ALTER TABLE entries ADD COLUMN note TEXT",
        "ALTER TABLE runs RENAME COLUMN host TO machine",
        "DROP TABLE totals",
    ],
)
def test_repair_of_what_costs_no_entry(database: Path, sound: Path, statement: str) -> None:
    run_sql(database, statement)
    assert_repaired(database, sound, repair_database(database), lost=0)


def test_trigger_of_somebody_else_is_kept_in_quarantine_and_does_nothing(
    database: Path, sound: Path
) -> None:
    evil = "CREATE TRIGGER evil AFTER INSERT ON quarantine BEGIN DELETE FROM quarantine; END"
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute(evil)
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    assert_repaired(database, sound, repair_database(database), lost=1)
    assert ("entries",) in kept(database)
    (packed,) = rows(
        database, "SELECT original_row FROM quarantine WHERE table_name = 'sqlite_schema'"
    )
    assert msgspec.msgpack.decode(packed[0])["sql"] == evil


TABLES = ("entries", "files", "copies", "folders", "producers", "repositories", "totals",
          "dictionaries", "runs")  # fmt: skip


@pytest.mark.parametrize("name", [*TABLES, "entries_by_folder", "files_by_hash", "sqlite_schema"])
def test_zeroed_page_costs_what_was_on_it_alone(database: Path, sound: Path, name: str) -> None:
    page = pages_of(database, name)[0]
    overwrite(database, page)
    damaged = database.read_bytes()
    result = repair_database(database, keep_copy=False)
    assert result.rebuilt
    assert result.kept is not None
    assert result.kept.read_bytes() == damaged  # kept whoever asked for none
    assert sorted(path.name for path in database.parent.iterdir()) == [
        "cache.db",
        result.kept.name,
    ]
    assert_repaired(database, sound, result, lost=len(result.found.lost))
    if name not in ("entries", "files", "copies", "dictionaries"):
        assert not result.found.lost


def test_zeroed_root_of_the_entries_costs_none(database: Path, sound: Path) -> None:
    overwrite(database, pages_of(database, "entries", "internal")[0])
    assert_repaired(database, sound, repair_database(database), lost=0)


def test_damaged_header_costs_none(database: Path, sound: Path) -> None:
    overwrite(database, 1, bytes(100))
    assert_repaired(database, sound, repair_database(database), lost=0)


def test_truncated_file_keeps_what_is_left(database: Path, sound: Path) -> None:
    os.truncate(database, database.stat().st_size // 3)
    readable = entries_of(sound)
    result = repair_database(database)
    assert result.left.sound
    assert entries_of(database) <= readable
    assert check_database(database).sound


def test_rebuilt_file_keeps_its_permissions(database: Path) -> None:
    database.chmod(0o640)
    overwrite(database, pages_of(database, "producers")[0])
    assert repair_database(database).rebuilt
    assert stat.S_IMODE(database.stat().st_mode) == 0o640


def test_entry_whose_id_was_damaged_gets_it_back(database: Path, sound: Path) -> None:
    """Others find its result by that id."""
    owner = value(database, "SELECT min(result_of) FROM entries")
    page, position = cell_of(database, "entries", int(str(owner)))
    flip(database, (page - 1) * PAGE + position, 6)
    result = repair_database(database)
    assert_repaired(database, sound, result, lost=0)
    assert value(database, f"SELECT count(*) FROM entries WHERE result_of = {owner}")  # noqa: S608


def test_file_whose_id_was_damaged_gets_it_back(database: Path, sound: Path) -> None:
    """The last one: a higher id is no damage as far as the table alone goes."""
    last = int(str(value(database, "SELECT max(id) FROM files")))
    page, position = cell_of(database, "files", last)
    flip(database, (page - 1) * PAGE + position, next(b for b in range(7) if not last >> b & 1))
    result = repair_database(database)
    assert_repaired(database, sound, result, lost=0)
    assert value(database, "SELECT max(id) FROM files") == last


def cell_of(database: Path, table: str, row_id: int) -> tuple[int, int]:
    """Page of a row, and where in it the last byte of its id stands."""
    for number in pages_of(database, table):
        page = database.read_bytes()[(number - 1) * PAGE : number * PAGE]
        for cell in range(int.from_bytes(page[3:5], "big")):
            at = int.from_bytes(page[8 + 2 * cell : 10 + 2 * cell], "big")
            while page[at] & 0x80:
                at += 1
            if page[at + 1] == row_id:
                return number, at + 1
    raise AssertionError(row_id)


def test_entries_that_only_an_index_names_are_in_quarantine(database: Path) -> None:
    overwrite(database, pages_of(database, "entries")[0])
    lost = repair_database(database).found.lost
    wanted = [(one.row_id, one.file_path) for one in lost if one.table == "entries"]
    found = rows(
        database, "SELECT original_row, file_path FROM quarantine WHERE table_name = 'entries'"
    )
    assert wanted
    assert sorted((msgspec.msgpack.decode(row)["id"], path) for row, path in found) == sorted(
        wanted
    )


def assert_costs_none(database: Path, sound: Path) -> None:
    """Damage that SQLite reads past, beside some that it does not."""
    assert entries_of(database) == entries_of(sound)
    overwrite(database, pages_of(database, "producers")[0])
    assert_repaired(database, sound, repair_database(database), lost=0)


def test_cell_position_beyond_its_page_is_read_as_sqlite_reads_it(
    database: Path, sound: Path
) -> None:
    page = pages_of(database, "files")[0]
    flip(database, (page - 1) * PAGE + 8, 7)
    assert_costs_none(database, sound)


def test_place_of_a_file_that_can_not_be_read_follows_from_its_path(
    database: Path, sound: Path
) -> None:
    """The type of a row's last column stands right before its path, if its repository is 1."""
    path = str(value(database, "SELECT min(path) FROM files WHERE repository_id = 1"))
    page = pages_of(database, "files")[0]
    content = database.read_bytes()[(page - 1) * PAGE : page * PAGE]
    flip(database, (page - 1) * PAGE + content.index(path.encode()) - 1, 5)
    assert_costs_none(database, sound)


def test_lost_entries_come_back_from_the_cache_they_were_made_of(
    database: Path, sound: Path
) -> None:
    run_sql(
        database,
        f"UPDATE entries SET result = {BROKEN_FRAME} WHERE id = 20",  # noqa: S608
        "UPDATE entries SET file_id = file_id + 1 WHERE id = 30",
        "UPDATE entries SET analyzed_at = 5 WHERE id = 40",
    )
    cache = sound.parent / "cache"
    before = snapshot(cache)
    result = repair_database(database, sources=[cache])
    assert snapshot(cache) == before
    assert result.refill is not None
    assert (result.refill.back, result.refill.missing) == (3, ())
    assert entries_of(database) == entries_of(sound)
    assert kept(database) == []
    assert kept(database, "refilled") == [("entries",)] * 3
    assert CacheMigrator(cache, database).verify()


@pytest.mark.parametrize("names", [["entries"], ["files"], ["copies"], ["entries", "files"]])
def test_entries_of_lost_pages_come_back(database: Path, sound: Path, names: list[str]) -> None:
    for name in names:
        overwrite(database, pages_of(database, name)[0])
    result = repair_database(database, sources=[sound.parent / "cache"])
    assert result.refill is not None
    if len(names) == 1:  # else nothing is left by which some could be recognised
        assert result.refill.missing == ()
        assert result.refill.back == len(result.found.lost)
    assert entries_of(database) == entries_of(sound)
    assert CacheMigrator(sound.parent / "cache", database).verify()


def test_what_a_source_does_not_have_is_said(database: Path, sound: Path, tmp_path: Path) -> None:
    run_sql(
        database,
        "UPDATE entries SET seal = seal + 1 WHERE id IN (20, 30)",
    )
    cache = tmp_path / "cache"
    shutil.copytree(sound.parent / "cache", cache)
    gone = str(stood_path(sound, 20)).replace("/", "_").replace(".", "_") + ".json"
    for file in cache.rglob(gone):
        file.unlink()
    result = repair_database(database, sources=[cache])
    assert result.refill is not None
    assert result.refill.back == 1
    assert [one.file_path for one in result.refill.missing] == [stood_path(sound, 20)]
    assert result.left.sound


def test_lost_entries_come_back_later_too(database: Path, sound: Path) -> None:
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    repair_database(database)
    result = repair_database(database, sources=[sound.parent / "cache"])
    assert result.found.sound
    assert result.refill is not None
    assert result.refill.back == 1
    assert entries_of(database) == entries_of(sound)


def test_source_that_is_not_there_is_told_before_anything_is_changed(
    database: Path, tmp_path: Path
) -> None:
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    before = database.read_bytes()
    with pytest.raises(NotFoundError):
        repair_database(database, sources=[tmp_path / "absent"])
    assert database.read_bytes() == before


def test_missing_database_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        repair_database(tmp_path / "absent.db")
    assert list(tmp_path.iterdir()) == []


def hold(database: Path, statement: str) -> subprocess.Popen[bytes]:
    """Another process that has begun a transaction, and ends when its input is closed."""
    source = (
        "import apsw, sys\n"
        f"connection = apsw.Connection({str(database)!r})\n"
        f"connection.execute({statement!r}).fetchall()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("pages", [False, True])
def test_repair_gives_way_to_a_writer(
    database: Path, pages: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rustassistant.stores.sqlite.integrity.repairing.BUSY_TIMEOUT_MS", 0)
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    if pages:
        overwrite(database, pages_of(database, "producers")[0])
    before = database.read_bytes()
    with hold(database, "BEGIN IMMEDIATE") as writer:
        with pytest.raises(LockedError, match=f"process {writer.pid}"):
            repair_database(database)
        assert writer.stdin is not None
        writer.stdin.close()
    assert database.read_bytes() == before


def test_file_is_not_exchanged_under_somebody_who_reads_it(database: Path) -> None:
    overwrite(database, pages_of(database, "producers")[0])
    before = database.read_bytes()
    with hold(database, "BEGIN; SELECT count(*) FROM files") as reader:
        with pytest.raises(LockedError):
            repair_database(database)
        assert reader.stdin is not None
        reader.stdin.close()
    assert database.read_bytes() == before
    assert not [path for path in database.parent.iterdir() if ".repair-" in path.name]
    assert repair_database(database).left.sound


@pytest.mark.parametrize("pages", [False, True])
def test_killed_repair_leaves_the_file_as_it_was(database: Path, sound: Path, pages: bool) -> None:
    """Killed while it looks its work over: after all changes, before the commit or the swap."""
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    if pages:
        overwrite(database, pages_of(database, "producers")[0])
    lost = check_database(database).lost
    source = (
        "import os, signal\n"
        "from rustassistant.check import repair_database\n"
        "from rustassistant.stores.sqlite.integrity import repairing\n"
        "mend = repairing._mend\n"
        "def die(*args): os.kill(os.getpid(), signal.SIGKILL)\n"
        "repairing.put_in_place = die\n"
        f"if not {pages}: repairing._mend = lambda *args: mend(*args) or die()\n"
        f"repair_database({str(database)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", source], check=False)
    assert done.returncode == -9
    assert check_database(database).lost == lost
    assert_repaired(database, sound, repair_database(database), lost=1)
    assert not [path for path in database.parent.iterdir() if ".repair-" in path.name]


def test_database_that_may_not_be_written_is_refused(database: Path) -> None:
    run_sql(database, "UPDATE entries SET seal = seal + 1 WHERE id = 20")
    database.chmod(0o444)
    database.parent.chmod(0o555)
    for directory in database.parents:
        if os.access(directory, os.W_OK) and directory.stat().st_uid == os.getuid():
            directory.chmod(directory.stat().st_mode | 0o055)

    def refused() -> None:
        with pytest.raises(RustAssistantError, match="cannot be written"):
            repair_database(database)

    try:
        as_nobody(refused)
    finally:
        database.parent.chmod(0o755)


@given(st.data())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_repair_loses_nothing_that_could_be_read(
    sound: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = sound.read_bytes()
    written = [position for position, byte in enumerate(whole) if byte]
    flips = data.draw(
        st.lists(st.tuples(st.sampled_from(written), st.integers(0, 7)), min_size=1, max_size=4)
    )
    for leftover in tmp_path.iterdir():
        leftover.unlink()
    database = tmp_path / "flipped.db"
    database.write_bytes(whole)
    for position, bit in flips:
        flip(database, position, bit)
    readable = entries_of(database) & entries_of(sound)
    try:
        result = repair_database(database)
    except RustAssistantError:
        return
    assert result.left.problems == ()
    assert check_database(database).problems == ()
    assert readable <= entries_of(database)
