"""What is stored can be read where not one more byte can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from rustassistant import AnalysisCache
from rustassistant.check import check_database
from rustassistant.errors import OutOfSpaceError
from rustassistant.retention import compact

ENTRIES = 5


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A database on a disk that has no room left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        database = disk / "cache.db"
        with AnalysisCache(database) as cache:
            for number in range(ENTRIES):
                cache.set(
                    type="docs",
                    repository="/r",
                    file_path=f"{number}.rs",
                    content=f"{number}",
                    provider="xai",
                    model="grok-beta",
                    result=number,
                )
        fill(disk)
        yield database
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> None:
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def left_in(disk: Path) -> set[str]:
    return {path.name for path in disk.iterdir()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["list"],
        ["show", "1"],
        ["get", "--type", "docs", "--content", "1.rs"],
        ["log"],
        ["trash", "list"],
        ["pin", "--list"],
        ["check"],
        ["explain", "1.rs"],
        ["compression"],
        ["backup", "--to", "{elsewhere}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_that_read_work(full: Path, tmp_path: Path, arguments: list[str]) -> None:
    places = {"database": str(full), "elsewhere": str(tmp_path / "elsewhere.jsonl")}
    (tmp_path / "1.rs").write_bytes(b"1")
    words = [word.format(**places) for word in arguments]
    if "-d" not in words:
        words += ["-d", str(full)]
    run = subprocess.run(
        [sys.executable, "-m", "rustassistant", "cache", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert left_in(full.parent) == {"cache.db", "filler"}


def test_lookups_are_answered(full: Path) -> None:
    with AnalysisCache(full) as cache, AnalysisCache(full) as other:
        for number in range(ENTRIES):
            for one in (cache, other):
                found = one.get(type="docs", content=f"{number}")
                assert found is not None
                assert found.result == number
    assert left_in(full.parent) >= {"cache.db", "filler"}


def test_lookups_of_many_threads_are_answered(full: Path) -> None:
    with AnalysisCache(full) as cache, ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(
                lambda number: cache.get(type="docs", content=f"{number % ENTRIES}"), range(40)
            )
        )
    assert [one and one.result for one in found] == [number % ENTRIES for number in range(40)]


def test_whoever_looks_up_shuts_nobody_out_once_there_is_room_again(full: Path) -> None:
    with AnalysisCache(full) as cache:
        assert cache.get(type="docs", content="1") is not None
        (full.parent / "filler").unlink()
        with AnalysisCache(full, write_timeout=0) as other:
            other.set(
                type="docs",
                repository="/r",
                file_path="new.rs",
                content="new",
                provider="xai",
                model="grok-beta",
                result="new",
            )
        found = cache.get(type="docs", content="new")
        assert found is not None
        assert found.result == "new"
    assert check_database(full).sound


def test_writing_says_that_the_disk_is_full(full: Path) -> None:
    before = full.read_bytes()
    with pytest.raises(OutOfSpaceError, match="is full"):
        compact(full)
    assert full.read_bytes() == before
