"""Two caches to sync, of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync.pairs import KINDS, Database, Side, Tree, side_of


@pytest.fixture(params=KINDS, ids="-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Side, Side]:
    a, b = request.param
    return side_of(a, tmp_path / "a"), side_of(b, tmp_path / "b")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "repos")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "cache.db")
