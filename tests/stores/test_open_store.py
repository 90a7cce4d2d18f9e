"""Stores are named by a path, or by a scheme and a path; only what is needed is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rustassistant.errors import NotFoundError, UsageError
from rustassistant.stores import open_destination, open_source
from stores.store_suite import FOLDER, MIGRATED, entry_in, find, put
from support import Cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "repos")
    cache.add()
    return cache


@pytest.mark.parametrize("prefix", ["", "json:"])
def test_source_is_a_json_cache(cache: Cache, prefix: str) -> None:
    source = open_source(f"{prefix}{cache.root}")
    assert source.info() == ("json", str(cache.root), 0)
    assert source.survey().total == 1


@pytest.mark.parametrize("prefix", ["", "sqlite:"])
def test_destination_is_a_database(tmp_path: Path, prefix: str) -> None:
    store = open_destination(f"{prefix}{tmp_path}/cache.db")
    assert put(store, FOLDER, entry_in()) == MIGRATED
    assert find(store, entry_in()) == [entry_in()]
    assert store.info().location == str(tmp_path / "cache.db")
    assert (tmp_path / "cache.db").is_file()


def test_path_is_relative_to_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    store = open_destination("cache.db")
    monkeypatch.chdir(tmp_path / "there")
    put(store, FOLDER, entry_in())
    assert os.listdir(tmp_path / "here") == ["cache.db"]
    assert os.listdir(tmp_path / "there") == []


def test_opening_alone_touches_nothing(tmp_path: Path) -> None:
    open_destination(f"{tmp_path}/none/cache.db")
    open_source(f"{tmp_path}/none")
    assert os.listdir(tmp_path) == []


def test_source_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="none") as error:
        open_source(f"json:{tmp_path}/none").info()
    assert error.value.exit_code == 10


# A scheme without a path would otherwise be the directory that happens to be the current one.
@pytest.mark.parametrize("location", ["", "json:"])
def test_empty_path_names_no_source(location: str) -> None:
    with pytest.raises(UsageError, match="empty path"):
        open_source(location)


@pytest.mark.parametrize("location", ["", "sqlite:"])
def test_empty_path_names_no_destination(location: str) -> None:
    with pytest.raises(UsageError, match="empty path"):
        open_destination(location)


@pytest.mark.parametrize("name", ["with:colon.db", "C:", ":memory:"])
def test_colon_that_ends_no_scheme_is_part_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(open_destination(name), FOLDER, entry_in())
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["json:repos", "sqlite:cache.db"])
def test_scheme_is_taken_off_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(open_destination(f"sqlite:{name}"), FOLDER, entry_in())
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import rustassistant.stores", {"apsw"}),
        ("from rustassistant.stores import open_source; open_source('.')", {"apsw"}),
    ],
)
def test_nothing_is_imported_before_it_is_needed(statement: str, unwanted: set[str]) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "rustassistant.stores" in imported
    assert not imported & unwanted
