from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import apsw
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
from rustassistant.check import CheckResult, Kind, Remedy, check_database
from rustassistant.errors import (
    ForeignFileError,
    NewerFileError,
    NotFoundError,
    OutOfSpaceError,
    RustAssistantError,
)
from rustassistant.stores.sqlite.integrity.pages import Pages
from rustassistant.stores.sqlite.integrity.tables import our_tables, row_of_cell, rows_of


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def database(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "cache.db"
    shutil.copyfile(sound, copy)
    return copy


def lost_ids(result: CheckResult) -> set[int | None]:
    return {problem.row_id for problem in result.lost}


def files_in(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".db-shm"
    }


def test_sound_database_has_no_problems(sound: Path) -> None:
    result = check_database(sound)
    assert result.sound
    assert result.problems == ()
    assert result.entries == value(sound, "SELECT count(*) FROM entries")


def test_fixture_has_what_can_go_wrong(sound: Path) -> None:
    for wanted in (
        "copies WHERE file_id IS NULL",
        "copies WHERE file_id IS NOT NULL",
        "dictionaries",
        "entries WHERE result_of IS NOT NULL",
        "entries WHERE original IS NOT NULL",
        "producers WHERE prompt_hash IS NULL",
    ):
        assert value(sound, f"SELECT count(*) FROM {wanted}"), wanted  # noqa: S608 - our own


def test_check_changes_no_byte(database: Path) -> None:
    run_sql(database, "UPDATE entries SET tokens_used = 7 WHERE id = 3")
    overwrite(database, pages_of(database, "files")[0])
    before = files_in(database.parent)
    check_database(database)
    assert files_in(database.parent) == before


def test_progress_reaches_all_entries(sound: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    check_database(sound, lambda *now: seen.append(now))
    count = value(sound, "SELECT count(*) FROM entries")
    assert seen[-1] == (count, count, 0)


def test_check_goes_on_while_somebody_writes_and_sees_one_moment(database: Path) -> None:
    with closing(apsw.Connection(str(database))) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE entries SET tokens_used = 7 WHERE id = 3")
        assert check_database(database).sound
        writer.execute("ROLLBACK")


def test_writer_commits_while_a_check_is_under_way(database: Path) -> None:
    def write(*now: int) -> None:
        with closing(apsw.Connection(str(database))) as writer:
            writer.set_busy_timeout(0)
            writer.execute("UPDATE entries SET tokens_used = tokens_used + 1 WHERE id = 3")

    assert check_database(database, write).sound  # as of the moment that it began
    assert lost_ids(check_database(database)) == {3}


def test_frame_with_a_wrong_byte_is_named_with_what_it_cost(database: Path) -> None:
    run_sql(
        database,
        "UPDATE entries SET result = CAST(substr(result, 1, 20) || x'00' || substr(result, 22)"
        " AS BLOB) WHERE id = 20",
    )
    (problem,) = check_database(database).problems
    assert (problem.kind, problem.row_id, problem.paid) == (Kind.ENTRY, 20, True)
    facts = f"""SELECT json_array(r.path, d.cache_type, f.path, p.model, e.tokens_used)
        FROM entries e JOIN files f ON f.id = file_id JOIN folders d ON d.id = folder_id
        JOIN repositories r ON r.id = d.repository_id JOIN producers p ON p.id = producer_id
        WHERE e.id = {problem.row_id}"""  # noqa: S608
    named = (problem.repository, problem.cache_type, problem.file_path, problem.model)
    shown = value(database, facts)
    assert shown == str([*named, problem.tokens_used]).replace("'", '"').replace(", ", ",")
    assert check_database(database).tokens == problem.tokens_used


@pytest.mark.parametrize(
    "change",
    [
        "file_id = file_id + 1",
        "producer_id = producer_id % 3 + 1",
        "analyzed_at = analyzed_at + 1",
        "tokens_used = NULL",
        "result_digest = zeroblob(16)",
        "seal = seal + 1",
        "file_id = 99999",
        "folder_id = 99999",
        "producer_id = 99999",
        "original = x'28b52ffd'",
    ],
)
def test_changed_column_of_an_entry_is_found(database: Path, change: str) -> None:
    run_sql(database, f"UPDATE entries SET {change} WHERE id = 4")  # noqa: S608
    assert lost_ids(check_database(database)) == {4}


def test_entry_under_the_folder_of_another_repository_is_found(database: Path) -> None:
    run_sql(
        database,
        "UPDATE entries SET folder_id = (SELECT o.id FROM folders d JOIN folders o"
        " ON o.cache_type = d.cache_type AND o.repository_id <> d.repository_id"
        " WHERE d.id = folder_id) WHERE id = 4",
    )
    problems = check_database(database).problems
    assert {problem.table for problem in problems} == {"entries", "totals"}


def test_all_that_share_a_lost_result_are_named(database: Path) -> None:
    owner = value(database, "SELECT min(result_of) FROM entries")
    sharers = f"SELECT count(*) FROM entries WHERE result_of = {owner}"  # noqa: S608
    count = value(database, sharers)
    run_sql(database, f"UPDATE entries SET result = x'28b52ffd' WHERE id = {owner}")  # noqa: S608
    assert isinstance(count, int)
    assert len(check_database(database).lost) == count + 1


def test_result_that_another_entry_holds_too_is_not_lost(database: Path) -> None:
    """Two frames of one result: what a writer makes that did not trust the first."""
    run_sql(
        database,
        "UPDATE entries SET result_of = NULL, dictionary_id = o.dictionary_id, result = o.result"
        " FROM entries o WHERE o.id = entries.result_of AND entries.original IS NULL",
        "UPDATE entries SET result = x'28b52ffd' WHERE id = (SELECT min(a.id) FROM entries a"
        " JOIN entries b ON a.result_digest = b.result_digest AND a.id <> b.id)",
    )
    result = check_database(database)
    entries = [problem for problem in result.problems if problem.kind is Kind.ENTRY]
    assert [problem.remedy for problem in entries] == [Remedy.MEND]
    assert not result.lost


def test_damaged_dictionary_names_all_its_entries(database: Path) -> None:
    run_sql(database, "UPDATE dictionaries SET data = x'00' WHERE id = 1")
    result = check_database(database)
    users = value(database, "SELECT count(*) FROM entries WHERE dictionary_id = 1")
    assert len(result.lost) >= int(str(users)) > 10
    assert any(problem.table == "dictionaries" for problem in result.problems)


def test_deleted_owner_names_who_shared_its_result(database: Path) -> None:
    owner = value(database, "SELECT min(result_of) FROM entries")
    sharer = value(database, f"SELECT id FROM entries WHERE result_of = {owner}")  # noqa: S608
    run_sql(database, f"DELETE FROM entries WHERE id = {owner}")  # noqa: S608
    assert sharer in lost_ids(check_database(database))


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE files SET place = place + 1 WHERE id = 3", "files"),
        ("UPDATE files SET repository_id = 3 - repository_id WHERE id = 3", "files"),
        ("UPDATE copies SET seal = seal + 1 WHERE id = 1", "copies"),
        ("UPDATE copies SET entry_id = 99999 WHERE id = 1", "copies"),
        ("INSERT INTO trash VALUES (99999, 'deleted', 1)", "trash"),
        ("INSERT INTO run_failures VALUES (99, 'failure', 'a', 'docs', 'b')", "run_failures"),
        ("INSERT INTO uses VALUES (99999, 1, 1)", "uses"),
        ("UPDATE totals SET tokens = tokens + 1", "totals"),
        ("DELETE FROM totals", "totals"),
        ("DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)", "totals"),
        ("UPDATE dictionaries SET sha256 = zeroblob(32)", "dictionaries"),
        ("UPDATE repositories SET path = '/home/dev/other' WHERE id = 1", "repositories"),
    ],
)
def test_relation_that_does_not_hold_is_found(database: Path, statement: str, table: str) -> None:
    run_sql(database, statement)
    result = check_database(database)
    assert table in {problem.table for problem in result.problems}


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("DROP INDEX entries_by_folder", "entries_by_folder"),
        ("DROP VIEW cache_entries", "cache_entries"),
        ("DROP TRIGGER results_in_use", "results_in_use"),
        ("CREATE INDEX extra ON entries (seal)", "extra"),
        ("CREATE TRIGGER extra AFTER INSERT ON runs BEGIN SELECT 1; END", "extra"),
        ("CREATE VIEW extra AS SELECT 1", "extra"),
        ("ALTER TABLE entries ADD COLUMN note TEXT", "entries"),
        ("ALTER TABLE runs RENAME COLUMN host TO machine", "runs"),
    ],
)
def test_schema_that_is_not_ours_is_found(database: Path, statement: str, name: str) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute(statement)
    problems = check_database(database).problems
    assert [(problem.kind, problem.table) for problem in problems] == [(Kind.SCHEMA, name)]


