"""What programs set where a migration has let entries share rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from rustassistant import AnalysisCache, CacheMigrator
from support import Cache

WORDS: dict[str, Any] = {
    "type": "docs", "content": "x", "provider": "xai", "model": "grok-beta",
    "repository": "/home/dev/project", "prompt_hash": "b56f6b9b1ff77eac", "schema_version": 1,
}  # fmt: skip


def shared(tmp_path: Path) -> Path:
    tree = Cache(tmp_path / "repos")
    tree.add("a.rs", content=b"x", result="s", analyzed_at="2026-02-01T00:00:00+00:00")
    tree.add("b.rs", content=b"x", result="s", analyzed_at="2099-02-01T00:00:00+00:00")
    CacheMigrator(tree.root, tmp_path / "cache.db", dedup=True).migrate()
    return tmp_path / "cache.db"


def live(database: Path, path: str) -> list[Any]:
    with AnalysisCache(database) as cache:
        return [one.result for one in cache.entries() if one.file_path == path]


def test_what_is_set_answers_though_the_row_it_replaces_is_shared_and_later(
    tmp_path: Path,
) -> None:
    database = shared(tmp_path)
    for path, other in (("b.rs", "a.rs"), ("a.rs", "b.rs")):
        with AnalysisCache(database) as cache:
            before = live(database, other)
            cache.set(**WORDS, file_path=path, result=f"mine for {path}")
        assert live(database, path) == [f"mine for {path}"]
        assert live(database, other) == before


def test_equal_result_set_again_is_listed_once(tmp_path: Path) -> None:
    database = shared(tmp_path)
    with AnalysisCache(database) as cache:
        cache.set(**WORDS, file_path="b.rs", result="s")
    assert live(database, "b.rs") == ["s"]
    assert live(database, "a.rs") == ["s"]
    opened = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    assert opened.execute("SELECT sum(entries) FROM totals").get == 2
    opened.close()


def test_newest_answers_among_very_many_that_share_a_row(tmp_path: Path) -> None:
    """Each file has been analysed by many models, and each analysis shares a row with others."""
    tree = Cache(tmp_path / "repos")
    for number in range(12):
        for path in ("a.rs", "b.rs"):
            year = 2040 + number if path == "b.rs" else 2026
            tree.add(
                path,
                name=f"{path}.{number}.json",
                content=b"x",
                model=f"m{number}",
                result=number,
                analyzed_at=f"{year}-02-01T00:00:00+00:00",
            )
    database = tmp_path / "cache.db"
    assert CacheMigrator(tree.root, database, dedup=True).migrate().total_shared == 12
    with AnalysisCache(database) as cache:
        asked: dict[str, Any] = {"type": "docs", "content": "x"}
        here: dict[str, Any] = {"repository": "/home/dev/project", "file_path": "b.rs"}
        for named in ((), ("file_path",), ("repository",), ("file_path", "repository")):
            words = {name: here[name] for name in named}
            got = cache.get(**asked, **words)
            assert got is not None
            assert (got.file_path, got.result) == ("b.rs", 11)


def test_shared_row_answers_for_the_newest_of_its_places(tmp_path: Path) -> None:
    tree = Cache(tmp_path / "repos")
    for path, year, result in (("a.rs", 2026, "s"), ("b.rs", 2099, "s"), ("c.rs", 2050, "t")):
        when = f"{year}-02-01T00:00:00+00:00"
        tree.add(path, content=b"x", result=result, analyzed_at=when)
    database = tmp_path / "cache.db"
    assert CacheMigrator(tree.root, database, dedup=True).migrate().total_shared == 1
    with AnalysisCache(database) as cache:
        got = cache.get(type="docs", content="x", file_path="d.rs")
        assert got is not None
        assert (got.file_path, got.result) == ("b.rs", "s")
