"""What a repair finds on pages that SQLite gives up."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import PAGE, entries_of, make_database, overwrite, pages_of, value
from rustassistant import AnalysisCache
from rustassistant.check import check_database, repair_database
from rustassistant.retention import clear, pin
from rustassistant.transfer.selection import Selection

USE_TABLES = ("trash", "pins", "uses", "traffic", "runs")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With entries in the trash, pinned ones, and some that were asked for."""
    database = make_database(tmp_path_factory.mktemp("sound"))
    clear(database, Selection(include=("*part_1?.rs",)))
    pin(database, (), Selection(include=("*part_2?.rs",)))
    with AnalysisCache(database) as cache:
        for number in range(30, 40):
            for kind in ("docs", "analysis"):
                cache.get(type=kind, content=f"// {number}\n")
    return database


@pytest.fixture
def database(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "cache.db"
    shutil.copyfile(sound, copy)
    return copy


def rows_of(database: Path, name: str) -> list[tuple[Any, ...]]:
    with closing(apsw.Connection(str(database))) as connection:
        return sorted(connection.execute(f"SELECT * FROM {name}"), key=repr)  # noqa: S608


def assert_costs_nothing(database: Path, sound: Path) -> None:
    """Nothing is lost, nothing said to be, and all that stands beside the entries is as it was."""
    found = check_database(database)
    assert not found.sound
    assert found.lost == ()
    assert found.tokens == 0
    result = repair_database(database)
    assert result.left.sound
    assert result.found.lost == ()
    assert check_database(database).sound
    assert entries_of(database) == entries_of(sound)
    for name in USE_TABLES:
        assert rows_of(database, name) == rows_of(sound, name)
    assert value(database, "SELECT count(*) FROM quarantine WHERE outcome = 'lost'") == 0


def page_of(database: Path, number: int) -> bytes:
    return database.read_bytes()[(number - 1) * PAGE : number * PAGE]


@pytest.mark.parametrize("name", ["runs", "entries", "entries_by_folder"])
def test_traffic_outlives_the_repair_of_another_table(
    database: Path, sound: Path, name: str
) -> None:
    assert rows_of(sound, "traffic")
    overwrite(database, pages_of(database, name)[0], b"\xff")
    repair_database(database)
    assert rows_of(database, "traffic") == rows_of(sound, "traffic")
    assert value(database, "SELECT count(*) FROM quarantine WHERE table_name = 'traffic'") == 0
    with AnalysisCache(database) as cache:
        assert cache.statistics().hits == 10


@pytest.mark.parametrize("name", ["entries", "files", "trash", "traffic", "entries_by_folder"])
@pytest.mark.parametrize("flipped", [0x0B00, 0x0800, 0x0100, 0x0001, 0x0002])
def test_wrong_number_of_cells_costs_nothing(
    database: Path, sound: Path, name: str, flipped: int
) -> None:
    page = pages_of(database, name)[0]
    count = int.from_bytes(page_of(database, page)[3:5], "big")
    overwrite(database, page, (count ^ flipped).to_bytes(2, "big"), at=3)
    assert_costs_nothing(database, sound)


@pytest.mark.parametrize("name", ["entries", "files", "trash", "traffic"])
@pytest.mark.parametrize("kind", [0, 2, 5, 10, 13, 255])
def test_wrong_page_type_costs_nothing(database: Path, sound: Path, name: str, kind: int) -> None:
    page = pages_of(database, name)[0]
    if page_of(database, page)[0] == kind:
        kind = 14
    overwrite(database, page, bytes([kind]))
    assert_costs_nothing(database, sound)


@pytest.mark.parametrize("kind", [0, 2, 10, 13])
def test_wrong_type_of_a_page_that_leads_to_others_costs_nothing(
    database: Path, sound: Path, kind: int
) -> None:
    overwrite(database, pages_of(database, "entries", "internal")[0], bytes([kind]))
    assert_costs_nothing(database, sound)


@pytest.mark.parametrize("other", ["files", "entries_by_folder", "files_by_hash", "traffic"])
def test_swapped_pages_lose_no_entry_and_no_number_is_made_up(
    database: Path, sound: Path, other: str
) -> None:
    one, two = pages_of(database, "entries")[1], pages_of(database, other)[0]
    first, second = page_of(database, one), page_of(database, two)
    overwrite(database, one, second)
    overwrite(database, two, first)
    found = check_database(database)
    assert found.lost == ()
    assert repair_database(database).left.sound
    assert entries_of(database) == entries_of(sound)


@pytest.mark.parametrize("name", USE_TABLES)
def test_rows_that_no_index_names_are_said_to_be_missing(database: Path, name: str) -> None:
    overwrite(database, pages_of(database, name)[0])
    for found in (check_database(database), repair_database(database).found):
        told = [one.what for one in found.problems if one.table == name]
        assert told
        assert "may be missing" in told[0]
    assert check_database(database).sound


def test_cleared_entry_whose_row_in_the_trash_is_damaged_is_not_silently_back(
    database: Path,
) -> None:
    """One cell: its length says that there is none."""
    page = pages_of(database, "trash")[0]
    content = page_of(database, page)
    overwrite(database, page, b"\0", at=int.from_bytes(content[8:10], "big"))
    told = [one.what for one in repair_database(database).found.problems if one.table == "trash"]
    assert any("may answer again" in what for what in told)


def test_sound_use_tables_are_not_said_to_lack_rows(database: Path) -> None:
    overwrite(database, pages_of(database, "producers")[0])
    told = {one.table for one in check_database(database).problems}
    assert not told & {*USE_TABLES, "quarantine", "run_failures"}


@pytest.mark.parametrize("name", ["uses", "pins", "entries"])
def test_deleted_row_does_not_come_back_where_a_page_counts_one_more(
    database: Path, name: str
) -> None:
    """Its bytes are still there, and where they begin is too."""
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute(
            "CREATE TEMP TABLE goes AS SELECT max(id) AS id FROM entries WHERE result_of IS NULL"
            " AND id NOT IN (SELECT result_of FROM entries WHERE result_of NOT NULL)"
            " AND id NOT IN (SELECT entry_id FROM copies)"
        )
        if name == "entries":
            connection.execute("DELETE FROM entries WHERE id IN (SELECT id FROM goes)")
        else:
            connection.execute(
                f"DELETE FROM {name} WHERE entry_id = (SELECT max(entry_id) FROM {name})"  # noqa: S608
            )
    before = rows_of(database, name)
    page = pages_of(database, name)[-1]
    count = int.from_bytes(page_of(database, page)[3:5], "big")
    overwrite(database, page, (count + 1).to_bytes(2, "big"), at=3)
    repair_database(database)
    assert rows_of(database, name) == before


@given(st.data())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_wrong_bytes_in_a_page_header_make_up_no_loss(
    sound: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """What is told as lost is what is missing afterwards, neither more nor less."""
    page = data.draw(st.integers(1, sound.stat().st_size // PAGE - 1))
    at = data.draw(st.integers(0, 11))
    byte = data.draw(st.integers(0, 255))
    for leftover in tmp_path.iterdir():
        leftover.unlink()
    database = tmp_path / "cache.db"
    shutil.copyfile(sound, database)
    overwrite(database, page + 1, bytes([byte]), at=at)
    found = repair_database(database).found
    missing = entries_of(sound) - entries_of(database)
    assert len(found.lost) == len(missing)
    assert entries_of(database) <= entries_of(sound)
    assert check_database(database).sound
