"""What lies where in a JSON cache tree: all of it found, told apart, never skipped in silence."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustassistant.errors import (
    NotACacheError,
    NotFoundError,
    RustAssistantError,
    SourceUnreadableError,
)
from rustassistant.stores.base import Folder, Found, Partition, Repository, printable
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree.layout import Listing
from rustassistant.stores.json_tree.store import _SAMPLES_PER_TYPE, PARTITION_FILES, _Sample
from rustassistant.stores.outcomes import Failure, Problem
from support import Cache, as_nobody, dump, fields_of, hash8

PROJECT = "/home/dev/project"
HASH = hash8(PROJECT)


class Where(NamedTuple):
    """A folder, without the text of its ``meta.json``."""

    repository: str
    directory: str | None
    cache_type: str
    layout: str
    subfolder: str


class Listed(NamedTuple):
    """All that listing a tree says: file names by folder, and texts by path."""

    folders: dict[Where, list[str]]
    failures: dict[str, str]
    problems: dict[str, str]

    @property
    def names(self) -> list[str]:
        return sorted(name for names in self.folders.values() for name in names)


def listed(root: Path) -> Listed:
    result = Listed({}, {}, {})
    for item in JsonTree(root).partitions():
        if isinstance(item, Failure):
            assert item.path not in result.failures, "reported twice"
            result.failures[item.path] = item.reason
        elif isinstance(item, Problem):
            assert item.path not in result.problems, "reported twice"
            result.problems[item.path] = item.text
        else:
            result.folders.setdefault(where(item), []).extend(item.names)
    return result


def where(partition: Partition) -> Where:
    folder = partition.folder
    repository = folder.repository
    return Where(
        repository.path, repository.directory, folder.cache_type, folder.layout, folder.subfolder
    )


def put(path: Path, text: bytes | None = None) -> Path:
    """A file, and the directories it needs; an entry unless told otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dump(fields_of()) if text is None else text)
    return path


def flat(root: Path, repository: str = PROJECT, cache_type: str = "docs") -> Path:
    directory = Cache(root).repository(repository)
    return put(directory / cache_type / "a.json")


def local(repository: Path, cache_type: str = "docs") -> Path:
    return put(repository / ".rustassistant" / "cache" / cache_type / "a.json")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repos"


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that an unprivileged user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        yield directory
        for path, directories, _ in os.walk(directory):
            for one in directories:
                Path(path, one).chmod(0o755)


CENTRAL_DOCS = Where(PROJECT, HASH, "docs", "centralized", "")


# The three layouts


def test_centralized_layout_takes_the_repository_from_meta(root: Path) -> None:
    Cache(root).add()
    assert listed(root) == Listed({CENTRAL_DOCS: ["src_lib_rs.json"]}, {}, {})


def test_flat_layout_is_told_from_the_centralized_one(root: Path) -> None:
    flat(root)
    assert listed(root) == Listed({CENTRAL_DOCS._replace(layout="flat"): ["a.json"]}, {}, {})


def test_local_layout_takes_the_repository_from_its_place(tmp_path: Path) -> None:
    repository = tmp_path / "project"
    local(repository)
    expected = Where(str(repository), None, "docs", "local", "")
    assert listed(repository) == Listed({expected: ["a.json"]}, {}, {})


def test_both_central_layouts_may_lie_in_one_repository_directory(root: Path) -> None:
    Cache(root).add()
    flat(root)
    flat(root, cache_type="refactor")
    assert listed(root) == Listed(
        {
            CENTRAL_DOCS: ["src_lib_rs.json"],
            CENTRAL_DOCS._replace(layout="flat"): ["a.json"],
            CENTRAL_DOCS._replace(layout="flat", cache_type="refactor"): ["a.json"],
        },
        {},
        {},
    )


@pytest.mark.parametrize("cache_type", ["security", "repos2", "x", "docs.old", "キャッシュ"])
def test_types_nobody_heard_of_are_listed(root: Path, tmp_path: Path, cache_type: str) -> None:
    Cache(root).add(cache_type=cache_type)
    flat(root, cache_type=cache_type)
    assert {(place.cache_type, place.layout) for place in listed(root).folders} == {
        (cache_type, "centralized"),
        (cache_type, "flat"),
    }
    repository = tmp_path / "project"
    local(repository, cache_type)
    assert [place.cache_type for place in listed(repository).folders] == [cache_type]


def test_folders_below_a_type_directory_are_listed_with_their_path(root: Path) -> None:
    docs = Cache(root).add().parent
    put(docs / "2026" / "02" / "deep.json")
    put(docs / "2026" / "a.json")
    assert listed(root).folders == {
        CENTRAL_DOCS: ["src_lib_rs.json"],
        CENTRAL_DOCS._replace(subfolder="2026"): ["a.json"],
        CENTRAL_DOCS._replace(subfolder="2026/02"): ["deep.json"],
    }


