"""Every file of a source comes out of a migration as exactly one outcome, whatever is in it."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
import pytest
import zstandard

from rustassistant import CacheMigrator, MigrationProgress, MigrationResult
from rustassistant.entry import Entry
from rustassistant.entry_json import parse, render
from rustassistant.errors import DamagedError, EntryError
from rustassistant.stores.base import Found, Query, printable
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree.store import JsonPartition
from rustassistant.stores.sqlite import SqliteStore
from support import SHARED, Cache, as_nobody, dump, fields_of, hash8, snapshot

PROJECT = "/home/dev/project"
PARTITION_FILES = "rustassistant.stores.json_tree.store.PARTITION_FILES"
LONG_AGO = 1_700_000_000 * 10**9


def migrate(source: Path, destination: Path, **options: Any) -> MigrationResult:
    with CacheMigrator(source, destination, jobs=1, **options) as migrator:
        result = migrator.migrate()
    assert_adds_up(result)
    return result


def assert_adds_up(result: MigrationResult) -> None:
    assert result.total_failed == len(result.failures)
    assert result.total_entries == (
        result.total_migrated
        + result.total_unchanged
        + result.total_duplicates
        + result.total_filtered
        + result.total_failed
    )


def outcomes(result: MigrationResult) -> dict[str, int]:
    """The outcomes that are not zero."""
    counts = {
        "migrated": result.total_migrated,
        "unchanged": result.total_unchanged,
        "duplicate": result.total_duplicates,
        "filtered": result.total_filtered,
        "failed": result.total_failed,
    }
    return {name: count for name, count in counts.items() if count}


def age(root: Path) -> None:
    """Make every file old enough for its times to be trusted."""
    for directory, _, names in os.walk(root):
        for name in names:
            os.utime(Path(directory, name), ns=(LONG_AGO, LONG_AGO), follow_symlinks=False)


def lookup(
    destination: Path,
    content: bytes,
    cache_type: str = "docs",
    *,
    model: str | None = None,
    prompt_hash: str | None = None,
) -> Entry | None:
    query = Query(cache_type, hashlib.sha256(content).digest(), model, prompt_hash)
    with SqliteStore(destination).finder() as finder:
        return finder.lookup(query)


def rows(destination: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(destination), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(sql))
    finally:
        connection.close()


def count_entries(destination: Path) -> int:
    [[count]] = rows(destination, "SELECT count(*) FROM entries")
    return int(count)


def given_back(found: Sequence[Entry | DamagedError]) -> list[bytes]:
    """The files that a store makes of what it found; none of it may be damaged."""
    texts = []
    for one in found:
        assert isinstance(one, Entry), one
        texts.append(render(one))
    return texts


def assert_given_back(source: Path, destination: Path) -> int:
    """Every readable file comes out of the database byte for byte; returns how many there are."""
    count = 0
    with SqliteStore(destination).finder() as finder:
        for partition in JsonTree(source).partitions():
            if not isinstance(partition, JsonPartition):
                continue
            for name, item in zip(partition.names, partition.read(), strict=True):
                if isinstance(item, Found):
                    texts = given_back(finder.find(partition.folder, item.entry))
                    assert Path(partition.path, name).read_bytes() in texts
                    count += 1
    return count


def state(destination: Path) -> tuple[bytes, int]:
    """The database's bytes, and when they were last written."""
    return destination.read_bytes(), destination.stat().st_mtime_ns


# All that is hostile, in one tree


def with_result(text: bytes, path: str = "src/lib.rs") -> bytes:
    """An entry's file with this for its result."""
    return dump(fields_of(path, result="@@")).replace(b'"@@"', text)


GOOD = dump(fields_of())
SPARSE = "/home/dev/sparse"
SPARSE_BYTES = 200 * 2**20

KEPT: dict[bytes, bytes] = {
    b"bom.json": b"\xef\xbb\xbf" + dump(fields_of("bom")),
    b"nul_escaped.json": with_result(rb'"a\u0000b"', "nul_escaped"),
    b"nul_in_path.json": dump(fields_of("nul\0in_path")),
    b"number.json": with_result(b"1" * 10_000, "number"),
    b"number_and_newline.json": with_result(b"1" * 10_000, "number_and_newline") + b"\n",
    b"fraction.json": with_result(b"-0." + b"3" * 10_000 + b"e-0999", "fraction"),
    b"repeated_inside.json": with_result(b'{"a": 1, "a": 2, "a": {"b": 1, "b": 1}}', "repeated"),
    b"new\nline.json": dump(fields_of("new\nline")),
    b"-rf.json": dump(fields_of("-rf")),
    b"compact.json": json.dumps(fields_of("compact"), separators=(",", ":")).encode(),
    b"extra.json": dump(fields_of("extra", unheard_of=[1, {"x": "\ud7ff"}])),
    b"final_newline.json": dump(fields_of("final_newline")) + b"\n",
    b"other_type.json": dump(fields_of("other_type") | {"cache_type": "todos"}),
    b"wrong_key.json": dump(fields_of("wrong_key", cache_key="0" * 32)),
    b"empty_key.json": dump(fields_of("empty_key", cache_key="")),
    b"no_name_in_common.json": dump(fields_of("src/somewhere/else.rs")),
    b".json": dump(fields_of("")),
}

