"""Measure against the peers, in turns, and keep the result.

    python benchmarks/run.py [--only NAME ...] [--size N] [--rounds R] [--save]

Prints a table of medians, spreads, and ratios within each round: machines are noisy, a round less
so. ``--save`` keeps it, with a plot and all figures, in ``benchmarks/results/``. Peers that are not
installed are skipped, and said to be; the dependency group ``bench`` has them.
"""

from __future__ import annotations

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import rustassistant
from comparisons import peers, size
from corpus import SHARED
from figures import Figure, Setting
from machine import machine
from migrations import cold, memory, rerun, speed, together, verify
from profiling import profile
from report import Result, write
from starting import lookups, start

_SHARING: Final = {"speed": speed, "rerun": rerun, "verify": verify}
"""What is measured in the same rounds where all of them are wanted."""

BENCHMARKS: Final[dict[str, Callable[[Setting], list[Figure]]]] = {
    **_SHARING,
    "cold": cold,
    "peers": peers,
    "size": size,
    "memory": memory,
    "lookups": lookups,
    "start": start,
    "profile": profile,
}
_ON_SMALL: Final = {"cold", "peers", "size", "profile"}
_RESULTS: Final = Path(__file__).with_name("results")
_SMALL: Final = 20_000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=BENCHMARKS, metavar="NAME",
        help=f"only this one; may be repeated. One of {', '.join(BENCHMARKS)}",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, default=200_000, metavar="N",
        help="entries for speed, rerun, verify and memory (default: 200000); memory compares with "
        "a tenth, above 200000 with 200000",
    )  # fmt: skip
    parser.add_argument(
        "--small", type=int, default=_SMALL, metavar="N",
        help="entries for cold, peers, size and profile (default: 20000, or --size if less)",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="default: 3")
    parser.add_argument("--save", action="store_true", help="keep the result")
    parser.add_argument(
        "--results", type=Path, default=_RESULTS, metavar="DIR", help="where (benchmarks/results)"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR",
        help="where to make trees and databases: trees stay there for the next run (default: a "
        "temporary directory, which goes)",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print, keep."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if min(options.size, options.small, options.rounds) < 1:
        parser.error("--size, --small and --rounds are at least 1")
    if options.work is not None:
        _run(options, options.work.absolute())
        return
    with tempfile.TemporaryDirectory(prefix="rustassistant-bench-") as name:
        _run(options, Path(name))


def _run(options: argparse.Namespace, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    _isolate(work)
    _compile()
    chosen = list(dict.fromkeys(options.only or BENCHMARKS))
    known = machine(work)
    small = min(options.small, options.size)
    figures = _measure(chosen, Setting(work, options.rounds, options.size, small, _told))
    today = datetime.now().astimezone().date().isoformat()
    what = "-".join(options.only or ["bench"]) if len(chosen) < 4 or not options.only else "some"
    amount = small if set(chosen) <= _ON_SMALL else options.size
    data = (
        "Entries are those of the shared corpus, its repositories copied under other names where "
        "more are needed."
        if SHARED.is_file()
        else "Entries are made from the Python packages that are installed."
    )
    result = Result(today, f"{what}-{amount}", options.rounds, data, known, figures)
    print(result.as_markdown())
    if options.save:
        for path in write(result, options.results):
            _told(f"written: {path}")
    if any(figure.failed for figure in figures):
        raise SystemExit(1)


def _measure(chosen: Sequence[str], setting: Setting) -> list[Figure]:
    figures: list[Figure] = []
    shares = set(_SHARING) <= set(chosen)
    if shares:
        figures += _tried("speed, rerun, verify", together, setting)
    for name in chosen:
        if not (shares and name in _SHARING):
            figures += _tried(name, BENCHMARKS[name], setting)
    return figures


def _tried(
    name: str, benchmark: Callable[[Setting], list[Figure]], setting: Setting
) -> list[Figure]:
    """What fails must not cost what the others found."""
    _told(name)
    try:
        return benchmark(setting)
    except (subprocess.CalledProcessError, AssertionError) as error:
        return [Figure(name=name, title=name, failed=True, skipped=f"it failed: {error}")]


def _compile() -> None:
    """As pip does when it installs: else who works on the code measures Python's compiler too."""
    compileall.compile_dir(Path(rustassistant.__file__).parent, quiet=2)


def _isolate(work: Path) -> None:
    """Nobody's settings are to change what is measured."""
    for name in list(os.environ):
        if name.startswith("RUSTASSISTANT_"):
            del os.environ[name]
    os.environ["RUSTASSISTANT_HOME"] = str(work / "home")


def _told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
