"""What lookups remember of small tables is believed only until somebody commits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from rustassistant import AnalysisCache, CacheMigrator
from support import Cache

ASKED: dict[str, Any] = {"type": "docs", "content": "x", "model": "grok-beta"}
SET: dict[str, Any] = ASKED | {
    "file_path": "a.rs", "repository": "/home/dev/project", "prompt_hash": "b56f6b9b1ff77eac",
}  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def cache(database: Path) -> Iterator[AnalysisCache]:
    """One that reads all that it is asked for."""
    with AnalysisCache(database, memory=0) as made:
        yield made


def change(database: Path, *statements: str) -> None:
    with closing(apsw.Connection(str(database))) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_first_entries_that_share_rows_are_found_at_once(
    cache: AnalysisCache, database: Path, tmp_path: Path
) -> None:
    cache.set(**SET, provider="xai", result="before")
    assert cache.get(**ASKED) is not None
    tree = Cache(tmp_path / "repos")
    for path in ("c.rs", "d.rs"):
        tree.add(path, content=b"y", result="shared")
    assert CacheMigrator(tree.root, database, dedup=True).migrate().total_shared == 1
    for path in ("c.rs", "d.rs"):
        got = cache.get(**(ASKED | {"content": "y"}), repository=SET["repository"], file_path=path)
        assert got is not None
        assert (got.file_path, got.result) == (path, "shared")


@pytest.mark.parametrize(
    "swap",
    [
        (
            "UPDATE producers SET id = -id",
            "UPDATE producers SET id = 3 + id",
            "UPDATE entries SET producer_id = 3 - producer_id",
        ),
        (
            "UPDATE folders SET id = -id",
            "UPDATE folders SET id = 3 + id",
            "UPDATE entries SET folder_id = 3 - folder_id",
        ),
    ],
    ids=["producers", "folders"],
)
def test_ids_that_mean_something_else_now_are_neither_damage_nor_a_wrong_answer(
    cache: AnalysisCache, database: Path, swap: tuple[str, ...]
) -> None:
    providers = ("xai", "openai")
    for provider in providers:
        cache.set(**(SET | {"repository": f"/{provider}"}), provider=provider, result=provider)
    for _ in range(2):
        for provider in providers:
            got = cache.get(**ASKED, repository=f"/{provider}", file_path="a.rs")
            assert got is not None
            assert (got.provider, got.repository, got.result) == (
                provider, f"/{provider}", provider,
            )  # fmt: skip
        change(database, *swap)


def test_lookup_that_has_ended_keeps_no_log_from_being_folded(
    cache: AnalysisCache, database: Path, tmp_path: Path
) -> None:
    tree = Cache(tmp_path / "repos")
    for number in range(12):
        tree.add(f"{number}.rs", content=b"x", result="shared")
        tree.add(f"{number}.rs", cache_type="tests", content=b"x", result="shared")
    CacheMigrator(tree.root, database).migrate()
    for asked in (ASKED, ASKED | {"type": "tests"}, ASKED | {"model": "another"}):
        cache.get(**asked)
        cache.get(**asked, repository="/home/dev/project", file_path="1.rs")
        change(database, "UPDATE repositories SET meta = randomblob(4)")
        with closing(apsw.Connection(str(database))) as connection:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").get
        assert not busy
