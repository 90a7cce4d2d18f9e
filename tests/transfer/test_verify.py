from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import pytest
import zstandard

from rustassistant.codec import MAGIC, text_digest
from rustassistant.entry import Producer
from rustassistant.errors import InterruptedRunError, NotFoundError, RustAssistantError
from rustassistant.records import seal
from rustassistant.stores.base import Destination, Source
from rustassistant.stores.json_tree import JsonTree, JsonTreeDestination
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.memory import MemoryStore
from rustassistant.stores.outcomes import Rules
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.fingerprint import fingerprint
from rustassistant.transfer.plan import Options
from rustassistant.transfer.report import Comparison, Progress
from rustassistant.transfer.selection import Selection
from rustassistant.transfer.verify import compare
from support import Cache, dump, fields_of, hash8, snapshot

ONE: Final = Options(jobs=1)
TWO: Final = Options(jobs=2)
JOBS: Final = pytest.mark.parametrize("options", [ONE, TWO], ids=["one job", "two jobs"])

OTHER: Final = "/home/dev/other"
TARGET: Final = "src/target.rs"
TARGET_FIELDS: Final[dict[str, Any]] = {
    "content": b"target",
    "provider": "target-provider",
    "model": "target-model",
    "prompt_hash": "0123456789abcdef",
    "result": {"target": 1},
    "cache_type": "todos",
}
ODD: Final = "src/odd.rs"
WORDS = ["parses", "the", "configuration", "file", "error", "missing", "async", "handler", "when"]


COLUMNS: Final = """
SELECT e.id, d.cache_type, f.path, f.hash, f.size, p.provider, p.model, p.prompt_hash,
       p.schema_version, e.analyzed_at, e.tokens_used, e.result_digest
FROM entries e JOIN files f ON f.id = e.file_id JOIN folders d ON d.id = e.folder_id
JOIN producers p ON p.id = e.producer_id
"""


class Migrated(NamedTuple):
    """A cache, and a database that holds it."""

    cache: Cache
    path: Path

    @property
    def source(self) -> JsonTree:
        return JsonTree(self.cache.root)

    @property
    def destination(self) -> SqliteStore:
        return SqliteStore(self.path)

    def compare(self, options: Options = ONE) -> Comparison:
        return compare(self.source, self.destination, options=options)

    def tamper(self, sql: str, *values: Any, reseal: bool = True) -> None:
        """Change the database behind our back. In SQL, ``entry_of`` gives an id by file path.

        With ``reseal``, rows are sealed anew: comparing has to find what the seal does not.
        """
        connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READWRITE)

        def entry_of(*path: Any) -> int:
            sql = "SELECT e.id FROM entries e JOIN files f ON f.id = e.file_id WHERE f.path = ?"
            return int(connection.execute(sql, path).get)

        connection.create_scalar_function("entry_of", entry_of, 1)
        try:
            connection.execute(sql, values)
            assert connection.changes() > 0, "the test itself must change something"
            if reseal:
                rows: list[Any] = connection.execute(COLUMNS).fetchall()
                for row_id, cache_type, path, content, size, *producer, at, tokens, digest in rows:
                    whole = seal(
                        cache_type, path, content, size, Producer(*producer), at, tokens, digest
                    )
                    connection.execute("UPDATE entries SET seal = ? WHERE id = ?", (whole, row_id))
        finally:
            connection.close()


def differences(comparison: Comparison) -> dict[str, str]:
    """What differs, by the name of the file that it is about."""
    found = {os.path.basename(one.path): one.what for one in comparison.differences}
    assert len(found) == len(comparison.differences), "each is named once"
    return found


def expect(migrated: Migrated, expected: dict[str, str], options: Options = ONE) -> None:
    """These files differ, each in a way that matches, and no others."""
    comparison = migrated.compare(options)
    found = differences(comparison)
    assert found.keys() == expected.keys()
    for name, pattern in expected.items():
        assert re.search(pattern, found[name]), found[name]
    assert not comparison.passed
    assert comparison.compared == 10
    assert comparison.unreadable == []