def test_table_of_somebody_else_is_left_alone(database: Path) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("CREATE TABLE notes (text); CREATE INDEX notes_by_text ON notes (text)")
        connection.execute("ANALYZE")
    assert check_database(database).sound


KEEPING_ROWS = ("entries", "files", "copies", "folders", "producers", "repositories", "totals",
                "dictionaries", "runs")  # fmt: skip
INDICES = ("entries_by_folder", "entries_by_result", "entries_by_owner",
           "files_by_hash", "copies_by_entry", "producers_by_parts", "repositories_by_path",
           "sqlite_autoindex_folders_1")  # fmt: skip


@pytest.mark.parametrize("name", [*KEEPING_ROWS, *INDICES])
def test_zeroed_page_is_found(database: Path, name: str) -> None:
    overwrite(database, pages_of(database, name)[0])
    assert not check_database(database).sound


@pytest.mark.parametrize("name", INDICES)
def test_wrong_byte_in_an_index_costs_no_entry(database: Path, name: str) -> None:
    page = pages_of(database, name)[0]
    with database.open("rb") as file:
        file.seek(page * PAGE - 8)  # a cell: the first that was put there
        byte = file.read(1)
    overwrite(database, page, bytes([byte[0] ^ 1]), at=PAGE - 8)
    result = check_database(database)
    assert not result.sound
    assert not result.lost