def test_folders_are_listed_depth_first_in_the_order_of_their_names(root: Path) -> None:
    docs = Cache(root).add().parent
    for folder in ("b", "a/z", "a", "a/b/c", "c", "B"):
        put(docs / folder / "x.json")
    folders = [where(one).subfolder for one in partitions_of(root)]
    assert folders == ["", "B", "a", "a/b/c", "a/z", "b", "c"]


def test_directory_that_is_named_like_an_entry_is_a_folder(root: Path) -> None:
    docs = Cache(root).add().parent
    put(docs / "x.json" / "inner.json")
    assert listed(root).folders[CENTRAL_DOCS._replace(subfolder="x.json")] == ["inner.json"]


def test_tree_nested_deeper_than_python_recurses_is_listed_to_its_end(root: Path) -> None:
    docs = Cache(root).add().parent
    levels = 1200
    directory = os.open(docs, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=directory)
        below = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    file = os.open("deepest.json", os.O_WRONLY | os.O_CREAT, dir_fd=directory)
    os.close(file)
    os.close(directory)
    try:
        found = listed(root)
    finally:
        _remove_nested(docs)
    assert found.names == ["deepest.json", "src_lib_rs.json"]
    assert found.failures == {}


def test_tree_nested_deeper_than_paths_can_be_is_reported(root: Path) -> None:
    docs = Cache(root).add().parent
    directory = os.open(docs, os.O_RDONLY)
    name = "n" * 250
    for _ in range(20):
        os.mkdir(name, dir_fd=directory)
        below = os.open(name, os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = below
    os.close(directory)
    try:
        found = listed(root)
    finally:
        _remove_nested(docs)
    assert found.names == ["src_lib_rs.json"]
    [reason] = found.failures.values()
    assert "cannot be listed" in reason


def _remove_nested(docs: Path) -> None:
    """Remove the one directory in each, which is too deep for `shutil.rmtree`: pytest uses that."""
    (docs / "src_lib_rs.json").rename(docs.parent / "kept.json")
    while inner := os.listdir(docs):
        outer = docs / inner[0]
        below = docs / "below"
        for name in os.listdir(outer):
            path = outer / name
            if path.is_dir():
                path.rename(below)
            else:
                path.unlink()
        outer.rmdir()
        if below.exists():
            below.rename(docs / "d")


# Every place a source may point to


class Home(NamedTuple):
    """A home directory that is a repository too, with RustAssistant's own home in it."""

    path: Path
    central: Where
    local: Where


def home_at(path: Path) -> Home:
    local(path)
    Cache(path / ".rustassistant" / "cache" / "repos").add()
    return Home(path, CENTRAL_DOCS, Where(str(path), None, "docs", "local", ""))


HOME_PLACES = {
    "repository": (".", True),
    "dot directory": (".rustassistant", True),
    "local cache": (".rustassistant/cache", True),
    "central root": (".rustassistant/cache/repos", False),
    "repository directory": (f".rustassistant/cache/repos/{HASH}", False),
}


@pytest.mark.parametrize("place", HOME_PLACES)
def test_every_place_in_a_home_can_be_the_source(tmp_path: Path, place: str) -> None:
    home = home_at(tmp_path / "home")
    path, holds_local = HOME_PLACES[place]
    expected = {home.central: ["src_lib_rs.json"]}
    if holds_local:
        expected[home.local] = ["a.json"]
    assert listed(home.path / path) == Listed(expected, {}, {})


@pytest.mark.parametrize("place", HOME_PLACES)
def test_link_given_as_the_source_gives_what_it_leads_to(tmp_path: Path, place: str) -> None:
    # Anything else would keep everything twice as soon as the place itself is migrated as well.
    home = home_at(tmp_path / "home")
    path, _ = HOME_PLACES[place]
    link = tmp_path / "link"
    link.symlink_to(home.path / path)
    assert listed(link) == listed(home.path / path)


@pytest.mark.parametrize("place", [".rustassistant", ".rustassistant/cache"])
def test_source_may_be_a_link_where_the_cache_should_be(tmp_path: Path, place: str) -> None:
    # The cache lies on another disk; the repository is still the one that it is linked into.
    elsewhere = tmp_path / "disk"
    local(elsewhere)
    repository = tmp_path / "project"
    link = repository / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere / place)
    expected = Where(str(repository), None, "docs", "local", "")
    assert listed(link) == Listed({expected: ["a.json"]}, {}, {})