def frame(text: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(text).removeprefix(MAGIC)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Migrated:
    """Five ordinary entries, one apart in every column, one odd, two twins, a stranger."""
    root = tmp_path_factory.mktemp("pristine")
    cache = Cache(root / "repos")
    for number in range(5):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    cache.add(TARGET, **TARGET_FIELDS)
    cache.add(ODD, content=b"odd", unknown="field", cache_type="analysis")
    cache.add("src/twin1.rs", content=b"twin1", result={"twin": 1})
    cache.add("src/twin2.rs", content=b"twin2", result={"twin": 1})
    cache.add("src/stranger.rs", content=b"stranger", repository=OTHER, cache_type="refactor")
    transfer(JsonTree(cache.root), SqliteStore(root / "cache.db"), options=ONE)
    return Migrated(cache, root / "cache.db")


@pytest.fixture
def migrated(pristine: Migrated, tmp_path: Path) -> Migrated:
    """The same, with a database to spoil."""
    return Migrated(pristine.cache, Path(shutil.copy(pristine.path, tmp_path / "cache.db")))


# --- All is well.


@JOBS
def test_what_was_migrated_is_all_there(pristine: Migrated, options: Options) -> None:
    comparison = pristine.compare(options)
    assert comparison.passed
    assert comparison.compared == 10
    assert comparison.differences == []
    assert comparison.unreadable == []


@JOBS
def test_a_memory_store_is_compared_as_well(pristine: Migrated, options: Options) -> None:
    store = MemoryStore()
    transfer(pristine.source, store, options=options)
    assert compare(pristine.source, store, options=options).compared == 10
    assert compare(pristine.source, store, options=options).passed


def test_comparing_changes_neither_side(pristine: Migrated) -> None:
    before = snapshot(pristine.cache.root), pristine.path.read_bytes()
    pristine.compare(TWO)
    assert (snapshot(pristine.cache.root), pristine.path.read_bytes()) == before


def test_what_the_destination_holds_besides_is_no_difference(
    migrated: Migrated, tmp_path: Path
) -> None:
    more = Cache(tmp_path / "more")
    more.add("src/more.rs", content=b"more")
    more.add("src/more.rs", content=b"more", repository=OTHER)
    # The same request, answered anew, and by another provider.
    more.add(text=dump(fields_of("src/0.rs", content=b"0", tokens_used=1)))
    transfer(JsonTree(more.root), migrated.destination, options=ONE)
    assert migrated.compare().passed
    assert migrated.compare().compared == 10


def test_an_empty_source_has_no_differences(migrated: Migrated, tmp_path: Path) -> None:
    comparison = compare(JsonTree(Cache(tmp_path / "none").root), migrated.destination)
    assert comparison.passed
    assert comparison.compared == 0


# --- An entry that is there, but not as the source has it, is told by its fields.


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"path": "src/Target.rs"}, "missing from the destination$"),
        ({"content": b"other", "file_size": 6}, "missing from the destination$"),
        ({"model": "x"}, "missing from the destination$"),
        ({"prompt_hash": "x"}, "missing from the destination$"),
        ({"schema_version": 2}, "missing from the destination$"),
        ({"cache_type": "docs"}, "missing from the destination$"),
        ({"repository": OTHER}, "missing from the destination$"),
        ({"provider": "x"}, "differs in provider$"),
        ({"analyzed_at": "2026-02-04T03:13:54.878744253+00:00"}, "differs in analyzed_at$"),
        ({"tokens_used": 1235}, "differs in tokens_used$"),
        ({"tokens_used": None}, "differs in tokens_used$"),
        ({"file_size": 7}, "differs in file_size$"),
        ({"file_size": None}, "differs in file_size$"),
        ({"result": {"target": 2}}, "differs in result$"),
        ({"result": {"target": 1.0}}, "differs in result$"),
        ({"schema_version": None}, "differs in schema_version, original$"),
        ({"unknown": "field"}, "differs in original$"),
        ({"tokens_used": 0, "provider": "x"}, "differs in provider, tokens_used$"),
    ],
    ids=str,
)
def test_an_entry_that_differs_is_told_by_its_fields(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    here, there = Cache(tmp_path / "here"), Cache(tmp_path / "there")
    for cache in (here, there):
        cache.add("src/same.rs", content=b"same")
    here.add(**({"path": TARGET} | TARGET_FIELDS))
    there.add(**({"path": TARGET} | TARGET_FIELDS | changes))
    transfer(JsonTree(there.root), SqliteStore(tmp_path / "cache.db"), options=ONE)
    comparison = Migrated(here, tmp_path / "cache.db").compare()
    found = differences(comparison)
    assert found.keys() == {"src_target_rs.json"}
    assert re.match(expected, found["src_target_rs.json"]), found
    assert comparison.compared == 2


# --- Whatever was changed in the database behind our back is named, for that very entry.

MISSING: Final = "missing from the destination$"
WRONG: Final = "damaged in the destination: .|differs in ."
DAMAGED: Final = "damaged in the destination: ."
TAMPERED: Final[dict[str, tuple[str, list[Any], str]]] = {
    "path": ("UPDATE files SET path = 'src/other.rs' WHERE path = ?", [TARGET], MISSING),
    "hash": ("UPDATE files SET hash = zeroblob(32) WHERE path = ?", [TARGET], MISSING),
    "size": ("UPDATE files SET size = size + 1 WHERE path = ?", [TARGET], WRONG),
    "no size": ("UPDATE files SET size = NULL WHERE path = ?", [TARGET], WRONG),
    "place": ("UPDATE files SET place = place + 1 WHERE path = ?", [TARGET], MISSING),
    "repository of the file": (
        "UPDATE files SET repository_id = (SELECT id FROM repositories WHERE path = ?)"
        " WHERE path = ?",
        [OTHER, TARGET],
        MISSING,
    ),
    "repository of the folder": (
        "UPDATE folders SET repository_id = (SELECT id FROM repositories WHERE path = ?)"
        " WHERE cache_type = 'todos'",
        [OTHER],
        MISSING,
    ),
    "provider": (
        "UPDATE producers SET provider = 'x' WHERE model = 'target-model'", [], WRONG,
    ),
    "model": ("UPDATE producers SET model = 'x' WHERE model = 'target-model'", [], MISSING),
    "prompt hash": (
        "UPDATE producers SET prompt_hash = 'x' WHERE model = 'target-model'",
        [],
        f"{MISSING}|{WRONG}",
    ),
    "no prompt hash": (
        "UPDATE producers SET prompt_hash = NULL WHERE model = 'target-model'",
        [],
        f"{MISSING}|{WRONG}",
    ),
    "schema version": (
        "UPDATE producers SET schema_version = 2 WHERE model = 'target-model'",
        [],
        f"{MISSING}|{WRONG}",
    ),
    "no schema version": (
        "UPDATE producers SET schema_version = NULL WHERE model = 'target-model'", [], WRONG,
    ),
    "cache type": (
        "UPDATE folders SET cache_type = 'docs', subfolder = 'x' WHERE cache_type = 'todos'",
        [],
        MISSING,
    ),
    "analyzed_at": (
        "UPDATE entries SET analyzed_at = analyzed_at + 1 WHERE id = entry_of(?)",
        [TARGET],
        WRONG,
    ),
    "tokens used": (
        "UPDATE entries SET tokens_used = tokens_used + 1 WHERE id = entry_of(?)",
        [TARGET],
        WRONG,
    ),
    "no tokens": (
        "UPDATE entries SET tokens_used = NULL WHERE id = entry_of(?)", [TARGET], WRONG,
    ),
    "a valid result of another text": (
        "UPDATE entries SET result = ?, result_digest = ? WHERE id = entry_of(?)",
        [frame(b'{"target": 2}'), text_digest(b'{"target": 2}'), TARGET],
        WRONG,
    ),
    "the same result in other words": (
        "UPDATE entries SET result = ?, result_digest = ? WHERE id = entry_of(?)",
        [frame(b'{"target": 1}'), text_digest(b'{"target": 1}'), TARGET],
        WRONG,
    ),
    "a result that is not its digest's": (
        "UPDATE entries SET result = ? WHERE id = entry_of(?)",
        [frame(b'{"target": 2}'), TARGET],
        "damaged in the destination: .*SHA-256",
    ),
    "another digest": (
        "UPDATE entries SET result_digest = zeroblob(16) WHERE id = entry_of(?)",
        [TARGET],
        DAMAGED,
    ),
    "a result that is no frame": (
        "UPDATE entries SET result = x'00112233' WHERE id = entry_of(?)",
        [TARGET],
        "damaged in the destination: .*more than can be right",
    ),
    "half a result": (
        "UPDATE entries SET result = substr(result, 1, length(result) / 2)"
        " WHERE id = entry_of(?)",
        [TARGET],
        DAMAGED,
    ),
    "an empty result": (
        "UPDATE entries SET result = x'' WHERE id = entry_of(?)", [TARGET], DAMAGED,
    ),
    "another entry's result": (
        "UPDATE entries SET result = NULL, result_of = entry_of(?) WHERE id = entry_of(?)",
        ["src/0.rs", TARGET],
        DAMAGED,
    ),
    "another file": (
        "UPDATE entries SET file_id = (SELECT id FROM files WHERE path = 'src/0.rs')"
        " WHERE id = entry_of(?)",
        [TARGET],
        MISSING,
    ),
    "a file that is not there": (
        "UPDATE entries SET file_id = 99 WHERE id = entry_of(?)", [TARGET], MISSING,
    ),
    "a producer that is not there": (
        "UPDATE entries SET producer_id = 99 WHERE id = entry_of(?)", [TARGET], MISSING,
    ),
    "a folder that is not there": (
        "UPDATE entries SET folder_id = 99 WHERE id = entry_of(?)", [TARGET], MISSING,
    ),
    "a dictionary that is not there": (
        "UPDATE entries SET dictionary_id = 99 WHERE id = entry_of(?)",
        [TARGET],
        "damaged in the destination: .*dictionary 99 is missing",
    ),
    "an original where there was none": (
        "UPDATE entries SET original = ? WHERE id = entry_of(?)", [frame(b"{}"), TARGET], DAMAGED,
    ),
    "a deleted row": ("DELETE FROM entries WHERE id = entry_of(?)", [TARGET], MISSING),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_a_change_to_any_column_is_named_for_that_very_entry(migrated: Migrated, what: str) -> None:
    sql, values, expected = TAMPERED[what]
    migrated.tamper(sql, *values)
    expect(migrated, {"src_target_rs.json": expected})


SEALED: Final = (
    "size", "no size", "provider", "no schema version", "analyzed_at", "tokens used", "no tokens",
    "a valid result of another text", "another digest",
)  # fmt: skip


@pytest.mark.parametrize("what", SEALED)
def test_a_change_that_leaves_the_seal_as_it_was_is_damage(migrated: Migrated, what: str) -> None:
    sql, values, _ = TAMPERED[what]
    migrated.tamper(sql, *values, reseal=False)
    expect(migrated, {"src_target_rs.json": "damaged in the destination: "})


def _odd_text(**changes: Any) -> bytes:
    return dump(fields_of(ODD, content=b"odd", unknown="field", cache_type="analysis", **changes))


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (frame(_odd_text() + b"\n"), WRONG),
        (None, WRONG),
        (frame(_odd_text(tokens_used=1)), DAMAGED),
        (frame(_odd_text(result={})), DAMAGED),
        (frame(b"no entry"), DAMAGED),
        (b"no frame", DAMAGED),
    ],
    ids=["another", "none", "other tokens", "another result", "no entry", "no frame"],
)
def test_a_change_to_the_kept_file_is_named(
    migrated: Migrated, original: bytes | None, expected: str
) -> None:
    migrated.tamper("UPDATE entries SET original = ? WHERE id = entry_of(?)", original, ODD)
    expect(migrated, {"src_odd_rs.json": expected})


