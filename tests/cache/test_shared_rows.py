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
