"""Files read by compiled code say what they say when Python reads them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

import pytest

from rustassistant.entry import CacheType
from rustassistant.entry_json import file_name
from rustassistant.stores.base import Folder, Found, Repository
from rustassistant.stores.json_tree import store
from rustassistant.stores.json_tree.reading import COARSE_CLOCK_NS, FINE_CLOCK_NS
from rustassistant.stores.json_tree.store import JsonPartition
from rustassistant.stores.outcomes import Failure
from support import SHARED, dump, fields_of

reading = pytest.importorskip(
    "rustassistant.native.reading", reason="there was no C compiler when this was installed"
)
LARGEST: Final = 256 * 1024
"""As in reading.pyx."""


def partition(directory: Path, *names: str) -> JsonPartition:
    folder = Folder(Repository("/home/dev/project"), CacheType.DOCS, "flat", "")
    return JsonPartition(folder, str(directory), names or tuple(sorted(os.listdir(directory))))


def read(part: JsonPartition) -> list[Found | Failure]:
    return list(part.read())


def in_python(part: JsonPartition) -> list[Found | Failure]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "Reader", None)
        return read(part)


def check(part: JsonPartition) -> list[Found | Failure]:
    items = read(part)
    assert items == in_python(part)
    return items


@pytest.fixture
def python_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that compiled code left to Python."""
    names: list[str] = []
    original = JsonPartition._read_one

    def noting(self: JsonPartition, name: str, directory: int, now: int) -> Found | Failure:
        names.append(name)
        return original(self, name, directory, now)

    monkeypatch.setattr(JsonPartition, "_read_one", noting)
    return names


def aged(file: Path) -> Path:
    os.utime(file, ns=(10**18, 10**18 + 1))
    return file


def put(directory: Path, path: str, *, name: str | None = None, old: bool = False) -> Path:
    file = directory / (name or file_name(path))
    file.write_bytes(dump(fields_of(path, old=old)))
    return aged(file)


def test_what_the_rust_program_wrote_python_does_not_see(
    tmp_path: Path, python_reads: list[str]
) -> None:
    put(tmp_path, "src/lib.rs")
    put(tmp_path, "src/größe.rs", old=True)
    put(tmp_path, "src/a:b.rs")
    put(tmp_path, "src/x.rs", name="of another name.json")
    put(tmp_path, "y", name=os.fsdecode(b"\xff.json"))
    items = read(partition(tmp_path))
    assert not python_reads
    assert all(isinstance(item, Found) and item.stamp is not None for item in items)
    assert items == in_python(partition(tmp_path))
    assert len(python_reads) == 5
    names = [item.name for item in items if isinstance(item, Found)]
    assert [name for name in names if name] == [b"of another name.json", b"\xff.json"]


def test_whatever_lies_there_is_told_alike(tmp_path: Path) -> None:
    whole = dump(fields_of())
    put(tmp_path, "src/lib.rs")
    for name, text in {
        "cut off": whole[:-1],
        "empty": b"",
        "NUL": b"\0" * 500,
        "NUL inside": whole.replace(b"grok", b"gr\0k", 1),
        "more behind": whole + b"\0",
        "new line": whole + b"\n",
        "key": whole.replace(b'"cache_key": "', b'"cache_key": "0', 1),
        "other key": dump(fields_of() | {"cache_key": "0" * 32}),
        "capitals": whole.replace(b"cache_key", b"Cache_key"),
        "type": dump(fields_of() | {"cache_type": "todos"}),
        "text": b"not JSON",
        "utf-8": whole.replace(b"grok", b"\xff\xfe", 1),
    }.items():
        (tmp_path / f"{name}.json").write_bytes(text)
        aged(tmp_path / f"{name}.json")
    (tmp_path / "directory.json").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "src_lib_rs.json")
    os.mkfifo(tmp_path / "waits.json")
    names = (*sorted(os.listdir(tmp_path)), "gone.json", "x" * 300)
    items = check(partition(tmp_path, *names))
    failures = {os.path.basename(item.path) for item in items if isinstance(item, Failure)}
    assert {"gone.json", "link.json", "waits.json", "directory.json", "empty.json"} <= failures


@pytest.mark.parametrize("size", [LARGEST - 1, LARGEST, LARGEST + 1, 3 * LARGEST])
def test_large_files_are_read_alike(tmp_path: Path, size: int) -> None:
    file = put(tmp_path, "src/lib.rs")
    filler = size - len(dump(fields_of(result={"text": ""})))
    file.write_bytes(dump(fields_of(result={"text": "x" * filler})))
    assert file.stat().st_size == size
    [item] = check(partition(tmp_path))
    assert isinstance(item, Found)
    assert item.size == size


@pytest.mark.parametrize(
    "then",
    [0, 1, -1, -(10**9), 10**18, 10**18 + 1, 9 * 10**18, 9 * 10**18 + 5, 10**19, -(10**19)],
)
def test_only_times_that_are_long_past_are_trusted(tmp_path: Path, then: int) -> None:
    file = put(tmp_path, "src/lib.rs")
    os.utime(file, ns=(then, then))
    [item] = check(partition(tmp_path))
    assert isinstance(item, Found)
    assert (item.stamp is None) == (file.stat().st_mtime_ns > time.time_ns())


@pytest.mark.parametrize("fraction", [0, 1])
def test_a_file_is_fresh_as_long_as_for_python(
    tmp_path: Path, fraction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(tmp_path, "src/lib.rs")
    changed = 10**18 + fraction
    os.utime(file, ns=(changed, changed))
    step = FINE_CLOCK_NS if fraction else COARSE_CLOCK_NS
    for age in (-1, 0, step - 1, step, step + 1):
        monkeypatch.setattr(time, "time_ns", lambda age=age: changed + age)
        [item] = check(partition(tmp_path))
        assert isinstance(item, Found)
        assert (item.stamp is not None) == (age >= step)


def test_a_file_that_others_write_to_is_one_text_or_the_other(tmp_path: Path) -> None:
    file = put(tmp_path, "src/lib.rs")
    texts = [dump(fields_of(result={"text": letter * 20_000})) for letter in "ab"]
    file.write_bytes(texts[0])
    results = set()
    for text in texts:
        file.write_bytes(text)
        [item] = in_python(partition(tmp_path))
        assert isinstance(item, Found)
        results.add(item.entry.result)
    over = threading.Event()

    def write() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            with open(file, "r+b") as writer:  # in place, as few programs do
                writer.write(texts[turn % 2][:10_000])
                writer.flush()
                writer.write(texts[turn % 2][10_000:])

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for _ in range(500):
            [item] = read(partition(tmp_path))
            if isinstance(item, Found):
                assert item.stamp is None or item.entry.result in results
    finally:
        over.set()
        writing.join()


def test_what_cannot_be_opened_is_left_to_python() -> None:
    reader = reading.Reader("place", "/r", "docs", found=Found, entry=None, sha256=None)
    assert reader.read(-1, "src_lib_rs.json", 0) is None


@pytest.mark.shared
def test_real_files_are_read_alike() -> None:
    for directory in {path.parent for path in SHARED.rglob("*.json")}:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".json"))
        check(partition(directory, *names))