FAILED: dict[bytes, tuple[bytes, str]] = {
    b"empty.json": (b"", "empty"),
    b"white.json": (b" \n\t", "only white space"),
    b"zeros.json": (bytes(4096), "only NUL bytes"),
    b"cut.json": (GOOD[:-40], "not valid JSON"),
    b"cut_in_text.json": (dump(fields_of("é" * 50))[:61], "not valid UTF-8"),
    b"trailing.json": (GOOD + b"}", "not valid JSON"),
    b"list.json": (b"[" + GOOD + b"]", "Expected `object`, got `array`"),
    b"null.json": (b"null", "Expected `object`, got `null`"),
    b"no_model.json": (GOOD.replace(b'"model"', b'"modell"'), "missing required field `model`"),
    b"no_result.json": (GOOD.replace(b'"result"', b'"results"'), "required field `result`"),
    b"number_for_text.json": (GOOD.replace(b'"xai"', b"7"), "got `int` - at `$.provider`"),
    b"text_for_number.json": (GOOD.replace(b"1234", b'"1234"'), "at `$.tokens_used`"),
    b"negative_size.json": (GOOD.replace(b'"file_size": 13', b'"file_size": -1'), "`$.file_size`"),
    b"long_tokens.json": (GOOD.replace(b"1234", b"1" * 10_000), "at `$.tokens_used`"),
    b"bad_hash.json": (GOOD.replace(b'"file_hash": "', b'"file_hash": "z'), "not 64 hex digits"),
    b"bad_time.json": (GOOD.replace(b"2026-02-04T", b"2026-02-30T"), "analyzed_at"),
    b"not_utf8.json": (GOOD.replace(b"src/lib.rs", b"src/\xff.rs"), "not valid UTF-8"),
    b"utf16.json": (GOOD.decode().encode("utf-16"), "not valid UTF-8"),
    b"surrogate_bytes.json": (with_result(b'"\xed\xa0\x80"'), "not valid UTF-8"),
    b"surrogate_escaped.json": (with_result(rb'"\ud800"'), "not valid JSON"),
    b"nan.json": (with_result(b"NaN"), "not valid JSON"),
    b"nan_inside.json": (with_result(b'{"score": NaN}'), "not valid JSON"),
    b"infinity.json": (with_result(b"[-Infinity]"), "not valid JSON"),
    b"repeated.json": (
        GOOD.replace(b'"model"', b'"provider": "x", "model"'),
        "'provider' is given",
    ),
    b"two_results.json": (GOOD[:-2] + b',\n  "result": 1\n}', "'result' is given twice"),
    b"deep.json": (with_result(b"[" * 100_000 + b"]" * 100_000), "nested too deeply"),
    b"deep_objects.json": (with_result(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "too deeply"),
    b"nul_raw.json": (with_result(b'"a\0b"'), "not valid JSON"),
}

VANISHING = "zz_vanishing.json"


class Hostile(NamedTuple):
    """A tree with all that, good entries among it, and what is to become of each."""

    root: Path
    reasons: dict[str, str]
    migrated: int
    duplicates: int
    docs: Path

    @property
    def placed(self) -> int:
        return self.migrated + self.duplicates + len(self.reasons)


def hostile_tree(base: Path, *, closed: bool) -> Hostile:
    """``closed``: with places that an unprivileged user may not look into, once `close` is done."""
    cache = Cache(base / "repos")
    reasons: dict[str, str] = {}
    docs = cache.add().parent
    (docs / "a copy.json").write_bytes(GOOD)
    migrated, duplicates = 1, 1
    for name, text in KEPT.items():
        Path(docs, os.fsdecode(name)).write_bytes(text)
        migrated += 1
    for name, (text, reason) in FAILED.items():
        path = Path(docs, os.fsdecode(name))
        path.write_bytes(text)
        reasons[printable(str(path))] = reason
    if add_undecodable(docs):
        migrated += 1
    reasons |= add_no_files(docs, base / "elsewhere")
    sparse = cache.add(repository=SPARSE, text=b"")
    os.truncate(sparse, SPARSE_BYTES)
    reasons[str(sparse)] = "larger than an entry can be"
    migrated += add_other_repositories(cache)
    if closed:
        cache.add("closed", name="closed.json")
        reasons[str(docs / "closed.json")] = "Permission denied"
        refactor = cache.add(cache_type="refactor").parent
        reasons[str(refactor)] = "the directory cannot be listed: Permission denied"
        cache.add(repository="/home/dev/closed-meta")
        migrated += 1
    (docs / VANISHING).write_bytes(dump(fields_of(VANISHING)))
    reasons[str(docs / VANISHING)] = "vanished"
    return Hostile(cache.root, reasons, migrated, duplicates, docs)


def add_undecodable(docs: Path) -> bool:
    try:
        Path(docs, os.fsdecode(b"caf\xe9.json")).write_bytes(dump(fields_of("café")))
    except OSError:
        return False  # this file system refuses names that are not UTF-8
    return True


def add_no_files(docs: Path, elsewhere: Path) -> dict[str, str]:
    """What looks like entries and is none."""
    outside = Cache(elsewhere).add("private")
    links = {
        "away.json": outside,
        "away": outside.parent,
        "gone": elsewhere / "gone",
        "loop.json": docs / "loop.json",
        "loop": docs / "loop",
        "up": docs.parent,
    }
    for name, target in links.items():
        (docs / name).symlink_to(target)
    reasons = {str(docs / name): "symbolic link" for name in links}
    os.mkfifo(docs / "fifo.json")
    reasons[str(docs / "fifo.json")] = "not a regular file"
    stray = docs.parents[1] / "stray.json"
    stray.write_bytes(GOOD)
    reasons[str(stray)] = "outside every type directory"
    return reasons


def add_other_repositories(cache: Cache) -> int:
    """Each with one good entry and something wrong with its ``meta.json``; returns how many."""
    metas: dict[str, bytes | None] = {
        "/home/dev/missing-meta": None,
        "/home/dev/garbage-meta": b"\xff\xfe{",
        "/home/dev/pathless-meta": b"{}",
        "/home/dev/lying-meta": b'{"path": "/home/dev/project"}',
        "/home/dev/good-meta": b'{"path": "/home/dev/good-meta"}',
    }
    for repository, text in metas.items():
        cache.add(repository=repository)
        meta = cache.repository(repository) / "meta.json"
        if text is None:
            meta.unlink()
        else:
            meta.write_bytes(text)
    return len(metas)


def close(tree: Hostile, mode: int | None = None) -> None:
    """Take all permissions from what is to be closed, or give them back."""
    meta = tree.root / hash8("/home/dev/closed-meta") / "meta.json"
    for path, usual in (
        (tree.docs / "closed.json", 0o644),
        (tree.docs.with_name("refactor"), 0o755),
        (meta, 0o644),
    ):
        path.chmod(usual if mode is None else mode)


def source_state(tree: Hostile) -> dict[str, Any]:
    """All of a source, but the file that vanishes and the directory whose time this changes."""
    state: dict[str, Any] = {}
    for directory in tree.root.iterdir():
        if directory.name == hash8(SPARSE):  # not to be read here either
            [sparse] = directory.glob("cache/docs/*")
            status = sparse.stat()
            state[str(sparse)] = (status.st_size, status.st_blocks, status.st_mtime_ns)
            continue
        for path, facts in snapshot(directory).items():
            state[str(directory / path)] = facts
    state.pop(str(tree.docs / VANISHING), None)
    del state[str(tree.docs)]
    return state


def assert_accounted(tree: Hostile, destination: Path, jobs: int) -> None:
    """Migrate, verify, migrate again: every file has its one outcome each time."""
    seen: list[MigrationProgress] = []

    def remove_one(progress: MigrationProgress) -> None:
        if progress.current_file.startswith(str(tree.docs)):  # so it has been listed
            (tree.docs / VANISHING).unlink(missing_ok=True)
        seen.append(progress)

    with CacheMigrator(tree.root, destination, jobs=jobs) as migrator:
        first = migrator.migrate(remove_one)
        verification = migrator.verify()
        before = state(destination)
        second = migrator.migrate()
        assert state(destination) == before, "nothing was new, so nothing may change"
    assert_adds_up(first)
    assert_failures(first, tree.reasons)
    assert first.total_entries == tree.placed
    expected = {
        "migrated": tree.migrated,
        "duplicate": tree.duplicates,
        "failed": len(tree.reasons),
    }
    assert outcomes(first) == expected
    assert count_entries(destination) == tree.migrated
    assert seen[-1].done <= seen[-1].total
    assert [one.done for one in seen] == sorted(one.done for one in seen)

    assert verification
    assert verification.compared == tree.migrated + tree.duplicates
    left = {path: why for path, why in tree.reasons.items() if not path.endswith(VANISHING)}
    assert {failure.file_path for failure in verification.failures} == left.keys()
    assert assert_given_back(tree.root, destination) == verification.compared

    assert_adds_up(second)
    assert_failures(second, left)
    assert outcomes(second) == {
        "unchanged": tree.migrated + tree.duplicates,
        "failed": len(left),
    }


def assert_failures(result: MigrationResult, reasons: dict[str, str]) -> None:
    found = {failure.file_path: failure.error for failure in result.failures}
    assert len(found) == len(result.failures), "a file failed twice"
    assert found.keys() == reasons.keys()
    for path, reason in reasons.items():
        assert reason in found[path], path
    types = {failure.cache_type for failure in result.failures}
    assert types <= {"docs", "refactor", ""}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "aged"])
