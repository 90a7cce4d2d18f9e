"""JSON Lines: what goes out comes in again, and a bad line costs no other."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.entry import Entry
from rustassistant.entry_json import compact, parse
from rustassistant.errors import (
    ConflictError,
    DestinationError,
    EntryError,
    ForeignFileError,
    NotFoundError,
    UsageError,
)
from rustassistant.stores import renaming
from rustassistant.stores.base import Folder, Found, Partition, Repository
from rustassistant.stores.interchange import jsonl
from rustassistant.stores.interchange.jsonl import JsonLines
from rustassistant.stores.interchange.line import FIELDS, entry_in, folder_in, line_of
from rustassistant.stores.outcomes import Failure, OnConflict, Problem, Rules
from stores.store_suite import FOLDER, HOME, INT64, kept_entry, record_of
from stores.store_suite import entry_in as an_entry_in
from support import dump, fields_of, snapshot

NEWEST: Final = Rules()
TODOS: Final = Folder(HOME, "todos", "flat", "old/deep")


def write(path: Path, *items: tuple[Folder, Entry], rules: Rules = NEWEST) -> JsonLines:
    store = JsonLines(path)
    with store.writer(rules) as writer:
        for folder, entry in items:
            writer.put(folder, [record_of(entry)])
    return store


def read(path: Path) -> tuple[list[tuple[Folder, Entry]], list[Failure]]:
    found, failures = [], []
    for item in JsonLines(path).partitions():
        assert not isinstance(item, Problem)
        for one in [item] if isinstance(item, Failure) else item.read():
            if isinstance(one, Failure):
                failures.append(one)
            else:
                assert not isinstance(item, Failure)
                found.append((item.folder, one.entry))
    return found, failures


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str) -> None:
    items = [
        (FOLDER, an_entry_in()),
        (FOLDER, kept_entry()),
        (TODOS, an_entry_in(TODOS, prompt_hash=None, schema_version=None, tokens_used=None)),
        (FOLDER, an_entry_in(file_path="again.rs")),
    ]
    path = tmp_path / f"a.jsonl{suffix}"
    store = write(path, *items)
    assert store.tally.written == 4
    assert read(path) == (items, [])
    assert JsonLines(path).survey().files == {"docs": 3, "todos": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [path.name]


def test_line_says_in_plain_json_what_is_known(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", (FOLDER, an_entry_in()))
    (line,) = lines(tmp_path / "a.jsonl")
    assert line["repository"] == "/home/dev/project"
    assert line["file_hash"] == an_entry_in().file_hash.hex()
    assert line["cache_key"] == an_entry_in().key
    assert line["analyzed_at"] == "2026-02-04T03:13:54.878744252+00:00"
    assert line["result"] == {"summary": "short"}
    assert line["meta"] == '{"path": "/home/dev/project"}'
    assert not line.keys() & {"original", "name"}  # they would say nothing new


def test_result_is_kept_token_for_token(tmp_path: Path) -> None:
    result = b'{"b":1.0e+05,"a":-0.0,"a":1E400,"n":12345678901234567890.10,"s":"\\u00e9/"}'
    entry = an_entry_in(result=result)
    write(tmp_path / "a.jsonl", (FOLDER, entry))
    text = (tmp_path / "a.jsonl").read_bytes()
    assert b'"result":' + result in text
    assert read(tmp_path / "a.jsonl") == ([(FOLDER, entry)], [])


_texts = st.text(st.characters(codec="utf-8"), max_size=10)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_texts, below, max_size=3),
    max_leaves=8,
)
_results = st.builds(
    lambda value, ascii_only: compact(json.dumps(value, ensure_ascii=ascii_only).encode()),
    _json, st.booleans(),
)  # fmt: skip
_int64 = st.integers(-INT64, INT64 - 1)
_repositories = st.builds(
    Repository, _texts, st.none() | _texts, st.none() | st.binary(max_size=10)
)
_folders = st.builds(
    Folder, _repositories, _texts, st.sampled_from(["centralized", "flat", "local"]), _texts
)
_entries = st.builds(
    Entry,
    repository=st.just(""),
    cache_type=st.just(""),
    file_path=_texts,
    file_hash=st.binary(min_size=32, max_size=32),
    analyzed_at=_int64,
    provider=_texts,
    model=_texts,
    prompt_hash=st.none() | _texts,
    schema_version=st.none() | _int64,
    result=_results,
    tokens_used=st.none() | _int64,
    file_size=st.none() | _int64,
)
_kept = st.builds(
    lambda note, end: (
        parse(dump(fields_of(note=note)) + end, repository="", cache_type="").entry
    ),
    _json, st.sampled_from([b"", b"\n", b" \r\n"]),
)  # fmt: skip


@given(folder=_folders, entry=_entries | _kept, name=st.none() | st.binary(max_size=5))
def test_any_line_gives_back_what_it_was_made_from(
    folder: Folder, entry: Entry, name: bytes | None
) -> None:
    entry = msgspec.structs.replace(
        entry, repository=folder.repository.path, cache_type=folder.cache_type
    )
    text = line_of(folder, entry, name)
    assert b"\n" not in text
    assert folder_in(text) == folder
    assert entry_in(text) == (entry, name, ())
    assert set(json.loads(text)) <= FIELDS


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: {key: value for key, value in line.items() if key != name}


def _with(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda line: line | changes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without("result"), "result"),
        (_without("model"), "model"),
        (_without("layout"), "layout"),
        (_with(file_hash="12"), "64 hex digits"),
        (_with(file_hash="zz" * 32), "64 hex digits"),
        (_with(analyzed_at="yesterday"), "analyzed_at"),
        (_with(tokens_used="many"), "tokens_used"),
        (_with(tokens_used=2**63), "tokens_used"),
        (_with(layout="sideways"), "layout"),
        (_with(name_base64="?"), "base64"),
        (_with(original="{}"), "not an entry"),
    ],
)
def test_line_that_is_no_entry_is_a_failure_with_its_number(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    write(path, (FOLDER, an_entry_in()))
    good = path.read_text()
    bad = json.dumps(change(json.loads(good))) + "\n"
    path.write_text(good + bad + good)
    found, failures = read(path)
    assert found == [(FOLDER, an_entry_in())] * 2
    assert [one.path for one in failures] == [f"{path}/line 2"]
    assert reason in failures[0].reason


@pytest.mark.parametrize(
    "bad", [b"{", b"[]", b"null", b"\xff", b"\0", b'{"a": "\xff"}', b"[" * 10_000, b'{"a": 1} x']
)
def test_garbage_costs_no_other_line(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "a.jsonl"
    write(path, (FOLDER, an_entry_in()))
    good = path.read_bytes()
    path.write_bytes(good + bad + b"\n\n  \n" + good.rstrip(b"\n"))
    found, failures = read(path)
    assert len(found) == 2
    assert [one.path for one in failures] == [f"{path}/line 2"]


def test_original_that_says_something_else_is_refused() -> None:
    line = json.loads(line_of(FOLDER, kept_entry(), None))
    line["tokens_used"] += 1
    with pytest.raises(EntryError, match="disagree"):
        entry_in(json.dumps(line).encode())


def test_unknown_field_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, (FOLDER, an_entry_in()))
    path.write_text(json.dumps(lines(path)[0] | {"my_score": 3}))
    (partition,) = JsonLines(path).partitions()
    (found,) = _partition(partition).read()
    assert isinstance(found, Found)
    assert "my_score" in found.notes[0]


def _partition(item: Partition | Failure | Problem) -> Partition:
    assert not isinstance(item, Failure | Problem)
    return item


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_file_that_is_cut_off_gives_what_is_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    noise = [os.urandom(400).hex() for _ in range(2000)]
    items = [
        (FOLDER, an_entry_in(file_path=str(number), result=json.dumps(text).encode()))
        for number, text in enumerate(noise)
    ]
    write(path, *items)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    found, failures = read(path)
    assert found == items[: len(found)]
    assert len(found) > 0
    assert len(failures) >= 1


def test_many_lines_are_many_partitions_that_can_be_parted(tmp_path: Path) -> None:
    items = [(FOLDER, an_entry_in(file_path=str(number))) for number in range(1200)]
    write(tmp_path / "a.jsonl", *items)
    parts = [_partition(item) for item in JsonLines(tmp_path / "a.jsonl").partitions()]
    assert len(parts) == 3
    assert sum(len(part.names) for part in parts) == 1200
    some = parts[1].part([0, 2])
    assert list(some.names) == ["line 513", "line 515"]
    assert [one.entry.file_path for one in some.read() if isinstance(one, Found)] == [
        "512",
        "514",
    ]


def test_same_entries_make_the_same_file(tmp_path: Path) -> None:
    for suffix in ("", ".gz", ".zst"):
        path = tmp_path / f"a.jsonl{suffix}"
        write(path, (FOLDER, an_entry_in()))
        before = snapshot(tmp_path)[path.name]
        store = write(path, (FOLDER, an_entry_in()))
        assert store.tally.unchanged
        assert snapshot(tmp_path)[path.name] == before
    assert (tmp_path / "a.jsonl.gz").read_bytes()[3:8] == bytes(5)  # no name, and no time


def test_different_file_is_kept_under_a_dated_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, (FOLDER, an_entry_in()))
    before = path.read_bytes()
    store = write(path, (FOLDER, an_entry_in(file_path="new.rs")))
    assert store.tally.aside is not None
    assert Path(store.tally.aside).read_bytes() == before
    assert lines(path)[0]["file_path"] == "new.rs"
    with pytest.raises(ConflictError):
        write(path, (FOLDER, an_entry_in()), rules=Rules(OnConflict.FAIL))
    assert lines(path)[0]["file_path"] == "new.rs"
    assert len(os.listdir(tmp_path)) == 2


def test_file_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"SQLite format 3\0")
    with pytest.raises(ForeignFileError):
        JsonLines(path).check_writable()
    with pytest.raises(ForeignFileError):
        write(path, (FOLDER, an_entry_in()))
    assert path.read_bytes() == b"SQLite format 3\0"


def test_places_that_can_not_be_written_are_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent" / "a.jsonl"):
        with pytest.raises(DestinationError):
            JsonLines(path).check_writable()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DestinationError):
        JsonLines(tmp_path / "pipe").check_writable()


def test_error_leaves_nothing(tmp_path: Path) -> None:
    def work(name: str) -> None:
        with JsonLines(tmp_path / name).writer() as writer:
            writer.put(FOLDER, [record_of(an_entry_in())])
            raise KeyboardInterrupt

    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        with pytest.raises(KeyboardInterrupt):
            work(name)
    assert os.listdir(tmp_path) == []


def test_damaged_record_is_a_failure(tmp_path: Path) -> None:
    store = JsonLines(tmp_path / "a.jsonl")
    damaged = msgspec.structs.replace(record_of(an_entry_in()), result_digest=bytes(32))
    with store.writer() as writer:
        writer.put(FOLDER, [damaged, record_of(an_entry_in(file_path="b.rs"))])
    assert [line["file_path"] for line in lines(tmp_path / "a.jsonl")] == ["b.rs"]
    assert len(store.tally.failures) == 1


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        JsonLines(tmp_path / "a.jsonl").survey()


def test_nothing_can_be_looked_up_in_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        JsonLines(tmp_path / "a.jsonl").finder()


def test_any_gzip_will_do(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", (FOLDER, an_entry_in()))
    with gzip.open(tmp_path / "b.jsonl.gz", "wb") as packed:
        packed.write((tmp_path / "a.jsonl").read_bytes())
    assert read(tmp_path / "b.jsonl.gz") == read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_compression_is_told_by_what_is_there_whatever_the_name(
    tmp_path: Path, suffix: str
) -> None:
    write(tmp_path / f"a.jsonl{suffix}", (FOLDER, an_entry_in()))
    for name in ("b", "b.jsonl", "b.jsonl.gz", "b.jsonl.zst"):
        (tmp_path / name).write_bytes((tmp_path / f"a.jsonl{suffix}").read_bytes())
        assert read(tmp_path / name) == ([(FOLDER, an_entry_in())], [])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_byte_order_mark_costs_no_line(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / "a.jsonl", (FOLDER, an_entry_in()), (FOLDER, an_entry_in(file_path="b.rs")))
    text = b"\xef\xbb\xbf" + (tmp_path / "a.jsonl").read_bytes()
    path = tmp_path / f"b.jsonl{suffix}"
    path.write_bytes(gzip.compress(text) if suffix else text)
    found, failures = read(path)
    assert (len(found), failures) == (2, [])


def test_longest_line_is_a_failure_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    write(path, (FOLDER, an_entry_in()))
    good = path.read_bytes()
    monkeypatch.setattr(jsonl, "_PIECE", 1000)
    monkeypatch.setattr(jsonl, "_LONGEST_LINE", len(good) + 5000)
    long = b"x" * (len(good) + 5001)
    fits = json.dumps(json.loads(good) | {"my": "y" * 4000}).encode()
    path.write_bytes(good + long + b"\n" + fits + b"\n" + long + b"\n" + good + long)
    found, failures = read(path)
    assert len(found) == 3
    assert [(one.path, one.size) for one in failures] == [
        (f"{path}/line {number}", len(long) + ends) for number, ends in ((2, 1), (4, 1), (6, 0))
    ]


def killed_while_writing(path: Path) -> None:
    """A run that is killed leaves what it has written so far, under a name of its own."""
    child = os.fork()
    if child == 0:
        with JsonLines(path).writer() as writer:
            writer.put(FOLDER, [record_of(an_entry_in())])
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_next_run_removes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    path, other = tmp_path / "a.jsonl", tmp_path / ".b.jsonl.partial-abcdefgh"
    other.touch()
    killed_while_writing(path)
    assert len(os.listdir(tmp_path)) == 2
    write(path, (FOLDER, an_entry_in()))
    assert set(os.listdir(tmp_path)) == {path.name, other.name}


def test_run_that_is_under_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with JsonLines(path).writer() as writer:
        writer.put(FOLDER, [record_of(an_entry_in())])
        write(path, (FOLDER, an_entry_in(file_path="other.rs")))
    kept = path.with_name(next(name for name in os.listdir(tmp_path) if ".backup-" in name))
    assert lines(path)[0]["file_path"] == an_entry_in().file_path
    assert lines(kept)[0]["file_path"] == "other.rs"


def test_replaced_file_has_its_new_name_for_good_before_it_loses_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    write(path, (FOLDER, an_entry_in()))
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename

    def syncs(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        names = sorted(os.listdir(tmp_path))
        seen.append("directory" if is_directory and any(".backup-" in n for n in names) else "")
        fsync(descriptor)

    def renames(old: str, new: str) -> None:
        seen.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", syncs)
    monkeypatch.setattr(os, "rename", renames)
    write(path, (FOLDER, an_entry_in(file_path="new.rs")))
    assert [one for one in seen if one] == ["directory", "rename", "directory"]


def test_file_that_cannot_be_found_on_a_disk_without_links_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    write(path, (FOLDER, an_entry_in()))
    before = path.read_bytes()
    lstat = os.lstat

    def linkless(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    def failing(name: Any, **options: Any) -> os.stat_result:
        if os.fspath(name) == str(path):
            raise OSError(errno.EIO, "bad disk")
        return lstat(name, **options)

    def finish() -> None:
        with JsonLines(path).writer() as writer:
            writer.put(FOLDER, [record_of(an_entry_in(file_path="new.rs"))])
            monkeypatch.setattr(os, "link", linkless)
            monkeypatch.setattr(os, "lstat", failing)
            monkeypatch.setattr(renaming, "_rename", lambda *_: False)

    with pytest.raises(DestinationError):
        finish()
    assert path.read_bytes() == before
