"""Out of a database again: the same files, to the last byte."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.errors import (
    ConflictError,
    InterruptedRunError,
    NotACacheError,
    NotFoundError,
    SourceUnreadableError,
    UsageError,
)
from rustassistant.export import CacheExporter, CacheImporter
from rustassistant.stores.json_tree.standing import standing_of
from rustassistant.stores.sqlite.serving.spool import Spool
from rustassistant.transfer.selection import Selection
from stores.v1_support import CONTENT, rows_in, rust_get
from support import SHARED, Cache, dump, fields_of, hash8, sample_entry, snapshot


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of every file below a directory."""
    return {
        name: content
        for name, (_, _, content) in snapshot(root).items()
        if os.path.isfile(os.path.join(os.fsencode(root), os.fsencode(name)))
    }


def migrate(source: Path, database: Path) -> None:
    with CacheMigrator(source, database) as migrator:
        result = migrator.migrate()
    assert result.total_failed == 0


def same(source: Path, export: Path) -> None:
    """As `diff -r` sees it."""
    done = subprocess.run(["diff", "-r", source, export], capture_output=True, check=False)
    assert done.stdout[-2000:] == b""
    assert done.returncode == 0


def hostile(root: Path) -> Cache:
    """Everything that a tree was ever seen or feared to hold, without what is no entry."""
    cache = Cache(root)
    cache.add()
    cache.add("src/old.rs", old=True)
    cache.add("src/tab.rs", text=json.dumps(fields_of("src/tab.rs"), indent="\t").encode())
    cache.add("src/one_line.rs", text=json.dumps(fields_of("src/one_line.rs")).encode())
    cache.add("src/crlf.rs", text=dump(fields_of("src/crlf.rs")).replace(b"\n", b"\r\n"))
    cache.add("src/bom.rs", text=b"\xef\xbb\xbf" + dump(fields_of("src/bom.rs")))
    cache.add("src/newline.rs", text=dump(fields_of("src/newline.rs")) + b"\n")
    cache.add("src/unknown.rs", reviewed_by="Zoë", ratings=[1, {"a": None}])
    cache.add("src/escaped.rs", text=json.dumps(fields_of("src/größe.rs"), indent=2).encode())
    cache.add("src/größe/日本語/😀.rs", result={"text": 'é\u0301 \\ / " \n\t\u2028'})
    numbers = b'{"b": 1.0e+05, "a": -0.0, "a": 1E400, "n": 12345678901234567890.10}'
    text = dump(fields_of("src/numbers.rs", result="HERE")).replace(b'"HERE"', numbers)
    cache.add("src/numbers.rs", text=text)
    results: list[Any] = [None, True, "", 0, [], {}, [[]], "x" * 100_000]
    for number, result in enumerate(results):
        cache.add(f"src/result{number}.rs", result=result)
    for number, time in enumerate(
        ["2026-02-04T03:13:54Z", "2026-02-04T03:13:54.5+05:30", "1970-01-01T00:00:00+00:00",
         "1969-12-31T23:59:59.999999999+00:00", "2026-02-04t03:13:54.1234567891z"]
    ):  # fmt: skip
        cache.add(f"src/time{number}.rs", analyzed_at=time)
    cache.add("src/tokens.rs", tokens_used=None, file_size=2**63 - 1)
    cache.add("src/key.rs", cache_key="0" * 32)
    cache.add("src/lies.rs", text=dump(fields_of("src/lies.rs", cache_type="todos")))
    # One name for two paths, in two folders and under two names.
    cache.add("src/a_b.rs")
    cache.add("src/a/b.rs", name="src_a_b_rs (2).json")
    cache.add("src/a/b.rs", cache_type="todos")
    cache.add("meta")
    twin = cache.repository() / "cache" / "docs" / "old" / "deep"
    twin.mkdir(parents=True)
    (twin / "src_lib_rs.json").write_bytes(dump(fields_of()))
    flat = cache.repository() / "docs"
    flat.mkdir()
    (flat / "src_lib_rs.json").write_bytes(dump(fields_of()))
    (flat / os.fsdecode(b"caf\xe9.json")).write_bytes(dump(fields_of("src/cafe.rs")))
    other = cache.repository() / "cache" / os.fsdecode(b"d\xe9tails")
    other.mkdir()
    (other / "src_lib_rs.json").write_bytes(dump(fields_of(cache_type="détails")))
    # Repositories: one that writes its meta.json otherwise, one without, one whose is no JSON.
    directory = cache.add(repository="/srv/übung").parents[2]
    (directory / "meta.json").write_text('{"repo_path":"/srv/übung", "migrated_at": 1}\n')
    directory = cache.add(repository="/srv/without").parents[2]
    (directory / "meta.json").unlink()
    directory = cache.add(repository="/srv/broken").parents[2]
    (directory / "meta.json").write_bytes(b"\0\0\xff")
    directory = cache.add(repository="/srv/moved").parents[2]
    directory.rename(root / "ffffffff")
    return cache


