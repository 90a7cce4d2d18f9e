"""How long until the command says anything, and how long a lookup takes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final

import ours
from figures import Figure, Setting, seconds

_LOOKUPS: Final = Path(__file__).with_name("lookups.py")
_ASKED: Final = 2_000
_STARTS: Final = 5
"""Starts a round: one is short."""

_ROW: Final = re.compile(r"^\| (?P<name>[^|]+?) \| (?P<median>[\d.]+) \| [\d.]+ \|$", re.MULTILINE)
_PEER: Final = "diskcache"


def start(setting: Setting) -> list[Figure]:
    """``rustassistant --help`` against a Python that does nothing."""
    baseline, told = "python -c pass", "rustassistant --help"
    ways = {
        baseline: partial(seconds, [sys.executable, "-c", "pass"]),
        told: partial(seconds, ours.rustassistant("--help")),
    }
    taken = setting.in_turns(ways, setting.rounds * _STARTS)
    return [Figure(name="start", title="Start", baseline=baseline, rows=taken)]


def lookups(setting: Setting) -> list[Figure]:
    """A hit through AnalysisCache against ``diskcache.get`` of the same bytes: `lookups.py`."""
    title = "Reading: a hit"
    if not _LOOKUPS.is_file() or importlib.util.find_spec(_PEER) is None:
        return [Figure(name="lookups", title=title, skipped=f"{_PEER} is not installed")]
    rows: dict[str, list[float]] = {}
    command: list[str | Path] = [
        sys.executable,
        _LOOKUPS,
        "--entries",
        str(_ASKED),
        "--rounds",
        "3",
    ]
    for number in range(setting.rounds):
        setting.told(f"  round {number + 1} of {setting.rounds}")
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for row in _ROW.finditer(done.stdout):
            rows.setdefault(row["name"], []).append(float(row["median"]))
    if {len(values) for values in rows.values()} != {setting.rounds} or _PEER not in rows:
        return [Figure(name="lookups", title=title, skipped="what lookups.py printed is no table")]
    remark = f"{_ASKED:,} keys in random order, the same for all; medians of three passes a round."
    return [
        Figure(name="lookups", title=title, unit="µs", baseline=_PEER, entries=_ASKED, rows=rows,
               remarks=(remark,), attachment=done.stdout)
    ]  # fmt: skip