def test_every_hostile_file_has_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, fresh: bool
) -> None:
    # One file in each partition, so that one can vanish after it was listed.
    monkeypatch.setattr(PARTITION_FILES, 1)
    tree = hostile_tree(tmp_path, closed=False)
    if not fresh:
        age(tree.root)
    before = source_state(tree)
    (tmp_path / "out").mkdir()
    assert_accounted(tree, tmp_path / "out" / "cache.db", jobs)
    assert source_state(tree) == before


def test_places_without_permission_have_their_outcome_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PARTITION_FILES, 1)
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to other users
        base = Path(name).resolve()
        base.chmod(0o755)
        tree = hostile_tree(base, closed=True)
        tree.docs.chmod(0o777)  # a file will be removed from it
        before = source_state(tree)
        (base / "out").mkdir()
        (base / "out").chmod(0o777)
        close(tree, 0)
        try:
            as_nobody(lambda: assert_accounted(tree, base / "out" / "cache.db", 1))
        finally:
            close(tree)
        assert source_state(tree) == before


def test_what_is_wrong_with_meta_files_is_noted(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    add_other_repositories(cache)
    result = migrate(cache.root, tmp_path / "cache.db")
    notes = dict(result.notes)
    assert result.total_notes == len(notes) == 4
    expected = {
        "/home/dev/missing-meta": "kept under",
        "/home/dev/garbage-meta": "cannot be read",
        "/home/dev/pathless-meta": "names no path",
        "/home/dev/lying-meta": "kept apart",
    }
    for repository, text in expected.items():
        assert text in notes[str(cache.root / hash8(repository) / "meta.json")]
    assert {path for (path,) in rows(tmp_path / "cache.db", "SELECT path FROM repositories")} == {
        PROJECT,
        "/home/dev/good-meta",
        *(str(cache.root / hash8(one)) for one in expected if one != "/home/dev/lying-meta"),
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("other_type.json", "'todos'"),
        ("wrong_key.json", "cache_key"),
        ("empty_key.json", "cache_key"),
    ],
)
def test_oddities_that_lose_nothing_are_noted(tmp_path: Path, name: str, text: str) -> None:
    file = Cache(tmp_path / "repos").add(name=name, text=KEPT[name.encode()])
    result = migrate(tmp_path / "repos", tmp_path / "cache.db")
    [(path, note)] = result.notes
    assert path == str(file)
    assert text in note