def test_export_of_a_hostile_tree_is_that_tree(tmp_path: Path) -> None:
    hostile(tmp_path / "repos")
    before = snapshot(tmp_path / "repos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    assert result.failures == ()
    entries = [name for name in contents(tmp_path / "repos") if name.count("/") > 1]
    assert result.total_exported == result.total_entries == len(entries)
    same(tmp_path / "repos", tmp_path / "out")
    assert snapshot(tmp_path / "repos") == before


def test_export_of_jsonl_of_a_hostile_tree_is_that_tree(tmp_path: Path) -> None:
    hostile(tmp_path / "repos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    for number, name in enumerate(("a.jsonl", "a.jsonl.gz", "a.jsonl.zst")):
        CacheExporter(tmp_path / "cache.db", tmp_path / name, format="jsonl").export()
        result = CacheImporter(tmp_path / name, tmp_path / f"{number}.db").run()
        assert (result.total_failed, result.notes) == (0, ())
        CacheExporter(tmp_path / f"{number}.db", tmp_path / str(number)).export()
        same(tmp_path / "repos", tmp_path / str(number))


def test_exporting_again_touches_nothing(tmp_path: Path) -> None:
    hostile(tmp_path / "repos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    exporter = CacheExporter(tmp_path / "cache.db", tmp_path / "out")
    first = exporter.export()
    before = snapshot(tmp_path / "out")
    again = exporter.export()
    assert (again.total_exported, again.total_unchanged) == (0, first.total_exported)
    assert snapshot(tmp_path / "out") == before


def test_migrating_the_export_gives_the_same_entries(tmp_path: Path) -> None:
    hostile(tmp_path / "repos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    migrate(tmp_path / "out", tmp_path / "again.db")
    CacheExporter(tmp_path / "again.db", tmp_path / "twice").export()
    same(tmp_path / "repos", tmp_path / "twice")


def test_source_may_be_exported_into_itself(tmp_path: Path) -> None:
    hostile(tmp_path / "repos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    before = contents(tmp_path / "repos")
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "repos").export()
    assert result.total_exported == 0
    assert contents(tmp_path / "repos") == before


def test_repository_with_a_cache_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "project" / ".rustassistant" / "cache" / "docs"
    own.mkdir(parents=True)
    (own / "src_lib_rs.json").write_bytes(dump(fields_of()))
    migrate(tmp_path / "project", tmp_path / "cache.db")
    CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    same(tmp_path / "project", tmp_path / "out")


def test_layout_of_a_tree_may_be_changed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    CacheExporter(tmp_path / "repos", tmp_path / "out", layout="flat").export()
    name = f"{hash8('/home/dev/project')}/docs/src_lib_rs.json"
    assert (tmp_path / "out" / name).read_bytes() == dump(fields_of())


def test_selection_is_exported_and_the_rest_counted(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    cache.add(cache_type="todos")
    cache.add("other.rs", model="gpt-4")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    chosen = Selection(types=("docs",), models=("gpt-4",))
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "out", selection=chosen).export()
    assert (result.total_entries, result.total_exported, result.total_filtered) == (3, 1, 2)
    assert [path.name for path in (tmp_path / "out").rglob("*_rs.json")] == ["other_rs.json"]


def test_older_results_of_a_file_are_counted_or_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for day in (3, 5, 4):
        cache.add(content=b"%d" % day, analyzed_at=f"2026-02-0{day}T00:00:00+00:00")
        migrate(tmp_path / "repos", tmp_path / "cache.db")
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    assert (result.total_exported, result.total_superseded, result.total_conflicts) == (1, 2, 0)
    (newest,) = (tmp_path / "out").rglob("*_rs*.json")
    assert b"2026-02-05" in newest.read_bytes()
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "all", every=True).export()
    assert (result.total_exported, result.total_renamed, result.total_superseded) == (3, 2, 0)
    migrate(tmp_path / "all", tmp_path / "again.db")
    again = CacheExporter(tmp_path / "again.db", tmp_path / "twice").export()
    assert again.total_exported == 3
    same(tmp_path / "all", tmp_path / "twice")


def test_hostile_database_writes_nothing_outside(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    cache.add("fine.rs", repository="/home/dev/fine")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    for number, sql in enumerate(
        (
            "UPDATE repositories SET directory = '../../escaped' WHERE path LIKE '%project'",
            "UPDATE folders SET subfolder = '../../../../..' WHERE id = 1",
            "UPDATE entries SET source_name = CAST('../../../../x.json' AS BLOB) WHERE id = 1",
        )
    ):
        database = tmp_path / f"{number}.db"
        database.write_bytes((tmp_path / "cache.db").read_bytes())
        with closing(apsw.Connection(str(database))) as opened:
            opened.execute(sql)
            assert opened.changes() > 0
        before = contents(tmp_path)
        out = tmp_path / f"out{number}"
        result = CacheExporter(database, out / "deep" / "tree").export()
        assert (result.total_exported, result.total_failed) == (1, 1)
        after = {n: text for n, text in contents(tmp_path).items() if not n.startswith(out.name)}
        assert after == before
        assert [path.name for path in out.iterdir()] == ["deep"]
        assert [path.name for path in (out / "deep").iterdir()] == ["tree"]


def test_missing_database_is_not_found_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        CacheExporter(tmp_path / "absent.db", tmp_path / "out").export()
    assert list(tmp_path.iterdir()) == []


def test_interrupted_export_goes_on_and_a_file_is_never_half(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(2):
        cache.add(repository=f"/{number}")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    for name, wanted in (("out", "json"), ("out.jsonl", "jsonl")):
        exporter = CacheExporter(
            tmp_path / "cache.db", tmp_path / name, format=wanted, cancelled=lambda: True
        )
        with pytest.raises(InterruptedRunError):
            exporter.export()
    assert len(list((tmp_path / "out").rglob("*_rs.json"))) == 1
    assert not (tmp_path / "out.jsonl").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.db", "out", "repos"]
    assert CacheExporter(tmp_path / "cache.db", tmp_path / "out").export().total_exported == 1
    same(tmp_path / "repos", tmp_path / "out")


def test_dry_run_says_what_the_run_would_and_makes_nothing(tmp_path: Path) -> None:
    hostile(tmp_path / "repos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    before = snapshot(tmp_path)
    for name, wanted in (("out", "json"), ("out.jsonl", "jsonl"), ("out.parquet", "parquet")):
        exporter = CacheExporter(tmp_path / "cache.db", tmp_path / name, format=wanted)
        told = exporter.export(dry_run=True)
        assert snapshot(tmp_path) == before
        done = exporter.export()
        assert (told.total_exported, told.failures) == (done.total_exported, done.failures)
        before = snapshot(tmp_path)


@pytest.mark.parametrize("options", [{"layout": "flat"}, {"every": True}])
def test_options_of_a_tree_make_no_sense_for_a_file(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        CacheExporter(tmp_path / "a.db", tmp_path / "b", format="jsonl", **options)


def test_import_that_is_to_fail_on_conflicts_changes_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add(result="old")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    cache.add(result="new", analyzed_at="2026-03-01T00:00:00+00:00")
    CacheExporter(tmp_path / "repos", tmp_path / "new.jsonl", format="jsonl").export()
    before = (tmp_path / "cache.db").read_bytes()
    with pytest.raises(ConflictError):
        CacheImporter(tmp_path / "new.jsonl", tmp_path / "cache.db", on_conflict="fail").run()
    assert (tmp_path / "cache.db").read_bytes() == before
    result = CacheImporter(tmp_path / "new.jsonl", tmp_path / "cache.db").run()
    assert (result.total_imported, result.total_conflicts) == (1, 1)


# What waits beside a database whose lock somebody holds.


def set_while_locked(database: Path, path: str = "waits.rs") -> None:
    """As a program does it that can't get the write lock: the result waits beside the file."""
    with closing(apsw.Connection(str(database))) as other:
        other.execute("BEGIN IMMEDIATE")
        with AnalysisCache(database, write_timeout=0.01) as cache:
            cache.set(
                type="docs",
                file_path=Path(path),
                repository=Path("/home/dev/project"),
                provider="xai",
                model="grok-beta",
                content=b"waits",
                result={"it": "waits"},
            )
        assert os.listdir(f"{database}.pending")


@pytest.mark.parametrize("name", ["out", "out.jsonl", "out.jsonl.zst", "out.v1"])
def test_entry_that_waits_beside_the_database_is_exported_too(tmp_path: Path, name: str) -> None:
    Cache(tmp_path / "repos").add()
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    set_while_locked(tmp_path / "cache.db")
    waiting = snapshot(tmp_path / "cache.db.pending")
    before = (tmp_path / "cache.db").read_bytes()
    wanted = "v1" if name == "out.v1" else "jsonl" if "." in name else "json"
    exporter = CacheExporter(tmp_path / "cache.db", tmp_path / name, format=wanted)
    rehearsed = exporter.export(dry_run=True)
    result = exporter.export()
    assert (result.total_entries, result.total_exported, result.failures) == (2, 2, ())
    assert (rehearsed.total_exported, rehearsed.notes) == (2, result.notes)
    assert (f"{tmp_path}/cache.db.pending", "1 entry waits") in [
        (path, text[:13]) for path, text in result.notes
    ]
    assert snapshot(tmp_path / "cache.db.pending") == waiting
    assert (tmp_path / "cache.db").read_bytes() == before
    scheme = {"out.v1": "v1:"}.get(name, "")
    with CacheMigrator(f"{scheme}{tmp_path / name}", tmp_path / "again.db") as migrator:
        assert migrator.migrate().total_migrated == 2
    with AnalysisCache(tmp_path / "again.db") as again:
        found = again.get(type="docs", content=b"waits", model="grok-beta")
        assert found is not None
        assert found.result == {"it": "waits"}


def test_export_of_what_waits_is_the_export_after_it_was_written(tmp_path: Path) -> None:
    hostile(tmp_path / "repos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    set_while_locked(tmp_path / "cache.db", "src/lib.rs")
    CacheExporter(tmp_path / "cache.db", tmp_path / "before").export()
    AnalysisCache(tmp_path / "cache.db").close()
    assert not (tmp_path / "cache.db.pending").exists()
    CacheExporter(tmp_path / "cache.db", tmp_path / "after").export()
    same(tmp_path / "before", tmp_path / "after")


def test_entry_that_was_written_but_still_waits_is_exported_once(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    set_while_locked(tmp_path / "cache.db")
    (waiting,) = (tmp_path / "cache.db.pending").iterdir()
    text = waiting.read_bytes()
    AnalysisCache(tmp_path / "cache.db").close()
    waiting.parent.mkdir()  # as if it had been killed between the commit and the removal
    waiting.write_bytes(text)
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "a.jsonl", format="jsonl").export()
    assert result.total_exported == 2
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 2


def test_what_waits_is_filtered_like_all_others(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    set_while_locked(tmp_path / "cache.db")
    chosen = Selection(include=("src/**",))
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "out", selection=chosen).export()
    assert (result.total_exported, result.total_filtered) == (1, 1)


def test_waiting_entry_that_can_not_be_read_is_a_failure(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    set_while_locked(tmp_path / "cache.db")
    (waiting,) = (tmp_path / "cache.db.pending").iterdir()
    waiting.write_bytes(waiting.read_bytes()[:-3])
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    assert (result.total_exported, result.total_failed) == (1, 1)
    assert result.failures[0].file_path == str(waiting)
    assert "SHA-256" in result.failures[0].error


def test_what_waits_for_a_database_that_is_gone_is_exported(tmp_path: Path) -> None:
    Spool(str(tmp_path / "cache.db")).add(sample_entry(), set_now=True)
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    assert (result.total_exported, result.total_failed) == (1, 0)
    with CacheMigrator(tmp_path / "out", tmp_path / "again.db") as migrator:
        assert migrator.migrate().total_migrated == 1


# Where something is there already.


@pytest.fixture
def older_and_newer(tmp_path: Path) -> Path:
    """Two databases with one entry each under the same key, of which the second is newer."""
    for day, name in ((1, "older"), (2, "newer")):
        cache = Cache(tmp_path / f"{name}-repos")
        cache.add(result=name, analyzed_at=f"2026-03-0{day}T00:00:00+00:00")
        migrate(cache.root, tmp_path / f"{name}.db")
    return tmp_path


def test_conflict_with_the_rust_programs_file_fails_before_anything_changes(
    older_and_newer: Path,
) -> None:
    place = older_and_newer / "rust.db"
    CacheExporter(older_and_newer / "older.db", place, format="v1").export()
    before = place.read_bytes()
    exporter = CacheExporter(older_and_newer / "newer.db", place, format="v1", on_conflict="fail")
    with pytest.raises(ConflictError) as failed:
        exporter.export()
    assert place.read_bytes() == before
    assert "cache_entries_replaced" in failed.value.hint
    with pytest.raises(ConflictError):
        exporter.export(dry_run=True)
    unchanged = CacheExporter(
        older_and_newer / "older.db", place, format="v1", on_conflict="fail"
    ).export()
    assert (unchanged.total_unchanged, unchanged.total_failed) == (1, 0)


def test_replaced_row_of_the_rust_programs_file_is_told(older_and_newer: Path) -> None:
    place = older_and_newer / "rust.db"
    CacheExporter(older_and_newer / "older.db", place, format="v1").export()
    exporter = CacheExporter(older_and_newer / "newer.db", place, format="v1")
    for result in (exporter.export(dry_run=True), exporter.export()):
        assert (result.total_replaced, result.total_conflicts) == (1, 1)
        assert result.replaced_in == f"{place}:cache_entries_replaced"
        (conflict,) = result.conflicts
        assert conflict[0] == "/home/dev/project/src/lib.rs (docs)"
        assert "2026-03-01" in conflict[1]
    assert rows_in(place, "created_at", "cache_entries_replaced") == [("2026-03-01 00:00:00",)]
    again = exporter.export()
    assert (again.total_replaced, again.total_conflicts, again.replaced_in) == (0, 0, None)


def test_oldest_keeps_the_older_row_of_the_rust_programs_file(older_and_newer: Path) -> None:
    place = older_and_newer / "rust.db"
    CacheExporter(older_and_newer / "newer.db", place, format="v1").export()
    exporter = CacheExporter(older_and_newer / "older.db", place, format="v1", on_conflict="oldest")
    assert exporter.export().total_replaced == 1
    assert rust_get(place, fields_of(content=CONTENT)["file_hash"], "grok-beta",
                    "b56f6b9b1ff77eac") == "older"  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "policy"),
    [
        ("v1", "keep-both"),
        ("jsonl", "oldest"),
        ("jsonl", "keep-both"),
        ("parquet", "oldest"),
        ("parquet", "keep-both"),
    ],
)
def test_policy_that_a_format_can_not_keep_is_refused(
    tmp_path: Path, wanted: str, policy: str
) -> None:
    with pytest.raises(UsageError, match=policy):
        CacheExporter(tmp_path / "a.db", tmp_path / "b", format=wanted, on_conflict=policy)


def test_replaced_file_is_a_conflict_that_is_told_in_words(older_and_newer: Path) -> None:
    place = older_and_newer / "a.jsonl"
    CacheExporter(older_and_newer / "older.db", place, format="jsonl").export()
    before = place.read_bytes()
    exporter = CacheExporter(older_and_newer / "newer.db", place, format="jsonl")
    rehearsed = exporter.export(dry_run=True)
    assert (rehearsed.total_replaced, rehearsed.replaced_in) == (1, None)
    assert place.read_bytes() == before
    result = exporter.export()
    assert result.replaced_in is not None
    assert Path(result.replaced_in).read_bytes() == before
    assert result.total_conflicts == rehearsed.total_conflicts == len(result.conflicts) == 1
    assert result.conflicts[0][0] == rehearsed.conflicts[0][0] == str(place)
    assert exporter.export(dry_run=True).total_unchanged == 1


def test_file_that_differs_fails_the_rehearsal_too(older_and_newer: Path) -> None:
    place = older_and_newer / "a.jsonl"
    CacheExporter(older_and_newer / "older.db", place, format="jsonl").export()
    before = snapshot(older_and_newer)
    exporter = CacheExporter(
        older_and_newer / "newer.db", place, format="jsonl", on_conflict="fail"
    )
    for dry_run in (True, False):
        with pytest.raises(ConflictError) as failed:
            exporter.export(dry_run=dry_run)
        assert "trash" not in failed.value.hint
        assert "dated" in failed.value.hint
        assert snapshot(older_and_newer) == before


# Places that lie in each other.


@pytest.mark.parametrize("name", ["sub", "sub/deep", "c4b4ddfd/cache", "out.jsonl", "rust.db"])
def test_tree_is_not_exported_into_itself(tmp_path: Path, name: str) -> None:
    Cache(tmp_path / "repos").add()
    before = snapshot(tmp_path)
    wanted = {"out.jsonl": "jsonl", "rust.db": "v1"}.get(name, "json")
    with pytest.raises(UsageError, match="lies in"):
        CacheExporter(tmp_path / "repos", tmp_path / "repos" / name, format=wanted).export()
    assert snapshot(tmp_path) == before


def test_links_do_not_hide_that_places_lie_in_each_other(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    (tmp_path / "link").symlink_to(tmp_path / "repos")
    for source, destination in (("repos", "link/sub"), ("link", "repos/sub")):
        with pytest.raises(UsageError, match="lies in"):
            CacheExporter(tmp_path / source, tmp_path / destination).export()


def test_tree_is_not_given_a_second_layout_in_its_own_place(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    before = snapshot(tmp_path)
    for source in ("repos", f"repos/{hash8('/home/dev/project')}"):
        with pytest.raises(UsageError):
            CacheExporter(tmp_path / source, tmp_path / "repos", layout="flat").export()
    with pytest.raises(UsageError):  # it would hold the cache, and a copy beside it
        CacheExporter(tmp_path / "repos", tmp_path).export()
    assert snapshot(tmp_path) == before


def test_tree_whose_files_would_stay_where_they_are_may_be_exported_there(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    own = tmp_path / "project" / ".rustassistant" / "cache" / "docs"
    own.mkdir(parents=True)
    (own / "src_lib_rs.json").write_bytes(dump(fields_of()))
    before = contents(tmp_path)
    for source, destination in (
        ("repos", "repos"),
        (f"repos/{hash8('/home/dev/project')}", "repos"),
        ("project", "project"),
        ("project/.rustassistant", "project"),
    ):
        result = CacheExporter(tmp_path / source, tmp_path / destination).export()
        assert (result.total_unchanged, result.total_exported) == (1, 0)
    assert contents(tmp_path) == before


def test_repository_is_exported_to_a_directory_beside_its_cache(tmp_path: Path) -> None:
    own = tmp_path / ".rustassistant" / "cache" / "docs"
    own.mkdir(parents=True)
    (own / "src_lib_rs.json").write_bytes(dump(fields_of()))
    assert CacheExporter(tmp_path, tmp_path / "export").export().total_exported == 1
    with pytest.raises(UsageError):
        CacheExporter(tmp_path, tmp_path / ".rustassistant" / "export").export()


# Repositories that are given the local layout together.


def test_several_repositories_in_the_local_layout_are_read_back_as_a_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for repository in ("/home/dev/project", "/srv/project", "/home/dev/größe"):
        cache.add(repository=repository, result=repository)
        cache.add("b.rs", repository=repository, cache_type="todos")
    migrate(tmp_path / "repos", tmp_path / "cache.db")
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "local", layout="local").export()
    assert result.total_exported == 6
    assert {path.name for path in (tmp_path / "local").iterdir()} == {
        "project", f"project-{hash8('/srv/project')}", "größe"
    }  # fmt: skip
    before = contents(tmp_path / "local")
    again = CacheExporter(tmp_path / "cache.db", tmp_path / "local", layout="local").export()
    assert (again.total_unchanged, again.notes) == (6, ())
    assert contents(tmp_path / "local") == before
    migrate(tmp_path / "local", tmp_path / "again.db")
    CacheExporter(tmp_path / "again.db", tmp_path / "out").export()
    same(tmp_path / "repos", tmp_path / "out")
    CacheExporter(tmp_path / "again.db", tmp_path / "twice", layout="local").export()
    same(tmp_path / "local", tmp_path / "twice")


def test_one_of_several_local_caches_may_be_put_into_its_repository(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for repository in ("/home/dev/project", "/home/dev/fork"):
        cache.add(repository=repository)
    CacheExporter(tmp_path / "repos", tmp_path / "local", layout="local").export()
    (tmp_path / "checkout").mkdir()
    (tmp_path / "local" / "fork" / ".rustassistant").rename(tmp_path / "checkout/.rustassistant")
    for number, place in enumerate(("checkout", "checkout/.rustassistant/cache")):
        migrate(tmp_path / place, tmp_path / f"{number}.db")
        with closing(apsw.Connection(str(tmp_path / f"{number}.db"))) as database:
            paths = database.execute("SELECT path FROM repositories").fetchall()
        assert paths == [(str(tmp_path / "checkout"),)]


def test_export_in_the_local_layout_tells_what_lies_beside_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for repository in ("/home/dev/project", "/home/dev/fork"):
        cache.add(repository=repository)
    CacheExporter(tmp_path / "repos", tmp_path / "local", layout="local").export()
    (tmp_path / "local" / "notes").mkdir()
    (tmp_path / "local" / "fork" / ".rustassistant" / "meta.json").write_text("{}")
    CacheExporter(tmp_path / "repos", tmp_path / "local", layout="centralized").export()
    with CacheMigrator(tmp_path / "local", tmp_path / "again.db") as migrator:
        result = migrator.migrate()
    assert (result.total_entries, result.total_failed) == (4, 0)
    with pytest.raises(UsageError):  # of a pair that is kept in step, each file has one place
        standing_of(str(tmp_path / "local"))
    notes = dict(result.notes)
    assert "left alone" in notes[f"{tmp_path}/local/notes"]
    assert "kept under" in notes[f"{tmp_path}/local/fork/.rustassistant/meta.json"]


# What is no file of lines.


def test_import_of_what_has_no_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading, writing = os.pipe()
    try:
        for source in (Path("/dev/zero"), tmp_path / "pipe", Path(f"/dev/fd/{reading}")):
            with pytest.raises(SourceUnreadableError, match="no regular file"):
                CacheImporter(source, tmp_path / "new.db").run()
    finally:
        os.close(reading)
        os.close(writing)
    assert os.listdir(tmp_path) == ["pipe"]


def test_import_of_a_directory_says_what_reads_one(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    with pytest.raises(SourceUnreadableError, match="directory") as failed:
        CacheImporter(tmp_path / "repos", tmp_path / "new.db").run()
    assert "cache migrate" in failed.value.hint


def test_import_stops_within_a_line_that_goes_on_and_on(tmp_path: Path) -> None:
    with open(tmp_path / "long.jsonl", "wb") as file:
        file.truncate(2**40)  # of which nothing is on the disk
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    with pytest.raises(InterruptedRunError):
        CacheImporter(tmp_path / "long.jsonl", tmp_path / "new.db", cancelled=cancelled).run()
    assert not (tmp_path / "new.db").exists()


def test_database_under_another_name_is_not_read_as_lines(tmp_path: Path) -> None:
    Cache(tmp_path / "repos").add()
    migrate(tmp_path / "repos", tmp_path / "cache.jsonl")
    with pytest.raises(NotACacheError, match="SQLite") as failed:
        CacheImporter(tmp_path / "cache.jsonl", tmp_path / "new.db").run()
    assert "cache migrate" in failed.value.hint
    (tmp_path / "a.jsonl").write_bytes(b"PAR1....")
    with pytest.raises(NotACacheError, match="Parquet"):
        CacheImporter(tmp_path / "a.jsonl", tmp_path / "new.db").run()
    assert not (tmp_path / "new.db").exists()


# Properties: whatever a tree holds that is an entry comes out as it was.

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below),
    max_leaves=8,
)
_files = st.fixed_dictionaries(
    {
        "path": st.text(st.characters(codec="utf-8"), max_size=12),
        "name": st.sampled_from(["a", "a_b_rs", "ä", "x~1", "meta"]),
        "cache_type": st.sampled_from(["docs", "todos", "other kind"]),
        "result": _json,
        "old": st.booleans(),
        "extra": st.dictionaries(st.sampled_from(["x", "y\n"]), _json, max_size=1),
        "indent": st.sampled_from([2, 2, 2, 4, None, "\t"]),
        "ascii": st.booleans(),
        "end": st.sampled_from([b"", b"", b"\n"]),
    }
)


@given(files=st.lists(_files, max_size=6))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_tree_comes_out_as_it_was(files: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        cache = Cache(root / "repos")
        cache.add()
        for one in files:
            content = one["path"].encode()  # so that some are in conflict with others
            fields = fields_of(one["path"], content=content, old=one["old"], result=one["result"],
                               cache_type=one["cache_type"]) | one["extra"]  # fmt: skip
            text = json.dumps(fields, indent=one["indent"], ensure_ascii=one["ascii"]).encode()
            cache.add(text=text + one["end"], name=f"{one['name']}.json",
                      cache_type=one["cache_type"])  # fmt: skip
        migrate(root / "repos", root / "cache.db")
        before = contents(root / "repos")
        result = CacheExporter(root / "cache.db", root / "out").export()
        assert result.failures == ()
        assert contents(root / "out") == before
        CacheExporter(root / "cache.db", root / "a.jsonl", format="jsonl").export()
        assert CacheImporter(root / "a.jsonl", root / "b.db").run().failures == ()
        CacheExporter(root / "b.db", root / "again").export()
        assert contents(root / "again") == before


# The data beside the repository.


@pytest.mark.shared
def test_corpus_comes_out_as_it_was(tmp_path: Path) -> None:
    with (
        open(SHARED / "corpus-20k.tar.zst", "rb") as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        archive.extractall(tmp_path / "corpus", filter="data")
    (root,) = (path.parent.parent for path in [next((tmp_path / "corpus").rglob("meta.json"))])
    migrate(root, tmp_path / "cache.db")
    result = CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    assert (result.total_exported, result.total_failed) == (20_000, 0)
    same(root, tmp_path / "out")


@pytest.mark.shared
def test_real_entries_come_out_as_they_were(tmp_path: Path) -> None:
    source = SHARED / "real-2026-02" / "repo"
    migrate(source, tmp_path / "cache.db")
    CacheExporter(tmp_path / "cache.db", tmp_path / "out").export()
    same(source / ".rustassistant" / "cache", tmp_path / "out" / ".rustassistant" / "cache")
