from __future__ import annotations

import random
from pathlib import Path

import pytest

from rustassistant import AnalysisCache
from rustassistant.cache import limit
from rustassistant.retention.trashcan import Chosen, restore

MAX_SIZE = 320 * 2**10


def fill(cache: AnalysisCache) -> None:
    for number in range(40):
        cache.set(
            type="docs",
            content=str(number),
            file_path=f"{number}.py",
            provider="p",
            model="m",
            repository="/r",
            result=random.Random(number).randbytes(4000).hex(),
        )


def found(database: Path) -> list[int]:
    with AnalysisCache(database) as cache:
        return [
            number
            for number in range(40)
            if cache.get(type="docs", content=str(number), model="m") is not None
        ]


def test_nothing_is_evicted_unless_a_size_is_configured(tmp_path: Path) -> None:
    with AnalysisCache(tmp_path / "cache.db") as cache:
        fill(cache)
    assert found(tmp_path / "cache.db") == list(range(40))


@pytest.mark.parametrize("where", ["environment", "file"])
def test_configured_size_is_kept_while_programs_write(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(limit, "_SECONDS", 0.0)
    if where == "file":
        own_home.mkdir()
        (own_home / "config.toml").write_text(f"[cache]\nmax_size = {MAX_SIZE}\n")
    else:
        monkeypatch.setenv("RUSTASSISTANT_MAX_SIZE", str(MAX_SIZE))
    with AnalysisCache(tmp_path / "cache.db") as cache:
        fill(cache)
    left = found(tmp_path / "cache.db")
    assert 0 < len(left) < 40
    assert 39 in left
    assert 0 not in left
    assert restore(tmp_path / "cache.db", Chosen(reason="evicted")) == 40 - len(left)
    assert found(tmp_path / "cache.db") == list(range(40))


def test_wrong_configuration_stops_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUSTASSISTANT_MAX_SIZE", "a lot")
    with AnalysisCache(tmp_path / "cache.db") as cache:
        cache.set(type="docs", content="x", file_path="x.py", provider="p", model="m", result=1)
        assert cache.get(type="docs", content="x") is not None
    assert "nothing was evicted" in caplog.text


def test_size_is_that_of_the_database_that_was_opened_wherever_the_program_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        with AnalysisCache("cache.db") as cache:
            fill(cache)
    monkeypatch.setattr(limit, "_SECONDS", 0.0)
    monkeypatch.setenv("RUSTASSISTANT_MAX_SIZE", str(MAX_SIZE))
    monkeypatch.chdir(tmp_path / "here")
    with AnalysisCache("sqlite:cache.db") as cache:
        monkeypatch.chdir(tmp_path / "there")
        cache.set(type="docs", content="x", file_path="x", provider="p", model="m", result=1)
    monkeypatch.delenv("RUSTASSISTANT_MAX_SIZE")
    assert len(found(tmp_path / "here" / "cache.db")) < 40
    assert found(tmp_path / "there" / "cache.db") == list(range(40))


def test_home_directory_may_be_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(limit, "_SECONDS", 0.0)
    monkeypatch.setenv("RUSTASSISTANT_MAX_SIZE", str(MAX_SIZE))
    with AnalysisCache("~/cache.db") as cache:
        fill(cache)
    monkeypatch.delenv("RUSTASSISTANT_MAX_SIZE")
    assert 0 < len(found(tmp_path / "cache.db")) < 40


def test_size_is_kept_after_the_configuration_is_mended(
    tmp_path: Path,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(limit, "_SECONDS", 0.0)
    own_home.mkdir()
    (own_home / "config.toml").write_text("[cache]\nmax_size = 320KiB\n")
    with AnalysisCache(tmp_path / "cache.db") as cache:
        cache.set(type="docs", content="x", file_path="x", provider="p", model="m", result=1)
        assert "whether max_size is configured" in caplog.text
        assert "though max_size is configured" not in caplog.text
        (own_home / "config.toml").write_text(f"[cache]\nmax_size = {MAX_SIZE}\n")
        fill(cache)
    assert 0 < len(found(tmp_path / "cache.db")) < 40


def test_what_nobody_foresaw_in_evicting_stops_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise OverflowError("unforeseen")

    monkeypatch.setenv("RUSTASSISTANT_MAX_SIZE", str(MAX_SIZE))
    monkeypatch.setattr(limit, "_keep_within", fail)
    with AnalysisCache(tmp_path / "cache.db") as cache:
        cache.set(type="docs", content="x", file_path="x", provider="p", model="m", result=1)
        assert cache.get(type="docs", content="x") is not None
    assert "though max_size is configured: unforeseen" in caplog.text