def test_nesting_near_the_limit_is_kept_or_failed_but_never_stops_the_run(tmp_path: Path) -> None:
    # Whoever reads it, at whatever depth of its own stack, must come to the same verdict.
    limit = nesting_limit()
    cache = Cache(tmp_path / "repos")
    depths = range(limit - 30, limit + 12)
    for depth in depths:
        text = b"[" * depth + b"]" * depth
        cache.add(name=f"plain{depth}.json", text=with_result(text, f"plain{depth}"))
        cache.add(name=f"odd{depth}.json", text=with_result(text, f"odd{depth}") + b"\n")
    result = migrate(cache.root, tmp_path / "cache.db")
    assert result.total_entries == 2 * len(depths)
    assert result.total_migrated > 0
    assert result.total_failed > 0
    assert all("nested too deeply" in failure.error for failure in result.failures)
    with CacheMigrator(cache.root, tmp_path / "cache.db", jobs=1) as migrator:
        verification = migrator.verify()
    assert verification, verification.differences
    assert len(verification.failures) == result.total_failed
    assert assert_given_back(cache.root, tmp_path / "cache.db") == result.total_migrated


def nesting_limit() -> int:
    """How deep a result may be nested here, as seen from here."""
    lowest, highest = 1, 100_000
    while highest - lowest > 1:
        depth = (lowest + highest) // 2
        try:
            parse(with_result(b"[" * depth + b"]" * depth), repository="/r", cache_type="docs")
            lowest = depth
        except EntryError:
            highest = depth
    return lowest