def test_a_change_to_a_column_of_an_entry_whose_file_was_kept_is_named(migrated: Migrated) -> None:
    migrated.tamper("UPDATE entries SET tokens_used = 5 WHERE id = entry_of(?)", ODD)
    expect(migrated, {"src_odd_rs.json": DAMAGED})


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE repositories SET path = '/elsewhere' WHERE path = ?",
        "UPDATE repositories SET directory = '00000000' WHERE path = ?",
    ],
)
def test_another_repository_is_named_for_all_its_entries(migrated: Migrated, sql: str) -> None:
    migrated.tamper(sql, OTHER)
    expect(migrated, {"src_stranger_rs.json": "missing"})


def test_a_damaged_result_is_named_for_all_that_share_it(migrated: Migrated) -> None:
    migrated.tamper("UPDATE entries SET result = x'00' WHERE id = entry_of(?)", "src/twin1.rs")
    expected = "damaged in the destination: .*does not decompress"
    expect(migrated, {"src_twin1_rs.json": expected, "src_twin2_rs.json": expected})


def test_a_damaged_entry_is_told_by_where_it_belongs(migrated: Migrated) -> None:
    migrated.tamper("UPDATE entries SET result = x'00' WHERE id = entry_of(?)", TARGET)
    [difference] = migrated.compare().differences
    assert difference.cache_type == "todos"
    assert Path(difference.path).is_file()
    assert TARGET in difference.what
    assert "/home/dev/project" in difference.what


