"""Look results up through the Python API, beside diskcache with the same bytes, in turns.

    python benchmarks/lookups.py [--entries N] [--rounds R] [--save]

Both are given the parts of a key and return the result's JSON text. Prints medians, and ratios
within each round: machines are noisy, a round less so. ``--save`` keeps the table in
``benchmarks/results/``. Needs the dependency group ``bench``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import diskcache

from corpus import make_corpus
from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.entry import full_key

_Parts = dict[str, Any]


def _asked(database: Path, entries: int) -> list[_Parts]:
    with AnalysisCache(database) as cache:
        found: list[_Parts] = [
            {
                "type": one.type,
                "file_hash": bytes.fromhex(one.file_hash),
                "model": one.model,
                "prompt_hash": one.prompt_hash,
                "schema_version": one.schema_version,
                "repository": one.repository,
                "file_path": one.file_path,
            }
            for one in cache
            if one.prompt_hash is not None
        ]
    random.Random(1).shuffle(found)
    return found[:entries]


def _peer_key(parts: _Parts) -> str:
    key = full_key(
        parts["file_hash"].hex(), parts["model"], parts["prompt_hash"], parts["schema_version"]
    )
    return f"{parts['type']}:{parts['repository']}:{parts['file_path']}:{key}"


def _microseconds(look_up: Callable[[_Parts], Any], asked: list[_Parts]) -> float:
    started = time.perf_counter()
    for parts in asked:
        look_up(parts)
    return (time.perf_counter() - started) / len(asked) * 1e6


def _ours(cache: AnalysisCache) -> Callable[[_Parts], bytes]:
    def look_up(parts: _Parts) -> bytes:
        hit = cache.get(**parts)
        assert hit is not None
        return hit.text

    return look_up


def _read_all(database: Path, asked: list[_Parts]) -> int:
    with AnalysisCache(database) as cache:
        return sum(len(_ours(cache)(parts)) > 0 for parts in asked)


def _at_once(database: Path, asked: list[_Parts]) -> list[str]:
    lines = []
    with AnalysisCache(database) as cache, ThreadPoolExecutor(100) as threads:
        look_up = _ours(cache)
        started = time.perf_counter()
        done = sum(1 for _ in threads.map(look_up, asked * 4))
        taken = time.perf_counter() - started
        lines.append(f"| 100 threads, one process | {done / taken:,.0f} lookups/s |")
    for processes in (1, 2, 4, 8):
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            pool.map(abs, range(processes))  # they have started
            started = time.perf_counter()
            done = sum(pool.starmap(_read_all, [(database, asked)] * processes, chunksize=1))
            taken = time.perf_counter() - started
        lines.append(f"| {processes} processes | {done / taken:,.0f} lookups/s |")
    return lines


def _measure(database: Path, work: Path, entries: int, rounds: int) -> str:
    asked = _asked(database, entries)
    with (
        diskcache.Cache(work / "diskcache") as peer,
        AnalysisCache(database) as cache,
        AnalysisCache(database, memory=0) as plain,
    ):
        for parts in asked:
            peer.set(_peer_key(parts), _ours(plain)(parts))
            assert peer.get(_peer_key(parts)) == _ours(cache)(parts)
        ways: dict[str, Callable[[_Parts], Any]] = {
            "diskcache": lambda parts: peer.get(_peer_key(parts)),
            "AnalysisCache, asked for again": _ours(cache),
            "AnalysisCache without memory (each is read and checked)": _ours(plain),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, look_up in ways.items():
                taken[name].append(_microseconds(look_up, asked))
    lines = ["| | median µs a hit | times diskcache |", "|---|---|---|"]
    for name, figures in taken.items():
        ratio = statistics.median(
            one / other for one, other in zip(figures, taken["diskcache"], strict=True)
        )
        lines.append(f"| {name} | {statistics.median(figures):.1f} | {ratio:.2f} |")
    lines += ["", "| at once | |", "|---|---|", *_at_once(database, asked)]
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--save", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rustassistant-bench-") as name:
        work = Path(name)
        database = work / "cache.db"
        CacheMigrator(make_corpus(work), database).migrate()
        table = _measure(database, work, options.entries, options.rounds)
    today = datetime.now().astimezone().date()
    text = (
        f"# Lookups, {today}\n\n{platform.system()} {platform.release()}, {os.cpu_count()} "
        f"processors, Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}, "
        f"diskcache {diskcache.__version__}; {options.entries:,} entries in random order, "
        f"{options.rounds} rounds in turns.\n\n{table}\n"
    )
    print(text)
    if options.save:
        results = Path(__file__).parent / "results"
        results.mkdir(exist_ok=True)
        (results / f"{today}-lookups-{options.entries}.md").write_text(text)


if __name__ == "__main__":
    main()