def test_one_absurdly_large_file_does_not_stop_the_run_for_want_of_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    sparse = cache.add("sparse", text=b"")
    try:
        os.truncate(sparse, 15 * 2**40)
    except OSError:
        pytest.skip("this file system has no files that large")
    result = migrate(cache.root, tmp_path / "cache.db")
    assert outcomes(result) == {"migrated": 1, "failed": 1}


def test_progress_names_every_file_in_text_that_can_be_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PARTITION_FILES, 1)
    docs = Cache(tmp_path / "repos").add().parent
    if not add_undecodable(docs):
        pytest.skip("this file system refuses names that are not UTF-8")
    seen: list[str] = []
    with CacheMigrator(tmp_path / "repos", tmp_path / "cache.db", jobs=1) as migrator:
        migrator.migrate(lambda progress: seen.append(progress.current_file))
        migrator.verify(lambda progress: seen.append(progress.current_file))
    assert len(seen) == 4
    for text in seen:
        text.encode()


# What the reference loses


def test_entries_without_key_are_all_there(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    contents = [f"// file {number}".encode() for number in range(300)]
    for number, content in enumerate(contents):
        cache.add(f"src/{number}.rs", content=content, old=True, result={"number": number})
    assert outcomes(migrate(cache.root, tmp_path / "cache.db")) == {"migrated": 300}
    for number, content in enumerate(contents):
        entry = lookup(tmp_path / "cache.db", content, model="grok-beta", prompt_hash="a" * 16)
        assert entry is not None, "an entry from before keys is a hit for any prompt"
        assert json.loads(entry.result) == {"number": number}
    assert assert_given_back(cache.root, tmp_path / "cache.db") == 300


def test_same_file_in_many_places_is_there_for_each(tmp_path: Path) -> None:
    # An empty __init__.py: equal in content, model and prompt, so equal in key.
    cache = Cache(tmp_path / "repos")
    placed = 0
    for repository in (PROJECT, "/home/dev/other"):
        for package in "abc":
            for cache_type in ("docs", "todos"):
                for old in (False, True):
                    name = f"{package}-{old}.json"
                    cache.add(f"{package}/__init__.py", repository=repository, content=b"",
                              name=name, cache_type=cache_type, old=old)  # fmt: skip
                    placed += 1
    assert outcomes(migrate(cache.root, tmp_path / "cache.db")) == {"migrated": placed}
    assert count_entries(tmp_path / "cache.db") == placed
    assert assert_given_back(cache.root, tmp_path / "cache.db") == placed
    repositories = rows(
        tmp_path / "cache.db", "SELECT repo_path, count(*) FROM cache_entries GROUP BY 1"
    )
    assert sorted(repositories) == [("/home/dev/other", placed // 2), (PROJECT, placed // 2)]


def test_two_directories_that_claim_one_path_lose_nothing_to_each_other(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add(result={"from": "one"})
    cache.add("only/here.rs")
    twin = cache.add(repository="/home/dev/twin", result={"from": "two"})
    equal = cache.add("only/here.rs", repository="/home/dev/twin")
    meta = cache.repository("/home/dev/twin") / "meta.json"
    meta.write_bytes((cache.repository() / "meta.json").read_bytes())
    result = migrate(cache.root, tmp_path / "cache.db")
    assert outcomes(result) == {"migrated": 4}
    assert twin.exists()
    assert equal.exists()
    assert assert_given_back(cache.root, tmp_path / "cache.db") == 4
    with CacheMigrator(cache.root, tmp_path / "cache.db", jobs=1) as migrator:
        assert migrator.verify()


def test_destination_that_held_others_before_verifies(tmp_path: Path) -> None:
    first, second = Cache(tmp_path / "first"), Cache(tmp_path / "second")
    for number in range(20):
        first.add(f"{number}.rs")
        second.add(f"{number}.rs", repository="/home/dev/other", cache_type="todos")
    for cache in (first, second, first):
        migrate(cache.root, tmp_path / "cache.db")
    assert count_entries(tmp_path / "cache.db") == 40
    for cache in (first, second):
        with CacheMigrator(cache.root, tmp_path / "cache.db", jobs=1) as migrator:
            verification = migrator.verify()
        assert verification
        assert verification.compared == 20


def test_verification_names_what_is_missing(tmp_path: Path) -> None:
    # As many entries as before, so that comparing counts would find nothing.
    cache = Cache(tmp_path / "repos")
    gone, kept = cache.add("gone.rs"), cache.add("kept.rs")
    migrate(cache.root, tmp_path / "cache.db")
    gone.unlink()
    new = cache.add("new.rs")
    with CacheMigrator(cache.root, tmp_path / "cache.db", jobs=1) as migrator:
        verification = migrator.verify()
    assert not verification
    [difference] = verification.differences
    assert (difference.path, difference.cache_type) == (str(new), "docs")
    assert "missing" in difference.what
    assert kept.exists()


@pytest.mark.parametrize("field", ["result", "analyzed_at", "tokens_used", "file_size", "provider"])
def test_verification_finds_a_difference_in_any_field(tmp_path: Path, field: str) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    migrate(cache.root, tmp_path / "cache.db")
    other: dict[str, Any] = {
        "result": {"code_smells": [], "complexity_score": 50.0, "path": "src/Lib.rs"},
        "analyzed_at": "2026-02-04T03:13:54.878744251+00:00",
        "tokens_used": None,
        "file_size": 14,
        "provider": "xAI",
    }
    cache.add(**{field: other[field]})
    with CacheMigrator(cache.root, tmp_path / "cache.db", jobs=1) as migrator:
        verification = migrator.verify()
    assert not verification
    [difference] = verification.differences
    assert field in difference.what


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-02-04T03:13:54.878744252+00:00", 1_770_174_834_878_744_252),
        ("2026-02-04T03:13:54.000000001+00:00", 1_770_174_834_000_000_001),
        ("2026-02-04T03:13:54+00:00", 1_770_174_834_000_000_000),
        ("2026-02-04T04:13:54.5+01:00", 1_770_174_834_500_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_time_of_analysis_is_kept_to_the_nanosecond(
    tmp_path: Path, text: str, nanoseconds: int
) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add(analyzed_at=text)
    migrate(cache.root, tmp_path / "cache.db")
    entry = lookup(tmp_path / "cache.db", b"fn main() {}\n")
    assert entry is not None
    assert entry.analyzed_at == nanoseconds
    assert assert_given_back(cache.root, tmp_path / "cache.db") == 1


# Running again


def test_changed_file_becomes_a_further_version_and_the_newest_answers(tmp_path: Path) -> None:
    cache, destination = Cache(tmp_path / "repos"), tmp_path / "cache.db"
    old = cache.add(result="first").read_bytes()
    age(cache.root)
    assert outcomes(migrate(cache.root, destination)) == {"migrated": 1}
    later = "2026-02-04T03:13:54.878744253+00:00"
    new = cache.add(result="second", analyzed_at=later).read_bytes()
    assert outcomes(migrate(cache.root, destination)) == {"migrated": 1}
    assert count_entries(destination) == 2
    answer = lookup(destination, b"fn main() {}\n")
    assert answer is not None
    assert answer.result == b'"second"'

    # The first version is still there, and comes back byte for byte.
    [partition] = JsonTree(cache.root).survey().samples
    with SqliteStore(destination).finder() as finder:
        versions = set(given_back(finder.find(partition.folder, answer)))
    assert versions == {old, new}


def test_older_version_does_not_answer_in_place_of_a_newer_one(tmp_path: Path) -> None:
    cache, destination = Cache(tmp_path / "repos"), tmp_path / "cache.db"
    cache.add(result="new", analyzed_at="2026-03-01T00:00:00+00:00")
    migrate(cache.root, destination)
    cache.add(result="restored from a backup", analyzed_at="2026-01-01T00:00:00+00:00")
    assert outcomes(migrate(cache.root, destination)) == {"migrated": 1}
    answer = lookup(destination, b"fn main() {}\n")
    assert answer is not None
    assert answer.result == b'"new"'


@pytest.mark.parametrize("aged", [True, False])
def test_file_changed_back_is_unchanged(tmp_path: Path, aged: bool) -> None:
    cache, destination = Cache(tmp_path / "repos"), tmp_path / "cache.db"
    found = []
    for result in ("first", "second", "first", "second", "first"):
        cache.add(result=result)
        if aged:
            age(cache.root)
        found.append(outcomes(migrate(cache.root, destination)))
    assert found == [{"migrated": 1}] * 2 + [{"unchanged": 1}] * 3
    assert count_entries(destination) == 2


def test_touched_file_is_unchanged(tmp_path: Path) -> None:
    cache, destination = Cache(tmp_path / "repos"), tmp_path / "cache.db"
    file = cache.add()
    for moment in (LONG_AGO, LONG_AGO + 1, LONG_AGO - 10**12):
        os.utime(file, ns=(moment, moment))
        result = migrate(cache.root, destination)
    assert outcomes(result) == {"unchanged": 1}
    os.utime(file)
    assert outcomes(migrate(cache.root, destination)) == {"unchanged": 1}
    assert count_entries(destination) == 1


def test_failed_file_that_was_mended_is_migrated(tmp_path: Path) -> None:
    cache, destination = Cache(tmp_path / "repos"), tmp_path / "cache.db"
    cache.add(text=GOOD[:-1])
    assert outcomes(migrate(cache.root, destination)) == {"failed": 1}
    cache.add()
    assert outcomes(migrate(cache.root, destination)) == {"migrated": 1}


def test_migrated_file_that_broke_since_stays_what_it_was(tmp_path: Path) -> None:
    cache, destination = Cache(tmp_path / "repos"), tmp_path / "cache.db"
    cache.add()
    migrate(cache.root, destination)
    cache.add(text=b"")
    assert outcomes(migrate(cache.root, destination)) == {"failed": 1}
    entry = lookup(destination, b"fn main() {}\n")
    assert entry is not None
    assert render(entry) == GOOD


def test_entry_removed_from_the_source_stays_in_the_destination(tmp_path: Path) -> None:
    cache, destination = Cache(tmp_path / "repos"), tmp_path / "cache.db"
    cache.add().unlink()
    file = cache.add("b.rs")
    migrate(cache.root, destination)
    file.unlink()
    assert outcomes(migrate(cache.root, destination)) == {}
    assert count_entries(destination) == 1


@pytest.mark.parametrize("source", ["empty", "hash8", "home"])
def test_empty_source_makes_an_empty_database(tmp_path: Path, source: str) -> None:
    place = {
        "empty": tmp_path / "empty",
        "hash8": tmp_path / "repos" / "deadbeef",
        "home": tmp_path / ".rustassistant",
    }[source]
    place.mkdir(parents=True)
    result = migrate(place, tmp_path / "cache.db")
    assert (result.total_entries, result.source_size, result.failures) == (0, 0, ())
    assert result.destination_size == (tmp_path / "cache.db").stat().st_size
    assert count_entries(tmp_path / "cache.db") == 0
    with CacheMigrator(place, tmp_path / "cache.db", jobs=1) as migrator:
        verification = migrator.verify()
    assert verification
    assert verification.compared == 0


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    files = [cache.add(f"{number}.rs") for number in range(5)]
    files.append(cache.add("broken.rs", text=b"x" * 1000))
    for _ in range(2):
        result = migrate(cache.root, tmp_path / "cache.db")
        assert result.source_size == sum(file.stat().st_size for file in files)
        assert result.destination_size == (tmp_path / "cache.db").stat().st_size
        assert result.space_saved == result.source_size - result.destination_size


# On real data


def result_text(file: bytes) -> bytes:
    """The result in a file that the Rust program wrote, compact, found without our parser."""
    head, tail = b'\n  "result": ', b',\n  "tokens_used": '
    return msgspec.json.format(file[file.index(head) + len(head) : file.rindex(tail)], indent=-1)


@pytest.mark.shared
def test_cache_that_the_rust_program_wrote_still_hits(tmp_path: Path) -> None:
    repository = SHARED / "real-2026-02" / "repo"
    before = snapshot(repository)
    result = migrate(repository, tmp_path / "cache.db")
    assert outcomes(result) == {"migrated": 3}
    assert result.notes == ()
    content = (repository / "src" / "error.rs").read_bytes()
    cache = repository / ".rustassistant" / "cache"
    for cache_type in ("docs", "refactor"):
        file = cache / cache_type / "src_error_rs.json"
        answer = lookup(
            tmp_path / "cache.db", content, cache_type, model="grok-beta", prompt_hash="0" * 16
        )
        assert answer is not None
        assert answer.result == result_text(file.read_bytes())
        assert answer.repository == str(repository)
        assert render(answer) == file.read_bytes()
    for cache_type in ("todos", "analysis"):
        assert lookup(tmp_path / "cache.db", content, cache_type) is None
    assert outcomes(migrate(repository, tmp_path / "cache.db")) == {"unchanged": 3}
    assert snapshot(repository) == before


class Corpus(NamedTuple):
    """Twenty thousand entries as the Rust program writes them, and what came of migrating them."""

    root: Path
    files: dict[str, bytes]
    destination: Path
    result: MigrationResult


class Request(NamedTuple):
    """What a program asks for, as an entry's file spells it."""

    file_hash: str
    cache_type: str
    model: str
    prompt_hash: str | None


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    with tempfile.TemporaryDirectory() as name:  # kept no longer than needed: it is large
        base = Path(name).resolve()
        files = extract(SHARED / "corpus-20k.tar.zst", base)
        with CacheMigrator(base / "repos", base / "cache.db") as migrator:
            result = migrator.migrate()
        yield Corpus(base / "repos", files, base / "cache.db", result)


def extract(archive: Path, target: Path) -> dict[str, bytes]:
    """Write out an archive of ours, which needs none of the care, and time, for strangers' ones.

    Returns the bytes of each entry's file by path. All get an age at which times are trusted.
    """
    files = {}
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as members,
    ):
        for member in members:
            path = os.path.join(target, member.name)
            content = members.extractfile(member)
            if content is None:
                os.makedirs(path, exist_ok=True)
                continue
            text = content.read()
            with open(path, "wb") as writer:
                writer.write(text)
            os.utime(path, ns=(LONG_AGO, LONG_AGO))
            if not path.endswith("/meta.json"):
                files[path] = text
    return files


@pytest.mark.shared
def test_corpus_is_migrated_in_full(corpus: Corpus) -> None:
    assert_adds_up(corpus.result)
    assert corpus.result.total_entries == 20_000
    assert outcomes(corpus.result) == {"migrated": 20_000}
    assert corpus.result.source_size == 42_656_317
    assert corpus.result.space_saved > corpus.result.source_size / 2
    assert corpus.result.total_notes == 0
    assert count_entries(corpus.destination) == 20_000


@pytest.mark.shared
def test_corpus_verifies(corpus: Corpus) -> None:
    with CacheMigrator(corpus.root, corpus.destination) as migrator:
        verification = migrator.verify()
    assert verification
    assert verification.compared == 20_000
    assert verification.failures == ()


@pytest.mark.shared
def test_corpus_keeps_the_paths_of_its_repositories(corpus: Corpus) -> None:
    metas = [json.loads(path.read_bytes()) for path in corpus.root.glob("*/meta.json")]
    paths = {meta["path"] for meta in metas}
    assert len(paths) == 14
    assert {path for (path,) in rows(corpus.destination, "SELECT path FROM repositories")} == paths


@pytest.mark.shared
def test_corpus_comes_back_byte_for_byte(corpus: Corpus) -> None:
    count = copies = 0
    with SqliteStore(corpus.destination).finder() as finder:
        for partition in JsonTree(corpus.root).partitions():
            assert isinstance(partition, JsonPartition)
            meta = Path(partition.path).parents[1] / "meta.json"
            repository = json.loads(meta.read_bytes())["path"]
            for item in partition.read():
                assert isinstance(item, Found)
                [stored] = finder.find(partition.folder, item.entry)
                assert isinstance(stored, Entry)
                assert render(stored) == corpus.files[item.path]
                assert stored.repository == repository
                count += 1
                copies += stored.original is not None
    assert count == 20_000
    # Ten files have zeros in their times that the Rust program would have left out.
    assert copies == 10


@pytest.mark.shared
def test_every_entry_of_the_corpus_is_a_hit(corpus: Corpus) -> None:
    # Equal files share a key; the newest analysis of them answers for all. Old entries have no
    # prompt hash, so whoever asks for none may get any that fits otherwise.
    answers: defaultdict[Request, list[tuple[str, bytes]]] = defaultdict(list)
    requests = set()
    for path, text in corpus.files.items():
        fields = json.loads(text)
        cache_type, prompt_hash = Path(path).parent.name, fields.get("prompt_hash")
        request = Request(fields["file_hash"], cache_type, fields["model"], prompt_hash)
        requests.add(request)
        for asked in {request, request._replace(prompt_hash=None)}:
            answers[asked].append((fields["analyzed_at"], result_text(text)))
    with SqliteStore(corpus.destination).finder() as finder:
        for request in requests:
            file_hash = bytes.fromhex(request.file_hash)
            query = Query(request.cache_type, file_hash, request.model, request.prompt_hash)
            found = finder.lookup(query)
            assert found is not None
            newest = max(analyzed_at for analyzed_at, _ in answers[request])
            assert (newest, found.result) in answers[request]


@pytest.mark.shared
def test_corpus_migrated_again_changes_nothing(corpus: Corpus) -> None:
    before = state(corpus.destination)
    with CacheMigrator(corpus.root, corpus.destination) as migrator:
        again = migrator.migrate()
    assert outcomes(again) == {"unchanged": 20_000}
    assert again.source_size == corpus.result.source_size
    assert state(corpus.destination) == before