@JOBS
def test_all_differences_are_named_whoever_finds_them(
    migrated: Migrated, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    migrated.tamper("UPDATE entries SET tokens_used = tokens_used + 1")
    names = [f"src_{name}_rs.json" for name in (*range(5), "target", "twin1", "twin2", "stranger")]
    expect(migrated, dict.fromkeys([*names, "src_odd_rs.json"], WRONG), options)


def test_swapped_results_are_both_named(migrated: Migrated) -> None:
    migrated.tamper("UPDATE entries SET file_id = -file_id WHERE id = entry_of('src/3.rs')")
    migrated.tamper(
        "UPDATE entries SET file_id = (SELECT id FROM files WHERE path = 'src/3.rs')"
        " WHERE id = entry_of('src/4.rs')"
    )
    migrated.tamper(
        "UPDATE entries SET file_id = (SELECT id FROM files WHERE path = 'src/4.rs')"
        " WHERE file_id < 0"
    )
    expect(
        migrated,
        {"src_3_rs.json": WRONG, "src_4_rs.json": WRONG},
    )


@pytest.mark.parametrize("seed", range(40))
def test_damage_anywhere_in_the_file_is_named_or_an_error_of_ours(
    migrated: Migrated, seed: int
) -> None:
    chance = random.Random(seed)
    content = bytearray(migrated.path.read_bytes())
    used = [place for place, byte in enumerate(content) if byte]
    for _ in range(chance.choice([1, 3, 50])):
        content[chance.choice(used)] ^= 1 << chance.randrange(8)
    migrated.path.write_bytes(content)
    try:
        comparison = migrated.compare()
    except RustAssistantError as error:
        assert str(migrated.path) in error.message  # noqa: PT017 - so may be the whole file
    else:
        assert comparison.compared == 10
        assert comparison.passed or comparison.differences


@pytest.mark.parametrize("name", [b"analyzed_at", b"repositories", b"CREATE TABLE"])
def test_a_damaged_schema_is_named_or_an_error_of_ours(migrated: Migrated, name: bytes) -> None:
    content = migrated.path.read_bytes()
    assert name in content
    migrated.path.write_bytes(content.replace(name, name[:-1] + b"q"))
    try:
        comparison = migrated.compare()
    except RustAssistantError as error:
        assert str(migrated.path) in error.message  # noqa: PT017 - so may be the whole file
    else:
        found = differences(comparison)
        assert len(found) == comparison.compared == 10
        assert all("damaged in the destination" in what for what in found.values())


# --- Several answers to one request.


@pytest.fixture
def answers(tmp_path: Path) -> Migrated:
    """One request answered twice, in two files of one folder."""
    cache = Cache(tmp_path / "repos")
    for number in (1, 2):
        fields = fields_of(analyzed_at=f"2026-02-0{number}T00:00:00+00:00", result={"n": number})
        cache.add(name=f"{number}.json", text=dump(fields))
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    return migrated


@pytest.mark.parametrize("name", ["1.json", "2.json"])
def test_of_several_answers_only_the_one_that_differs_is_named(
    answers: Migrated, name: str
) -> None:
    assert answers.compare().passed
    answers.tamper("UPDATE entries SET tokens_used = 5 WHERE source_name = CAST(? AS BLOB)", name)
    expected = "differs in tokens_used"  # and not all that the other answer differs in
    assert differences(answers.compare()) == {name: expected}


def test_of_several_answers_only_the_one_that_is_missing_is_named(answers: Migrated) -> None:
    answers.tamper("DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)")
    assert differences(answers.compare()).keys() == {"2.json"}


def test_of_several_answers_only_the_one_that_is_damaged_is_named(answers: Migrated) -> None:
    answers.tamper("UPDATE entries SET result = x'00' WHERE id = (SELECT max(id) FROM entries)")
    found = differences(answers.compare())
    assert found.keys() == {"2.json"}
    assert "damaged" in found["2.json"]


# --- What an export needs besides: where files lay, and what meta.json said.

ELSEWHERE: Final = "equal, but at another place in the destination: "


@pytest.mark.parametrize(
    ("sql", "values", "expected"),
    [
        (
            "UPDATE entries SET source_name = ? WHERE id = entry_of(?)",
            [b"other.json", TARGET],
            "centralized layout, other.json$",
        ),
        (
            "UPDATE folders SET subfolder = 'deep' WHERE cache_type = ?",
            ["todos"],
            "centralized layout, deep/src_target_rs.json$",
        ),
        (
            "UPDATE folders SET layout = 'flat' WHERE cache_type = ?",
            ["todos"],
            "flat layout, src_target_rs.json$",
        ),
    ],
    ids=["name", "subfolder", "layout"],
)
def test_an_entry_that_would_be_exported_to_another_place_is_named(
    migrated: Migrated, sql: str, values: list[Any], expected: str
) -> None:
    migrated.tamper(sql, *values)
    expect(migrated, {"src_target_rs.json": ELSEWHERE + expected})


def test_every_place_of_an_entry_is_compared(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    cache.add(name="copy.json")
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    assert migrated.compare().passed
    migrated.tamper("DELETE FROM copies")
    [difference] = migrated.compare().differences
    assert difference.what.startswith(ELSEWHERE)


def test_a_file_that_moved_since_is_told_as_such(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    file = cache.add()
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    file.rename(file.with_name("moved.json"))
    expected = f"{ELSEWHERE}centralized layout, src_lib_rs.json"
    assert differences(migrated.compare()) == {"moved.json": expected}
    transfer(migrated.source, migrated.destination, options=ONE)
    assert migrated.compare().passed


@JOBS
@pytest.mark.parametrize(
    ("meta", "expected"),
    [(b"{}", "differs in its text"), (None, "missing from the destination")],
    ids=["another", "none"],
)
def test_another_meta_json_is_told_once(
    migrated: Migrated,
    meta: bytes | None,
    expected: str,
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    migrated.tamper("UPDATE repositories SET meta = ? WHERE path = ?", meta, "/home/dev/project")
    comparison = migrated.compare(options)
    assert [(one.path, one.what) for one in comparison.differences] == [
        (f"{hash8('/home/dev/project')}/meta.json of /home/dev/project", expected)
    ]
    assert comparison.compared == 10


def test_a_repository_whose_meta_json_is_gone_since_is_compared_under_its_new_name(
    tmp_path: Path,
) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    (cache.repository() / "meta.json").unlink()
    assert differences(migrated.compare()) == {"src_lib_rs.json": "missing from the destination"}


# --- Entries that are held, but answer no more.


@JOBS
def test_a_superseded_entry_counts_as_held(answers: Migrated, options: Options) -> None:
    comparison = answers.compare(options)
    assert comparison.passed
    assert (comparison.compared, comparison.removed.count) == (2, 1)
    alone = compare(answers.destination, answers.destination)
    assert (alone.compared, alone.removed.count) == (1, 0)
    assert comparison.digest.without(comparison.removed) == alone.digest


def test_a_superseded_entry_is_compared_like_any_other(answers: Migrated) -> None:
    answers.tamper("UPDATE entries SET tokens_used = 5 WHERE id IN (SELECT entry_id FROM trash)")
    assert differences(answers.compare()).keys() == {"1.json"}


# --- Entries that share a row.


@pytest.fixture
def shared(tmp_path: Path) -> Migrated:
    """Three files with the same content and result, two of them in one repository."""
    cache = Cache(tmp_path / "repos")
    same: dict[str, Any] = {"content": b"", "result": {"empty": True}}
    cache.add("src/a/mod.rs", **same)
    cache.add("src/b/mod.rs", **same, analyzed_at="2026-02-05T00:00:00+00:00")
    cache.add("src/c/mod.rs", repository=OTHER, **same)
    migrated = Migrated(cache, tmp_path / "cache.db")
    deduplicated = Options(jobs=1, rules=Rules(dedup=True))
    outcomes = transfer(migrated.source, migrated.destination, options=deduplicated).outcomes
    assert (outcomes.migrated, outcomes.shared) == (1, 2)
    return migrated


def test_entries_that_share_a_row_are_each_compared(shared: Migrated) -> None:
    comparison = shared.compare()
    assert comparison.passed
    assert comparison.compared == 3
    assert compare(shared.destination, shared.destination).digest == comparison.digest


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("DELETE FROM copies WHERE analyzed_at = (SELECT max(analyzed_at) FROM copies)", MISSING),
        (
            "UPDATE copies SET analyzed_at = analyzed_at + 1"
            " WHERE analyzed_at = (SELECT max(analyzed_at) FROM copies)",
            DAMAGED,
        ),
        (
            "UPDATE copies SET source_name = x'41'"
            " WHERE analyzed_at = (SELECT max(analyzed_at) FROM copies)",
            ELSEWHERE,
        ),
    ],
    ids=["gone", "another time", "another name"],
)
def test_a_change_to_one_that_shares_a_row_is_named_for_it_alone(
    shared: Migrated, sql: str, expected: str
) -> None:
    shared.tamper(sql, reseal=False)
    found = differences(shared.compare())
    assert found.keys() == {"src_b_mod_rs.json"}
    assert re.match(expected, found["src_b_mod_rs.json"])


# --- The digest.


@JOBS
def test_the_digest_is_that_of_the_source_whatever_the_destination(
    migrated: Migrated, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fingerprint(migrated.source)
    assert migrated.compare(options).digest == expected
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    migrated.tamper("UPDATE entries SET tokens_used = tokens_used + 1")
    comparison = migrated.compare(options)
    assert not comparison.passed
    assert comparison.digest == expected
    assert comparison.digest.count == 10


def test_a_tree_its_database_and_their_export_have_one_digest(
    pristine: Migrated, tmp_path: Path
) -> None:
    transfer(pristine.destination, JsonTreeDestination(tmp_path / "exported"))
    exported = JsonTree(tmp_path / "exported")
    sources: list[Source] = [pristine.source, pristine.destination, exported]
    comparisons = [compare(source, pristine.destination) for source in sources]
    assert [(one.passed, one.compared) for one in comparisons] == [(True, 10)] * 3
    assert len({one.digest.hexdigest() for one in comparisons}) == 1


def test_an_unreadable_file_is_not_in_the_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    before = migrated.compare()
    cache.add("src/bad.rs", text=b"")
    after = migrated.compare()
    assert (after.digest, len(after.unreadable)) == (before.digest, 1)


# --- Dictionaries.


@pytest.fixture
def primed(tmp_path: Path) -> Migrated:
    """Entries of two types, of which one has a dictionary."""
    cache = Cache(tmp_path / "repos")
    for number in range(150):
        chosen = random.Random(number)
        cache.add(
            f"src/{number}.rs",
            content=b"%d" % number,
            result={
                "summary": " ".join(chosen.choices(WORDS, k=150)),
                "complexity_score": chosen.random(),
                "suggestions": chosen.choices(WORDS, k=30),
            },
        )
    cache.add(cache_type="todos")
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    assert migrated.compare().passed
    return migrated


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (
            [
                "DROP TRIGGER dictionaries_never_change",
                "UPDATE dictionaries SET data = zeroblob(length(data))",
            ],
            "damaged in the destination",
        ),
        (
            ["DROP TRIGGER dictionaries_in_use", "DELETE FROM dictionaries"],
            "damaged in the destination: .*dictionary 1 is missing",
        ),
    ],
    ids=["damaged", "missing"],
)
def test_a_dictionary_gone_wrong_is_named_for_every_entry_that_needs_it(
    primed: Migrated, statements: Sequence[str], expected: str
) -> None:
    connection = apsw.Connection(str(primed.path))
    for statement in statements:
        connection.execute(statement)
    connection.close()
    found = differences(primed.compare())
    assert len(found) == 150
    assert "src_lib_rs.json" not in found
    assert all(re.search(expected, what) for what in found.values())


# --- What cannot be compared.


@JOBS
def test_files_that_cannot_be_read_are_told_apart_from_differences(
    tmp_path: Path, options: Options
) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add("src/good.rs")
    cache.add("src/bad.rs", text=b"")
    file = cache.add("src/worse.rs")
    file.unlink()
    file.symlink_to("src_good_rs.json")
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    comparison = migrated.compare(options)
    assert comparison.passed, "what was never migrated is not different"
    assert comparison.compared == 1
    reasons = {os.path.basename(one.path): one.reason for one in comparison.unreadable}
    assert "the file is empty" in reasons["src_bad_rs.json"]
    assert "symbolic link" in reasons["src_worse_rs.json"]
    assert len(reasons) == 2


def test_a_file_spoilt_since_is_unreadable_and_not_missing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    file = cache.add()
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    file.write_bytes(b"")
    comparison = migrated.compare()
    assert comparison.passed
    assert comparison.compared == 0
    assert [one.path for one in comparison.unreadable] == [str(file)]


def test_a_file_changed_since_is_a_difference(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    file = cache.add()
    migrated = Migrated(cache, tmp_path / "cache.db")
    transfer(migrated.source, migrated.destination, options=ONE)
    fields = json.loads(file.read_bytes())
    file.write_bytes(dump(fields | {"tokens_used": 1}))
    assert differences(migrated.compare()) == {"src_lib_rs.json": "differs in tokens_used"}
    cache.add("src/new.rs", content=b"new")
    assert "missing" in differences(migrated.compare())["src_new_rs.json"]


@JOBS
def test_a_database_that_is_not_there_is_one_error(
    pristine: Migrated, tmp_path: Path, options: Options
) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.db does not exist"):
        compare(pristine.source, SqliteStore(tmp_path / "absent.db"), options=options)
    assert os.listdir(tmp_path) == [], "and it is not made"


def test_a_database_that_is_not_there_is_an_error_even_if_nothing_is_looked_for(
    tmp_path: Path,
) -> None:
    empty = JsonTree(Cache(tmp_path / "repos").root)
    with pytest.raises(NotFoundError, match=r"absent\.db does not exist"):
        compare(empty, SqliteStore(tmp_path / "absent.db"))


def test_a_source_that_is_not_there_is_an_error(pristine: Migrated, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        compare(JsonTree(tmp_path / "absent"), pristine.destination)


# --- What was not asked for.


@JOBS
@pytest.mark.parametrize(
    ("selection", "compared"),
    [
        (Selection(types=("todos",)), 1),
        (Selection(repositories=(OTHER,)), 1),
        (Selection(include=("twin*",)), 2),
        (Selection(types=("docs",), exclude=("twin*",)), 5),
    ],
    ids=["type", "repository", "path", "both"],
)
def test_only_what_was_selected_is_compared(
    pristine: Migrated, tmp_path: Path, selection: Selection, compared: int, options: Options
) -> None:
    options = dataclasses.replace(options, selection=selection)
    partial = SqliteStore(tmp_path / "partial.db")
    transfer(pristine.source, partial, options=options)
    told: list[Progress] = []
    comparison = compare(pristine.source, partial, options=options, progress=told.append)
    assert comparison.passed
    assert (comparison.compared, comparison.filtered) == (compared, 10 - compared)
    assert told[-1].done == told[-1].total == 10
    assert len(compare(pristine.source, partial, options=ONE).differences) == 10 - compared


# --- While it runs.


@JOBS
def test_progress_grows_and_ends_at_the_total(
    migrated: Migrated, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_store, "PARTITION_FILES", 2)
    migrated.tamper("DELETE FROM entries WHERE id = entry_of(?)", TARGET)
    told: list[Progress] = []
    compare(migrated.source, migrated.destination, options=options, progress=told.append)
    assert [now.done for now in told] == sorted({now.done for now in told})
    assert {now.total for now in told} == {10}
    assert (told[-1].done, told[-1].migrated, told[-1].failed) == (10, 9, 1)
    assert len(told) > 4


@JOBS
def test_a_cancelled_comparison_says_so(pristine: Migrated, options: Options) -> None:
    with pytest.raises(
        InterruptedRunError, match=r"stopped after comparing \d+ of 10 entries"
    ) as caught:
        compare(pristine.source, pristine.destination, options=options, cancelled=lambda: True)
    assert caught.value.exit_code == 130


@JOBS
def test_an_entry_missing_from_a_memory_store_is_named(options: Options, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    cache.add()
    store: Destination = MemoryStore()
    [difference] = compare(JsonTree(cache.root), store, options=options).differences
    assert difference.what == "missing from the destination"
