from __future__ import annotations

from pathlib import Path

import pytest

from looking import Filled, Run, filled, runner

__all__ = ["filled"]


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    return runner("path", monkeypatch, capfdbinary)


def test_place_is_printed_whether_or_not_it_exists(path: Run, own_home: Path) -> None:
    ran = path()
    assert (ran.code, ran.out, ran.err) == (0, f"{own_home / 'cache.db'}\n", "")
    assert not own_home.exists()
    found = path("--json").summary
    assert (found["exists"], found["size"]) == (False, 0)


def test_option_variable_and_configuration_are_heeded(
    path: Run, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home.mkdir(parents=True)
    (own_home / "config.toml").write_text('[cache]\ndestination = "/data/c.db"\n')
    assert path().out == "/data/c.db\n"
    monkeypatch.setenv("RUSTASSISTANT_DESTINATION", str(tmp_path / "e.db"))
    assert path().out == f"{tmp_path / 'e.db'}\n"
    (tmp_path / "link").symlink_to(tmp_path / "real.db")
    assert path("-d", tmp_path / "link").out == f"{tmp_path / 'real.db'}\n"
    assert path("-d", "").code == 2


def test_sizes_come_as_json(path: Run, filled: Filled) -> None:
    filled.add("a.rs")
    filled.migrate()
    found = path("--json").summary
    assert found["exists"] is True
    assert found["size"] == filled.database.stat().st_size
