from __future__ import annotations

import os
from pathlib import Path

import pytest

from looking import Run, runner
from rustassistant import AnalysisCache
from rustassistant.inspection import make_database
from support import as_nobody


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("init", monkeypatch, capfdbinary)


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("status", monkeypatch, capfdbinary)


def test_empty_database_is_made_where_commands_look(init: Run, status: Run, own_home: Path) -> None:
    ran = init()
    database = own_home / "cache.db"
    assert (ran.code, ran.err) == (0, "")
    assert f"✓ Made an empty cache: {database}" in ran.out
    assert "    rustassistant cache migrate\n" in ran.out
    assert database.stat().st_mode & 0o777 == 0o600
    assert database.parent.stat().st_mode & 0o777 == 0o700
    assert "  0 entries" in status().out
    with AnalysisCache(database) as cache:
        assert cache.get(type="docs", content="x", model="m", prompt="p") is None


def test_database_that_is_there_is_not_touched(init: Run, own_home: Path) -> None:
    init()
    database = own_home / "cache.db"
    before = (database.read_bytes(), database.stat().st_mtime_ns, sorted(os.listdir(own_home)))
    ran = init()
    assert ran.code == 0
    assert f"There is a cache already: {database}" in ran.out
    after = (database.read_bytes(), database.stat().st_mtime_ns, sorted(os.listdir(own_home)))
    assert after == before
    assert init("--json").summary["made"] is False


def test_local_database_lies_in_the_repository(
    init: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "my project"
    (repository / ".rustassistant" / "cache").mkdir(parents=True)
    place = repository / ".rustassistant" / "cache.db"
    ran = init("--local", repository)
    assert place.is_file()
    assert f"migrate --source '{repository}' --destination '{place}'" in ran.out
    monkeypatch.chdir(repository)
    assert init("--local", "--json").summary == {
        "message_type": "summary", "database": str(place), "made": False
    }  # fmt: skip
    assert init("--local", repository / ".rustassistant").code == 0
    assert init("--local", tmp_path / "absent").code == 10
    assert not (tmp_path / "absent").exists()


def test_file_or_directory_may_be_named(init: Run, tmp_path: Path) -> None:
    assert init(tmp_path / "new" / "team.db").code == 0
    assert (tmp_path / "new" / "team.db").is_file()
    (tmp_path / "place").mkdir()
    assert init(tmp_path / "place").code == 0
    assert (tmp_path / "place" / "cache.db").is_file()
    assert init("").code == 2


def test_configured_place_is_the_default(
    init: Run, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home.mkdir(parents=True)
    (own_home / "config.toml").write_text('[cache]\ndestination = "mine.db"\n')
    assert init("--json").summary["database"] == str(own_home / "mine.db")
    monkeypatch.setenv("RUSTASSISTANT_DESTINATION", str(tmp_path / "env.db"))
    assert init("--json").summary["database"] == str(tmp_path / "env.db")
    assert init(tmp_path / "named.db", "--json").summary["database"] == str(tmp_path / "named.db")


def test_foreign_file_in_its_place_is_refused_untouched(init: Run, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"mine")
    ran = init(file)
    assert (ran.code, ran.out) == (1, "")
    assert file.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_read_only_database_that_is_there_is_no_mistake(init: Run, own_home: Path) -> None:
    init()
    database = own_home / "cache.db"
    for path in own_home.parents:
        if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o055 != 0o055:
            path.chmod(path.stat().st_mode | 0o055)
    own_home.chmod(0o555)
    database.chmod(0o444)
    try:
        as_nobody(lambda: _is_there(database))
    finally:
        own_home.chmod(0o700)


def _is_there(database: Path) -> None:
    assert make_database(database).was_there
