"""Run a command to its end and say what it took, its child processes included.

Memory is added up by looking at all processes every fiftieth of a second, which itself takes time
from a machine with few processors: so only where memory is what is asked for.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple


class Taken(NamedTuple):
    """Wall and processor seconds, and the most memory all its processes held at once, in bytes:
    0 if that was not asked for, or can't be told on this system."""

    seconds: float
    cpu: float
    memory: int


def run(command: Sequence[str | Path], *, watch_memory: bool = False) -> Taken:
    """Run to the end; raises CalledProcessError if it fails.

    What others left to be written is written first: it must not count as this command's.
    """
    os.sync()
    before = os.times()
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = [0]
    sampler = threading.Thread(target=_sample, args=(process, peak), daemon=True)
    if watch_memory:
        sampler.start()
    status = process.wait()
    seconds = time.perf_counter() - started
    after = os.times()
    if watch_memory:
        sampler.join()
    if status:
        raise subprocess.CalledProcessError(status, list(map(str, command)))
    cpu = after.children_user + after.children_system
    return Taken(seconds, cpu - before.children_user - before.children_system, peak[0])


def _sample(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_proportional_size(pid) for pid in _family(process.pid)))
        time.sleep(0.02)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for thread in threads:
        try:
            children = (thread / "children").read_text()
        except OSError:
            continue
        for child in children.split():
            yield from _family(int(child))


def _proportional_size(pid: int) -> int:
    """Its share of memory: pages that several processes map are divided among them."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
