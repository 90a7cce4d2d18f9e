from __future__ import annotations

import random
import sys
from pathlib import Path

import apsw
import pytest
import zstandard

from rustassistant import CacheMigrator
from rustassistant.cli.app import run
from rustassistant.codec import MAGIC, Compressor
from rustassistant.errors import RustAssistantError
from rustassistant.levels import (
    DEFAULT_LEVEL,
    MAX_LEVEL,
    MIN_LEVEL,
    THOROUGH_LEVEL,
    check_level,
)
from support import Cache, sample_entry


@pytest.mark.parametrize("level", [MIN_LEVEL, DEFAULT_LEVEL, THOROUGH_LEVEL, MAX_LEVEL])
def test_levels_of_zstd_are_accepted_and_work(level: int) -> None:
    text = sample_entry().result
    frame = Compressor(check_level(level)).result(text)
    assert zstandard.ZstdDecompressor().decompress(MAGIC + frame) == text


def test_the_highest_is_zstds_own() -> None:
    assert MAX_LEVEL == zstandard.MAX_COMPRESSION_LEVEL


@pytest.mark.parametrize("level", [0, -1, 23, 1_000])
def test_other_levels_are_refused_with_the_range(level: int) -> None:
    with pytest.raises(RustAssistantError, match=f"level {level} does not exist") as caught:
        check_level(level)
    assert "1 (fastest)" in caught.value.hint
    assert "22 (smallest)" in caught.value.hint


def frames(database: Path) -> list[bytes]:
    opened = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [frame for (frame,) in opened.execute("SELECT result FROM entries ORDER BY id")]
    finally:
        opened.close()


def test_the_command_compresses_as_the_api_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Cache(tmp_path / "repos")
    words = Path(__file__).read_text().split()
    for number in range(300):
        summary = " ".join(random.Random(number).choices(words, k=300))
        cache.add(f"src/{number}.rs", result={"summary": summary})
    CacheMigrator(cache.root, tmp_path / "api.db").migrate()
    asked = ["cache", "migrate", "-q", "-s", str(cache.root), "-d", str(tmp_path / "command.db")]
    monkeypatch.setattr(sys, "argv", ["rustassistant", *asked])
    with pytest.raises(SystemExit):
        run()
    assert frames(tmp_path / "command.db") == frames(tmp_path / "api.db")