def test_source_may_be_relative_and_end_in_a_slash(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cache(root).add()
    monkeypatch.chdir(root.parent)
    for spelling in ("repos", "repos/", "./repos", "repos/../repos"):
        assert JsonTree(spelling).path == str(root)
    monkeypatch.chdir(root / HASH / "cache")
    assert listed(Path("../..")) == listed(root)


@pytest.mark.parametrize("name", ["rustassistant-home", "backup", "cache"])
def test_home_under_another_name_is_recognized_by_its_central_root(
    tmp_path: Path, name: str
) -> None:
    moved = tmp_path / name
    Cache(moved / "cache" / "repos").add()
    assert listed(moved) == Listed({CENTRAL_DOCS: ["src_lib_rs.json"]}, {}, {})


def test_central_root_may_have_any_name(tmp_path: Path) -> None:
    for name in ("repos", "repos.backup", "cache", "deadbeef", "docs"):
        Cache(tmp_path / name).add()
        assert listed(tmp_path / name) == Listed({CENTRAL_DOCS: ["src_lib_rs.json"]}, {}, {})


def test_repository_directory_may_have_any_name(tmp_path: Path) -> None:
    Cache(tmp_path / "root").add()
    renamed = (tmp_path / "root" / HASH).rename(tmp_path / "project-cache")
    [place] = listed(renamed).folders
    assert (place.repository, place.cache_type) == (PROJECT, "docs")


def test_flat_repository_directory_may_have_any_name_and_no_meta(tmp_path: Path) -> None:
    flat(tmp_path / "root")
    renamed = (tmp_path / "root" / HASH).rename(tmp_path / "project-cache")
    put(renamed / "custom" / "b.json")
    (renamed / "meta.json").unlink()
    found = listed(renamed)
    assert found.names == ["a.json", "b.json"]
    assert {place.repository for place in found.folders} == {str(renamed)}
    assert "kept under" in found.problems[str(renamed / "meta.json")]


def test_copy_of_a_local_cache_under_another_name_is_listed(tmp_path: Path) -> None:
    repository = tmp_path / "project"
    local(repository)
    copy = tmp_path / "rustassistant-copy"
    shutil.copytree(repository / ".rustassistant", copy)
    found = listed(copy)
    assert found.names == ["a.json"]
    assert found.failures == {}


def test_what_lies_beside_the_local_cache_is_no_entry(tmp_path: Path) -> None:
    repository = tmp_path / "project"
    local(repository)
    dot_directory = repository / ".rustassistant"
    for name in ("README.md", "config.toml", "cache.json", "batches/1.json", "batches/docs/2.json"):
        put(dot_directory / name)
    for place in (repository, dot_directory, dot_directory / "cache"):
        found = listed(place)
        assert found.names == ["a.json"]
        assert (found.failures, found.problems) == ({}, {})


def test_code_around_a_local_cache_is_not_looked_at(tmp_path: Path) -> None:
    repository = tmp_path / "project"
    local(repository)
    for name in ("package.json", "docs/openapi.json", "cache/docs/a.json", "meta.json"):
        put(repository / name)
    assert listed(repository).names == ["a.json"]
    assert listed(repository).failures == {}


def test_empty_places_hold_no_entries(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    (root / HASH).mkdir()
    (tmp_path / "home" / ".rustassistant").mkdir(parents=True)
    (tmp_path / "fresh").mkdir()
    for place in (root, root / HASH, tmp_path / "home", tmp_path / "fresh"):
        found = listed(place)
        assert found.folders == {}
        assert found.failures == {}


# Sources that are none


def test_missing_source_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path / "no" / "such" / "place"):
        tree = JsonTree(path)
        calls: list[Callable[[], object]] = [tree.info, tree.survey, tree.tree]
        calls.append(lambda tree=tree: list(tree.partitions()))  # type: ignore[misc]
        for call in calls:
            with pytest.raises(NotFoundError, match=re.escape(str(path))) as caught:
                call()
            assert caught.value.exit_code == 10
            assert "--source" in caught.value.hint


def test_dangling_link_as_source_is_not_found(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(NotFoundError):
        listed(link)


def test_link_to_itself_as_source_is_unreadable(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(SourceUnreadableError):
        listed(link)


def test_file_as_source_is_no_cache(tmp_path: Path) -> None:
    file = put(tmp_path / "entry.json")
    with pytest.raises(NotACacheError, match="is a file") as caught:
        listed(file)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    "content",
    [
        ["src/main.rs"],
        ["Cargo.toml", "a.json"],
        ["deep/er/x.json"],
        # Code whose analyses are kept elsewhere: nothing of it is for us to call a broken entry.
        ["Cargo.toml", "docs/openapi.json", "node_modules/x/package.json"],
    ],
)
def test_directory_without_a_cache_is_refused(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        put(tmp_path / name)
    with pytest.raises(NotACacheError, match="holds no RustAssistant cache") as caught:
        listed(tmp_path)
    assert caught.value.exit_code == 1
    assert "<hash8>" in caught.value.hint


def test_source_that_may_not_be_listed_is_named(public: Path) -> None:
    Cache(public / "repos").add()
    (public / "repos").chmod(0)

    def refused() -> None:
        with pytest.raises(SourceUnreadableError, match="Permission denied") as caught:
            listed(public / "repos")
        assert str(public / "repos") in caught.value.message
        assert caught.value.exit_code == 1

    as_nobody(refused)


# meta.json


def with_meta(root: Path, text: bytes | None) -> Path:
    """A tree with one entry whose repository has this ``meta.json``."""
    Cache(root).add()
    meta = root / HASH / "meta.json"
    meta.unlink()
    if text is not None:
        meta.write_bytes(text)
    return meta


@pytest.mark.parametrize(
    "meta",
    [
        {"path": PROJECT, "hash": HASH, "schema_version": 1, "created_at": "2026-01-05T00:00:00Z"},
        {"path": PROJECT, "hash": HASH, "schema_version": 1, "migrated_at": "2026-01-05T00:00:00Z"},
        {"repo_path": PROJECT, "hash": HASH, "created_at": "2026-01-05T00:00:00Z"},
        {"repo_path": PROJECT, "migrated_at": "2026-01-05T00:00:00Z"},
        {"path": PROJECT},
        {"path": PROJECT, "repo_path": "/elsewhere"},
        {"path": "", "repo_path": PROJECT},
        {"path": None, "repo_path": PROJECT},
        {"path": PROJECT, "extra": {"deep": [1, 2, {"x": None}]}},
    ],
)
def test_repository_is_read_from_every_variant_of_meta(root: Path, meta: dict[str, object]) -> None:
    with_meta(root, json.dumps(meta).encode())
    assert listed(root) == Listed({CENTRAL_DOCS: ["src_lib_rs.json"]}, {}, {})


def test_text_of_meta_is_kept_for_export(root: Path) -> None:
    text = b'{"path":"/home/dev/project" ,"unknown":1e0}\n'
    with_meta(root, text)
    [partition] = JsonTree(root).survey().samples
    assert partition.folder.repository.meta == text


BAD_META = {
    "empty": b"",
    "garbage": b"\x00\x01\x02",
    "truncated": b'{"path": "/home/dev',
    "not an object": b'["/home/dev/project"]',
    "number for a path": b'{"path": 7}',
    "names nothing": b'{"hash": "deadbeef"}',
    "empty path": b'{"path": "", "repo_path": ""}',
    "not UTF-8": b'{"path": "/home/d\xe9v/project"}',
    "lone surrogate": b'{"path": "/home/\\ud800"}',
    "too deep": b'{"path": "/x", "y": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "two of them": b'{"path": "/x"}{"path": "/y"}',
}


@pytest.mark.parametrize("kind", BAD_META)
def test_entries_beside_a_bad_meta_are_kept_under_its_directory(root: Path, kind: str) -> None:
    meta = with_meta(root, BAD_META[kind])
    own_path = str(root / HASH)
    found = listed(root)
    assert found.folders == {CENTRAL_DOCS._replace(repository=own_path): ["src_lib_rs.json"]}
    assert found.failures == {}
    assert found.problems.keys() == {str(meta)}
    assert "kept under" in found.problems[str(meta)]
    assert own_path in found.problems[str(meta)]


def test_bad_meta_does_not_touch_other_repositories(root: Path) -> None:
    with_meta(root, b"garbage")
    Cache(root).add(repository="/home/dev/other")
    repositories = {place.repository for place in listed(root).folders}
    assert repositories == {str(root / HASH), "/home/dev/other"}


def test_missing_meta_is_said_to_be_missing(root: Path) -> None:
    meta = with_meta(root, None)
    found = listed(root)
    assert found.folders == {
        CENTRAL_DOCS._replace(repository=str(root / HASH)): ["src_lib_rs.json"]
    }
    note = found.problems[str(meta)].replace(str(root), "")
    assert "kept under" in note
    assert "missing" in note, "it did not vanish: it never was there"


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "fifo"])
def test_meta_that_is_no_file_is_not_read(root: Path, tmp_path: Path, kind: str) -> None:
    meta = with_meta(root, None)
    real = put(tmp_path / "real.json", json.dumps({"path": "/from/outside"}).encode())
    if kind == "directory":
        meta.mkdir()
    elif kind == "fifo":
        os.mkfifo(meta)
    else:
        meta.symlink_to(real if kind == "link" else tmp_path / "gone")
    found = listed(root)
    assert found.folders == {
        CENTRAL_DOCS._replace(repository=str(root / HASH)): ["src_lib_rs.json"]
    }
    assert found.failures == {}
    assert "kept under" in found.problems[str(meta)]


def test_meta_that_may_not_be_read_is_said_so(public: Path) -> None:
    root = public / "repos"
    meta = with_meta(root, b'{"path": "/home/dev/project"}')
    meta.chmod(0)

    def kept_under_directory() -> None:
        found = listed(root)
        assert [place.repository for place in found.folders] == [str(root / HASH)]
        assert "Permission denied" in found.problems[str(meta)]

    as_nobody(kept_under_directory)


def test_meta_of_another_directory_is_believed_but_noted(root: Path) -> None:
    meta = with_meta(root, b'{"path": "/home/dev/copied"}')
    found = listed(root)
    assert list(found.folders) == [CENTRAL_DOCS._replace(repository="/home/dev/copied")]
    note = found.problems[str(meta)]
    assert "/home/dev/copied" in note
    assert hash8("/home/dev/copied") in note
    assert HASH in note


def test_hash_that_meta_states_is_not_what_counts(root: Path) -> None:
    with_meta(root, b'{"path": "/home/dev/project", "hash": "00000000"}')
    assert listed(root).problems == {}


def test_two_directories_that_claim_one_path_stay_apart(root: Path) -> None:
    Cache(root).add()
    shutil.copytree(root / HASH, root / "deadbeef")
    found = listed(root)
    assert found.folders == {
        CENTRAL_DOCS: ["src_lib_rs.json"],
        CENTRAL_DOCS._replace(directory="deadbeef"): ["src_lib_rs.json"],
    }
    assert list(found.problems) == [str(root / "deadbeef" / "meta.json")]


def test_entry_about_a_file_called_meta_is_an_entry(root: Path) -> None:
    # Its name is that of a repository's own meta.json, which lies two directories further up.
    Cache(root).add("meta")
    put(root / HASH / "todos" / "meta.json")
    put(root / HASH / "custom" / "meta.json")
    for place in (root, root / HASH):
        found = listed(place)
        assert found.names == ["meta.json"] * 3
        assert (found.failures, found.problems) == ({}, {})


@pytest.mark.parametrize("cache_type", ["docs", "custom"])
def test_entry_called_meta_is_an_entry_where_the_repository_has_no_meta(
    root: Path, cache_type: str
) -> None:
    directory = root / HASH
    put(directory / cache_type / "meta.json")
    put(directory / cache_type / "b.json")
    put(directory / "todos" / "c.json")
    for place in (root, directory):
        assert listed(place).names == ["b.json", "c.json", "meta.json"]
        assert listed(place).failures == {}


# What is not where it should be


def stray_places(home: Path) -> list[Path]:
    repos = home / ".rustassistant" / "cache" / "repos"
    return [
        repos.parent / "stray.json",
        repos / "stray.json",
        repos / HASH / "stray.json",
        repos / HASH / "cache" / "stray.json",
    ]


@pytest.mark.parametrize("index", range(4))
def test_stray_json_is_reported_and_changes_nothing_else(tmp_path: Path, index: int) -> None:
    home = home_at(tmp_path / "home")
    before = listed(home.path)
    stray = put(stray_places(home.path)[index])
    found = listed(home.path)
    assert found.folders == before.folders
    assert found.failures.keys() == {str(stray)}
    assert "outside every type directory" in found.failures[str(stray)]


@pytest.mark.parametrize("name", ["stray.json", "meta.json", "README.md", ".DS_Store"])
def test_stray_file_in_the_central_root_hides_no_repository(root: Path, name: str) -> None:
    Cache(root).add()
    put(root / name)
    assert listed(root).folders == {CENTRAL_DOCS: ["src_lib_rs.json"]}


def test_cache_of_its_own_in_the_central_root_hides_no_repository(root: Path) -> None:
    # As after running an analysis with the central root as the working directory.
    Cache(root).add()
    local(root)
    assert {"src_lib_rs.json", "a.json"} <= set(listed(root).names)


@pytest.mark.parametrize(
    "suffix", [".backup", ".backup-2026-11-22T101112", ".backup-2026-11-22T101112-2.partial-ab_1"]
)
def test_our_own_backups_are_left_alone_and_mentioned(tmp_path: Path, suffix: str) -> None:
    home = home_at(tmp_path / "home")
    cache = home.path / ".rustassistant" / "cache"
    before = listed(home.path).folders
    backups = {
        shutil.copytree(cache / "repos", cache / f"repos{suffix}"),
        shutil.copytree(cache / "repos" / HASH, cache / "repos" / f"{HASH}{suffix}"),
    }
    found = listed(home.path)
    assert (found.folders, found.failures) == (before, {})
    assert found.problems.keys() == set(map(str, backups))
    assert listed(cache / f"repos{suffix}").names == ["src_lib_rs.json"], "unless asked for"


@pytest.mark.parametrize("others", [["a.json.bak"], ["notes.txt", "b.JSON", ".swp", "c.json.tmp"]])
def test_other_files_in_a_type_directory_are_left_alone_and_mentioned(
    root: Path, others: list[str]
) -> None:
    docs = Cache(root).add().parent
    for name in others:
        put(docs / name)
    found = listed(root)
    assert found.names == ["src_lib_rs.json"]
    assert found.failures == {}
    assert found.problems.keys() == {str(docs)}
    assert str(len(others)) in found.problems[str(docs)]
    assert ".json" in found.problems[str(docs)]


@pytest.mark.parametrize("name", ["pipe.json", "pipe"])
def test_fifo_is_reported_or_mentioned_but_not_opened(root: Path, name: str) -> None:
    docs = Cache(root).add().parent
    os.mkfifo(docs / name)
    found = listed(root)
    assert found.names == ["src_lib_rs.json"]
    assert str(docs / name) in found.failures or str(docs) in found.problems


def levels_of(root: Path) -> dict[str, Path]:
    """Directories of a tree in which something can lie, by what they are."""
    return {
        "root": root,
        "repository": root / HASH,
        "cache": root / HASH / "cache",
        "type": root / HASH / "cache" / "docs",
    }


LEVELS = ["root", "repository", "cache", "type"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["deadbeef", "link.json"])
@pytest.mark.parametrize("target", ["outside", "parent", "itself", "each other", "gone"])
def test_links_are_not_followed_and_each_is_reported(
    root: Path, tmp_path: Path, level: str, name: str, target: str
) -> None:
    Cache(root).add()
    local(tmp_path / "outside")
    link = levels_of(root)[level] / name
    links = {str(link)}
    if target == "each other":
        other = link.with_name("feedbeef")
        other.symlink_to(link)
        link.symlink_to(other)
        links.add(str(other))
    else:
        targets = {
            "outside": tmp_path / "outside" / ".rustassistant",
            "parent": link.parent.parent,
            "itself": link,
            "gone": tmp_path / "gone",  # such as a disk that is not mounted at the moment
        }
        link.symlink_to(targets[target])
    found = listed(root)
    assert found.folders == {CENTRAL_DOCS: ["src_lib_rs.json"]}
    assert found.failures.keys() == links
    for reason in found.failures.values():
        assert "symbolic link" in reason
        assert "not followed" in reason


@pytest.mark.parametrize("level", LEVELS)
def test_link_to_an_entry_is_reported(root: Path, tmp_path: Path, level: str) -> None:
    Cache(root).add()
    link = levels_of(root)[level] / "linked.json"
    link.symlink_to(put(tmp_path / "real.json"))
    found = listed(root)
    assert found.names == ["src_lib_rs.json"]
    assert found.failures.keys() == {str(link)}


@pytest.mark.parametrize("part", ["cache", "docs"])
def test_linked_part_of_a_repository_directory_is_reported(
    root: Path, tmp_path: Path, part: str
) -> None:
    entry = Cache(root).add()
    linked = {"cache": entry.parents[1], "docs": entry.parent}[part]
    linked.rename(tmp_path / "moved")
    linked.symlink_to(tmp_path / "moved")
    for place in (root, root / HASH):
        found = listed(place)
        assert found.names == []
        assert found.failures.keys() == {str(linked)}


def test_linked_local_cache_is_reported(tmp_path: Path) -> None:
    local(tmp_path / "disk")
    repository = tmp_path / "project"
    (repository / ".rustassistant").mkdir(parents=True)
    link = repository / ".rustassistant" / "cache"
    link.symlink_to(tmp_path / "disk" / ".rustassistant" / "cache")
    for place in (repository, repository / ".rustassistant"):
        assert listed(place).failures.keys() == {str(link)}


@pytest.mark.parametrize("also", ["nothing", "another link"])
def test_central_root_of_links_alone_is_not_taken_for_an_empty_one(
    root: Path, tmp_path: Path, also: str
) -> None:
    Cache(tmp_path / "disk").add()
    root.mkdir()
    (root / HASH).symlink_to(tmp_path / "disk" / HASH)
    if also != "nothing":
        (root / "deadbeef").symlink_to(tmp_path / "gone")
    try:
        found = listed(root)
    except NotACacheError:
        return
    assert str(root / HASH) in found.failures


@pytest.mark.parametrize("level", ["repository", "cache", "type"])
@pytest.mark.parametrize("mode", [0o000, 0o111])
def test_directory_that_may_not_be_listed_is_reported(public: Path, level: str, mode: int) -> None:
    root = public / "repos"
    Cache(root).add()
    Cache(root).add(repository="/home/dev/other")
    closed = levels_of(root)[level]
    closed.chmod(mode)

    def reported() -> None:
        found = listed(root)
        assert [place.repository for place in found.folders] == ["/home/dev/other"]
        assert found.failures.keys() == {str(closed)}
        assert "Permission denied" in found.failures[str(closed)]

    as_nobody(reported)


@pytest.mark.parametrize("mode", [0o000, 0o444])
@pytest.mark.parametrize("closed", [".rustassistant", ".rustassistant/cache"])
@pytest.mark.parametrize("place", [".", ".rustassistant", ".rustassistant/cache"])
def test_local_cache_that_may_not_be_entered_is_not_taken_for_an_empty_one(
    public: Path, mode: int, closed: str, place: str
) -> None:
    repository = public / "project"
    local(repository)
    (repository / closed).chmod(mode)

    def reported() -> None:
        try:
            found = listed(repository / place)
        except SourceUnreadableError as error:
            assert "Permission denied" in error.message  # noqa: PT017 - either will do
            return
        # Where names can be listed but not reached, it is reading that fails.
        assert found.failures or found.names == ["a.json"]

    as_nobody(reported)


# Names that are no text


def bytes_path(directory: Path, name: bytes) -> Path:
    return directory / os.fsdecode(name)


@pytest.fixture
def any_bytes(tmp_path: Path) -> None:
    try:
        bytes_path(tmp_path, b"\xff").touch()
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    bytes_path(tmp_path, b"\xff").unlink()


@pytest.mark.usefixtures("any_bytes")
def test_names_that_are_no_text_are_listed(root: Path) -> None:
    cache = Cache(root)
    entry = cache.add()
    odd_file = put(bytes_path(entry.parent, b"caf\xe9\n.json"))
    odd_type = put(bytes_path(entry.parents[1], b"typ\xe9") / "b.json")
    directory = cache.repository().rename(bytes_path(root, b"h\xe4sh"))
    found = listed(root)
    assert found.failures == {}
    assert sorted(found.names) == sorted(["src_lib_rs.json", odd_file.name, "b.json"])
    assert [os.fsencode(name) for name in found.names if name == odd_file.name] == [
        b"caf\xe9\n.json"
    ]
    assert {place.cache_type for place in found.folders} == {"docs", "typ\\xe9"}
    assert {place.directory for place in found.folders} == {"h\\xe4sh"}
    assert found.problems.keys() == {printable(str(directory / "meta.json"))}
    assert odd_type.name == "b.json"


@pytest.mark.usefixtures("any_bytes")
def test_everything_said_of_such_names_can_be_stored_and_printed(root: Path) -> None:
    entry = Cache(root).add()
    shutil.rmtree(root / HASH / "cache" / "docs")
    Cache(root).repository("/home/dev/other")
    directory = root / HASH
    (directory / "meta.json").unlink()
    directory = directory.rename(bytes_path(root, b"h\xe4sh"))
    put(bytes_path(directory, b"str\xe4y.json"))
    bytes_path(directory, b"l\xefnk.json").symlink_to(entry)
    put(directory / os.fsdecode(b"typ\xe9") / os.fsdecode(b"s\xfbb") / os.fsdecode(b"x\xff.txt"))
    put(directory / os.fsdecode(b"typ\xe9") / os.fsdecode(b"s\xfbb") / os.fsdecode(b"x\xff.json"))
    found = listed(root)
    assert len(found.failures) == 2
    texts = [*found.failures, *found.failures.values(), *found.problems, *found.problems.values()]
    texts += [part or "" for place in found.folders for part in place]
    texts += [one.label for one in JsonTree(root).survey().samples]
    for text in texts:
        text.encode()


@pytest.mark.usefixtures("any_bytes")
def test_source_whose_own_name_is_no_text_is_listed(tmp_path: Path) -> None:
    root = bytes_path(tmp_path, b"r\xe9pos")
    Cache(root).add()
    assert listed(root).names == ["src_lib_rs.json"]
    JsonTree(root).info().location.encode()
    with pytest.raises(NotFoundError) as caught:
        listed(bytes_path(tmp_path, b"n\xf6"))
    caught.value.message.encode()


# Partitions, survey, samples


def many(root: Path, count: int, cache_type: str = "docs") -> list[str]:
    """``count`` empty files in one type directory; listing never reads them."""
    directory = Cache(root).repository() / "cache" / cache_type
    directory.mkdir(parents=True)
    names = [f"{number:05d}.json" for number in range(count)]
    for name in names:
        (directory / name).touch()
    return names


@pytest.mark.parametrize("count", [1, PARTITION_FILES, PARTITION_FILES + 1, 2 * PARTITION_FILES])
def test_partitions_are_bounded_and_lose_no_name(root: Path, count: int) -> None:
    names = many(root, count)
    partitions = partitions_of(root)
    assert [len(one.names) for one in partitions[:-1]] == [PARTITION_FILES] * (len(partitions) - 1)
    assert 0 < len(partitions[-1].names) <= PARTITION_FILES
    assert [name for one in partitions for name in one.names] == names
    assert {where(one) for one in partitions} == {CENTRAL_DOCS}


def partitions_of(root: Path) -> list[Partition]:
    return [item for item in JsonTree(root).partitions() if not isinstance(item, Failure | Problem)]


def test_order_does_not_depend_on_the_order_of_creation(tmp_path: Path) -> None:
    repositories = [f"/home/dev/{name}" for name in "hxaqz"]
    files = [f"src/{name}.rs" for name in ("b", "a", "Z", "é", "_", "0")]
    orders = []
    for attempt in (1, -1):
        root = tmp_path / str(attempt)
        for repository in repositories[::attempt]:
            for cache_type in ["todos", "docs", "unheard"][::attempt]:
                for path in files[::attempt]:
                    Cache(root).add(path, repository=repository, cache_type=cache_type)
        orders.append([(where(one), tuple(one.names)) for one in partitions_of(root)])
    assert orders[0] == orders[1]
    assert all(sorted(names) == list(names) for _, names in orders[0])


@pytest.mark.usefixtures("any_bytes")
def test_partitions_survive_a_trip_to_another_process(root: Path) -> None:
    docs = Cache(root).add().parent
    put(bytes_path(docs, b"caf\xe9.json"), dump(fields_of("other.rs")))
    [partition] = partitions_of(root)
    copy = pickle.loads(pickle.dumps(partition))  # noqa: S301 - our own
    assert copy == partition
    found = [item for item in copy.read() if isinstance(item, Found)]
    assert {item.entry.file_path for item in found} == {"src/lib.rs", "other.rs"}


@given(count=st.integers(1, 40), data=st.data())
def test_part_holds_what_stands_at_its_positions(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("part")
    many(root, count)
    [whole] = partitions_of(root)
    positions = data.draw(st.lists(st.integers(0, count - 1), unique=True))
    part = whole.part(positions)
    assert list(part.names) == [whole.names[position] for position in positions]
    assert (part.folder, part.label) == (whole.folder, whole.label)


def test_survey_counts_what_the_partitions_yield(root: Path, tmp_path: Path) -> None:
    many(root, PARTITION_FILES + 3, "docs")
    flat(root, cache_type="docs")
    flat(root, cache_type="unheard")
    Cache(root).add(repository="/home/dev/other", cache_type="todos")
    put(root / "stray.json")
    survey = JsonTree(root).survey()
    assert survey.files == {"docs": PARTITION_FILES + 4, "unheard": 1, "todos": 1}
    assert survey.total == sum(len(one.names) for one in partitions_of(root))


def test_samples_are_bounded_and_spread_evenly(root: Path) -> None:
    names = many(root, 5_000, "docs")
    few = many(root, 7, "todos")
    sampled: dict[str, list[str]] = {"docs": [], "todos": []}
    for partition in JsonTree(root).survey().samples:
        sampled[partition.folder.cache_type] += partition.names
    assert sampled["todos"] == few
    assert 300 <= len(sampled["docs"]) <= 1_000
    indices = [names.index(name) for name in sampled["docs"]]
    gaps = {after - before for before, after in pairwise(indices)}
    assert len(gaps) == 1, "samples must not come from one corner"
    assert indices[0] < len(names) / 100
    assert indices[-1] > len(names) * 99 / 100


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 900), min_size=1, max_size=8))
def test_samples_stay_even_over_many_folders(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    # Through the class alone: a tree of so many files for each example would take minutes.
    folder = Folder(Repository("/r"), "docs", "local")
    sample = _Sample()
    start = 0
    for number, size in enumerate(sizes):
        names = [str(index) for index in range(start, start + size)]
        sample.offer(Listing(folder, f"/r/{number}", names))
        start += size
    indices = [int(name) for partition in sample.partitions() for name in partition.names]
    assert len(indices) <= _SAMPLES_PER_TYPE
    assert len({after - before for before, after in pairwise(indices)}) <= 1
    assert indices[0] == 0


def test_mean_size_is_that_of_the_files(root: Path) -> None:
    docs = Cache(root).add(text=b"x" * 100).parent
    put(docs / "b.json", b"x" * 300)
    assert JsonTree(root).survey().mean_size == 200


def test_empty_tree_has_an_empty_survey(root: Path) -> None:
    root.mkdir()
    survey = JsonTree(root).survey()
    assert (survey.total, survey.mean_size, list(survey.samples)) == (0, 0.0, [])


def test_tree_to_copy_is_the_source_or_a_repositorys_cache_alone(
    root: Path, tmp_path: Path
) -> None:
    Cache(root).add()
    local(tmp_path / "project")
    assert JsonTree(root).tree() == (str(root), None)
    assert JsonTree(tmp_path / "project").tree() == (str(tmp_path / "project"), ".rustassistant")
    dot_directory = tmp_path / "project" / ".rustassistant"
    assert JsonTree(dot_directory).tree() == (str(dot_directory), None)


# Nothing is skipped in silence, wherever it lies

COMPONENTS = [HASH, "deadbeef", "docs", "todos", "custom", "cache", "repos", "x.json"]
FILES = ["a.json", "meta.json", "src_lib_rs.json"]


@settings(max_examples=150, deadline=None)
@given(
    paths=st.sets(
        st.tuples(
            st.lists(st.sampled_from(COMPONENTS), max_size=4).map(tuple), st.sampled_from(FILES)
        ),
        min_size=1,
        max_size=8,
    ),
    name=st.sampled_from(["repos", "deadbeef", "other"]),
)
def test_every_json_file_is_listed_or_reported(
    tmp_path_factory: pytest.TempPathFactory,
    paths: set[tuple[tuple[str, ...], str]],
    name: str,
) -> None:
    root = tmp_path_factory.mktemp("any") / name
    for directories, file in paths:
        put(root.joinpath(*directories, file))
    try:
        found = told_of(root)
    except RustAssistantError:
        return  # refused as a whole, which nobody overlooks
    is_home = (root / "cache" / "repos").is_dir()
    for directories, file in paths:
        if is_home and directories[:1] != ("cache",):
            continue  # beside a home's cache lie its settings and batches, no entries
        path = root.joinpath(*directories, file)
        if str(path) not in found:
            assert file == "meta.json", f"{path} is skipped in silence"
            # Only where a repository's may lie, or right beside its type directories.
            assert len(directories) <= (4 if is_home else 2)


def told_of(root: Path) -> set[str]:
    found = set()
    for item in JsonTree(root).partitions():
        if isinstance(item, Failure | Problem):
            found.add(item.path)
        else:
            paths = [f"{item.label}/{name}" for name in item.names]
            assert not found.intersection(paths), "listed twice"
            found.update(paths)
    return found