def test_producers_that_are_gone_are_had_from_their_index(database: Path) -> None:
    overwrite(database, pages_of(database, "producers")[0])
    result = check_database(database)
    assert not result.sound
    assert not result.lost


def test_wrong_bit_in_a_producer_costs_no_entry_where_its_index_knows_better(
    database: Path,
) -> None:
    page = pages_of(database, "producers")[0]
    content = database.read_bytes()[(page - 1) * PAGE : page * PAGE]
    overwrite(database, page, content.replace(b"grok-beta", b"grok-bet`"))
    result = check_database(database)
    assert not result.lost
    mended = [problem for problem in result.problems if problem.remedy is Remedy.MEND]
    assert mended
    assert all(problem.change == {"model": "grok-beta"} for problem in mended)


def test_entries_of_a_zeroed_page_are_named_by_their_indices(database: Path) -> None:
    page = pages_of(database, "entries")[1]
    gone = value(database, "SELECT count(*) FROM entries")
    overwrite(database, page)
    result = check_database(database)
    assert result.entries == gone
    named = [problem for problem in result.lost if "its row is gone" in problem.what]
    assert named
    for problem in named:
        assert problem.file_path
        assert problem.repository
        assert problem.cache_type


def test_zeroed_root_of_the_entries_loses_none(database: Path) -> None:
    (root,) = pages_of(database, "entries", "internal")
    overwrite(database, root)
    result = check_database(database)
    assert not result.sound
    assert not result.lost


def test_truncated_file_is_said_to_be_cut_off(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)
    result = check_database(database)
    assert "cut off" in result.problems[0].what


