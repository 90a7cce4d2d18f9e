"""Several sources into one, filters, rehearsals, plans, and what runs leave behind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from rustassistant import CacheMigrator, OnConflict, Selection
from rustassistant.entry_json import render
from rustassistant.errors import (
    ChangedSourceError,
    ConflictError,
    InterruptedRunError,
    NotFoundError,
    RustAssistantError,
    UsageError,
)
from rustassistant.runs import failed_in, list_runs, show_run, sources_of
from rustassistant.stores import open_source
from rustassistant.stores.base import Found
from rustassistant.stores.json_tree.reading import stamp_of
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.sqlite.serving.spool import Spool
from support import Cache, dump, fields_of, sample_entry, snapshot

LONG_AGO = 1_700_000_000 * 10**9


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "repos")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


def ask(database: Path, sql: str, *values: Any) -> list[Any]:
    opened = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return opened.execute(sql, values).fetchall()
    finally:
        opened.close()


def live(database: Path) -> list[bytes]:
    """The files of all entries that a database lists, as they would be exported."""
    return sorted(
        render(item.entry)
        for part in open_source(str(database)).partitions()
        for item in part.read()  # type: ignore[union-attr]
        if isinstance(item, Found)
    )


def settle(root: Path) -> None:
    """Make the files old enough for their times to be trusted."""
    for path in root.rglob("*.json"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    time.sleep(0.06)  # a file's change of status can't be set back, and must not be fresh


def fill(cache: Cache, count: int = 6) -> None:
    for number in range(count):
        cache.add(
            f"src/{number}.rs",
            content=b"%d" % number,
            cache_type=["docs", "todos"][number % 2],
            model=["grok-beta", "gpt-4"][number % 2],
            tokens_used=number * 100,
            repository=["/home/dev/one", "/home/dev/two"][number // 3 % 2],
        )


# Merging


def test_databases_and_trees_are_merged(tmp_path: Path, database: Path) -> None:
    trees = [Cache(tmp_path / name) for name in ("one", "two", "three")]
    for number, tree in enumerate(trees):
        tree.add(f"src/{number}.rs", content=b"%d" % number)
        tree.add("src/shared.rs", content=b"shared")
    for tree, name in zip(trees, ("one.db", "two.db", "three.db"), strict=True):
        CacheMigrator(tree.root, tmp_path / name).migrate()
    sources = [tmp_path / "one.db", trees[1].root, tmp_path / "three.db"]
    with CacheMigrator(sources, database) as migrator:
        result = migrator.migrate()
        assert migrator.verify()
    assert (result.total_entries, result.total_migrated, result.total_unchanged) == (6, 4, 2)
    assert live(database) == sorted(
        dump(fields_of(path, content=content))
        for path, content in [
            ("src/0.rs", b"0"),
            ("src/1.rs", b"1"),
            ("src/2.rs", b"2"),
            ("src/shared.rs", b"shared"),
        ]
    )
    before = database.read_bytes()
    again = CacheMigrator(sources, database).migrate()
    assert (again.total_migrated, again.total_unchanged) == (0, 6)
    assert database.read_bytes() == before


@pytest.mark.parametrize("policy", ["newest", "oldest", "keep-both"])
def test_order_of_the_sources_changes_nothing(tmp_path: Path, policy: str) -> None:
    roots = []
    for number, minute in enumerate((30, 10, 20)):
        tree = Cache(tmp_path / f"tree{number}")
        tree.add(result=["lib", number], analyzed_at=f"2026-02-04T03:{minute}:00+00:00")
        tree.add("src/more.rs", result={"n": number // 2}, analyzed_at="2026-02-04T03:13:54+00:00")
        roots.append(tree.root)
    found = []
    for name, order in (("a.db", (0, 1, 2)), ("b.db", (2, 1, 0)), ("c.db", (1, 2, 0))):
        database = tmp_path / name
        sources = [roots[number] for number in order]
        result = CacheMigrator(sources, database, on_conflict=policy).migrate()
        assert result.total_entries == 6
        assert result.total_failed == 0
        assert CacheMigrator(sources, database).verify()
        found.append(live(database))
    assert found[0] == found[1] == found[2]
    texts = b"".join(found[0])
    if policy == "keep-both":
        assert len(found[0]) == 5  # two of the six are equal
        return
    assert len(found[0]) == 2
    wanted = {"newest": 0, "oldest": 1}[policy]
    shown = [number for number in range(3) if b'"lib",\n    %d' % number in texts]
    assert shown == [wanted]


def test_superseded_result_is_reported_and_kept(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    cache.add(result="old", analyzed_at="2026-02-04T03:00:00+00:00")
    other = Cache(tmp_path / "other")
    other.add(result="new", analyzed_at="2026-02-05T03:00:00+00:00")
    result = CacheMigrator([other.root, cache.root], database).migrate()
    assert result.total_migrated == 2
    [conflict] = result.conflicts
    assert (conflict.file_path, conflict.answers > conflict.other) == ("src/lib.rs", True)
    assert [b'"new"' in text for text in live(database)] == [True]
    assert ask(database, "SELECT reason FROM trash") == [("superseded",)]
    assert CacheMigrator([other.root, cache.root], database).verify()


def test_conflicts_that_are_to_fail_change_nothing(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    cache.add(result="old", analyzed_at="2026-02-04T03:00:00+00:00")
    other = Cache(tmp_path / "other")
    other.add(result="new", analyzed_at="2026-02-05T03:00:00+00:00")
    other.add("src/fine.rs")
    for sources in ([cache.root, other.root], [other.root, cache.root]):
        with pytest.raises(ConflictError, match=r"1 entry conflicts.*src/lib\.rs") as caught:
            CacheMigrator(sources, database, on_conflict=OnConflict.FAIL).migrate()
        assert len(caught.value.conflicts) == 1
        assert not database.exists()
    assert CacheMigrator(other.root, database, on_conflict="fail").migrate().total_migrated == 2
    before = database.read_bytes()
    with pytest.raises(ConflictError):
        CacheMigrator(cache.root, database, on_conflict="fail").migrate()
    assert database.read_bytes() == before


def test_shared_rows_are_given_back_at_each_place(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    for number in range(4):
        cache.add(f"pkg{number}/__init__.py", content=b"", result={"empty": True},
                  analyzed_at=f"2026-02-04T03:0{number}:00+00:00")  # fmt: skip
    result = CacheMigrator(cache.root, database, dedup=True).migrate()
    assert (result.total_migrated, result.total_duplicates, result.total_shared) == (1, 3, 3)
    assert result.shared_bytes > 0
    assert ask(database, "SELECT count(*) FROM entries") == [(1,)]
    assert CacheMigrator(cache.root, database).verify()
    wanted = sorted(path.read_bytes() for path in cache.root.rglob("cache/*/*.json"))
    assert live(database) == wanted
    onward = tmp_path / "onward.db"
    assert CacheMigrator(database, onward).migrate().total_migrated == 4
    assert live(onward) == wanted
    again = CacheMigrator(cache.root, database).migrate()
    assert (again.total_unchanged, again.total_entries) == (4, 4)


def test_the_rust_programs_file_can_not_keep_both(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keep-both.*one row for a key"):
        CacheMigrator(cache.root, f"v1:{tmp_path / 'rust.db'}", on_conflict="keep-both")


def test_what_waits_beside_a_source_is_migrated_and_verified(cache: Cache, tmp_path: Path) -> None:
    source, database = tmp_path / "source.db", tmp_path / "cache.db"
    waiting = [sample_entry(file_path=f"src/{name}.rs") for name in "ab"]
    cache.add()
    CacheMigrator(cache.root, source).migrate()
    Spool(str(source)).add(waiting[0], set_now=True)
    result = CacheMigrator(source, database).migrate()
    assert (result.total_entries, result.total_migrated) == (2, 2)
    assert "1 entry waits" in result.notes[0][1]
    before = set(Path(f"{source}.pending").iterdir())
    Spool(str(source)).add(waiting[1], set_now=True)
    (added,) = set(Path(f"{source}.pending").iterdir()) - before
    verification = CacheMigrator(source, database).verify()
    assert [one.path for one in verification.differences] == [str(added)]


@pytest.mark.parametrize("bad", ["latest", "", "NEWEST"])
def test_policy_that_does_not_exist_is_refused(cache: Cache, database: Path, bad: str) -> None:
    with pytest.raises(UsageError, match="no way to resolve"):
        CacheMigrator(cache.root, database, on_conflict=bad)


def test_a_database_is_not_merged_into_itself(cache: Cache, database: Path) -> None:
    with pytest.raises(UsageError, match="both source and destination"):
        CacheMigrator([cache.root, database], database)
    with pytest.raises(UsageError, match="no source"):
        CacheMigrator([], database)


def test_damaged_rows_of_a_source_fail_and_the_rest_arrives(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache)
    CacheMigrator(cache.root, database).migrate()
    opened = apsw.Connection(str(database))
    opened.execute("UPDATE entries SET tokens_used = 7 WHERE id = 2")
    opened.close()
    result = CacheMigrator(database, tmp_path / "onward.db").migrate()
    assert (result.total_migrated, result.total_failed, result.total_entries) == (5, 1, 6)
    assert "not what was stored" in result.failures[0].error


# Filters


@pytest.mark.parametrize(
    ("chosen", "migrated"),
    [
        ({"types": ("docs",)}, 3),
        ({"repositories": ("/home/dev/two",)}, 3),
        ({"models": ("gpt-4",)}, 3),
        ({"include": ("src/[01].rs",)}, 2),
        ({"exclude": ("0.rs",)}, 5),
        ({"min_tokens": 400}, 2),
        ({"types": ("docs",), "min_tokens": 300}, 1),
        ({"types": ("none",)}, 0),
    ],
)
def test_filtered_entries_are_counted_and_left(
    cache: Cache, database: Path, chosen: dict[str, Any], migrated: int
) -> None:
    fill(cache)
    migrator = CacheMigrator(cache.root, database, selection=Selection(**chosen))
    result = migrator.migrate()
    assert (result.total_migrated, result.total_filtered) == (migrated, 6 - migrated)
    assert result.total_entries == 6
    again = migrator.migrate()
    assert (again.total_migrated, again.total_unchanged) == (0, migrated)
    assert again.total_filtered == 6 - migrated
    assert CacheMigrator(cache.root, database).migrate().total_migrated == 6 - migrated


# Increments


def test_checksum_reads_what_pretends_to_be_unchanged(cache: Cache, database: Path) -> None:
    file = cache.add(result="one")
    settle(cache.root)
    CacheMigrator(cache.root, database).migrate()
    status = file.stat()
    # Written over in place by someone who sets the times back, on a clock that stood still.
    file.write_bytes(file.read_bytes().replace(b'"one"', b'"two"'))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("UPDATE entries SET source_stamp = ?", (stamp_of(file.stat()),))
    assert CacheMigrator(cache.root, database, jobs=1).migrate().total_unchanged == 1
    result = CacheMigrator(cache.root, database, jobs=1, checksum=True).migrate()
    assert (result.total_migrated, result.total_unchanged) == (1, 0)


# Rehearsals and plans


@pytest.mark.parametrize("exists", [False, True])
def test_rehearsal_tells_what_happens_then_and_writes_nothing(
    cache: Cache, tmp_path: Path, database: Path, exists: bool
) -> None:
    fill(cache, 4)
    if exists:
        CacheMigrator(cache.root, database).migrate()
    fill(cache, 6)
    cache.add("src/broken.rs", text=b"{")
    cache.add("src/0.rs", content=b"0", result="other", repository="/home/dev/one",
              analyzed_at="2026-03-01T00:00:00+00:00", name="again.json")  # fmt: skip
    before = snapshot(tmp_path)
    migrator = CacheMigrator(cache.root, database, jobs=1)
    rehearsal = migrator.rehearse()
    assert snapshot(tmp_path) == before
    real = migrator.migrate()
    told = rehearsal.result
    for name in ("total_entries", "total_migrated", "total_unchanged", "total_duplicates",
                 "total_failed", "source_size", "failures", "conflicts", "notes"):  # fmt: skip
        assert getattr(told, name) == getattr(real, name), name
    assert told.destination_size == pytest.approx(real.destination_size, rel=0.05)
    assert sum(one.entries for one in rehearsal.spent) == real.total_migrated
    tokens = {one.model: one.assumed_tokens for one in rehearsal.spent}
    if not exists:
        assert tokens["gpt-4"] == 900


def test_plan_is_carried_out(cache: Cache, tmp_path: Path, database: Path) -> None:
    fill(cache)
    plan = tmp_path / "plan.json"
    selection = Selection(types=("docs",))
    CacheMigrator(cache.root, database, selection=selection).plan(plan)
    assert not database.exists()
    assert json.loads(plan.read_bytes())["expected"]["migrated"] == 3
    with CacheMigrator.of_plan(plan) as migrator:
        result = migrator.migrate()
    assert (result.total_migrated, result.total_filtered) == (3, 3)


def test_plan_is_never_written_over(cache: Cache, tmp_path: Path, database: Path) -> None:
    fill(cache)
    plan = tmp_path / "plan.json"
    plan.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        CacheMigrator(cache.root, database).plan(plan)
    assert plan.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "repos"]


def _edit(cache: Cache) -> None:
    file = next(cache.root.rglob("src_0_rs.json"))
    file.write_bytes(file.read_bytes().replace(b"50.0", b"50.1"))


def _add(cache: Cache) -> None:
    cache.add("src/new.rs")


def _remove(cache: Cache) -> None:
    next(cache.root.rglob("src_0_rs.json")).unlink()


def _break(cache: Cache) -> None:
    next(cache.root.rglob("src_0_rs.json")).write_bytes(b"")


@pytest.mark.parametrize("change", [_edit, _add, _remove, _break])
def test_plan_is_refused_if_the_source_changed(
    cache: Cache, tmp_path: Path, database: Path, change: Callable[[Cache], None]
) -> None:
    fill(cache)
    CacheMigrator(cache.root, database).plan(tmp_path / "plan.json")
    change(cache)
    with pytest.raises(ChangedSourceError, match="has changed since"):
        CacheMigrator.of_plan(tmp_path / "plan.json").migrate()
    assert not database.exists()


def test_plan_holds_if_files_were_only_touched(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache)
    CacheMigrator(cache.root, database).plan(tmp_path / "plan.json")
    settle(cache.root)
    assert CacheMigrator.of_plan(tmp_path / "plan.json").migrate().total_migrated == 6


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"\xff", b'{"kind": "other"}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "plan.json").write_bytes(text)
    with pytest.raises(UsageError, match="not a plan"):
        CacheMigrator.of_plan(tmp_path / "plan.json")
    with pytest.raises(NotFoundError):
        CacheMigrator.of_plan(tmp_path / "absent.json")


# What runs leave behind


def test_run_is_remembered_with_what_failed(cache: Cache, database: Path) -> None:
    fill(cache)
    broken = cache.add("src/broken.rs", text=b"")
    CacheMigrator(cache.root, database, level=5).migrate()
    [run] = list_runs(database)
    assert (run.command, run.outcome, run.found, run.migrated, run.failed) == (
        "migrate", "done", 7, 6, 1,
    )  # fmt: skip
    assert sources_of(run) == (str(cache.root),)
    assert json.loads(run.options) == {"on_conflict": "newest", "level": 5}
    assert run.source_bytes == sum(path.stat().st_size for path in cache.root.rglob("src_*.json"))
    assert run.user
    assert run.host
    shown = show_run(database, run.id)
    assert [(note[:3]) for note in shown.notes] == [("failure", str(broken), "docs")]


def test_run_that_changes_nothing_leaves_no_trace(cache: Cache, database: Path) -> None:
    fill(cache)
    cache.add("src/broken.rs", text=b"")
    settle(cache.root)
    CacheMigrator(cache.root, database).migrate()
    before = database.read_bytes()
    for _ in range(2):
        CacheMigrator(cache.root, database).migrate()
    assert database.read_bytes() == before
    assert len(list_runs(database)) == 1
    cache.add("src/worse.rs", text=b"")
    CacheMigrator(cache.root, database).migrate()
    assert [run.failed for run in list_runs(database)] == [2, 1]


def test_stopped_run_says_so(cache: Cache, database: Path) -> None:
    fill(cache)
    with pytest.raises(InterruptedRunError):
        CacheMigrator(cache.root, database, jobs=1, cancelled=lambda: True).migrate()
    [run] = list_runs(database)
    assert run.outcome == "interrupted"
    assert 0 < run.found < 6


def test_only_what_failed_is_taken_up_again(cache: Cache, database: Path) -> None:
    fill(cache)
    broken = cache.add("src/broken.rs", text=b"")
    still = cache.add("src/still.rs", text=b"{")
    CacheMigrator(cache.root, database).migrate()
    broken.write_bytes(dump(fields_of("src/broken.rs")))
    failed = failed_in(database, 1)
    assert failed.paths == {str(broken), str(still)}
    result = CacheMigrator(failed.sources, database, only=failed.paths).migrate()
    assert (result.total_entries, result.total_migrated, result.total_failed) == (2, 1, 1)
    with pytest.raises(NotFoundError, match="no run 9"):
        failed_in(database, 9)


def test_a_directory_that_failed_is_taken_up_with_all_that_is_in_it(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache, 3)
    docs = next(cache.root.rglob("docs"))
    docs.rename(tmp_path / "away")
    docs.symlink_to(tmp_path / "away")
    result = CacheMigrator(cache.root, database).migrate()
    assert (result.total_migrated, result.total_failed) == (1, 1)
    docs.unlink()
    (tmp_path / "away").rename(docs)
    failed = failed_in(database, 1)
    again = CacheMigrator(failed.sources, database, only=failed.paths).migrate()
    assert (again.total_entries, again.total_migrated) == (2, 2)


def test_nothing_failed_is_nothing_to_retry(cache: Cache, database: Path) -> None:
    fill(cache)
    CacheMigrator(cache.root, database).migrate()
    with pytest.raises(UsageError, match="nothing failed"):
        failed_in(database, 1)


def test_log_has_a_line_for_each_entry(cache: Cache, tmp_path: Path, database: Path) -> None:
    fill(cache)
    settle(cache.root)
    cache.add("src/broken.rs", text=b"")
    log = tmp_path / "entries.log"
    selection = Selection(types=("docs",), exclude=("0.rs",))
    for _ in range(2):
        CacheMigrator(cache.root, database, selection=selection, log=log).migrate()
    CacheMigrator(cache.root, database, log=log).migrate()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 3 * 7
    outcomes = [
        {line["path"]: line["outcome"] for line in lines[start : start + 7]} for start in (0, 7, 14)
    ]
    assert [len(one) for one in outcomes] == [7, 7, 7]
    counts = [sorted(one.values()) for one in outcomes]
    assert counts[0] == [
        "failed",
        "filtered",
        "filtered",
        "filtered",
        "filtered",
        "migrated",
        "migrated",
    ]
    assert counts[1] == [
        "failed",
        "filtered",
        "filtered",
        "filtered",
        "filtered",
        "unchanged",
        "unchanged",
    ]
    assert counts[2] == ["failed"] + ["migrated"] * 4 + ["unchanged"] * 2
    assert {line["reason"] for line in lines if line["outcome"] == "failed"} == {
        "the file is empty"
    }
    assert {line["cache_type"] for line in lines} == {"docs", "todos"}
    assert log.stat().st_mode & 0o777 == 0o600


# Totals


def test_totals_are_those_of_the_live_entries(cache: Cache, tmp_path: Path, database: Path) -> None:
    fill(cache)
    cache.add("src/silent.rs", tokens_used=None)
    cache.add("src/stated.rs", tokens_used=30,
              result={"usage": {"input_tokens": 10, "output_tokens": 20}})  # fmt: skip
    CacheMigrator(cache.root, database).migrate()
    other = Cache(tmp_path / "other")
    other.add("src/0.rs", content=b"0", repository="/home/dev/one", tokens_used=5, result="x",
              analyzed_at="2026-03-01T00:00:00+00:00", cache_type="docs")  # fmt: skip
    CacheMigrator(other.root, database).migrate()
    [totals] = ask(
        database,
        "SELECT sum(entries), sum(tokens), sum(assumed_tokens), sum(without_tokens),"
        " sum(input_tokens), sum(output_tokens) FROM totals",
    )
    assert totals == (8, 1500 + 30 + 5, 1500 + 5, 1, 10, 20)
    [stored] = ask(
        database,
        "SELECT sum(length(result)) FROM entries WHERE id NOT IN (SELECT entry_id FROM trash)",
    )
    assert ask(database, "SELECT sum(stored_bytes) FROM totals") == [stored]
    march = 2026 * 12 + 2
    assert ask(database, "SELECT sum(entries) FROM totals WHERE month = ?", march) == [(1,)]


# What entries that are removed, shared or damaged do to those that come in


def at(day: int) -> str:
    return f"2026-02-0{day}T03:00:00+00:00"


def results(database: Path) -> list[Any]:
    return sorted(json.loads(text)["result"] for text in live(database))


def trees(tmp_path: Path, *days: int) -> list[Cache]:
    made = [Cache(tmp_path / f"tree{day}") for day in days]
    for tree, day in zip(made, days, strict=True):
        tree.add(result=f"of day {day}", analyzed_at=at(day))
    return made


def test_conflict_over_an_entry_that_shares_its_own_row_is_resolved(
    tmp_path: Path, database: Path
) -> None:
    one, other = Cache(tmp_path / "one"), Cache(tmp_path / "other")
    one.add(result="same", analyzed_at=at(1))
    other.add(result="same", analyzed_at=at(2))
    CacheMigrator([one.root, other.root], database, dedup=True).migrate()
    [newer] = trees(tmp_path, 3)
    assert CacheMigrator(newer.root, database).migrate().total_migrated == 1
    assert results(database) == ["of day 3"]
    again = CacheMigrator([one.root, other.root, newer.root], database).migrate()
    assert again.total_unchanged == 3
    assert ask(database, "SELECT sum(entries) FROM totals") == [(1,)]


def test_entry_does_not_share_the_row_of_one_that_another_of_its_batch_superseded(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    cache.add("m/__init__.py", content=b"", result="empty", analyzed_at=at(1))
    CacheMigrator(cache.root, database).migrate()
    other = Cache(tmp_path / "other")
    other.add("a/__init__.py", content=b"", result="empty", analyzed_at=at(1))
    other.add("m/__init__.py", content=b"", result="said anew", analyzed_at=at(2))
    other.add("z/__init__.py", content=b"", result="empty", analyzed_at=at(1))
    result = CacheMigrator(other.root, database, dedup=True).migrate()
    assert (result.total_migrated, result.total_shared) == (1, 2)
    assert live(database) == sorted(path.read_bytes() for path in other.root.rglob("*_py.json"))
    assert ask(database, "SELECT reason FROM trash") == [("superseded",)]
    assert CacheMigrator(other.root, database).verify()


@pytest.mark.parametrize("reason", ["deleted", "cleared"])
@pytest.mark.parametrize(("policy", "answers"), [("newest", 2), ("oldest", 1)])
def test_removed_entry_that_comes_in_again_meets_the_policy_like_any_other(
    tmp_path: Path, database: Path, reason: str, policy: str, answers: int
) -> None:
    older, newer = trees(tmp_path, 1, 2)
    CacheMigrator(older.root, database).migrate()
    with SqliteStore(database).writer() as writer:
        writer.throw_away([1], reason=reason)
    CacheMigrator(newer.root, database).migrate()
    result = CacheMigrator(older.root, database, on_conflict=policy).migrate()
    assert (result.total_migrated, len(result.conflicts)) == (1, 1)
    assert results(database) == [f"of day {answers}"]
    assert ask(database, "SELECT reason FROM trash") == [("superseded",)]
    assert ask(database, "SELECT sum(entries) FROM totals") == [(1,)]
    again = CacheMigrator([older.root, newer.root], database, on_conflict=policy).migrate()
    assert (again.total_unchanged, again.conflicts) == (2, ())


def test_entry_whose_seal_is_damaged_is_healed_by_migrating_again(
    cache: Cache, database: Path
) -> None:
    fill(cache, 3)
    CacheMigrator(cache.root, database).migrate()
    opened = apsw.Connection(str(database))
    opened.execute("UPDATE entries SET seal = seal + 1 WHERE id = 2")
    opened.close()
    result = CacheMigrator(cache.root, database, checksum=True).migrate()
    assert (result.total_migrated, result.total_unchanged) == (1, 2)
    assert CacheMigrator(cache.root, database).verify()


def test_keeping_both_reports_the_one_that_answers(tmp_path: Path, database: Path) -> None:
    newer, older = trees(tmp_path, 2, 1)
    result = CacheMigrator([newer.root, older.root], database, on_conflict="keep-both").migrate()
    [conflict] = result.conflicts
    assert conflict.answers > conflict.other


def test_equal_older_results_are_one_conflict(tmp_path: Path, database: Path) -> None:
    older = [Cache(tmp_path / name) for name in ("a", "b")]
    for tree, day in zip(older, (1, 2), strict=True):
        tree.add(result="old", analyzed_at=at(day))
    CacheMigrator([tree.root for tree in older], database).migrate()
    [newer] = trees(tmp_path, 3)
    assert len(CacheMigrator(newer.root, database).migrate().conflicts) == 1


def test_run_that_only_filters_writes_nothing(cache: Cache, tmp_path: Path, database: Path) -> None:
    fill(cache)
    CacheMigrator(cache.root, database).migrate()
    before = database.read_bytes()
    other = Cache(tmp_path / "other")
    other.add(repository="/home/dev/elsewhere")
    result = CacheMigrator(
        other.root, database, selection=Selection(include=("nothing",))
    ).migrate()
    assert (result.total_filtered, result.total_entries) == (1, 1)
    assert database.read_bytes() == before


def test_sources_that_differ_in_meta_do_not_take_turns(tmp_path: Path, database: Path) -> None:
    one, other = Cache(tmp_path / "one"), Cache(tmp_path / "other")
    for tree in (one, other):
        tree.add()
        settle(tree.root)
    meta = next(other.root.rglob("meta.json"))
    meta.write_bytes(meta.read_bytes() + b"\n")
    CacheMigrator([one.root, other.root], database).migrate()
    before = database.read_bytes()
    CacheMigrator([one.root, other.root], database).migrate()
    assert database.read_bytes() == before


def test_sources_that_differ_in_meta_do_not_take_turns_where_files_are_read_again(
    tmp_path: Path, database: Path
) -> None:
    one, other = Cache(tmp_path / "one"), Cache(tmp_path / "other")
    for tree in (one, other):
        tree.add()
        settle(tree.root)
    own = next(one.root.rglob("meta.json")).read_bytes()
    next(other.root.rglob("meta.json")).write_bytes(own + b"\n")
    sources = [one.root, other.root]
    CacheMigrator(sources, database).migrate()
    before = database.read_bytes()
    for migrator in (
        CacheMigrator(sources, database, checksum=True),
        CacheMigrator(sources[::-1], database, checksum=True),
    ):
        assert migrator.migrate().total_unchanged == 2
        assert ask(database, "SELECT meta FROM repositories") == [(own,)]
        assert database.read_bytes() == before


def test_meta_that_only_a_later_source_has_is_kept(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    cache.add()
    CacheMigrator(cache.root, tmp_path / "without.db").migrate()
    opened = apsw.Connection(str(tmp_path / "without.db"))
    opened.execute("UPDATE repositories SET meta = NULL")
    opened.close()
    CacheMigrator([tmp_path / "without.db", cache.root], database).migrate()
    meta = next(cache.root.rglob("meta.json")).read_bytes()
    assert ask(database, "SELECT meta FROM repositories") == [(meta,)]


def test_changed_meta_of_a_source_is_kept_though_no_entry_changed(
    cache: Cache, database: Path
) -> None:
    fill(cache, 1)
    settle(cache.root)
    CacheMigrator(cache.root, database).migrate()
    meta = next(cache.root.rglob("meta.json"))
    meta.write_bytes(meta.read_bytes() + b"\n")
    CacheMigrator(cache.root, database).migrate()
    assert ask(database, "SELECT meta FROM repositories") == [(meta.read_bytes(),)]


def test_log_that_can_be_written_no_more_stops_nothing(cache: Cache, database: Path) -> None:
    fill(cache)
    result = CacheMigrator(cache.root, database, log="/dev/full").migrate()
    assert result.total_migrated == 6
    assert [path for path, text in result.notes if "No space left" in text] == ["/dev/full"]


def test_log_into_a_pipe_that_nobody_reads_is_refused(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RustAssistantError, match="cannot be written"):
        CacheMigrator(cache.root, database, log=tmp_path / "pipe").migrate()
    assert not database.exists()


def test_log_never_goes_where_the_cache_is(cache: Cache, tmp_path: Path, database: Path) -> None:
    fill(cache)
    CacheMigrator(cache.root, database).migrate()
    (tmp_path / "link").symlink_to(database)
    before = snapshot(tmp_path)
    for place in (database, tmp_path / "link", f"{database}-wal", cache.root / "x.log"):
        with pytest.raises(UsageError, match="log"):
            CacheMigrator(cache.root, database, log=place)
    assert snapshot(tmp_path) == before


def test_names_that_are_not_utf8_are_no_obstacle(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / os.fsdecode(b"caf\xe9"))
    fill(cache)
    monkeypatch.setenv("LOGNAME", os.fsdecode(b"\xff"))
    with pytest.raises(UsageError, match="not UTF-8"):
        Selection(exclude=(os.fsdecode(b"caf\xe9"),))
    migrator = CacheMigrator(cache.root, database)
    with pytest.raises(UsageError, match="not UTF-8"):
        migrator.plan(tmp_path / "plan.json")
    assert migrator.migrate().total_migrated == 6
    assert list_runs(database)[0].user == "\\xff"


def test_source_that_is_damaged_hides_no_other(
    cache: Cache, tmp_path: Path, database: Path
) -> None:
    fill(cache, 60)
    CacheMigrator(cache.root, tmp_path / "bad.db").migrate()
    [(root,)] = ask(
        tmp_path / "bad.db", "SELECT rootpage FROM sqlite_schema WHERE name = 'entries_by_folder'"
    )
    with (tmp_path / "bad.db").open("r+b") as file:
        file.seek((root - 1) * 8192)
        file.write(bytes(8192))
    other = Cache(tmp_path / "other")
    other.add("src/fine.rs")
    result = CacheMigrator([tmp_path / "bad.db", other.root], database).migrate()
    assert result.total_migrated >= 1
    assert result.total_failed >= 1
    assert all("damaged" in failure.error for failure in result.failures)


@pytest.mark.parametrize("place", ["first", "last"])
def test_source_whose_list_of_folders_is_damaged_stops_no_other(
    cache: Cache, tmp_path: Path, database: Path, place: str
) -> None:
    fill(cache)
    bad = tmp_path / "bad.db"
    CacheMigrator(cache.root, bad).migrate()
    [(root,)] = ask(bad, "SELECT rootpage FROM sqlite_schema WHERE name = 'folders'")
    with bad.open("r+b") as file:
        file.seek((root - 1) * 8192)
        file.write(bytes(8192))
    other = Cache(tmp_path / "other")
    other.add("src/fine.rs")
    sources = [bad, other.root] if place == "first" else [other.root, bad]
    result = CacheMigrator(sources, database).migrate()
    assert (result.total_migrated, result.total_failed, result.total_entries) == (1, 1, 2)
    [failure] = result.failures
    assert failure.file_path == str(bad)
    assert "damaged" in failure.error
    assert live(database) == [dump(fields_of("src/fine.rs"))]


def test_rehearsal_counts_only_what_is_new_and_can_be_right(cache: Cache, database: Path) -> None:
    cache.add(tokens_used=2**62)
    cache.add(tokens_used=2**62, name="again.json")
    [spent] = CacheMigrator(cache.root, database).rehearse().spent
    assert (spent.entries, spent.assumed_tokens, spent.entries_without_tokens) == (1, 0, 1)
