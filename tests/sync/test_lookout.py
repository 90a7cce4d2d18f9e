"""What is noticed of changes: told by the kernel, or seen. Events are there when the change is."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rustassistant.stores.json_tree.layout import UNFINISHED
from rustassistant.sync import CacheSync
from rustassistant.sync.lookout import Lookout, lookout_for
from rustassistant.sync.news import News
from support import dump, fields_of
from sync.pairs import Database, Tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other kernels are not asked")


@contextmanager
def over(tree: Path, database: Path) -> Iterator[Lookout]:
    lookout = lookout_for(CacheSync(tree, database).sides[0])
    try:
        lookout.begin()
        yield lookout
    finally:
        lookout.close()


@pytest.fixture
def lookout(tree: Tree, database: Database) -> Iterator[Lookout]:
    tree.analyse("0.rs", 1)
    with over(tree.path, database.path) as made:
        assert made.reason is None
        yield made


def named(news: News) -> set[str]:
    return {os.fsdecode(name) for names in news.names.values() for name in names}


def test_files_are_named(lookout: Lookout, tree: Tree) -> None:
    assert not lookout.news()
    file = tree.file("0.rs")
    for change in (
        lambda: file.write_bytes(file.read_bytes()),
        lambda: os.utime(file, (1, 1)),
        lambda: file.rename(file.with_name("1.json")),
        lambda: os.link(file.with_name("1.json"), file),
        file.unlink,
    ):
        change()
        news = lookout.news()
        assert news.names.keys() == {os.fsencode(file.parent)}
        assert named(news) <= {file.name, "1.json"}
        assert named(news)
        assert (news.whole, news.parts) == (False, set())
        assert not lookout.news()


def test_file_that_stays_open_is_named(lookout: Lookout, tree: Tree) -> None:
    with tree.file("0.rs").open("ab") as file:
        lookout.news()
        file.write(b" ")
        file.flush()
        assert named(lookout.news()) == {tree.file("0.rs").name}


def test_directory_that_is_new_is_watched(lookout: Lookout, tree: Tree) -> None:
    made = tree.path / "0123abcd" / "cache" / "docs"
    made.mkdir(parents=True)
    news = lookout.news()
    assert news.parts == {b"0123abcd"}
    assert not news.whole
    (made / "x.json").write_bytes(b"{}")
    assert lookout.news().names == {os.fsencode(made): {b"x.json"}}


def test_directory_that_moves_is_watched_where_it_is_then(lookout: Lookout, tree: Tree) -> None:
    docs = tree.file("0.rs").parent
    docs.rename(docs.with_name("todos"))
    assert lookout.news().whole
    (docs.with_name("todos") / "x.json").write_bytes(b"{}")
    assert lookout.news().names.keys() == {os.fsencode(docs.with_name("todos"))}


def test_directory_that_is_removed_while_somebody_has_it_open(lookout: Lookout, tree: Tree) -> None:
    docs = tree.file("0.rs").parent
    descriptor = os.open(docs, os.O_RDONLY)
    try:
        shutil.rmtree(docs)
        assert lookout.news().whole
    finally:
        os.close(descriptor)


def test_tree_that_is_exchanged_is_watched_where_it_was(lookout: Lookout, tree: Tree) -> None:
    tree.path.rename(tree.path.with_name("elsewhere"))
    other = Tree(tree.path)
    other.analyse("0.rs", 1)
    assert lookout.news().whole
    other.analyse("0.rs", 2)
    assert named(lookout.news()) == {other.file("0.rs").name}


def test_what_is_no_result_is_no_news(lookout: Lookout, tree: Tree) -> None:
    for directory in (".git", UNFINISHED, "trash.backup-2026-02-04T031354"):
        (tree.path / directory / "docs").mkdir(parents=True)
        (tree.path / directory / "docs" / "x.json").write_bytes(b"{}")
        shutil.rmtree(tree.path / directory)
    (tree.path / "README.md").write_text("")
    tree.file("0.rs").with_suffix(".tmp").write_bytes(b"{}")
    assert not lookout.news()


def test_more_than_the_kernel_keeps_makes_everything_be_looked_at(
    lookout: Lookout, tree: Tree
) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    if limit > 100_000:
        pytest.skip("the kernel keeps more events than can be made in a moment")
    tree.analyse("1.rs", 1)
    files = [tree.file("0.rs"), tree.file("1.rs")]
    for number in range(limit + 2):  # in turn: equal ones in a row count as one
        os.utime(files[number % 2])
    assert lookout.news().whole
    tree.analyse("0.rs", 2)
    assert named(lookout.news()) == {files[0].name}


def test_own_cache_of_a_repository_is_watched_but_not_what_lies_beside(tmp_path: Path) -> None:
    file = tmp_path / "project" / ".rustassistant" / "cache" / "docs" / "0_rs.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(dump(fields_of("0.rs")))
    with over(tmp_path / "project", tmp_path / "cache.db") as lookout:
        assert lookout.reason is None
        (tmp_path / "project" / "main.rs").write_text("")
        (tmp_path / "project" / ".rustassistant" / "cache.json").write_text("{}")
        (tmp_path / "project" / ".rustassistant" / "batches").mkdir()
        assert not lookout.news()
        file.unlink()
        assert named(lookout.news()) == {file.name}


def test_tree_that_appears_is_looked_at_and_watched(tree: Tree, database: Database) -> None:
    tree.path.rmdir()
    with over(tree.path, database.path) as lookout:
        assert lookout.reason == "it does not exist"
        assert not lookout.news()
        Tree(tree.path).analyse("0.rs", 1)
        assert lookout.news().whole
        tree.analyse("0.rs", 2)
        assert named(lookout.news()) == {tree.file("0.rs").name}


def test_where_the_kernel_has_nothing_to_give_it_is_looked(tree: Tree, database: Database) -> None:
    tree.analyse("0.rs", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lookout = lookout_for(CacheSync(tree.path, database.path).sides[0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        lookout.begin()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in str(lookout.reason)
    lookout.begin()
    assert str(lookout.reason) == "None"
    lookout.close()
