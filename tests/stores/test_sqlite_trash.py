from __future__ import annotations

import os
import signal
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from damage import run_sql
from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.check import check_database, repair_database
from rustassistant.errors import DamagedError
from rustassistant.retention import clear, list_pins, pin
from rustassistant.stores.sqlite.upkeep.compaction import compact
from rustassistant.stores.sqlite.upkeep.live_size import live_size
from rustassistant.stores.sqlite.upkeep.removal import Removal, empty_trash, removing
from rustassistant.stores.sqlite.views.summary import Scope
from rustassistant.stores.sqlite.views.trashed import Wanted, trash_size, trashed_ids
from support import Cache

ENTRIES = 30


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Every third result is the same."""
    cache = Cache(tmp_path / "repos")
    for number in range(ENTRIES):
        result = "equal" if number % 3 == 0 else os.urandom(200).hex()
        cache.add(f"{number}.rs", content=b"%d" % number, result=result)
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    return str(tmp_path / "cache.db")


def in_trash(database: str) -> int:
    with closing(apsw.Connection(database)) as connection:
        return trash_size(connection, Wanted()).entries


def entries(database: str) -> int:
    with closing(apsw.Connection(database)) as connection:
        count: int = connection.execute("SELECT count(*) FROM entries").get
        return count


def clear_all(database: str) -> None:
    with removing(database) as removal:
        removal.clear(Scope())
        removal.commit()


def killed(action: object) -> None:
    """Do something in a process that kills itself while it does it."""
    child = os.fork()
    if child == 0:
        try:
            action()  # type: ignore[operator]
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


def test_what_is_not_committed_is_undone(database: str) -> None:
    def stop() -> None:
        with removing(database) as removal:
            removal.clear(Scope())
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stop()
    assert in_trash(database) == 0


def test_process_that_dies_before_its_commit_has_done_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Removal, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    killed(partial(clear_all, database))
    assert in_trash(database) == 0
    assert check_database(database).sound


@pytest.mark.parametrize("batch", [1, 4, 7])
@pytest.mark.parametrize("after", [1, 3])
def test_process_that_dies_while_emptying_leaves_whole_batches(
    database: str, monkeypatch: pytest.MonkeyPatch, batch: int, after: int
) -> None:
    clear_all(database)
    monkeypatch.setattr("rustassistant.stores.sqlite.upkeep.removal._BATCH", batch)
    told: list[int] = []

    def progress(done: int) -> None:
        told.append(done)
        if len(told) == after:
            os.kill(os.getpid(), signal.SIGKILL)

    killed(partial(empty_trash, database, Wanted(), options="{}", progress=progress))
    assert in_trash(database) == entries(database) == ENTRIES - after * batch
    assert check_database(database).sound
    assert empty_trash(database, Wanted(), options="{}") == ENTRIES - after * batch
    assert entries(database) == 0
    assert check_database(database).sound


def test_emptying_can_be_stopped_between_batches(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clear_all(database)
    monkeypatch.setattr("rustassistant.stores.sqlite.upkeep.removal._BATCH", 10)
    assert empty_trash(database, Wanted(), options="{}", cancelled=lambda: True) == 10
    assert in_trash(database) == ENTRIES - 10
    assert check_database(database).sound


def test_result_goes_to_a_live_entry_before_one_in_the_trash(database: str) -> None:
    with closing(apsw.Connection(database)) as connection:
        owner: Any = connection.execute("SELECT max(result_of) FROM entries").get
        sharers: Any = connection.execute("SELECT id FROM entries WHERE result_of = ?", (owner,))
        first, *others = [row[0] for row in sharers.fetchall()]
    with removing(database) as removal:
        removal.evict([owner, first])
        removal.commit()
    empty_trash(database, Wanted(ids=[owner]), options="{}")
    with closing(apsw.Connection(database)) as connection:
        heir = connection.execute("SELECT result_of FROM entries WHERE id = ?", (first,)).get
        assert heir in others
        assert trashed_ids(connection, Wanted()) == [first]
    assert check_database(database).sound


@pytest.mark.parametrize(("length", "within"), [(20, 0.08), (300, 0.08), (3000, 0.25)])
def test_live_size_is_about_that_of_the_compact_file(
    tmp_path: Path, length: int, within: float
) -> None:
    """Where only a few rows fit on a page, more of it stays empty."""
    cache = Cache(tmp_path / "repos")
    for number in range(1500):
        cache.add(
            f"src/part/{number}.rs",
            content=b"%d" % (number // 2),
            cache_type=("docs", "todos")[number % 2],
            result=os.urandom(length // 2).hex(),
        )
    database = str(tmp_path / "cache.db")
    CacheMigrator(cache.root, database).migrate()
    compact(database)
    with closing(apsw.Connection(database)) as connection:
        size = live_size(connection)
    assert os.path.getsize(database) == pytest.approx(size, rel=within)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Three places of one row, pinned, and asked for twice."""
    cache = Cache(tmp_path / "shared")
    for number in range(3):
        cache.add(
            f"{number}.rs",
            content=b"same",
            result="equal",
            analyzed_at=f"2026-02-0{number + 1}T00:00:00+00:00",
        )
    database = tmp_path / "shared.db"
    assert CacheMigrator(cache.root, database, dedup=True).migrate().total_shared == 2
    assert pin(database, ["1.rs"]) == (1, 1)
    with AnalysisCache(database) as asking:
        for _ in range(2):
            assert asking.get(type="docs", content="same")
    return database


def pinned_files(database: Path) -> set[str]:
    with list_pins(database) as pins:
        return {one[0].file_path for one in pins if not isinstance(one, DamagedError)}


def uses(database: Path) -> list[tuple[Any, ...]]:
    with closing(apsw.Connection(str(database))) as connection:
        return connection.execute("SELECT hits FROM uses").fetchall()


def test_pin_outlives_the_deletion_of_the_entry_whose_row_is_shared(shared: Path) -> None:
    with AnalysisCache(shared) as cache:
        assert cache.delete(file_path="0.rs") == 1
    assert {"1.rs", "2.rs"} <= pinned_files(shared)
    assert clear(shared).entries == 0
    assert check_database(shared).sound


def test_pin_outlives_a_newer_result_for_the_entry_whose_row_is_shared(shared: Path) -> None:
    with AnalysisCache(shared) as cache:
        owner = next(iter(cache))
        cache.set(
            type="docs",
            repository=owner.repository,
            file_path="0.rs",
            content="same",
            provider=owner.provider,
            model=owner.model,
            prompt_hash=owner.prompt_hash,
            result="another",
        )
    assert {"1.rs", "2.rs"} <= pinned_files(shared)


def test_uses_of_a_shared_row_are_those_of_each_that_shared_it(shared: Path) -> None:
    """Or what answered yesterday would be evicted as never used."""
    with AnalysisCache(shared) as cache:
        cache.delete(file_path="0.rs")
    assert uses(shared) == [(2,)] * 3


def test_pin_outlives_the_repair_of_the_entry_whose_row_is_shared(shared: Path) -> None:
    run_sql(shared, "UPDATE entries SET file_id = file_id + 1")  # of the one that owns the row
    result = repair_database(shared)
    assert result.left.sound
    assert len(result.found.lost) == 1
    assert pinned_files(shared) == {"1.rs", "2.rs"}
    assert uses(shared) == [(2,)] * 2
