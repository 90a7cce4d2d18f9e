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

from rustassistant import CacheMigrator
from rustassistant.errors import ConflictError, InterruptedRunError, NotFoundError, UsageError
from rustassistant.export import CacheExporter, CacheImporter
from rustassistant.transfer.selection import Selection
from support import SHARED, Cache, dump, fields_of, hash8, snapshot


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