@pytest.mark.parametrize("damage", [bytes(100), b"SQLite format 4\0", bytes(PAGE)])
def test_file_of_ours_with_a_damaged_header_is_still_looked_over(
    database: Path, damage: bytes
) -> None:
    count = value(database, "SELECT count(*) FROM entries")
    overwrite(database, 1, damage)
    result = check_database(database)
    assert result.problems[0].remedy is Remedy.REBUILD
    assert (result.entries, result.lost) == (count, ())


def test_pages_in_the_log_are_looked_at_too(database: Path) -> None:
    """The newest state is in the log, and the header of the database itself is damaged."""
    with closing(apsw.Connection(str(database))) as connection:
        connection.pragma("wal_autocheckpoint", 0)
        connection.execute("UPDATE entries SET tokens_used = 7 WHERE id = 3")
        overwrite(database, 1, bytes(100))
        assert lost_ids(check_database(database)) == {3}
        shutil.copy(f"{database}-wal", f"{database}.kept")
    overwrite(database, 1, b"SQLite format 3\0")


def test_what_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        check_database(tmp_path / "absent.db")
    text = tmp_path / "notes.txt"
    text.write_text("CREATE TABLE letters (id)" * 1000)
    with pytest.raises(ForeignFileError):
        check_database(text)
    other = tmp_path / "other.db"
    with closing(apsw.Connection(str(other))) as connection:
        connection.execute("CREATE TABLE entries (id); CREATE TABLE letters (id)")
    with pytest.raises(ForeignFileError):
        check_database(other)


def test_newer_format_is_refused(database: Path) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        connection.pragma("user_version", 1000)
    with pytest.raises(NewerFileError):
        check_database(database)


def test_shared_rows_are_looked_at_as_each_entry_that_they_stand_for(database: Path) -> None:
    run_sql(database, "UPDATE copies SET analyzed_at = analyzed_at + 1 WHERE file_id IS NOT NULL")
    result = check_database(database)
    assert {problem.kind for problem in result.lost} == {Kind.PLACE}
    assert len(result.lost) == 2


@pytest.mark.parametrize("name", list(our_tables()))
def test_pages_give_the_rows_that_sql_gives(sound: Path, name: str) -> None:
    table = our_tables()[name]
    with closing(apsw.Connection(str(sound))) as connection:
        wanted = list(rows_of(connection, name))
    pages = Pages(memoryview(sound.read_bytes()))
    roots = {(row.kind, row.name): row.root for row in pages.schema()}
    cells = pages.cells(roots["table", name], keyed=table.keyed)
    found = [row_of_cell(table, cell) for cell in cells]
    assert found == wanted


@given(st.data())
@settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_check_never_says_sound_when_an_entry_comes_back_otherwise(
    sound: Path, tmp_path: Path, data: st.DataObject
) -> None:
    whole = sound.read_bytes()
    written = [position for position, byte in enumerate(whole) if byte]
    flips = data.draw(
        st.lists(st.tuples(st.sampled_from(written), st.integers(0, 7)), min_size=1, max_size=6)
    )
    database = tmp_path / "flipped.db"
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    database.write_bytes(whole)
    for position, bit in flips:
        flip(database, position, bit)
    try:
        result = check_database(database)
    except RustAssistantError:
        return  # it can't be opened, and that was said
    if result.sound:
        assert entries_of(database) == entries_of(sound)


def test_full_disk_for_the_temporary_copy_is_named(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that is always full takes the place of the copy."""
    overwrite(database, 1, bytes(100))

    def copy_to_full_disk(path: str, copy: str) -> None:
        with open("/dev/full", "wb") as full:
            full.write(Path(path).read_bytes())

    monkeypatch.setattr(
        "rustassistant.stores.sqlite.integrity.images.copy_bytes", copy_to_full_disk
    )
    with pytest.raises(OutOfSpaceError, match="is full"):
        check_database(database)
