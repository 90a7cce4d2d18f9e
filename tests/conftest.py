"""What every test gets: a home of its own, and no setting of the person who runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("stores.store_suite", "support", "faults")
pytest_plugins = ["faults.counting"]

from support import SHARED  # noqa: E402 - its asserts are to show values

settings.register_profile("any machine", deadline=None)  # they are noisy, and some are slow
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith("RUSTASSISTANT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RUSTASSISTANT_HOME", str(home / ".rustassistant"))
    return home / ".rustassistant"


@pytest.fixture
def read_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who watches Python read, or puts something else in its place."""
    monkeypatch.setattr("rustassistant.stores.json_tree.store.Reader", None)
    monkeypatch.setattr("rustassistant.codec.Packer", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=f"no data at {SHARED}"))
