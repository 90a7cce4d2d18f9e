"""Migrate and verify a cache, beside tar and the published algorithm, in turns.

    python benchmarks/migration.py [--copies N] [--rounds R] [--save]

Prints medians, and ratios within each round: machines are noisy, a round less so. ``--save`` keeps
the table in ``benchmarks/results/``.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import apsw

from corpus import make_corpus
from measure import Taken, run

REFERENCE = Path(__file__).with_name("reference.py")
_TAR = "tar"
_OURS = "rustassistant migrate"


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _measure(
    repos: Path, work: Path, rounds: int, *, with_reference: bool
) -> dict[str, list[Taken]]:
    ours, theirs = work / "ours.db", work / "reference.db"
    migrate: list[str | Path] = [
        sys.executable,
        "-m",
        "rustassistant",
        "cache",
        "migrate",
        "-q",
        "-s",
        repos,
        "-d",
        ours,
    ]
    commands: dict[str, list[str | Path]] = {
        _TAR: ["sh", "-c", f"tar cf - -C '{repos.parent}' repos | wc -c"],
        _OURS: migrate,
        "the same again, nothing new": migrate,
        "migrate --verify, nothing new": [*migrate, "--verify"],
    }
    if with_reference:
        commands["published algorithm"] = [sys.executable, REFERENCE, repos, theirs]
    taken: dict[str, list[Taken]] = {name: [] for name in commands}
    for _ in range(rounds):
        _remove(ours)
        _remove(theirs)
        for name, command in commands.items():
            taken[name].append(run(command))
    return taken


def _table(taken: dict[str, list[Taken]], entries: int, source: int, database: Path) -> str:
    lines = [
        "| | median s | entries/s | times tar | cpu s | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in taken.items():
        seconds = statistics.median(one.seconds for one in runs)
        ratio = statistics.median(
            one.seconds / tar.seconds for one, tar in zip(runs, taken[_TAR], strict=True)
        )
        cpu = statistics.median(one.cpu for one in runs)
        memory = max(one.memory for one in runs) / 2**20
        lines.append(
            f"| {name} | {seconds:.2f} | {entries / seconds:,.0f} | {ratio:.2f} "
            f"| {cpu:.2f} | {memory:.0f} |"
        )
    size = database.stat().st_size
    lines += ["", f"Database: {size:,} bytes, {size / source:.4f} of the source's {source:,}."]
    return "\n".join(lines)


def _machine() -> str:
    return (
        f"{platform.system()} {platform.release()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}"
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=1, help="how often each repository is there")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="keep the table in benchmarks/results/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rustassistant-bench-") as name:
        work = Path(name)
        repos = make_corpus(work, copies=options.copies)
        files = [path for path in repos.rglob("*.json") if path.name != "meta.json"]
        source = sum(path.stat().st_size for path in files)
        taken = _measure(repos, work, options.rounds, with_reference=options.copies == 1)
        table = _table(taken, len(files), source, work / "ours.db")
        today = datetime.now().astimezone().date()
        text = (
            f"# Migration, {today}\n\n{_machine()}; {len(files):,} entries, "
            f"{options.rounds} rounds in turns.\n\n{table}\n"
        )
        shutil.rmtree(repos)
    print(text)
    if options.save:
        results = Path(__file__).parent / "results"
        results.mkdir(exist_ok=True)
        (results / f"{today}-migration-{len(files)}.md").write_text(text)


if __name__ == "__main__":
    main()
