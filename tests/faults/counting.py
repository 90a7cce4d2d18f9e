"""Counts of the fault campaign at the end of the run, gathered from all of its processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from faults.campaign import FIRST_SEED, SCALE, Campaign, Tally

_OUTPUT: Final = "fault_campaign"
_TALLY: Final = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = Tally()


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Campaign:
    """Runs the cases of a test, and counts them."""
    return Campaign(request.config.stash[_TALLY])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, if there is such a thing: a kill takes nothing from a slower disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK | os.X_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="rustassistant-faults-", dir=memory))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends what it has counted."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        tally = session.config.stash[_TALLY]
        output[_OUTPUT] = {"counts": dict(tally.counts), "notes": dict(tally.notes)}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The process that began the workers adds up what they send."""
    sent = getattr(node, "workeroutput", {}).get(_OUTPUT, {"counts": {}, "notes": {}})
    tally = node.config.stash[_TALLY]
    for kind, counts in sent["counts"].items():
        tally.add(kind, *counts)
    tally.notes.update(sent["notes"])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    tally = config.stash[_TALLY]
    if tally.counts:
        last = FIRST_SEED + SCALE - 1
        seeds = f"seed {FIRST_SEED}" if SCALE == 1 else f"seeds {FIRST_SEED} to {last}"
        terminalreporter.section(f"fault campaign, {seeds}")
        for line in tally.table():
            terminalreporter.write_line(line)
