"""A database as a source with what waits beside it, while others write to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rustassistant import AnalysisCache
from rustassistant.entry import Entry
from rustassistant.errors import NotFoundError
from rustassistant.stores.base import Found
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.sqlite.serving.spool import Spool
from rustassistant.stores.sqlite.serving.waiting import SqliteWithWaiting, WaitingPartition
from stores.store_suite import FOLDER, entry_in, put, record_of
from support import as_nobody, hash8, sample_entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    put(SqliteStore(tmp_path / "cache.db"), FOLDER, record_of(entry_in()))
    return tmp_path / "cache.db"


def wait(path: Path, **changes: Any) -> Entry:
    """Let an entry wait beside a database."""
    entry = sample_entry(**changes)
    Spool(str(path)).add(entry, set_now=True)
    return entry


def entries(items: Iterable[Any]) -> Iterator[Entry]:
    for item in items:
        if not isinstance(item, Failure | Problem):
            for found in item.read():
                assert isinstance(found, Found)
                yield found.entry


def test_what_is_written_while_it_is_listed_is_listed(path: Path) -> None:
    entry = wait(path, file_path="waits.rs")
    listing = SqliteWithWaiting(path).partitions()
    first = next(listing)
    AnalysisCache(path).close()
    assert Spool(str(path)).is_empty()
    assert entry in list(entries([first, *listing]))


def test_what_waits_is_counted_by_type_and_listed_with_its_repository(path: Path) -> None:
    wait(path, file_path="a.rs")
    wait(path, file_path="b.rs", cache_type="todos")
    wait(path, file_path="c.rs", repository="/elsewhere")
    store = SqliteWithWaiting(path)
    assert store.survey().files == {"docs": 3, "todos": 1}
    folders = [
        item.folder for item in store.partitions() if not isinstance(item, Problem | Failure)
    ]
    home = FOLDER.repository
    assert [(one.repository.path, one.cache_type) for one in folders] == [
        (home.path, "docs"), (home.path, "todos"), ("/elsewhere", "docs"), (home.path, "docs")
    ]  # fmt: skip
    assert folders[1].repository == home  # with its meta.json
    assert folders[2].repository.directory == hash8("/elsewhere")


def test_many_that_wait_come_in_parts_that_can_be_sent_to_workers(path: Path) -> None:
    waiting = {wait(path, file_path=f"{number}.rs").file_path for number in range(130)}
    listed = [
        item for item in SqliteWithWaiting(path).partitions() if isinstance(item, WaitingPartition)
    ]
    assert [len(item.names) for item in listed] == [64, 64, 2]
    assert waiting == {entry.file_path for item in listed for entry in item.entries}
    (last,) = listed[0].part([63]).read()
    assert isinstance(last, Found)
    assert last.entry == listed[0].entries[63]


def test_damaged_database_does_not_hide_what_waits(path: Path) -> None:
    entry = wait(path, file_path="waits.rs")
    with SqliteStore(path).writer() as writer:
        writer._connection.execute("DROP TABLE producers")
    first = next(SqliteWithWaiting(path).partitions())
    assert list(entries([first])) == [entry]


def test_what_may_not_be_listed_is_a_failure() -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o777)
        path = place / "cache.db"
        put(SqliteStore(path), FOLDER, record_of(entry_in()))
        path.chmod(0o644)
        wait(path, file_path="waits.rs")
        Path(f"{path}.pending").chmod(0o000)

        def act() -> None:
            items = list(SqliteWithWaiting(path).partitions())
            (failure,) = [item for item in items if isinstance(item, Failure)]
            assert failure.path == f"{path}.pending"
            assert len(list(entries(items))) == 1

        as_nobody(act)


def test_nothing_is_not_found(tmp_path: Path) -> None:
    store = SqliteWithWaiting(tmp_path / "cache.db")
    assert not store.exists
    with pytest.raises(NotFoundError):
        list(store.partitions())


def test_database_that_cannot_be_found_for_a_moment_is_not_taken_for_an_empty_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists, asked = os.path.exists, []

    def fails_once(one: Any) -> bool:
        asked.append(one)
        return len(asked) > 1 and exists(one)

    monkeypatch.setattr(os.path, "exists", fails_once)
    assert list(entries(SqliteWithWaiting(path).partitions())) == [entry_in()]
