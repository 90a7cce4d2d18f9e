"""Where the time goes: a migration in one process under cProfile, in microseconds an entry."""

from __future__ import annotations

import cProfile
import pstats
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import ours
import rustassistant
from corpus import Tree
from figures import Figure, Setting
from rustassistant import CacheMigrator

_ROOT: Final = Path(rustassistant.__file__).parent
_WORKER: Final = ("encode_partition",)
_WRITER: Final = ("known", "put", "log", "finish", "_begin", "_fold_log", "add_dictionary")
"""What a worker does with a partition, and the writer with its answers. None calls another."""

_PLACES: Final = {"transfer/encoding.py": _WORKER, "stores/sqlite/writer.py": _WRITER}
_LINES: Final = 30
_ADDRESS: Final = re.compile(" at 0x[0-9a-f]+")

Place = tuple[str, int, str]


class Step(NamedTuple):
    """A function: calls, and seconds in itself with the built-ins it calls, and in all."""

    name: str
    calls: int
    own: float
    total: float


def profile(setting: Setting) -> list[Figure]:
    """What worker and writer take when both are this process, and each step of theirs."""
    tree, database = setting.tree(setting.small), setting.work / "profiled.db"
    _migrate(tree, database)  # imports, and the page cache
    started = time.perf_counter()
    _migrate(tree, database)
    plain = time.perf_counter() - started
    profiler = cProfile.Profile()
    profiler.runcall(_migrate, tree, database)
    ours.remove(database)
    stats = pstats.Stats(profiler)
    steps, parts = _steps(stats), _parts(stats)
    profiled = stats.total_tt  # type: ignore[attr-defined]
    parts["the rest: listing, dictionaries, opening"] = profiled - sum(parts.values())
    an_entry = 1e6 / tree.entries
    remarks = (
        f"One process does everything: {plain * an_entry:.1f} µs an entry, and "
        f"{profiled * an_entry:.1f} under the profiler, which makes many small calls look slower "
        "than few long ones. With worker processes there is also what passes between them.",
    )
    rows = {"all": [profiled * an_entry]} | {
        name: [taken * an_entry] for name, taken in parts.items()
    }
    return [
        Figure(name="profile", title="Where the time goes", unit="µs", baseline="all",
               entries=tree.entries, rows=rows, remarks=remarks,
               attachment=_table(steps, an_entry, remarks[0]))
    ]  # fmt: skip


def _migrate(tree: Tree, database: Path) -> None:
    ours.remove(database)
    result = CacheMigrator(tree.repos, database, jobs=1).migrate()
    assert result.total_failed == 0, result.failures


def _parts(stats: pstats.Stats) -> dict[str, float]:
    parts = {"worker: reading, encoding": 0.0, "writer: putting, committing": 0.0}
    for (file, _, name), (_, _, _, total, _) in _functions(stats):
        for end, names in _PLACES.items():
            if file.endswith(end) and name in names:
                parts[list(parts)[names is _WRITER]] += total
    return parts


def _functions(
    stats: pstats.Stats,
) -> Iterable[
    tuple[Place, tuple[int, int, float, float, dict[Place, tuple[int, int, float, float]]]]
]:
    found = stats.stats  # type: ignore[attr-defined]
    return found.items()  # type: ignore[no-any-return]


def _steps(stats: pstats.Stats) -> list[Step]:
    """Built-ins, which have no file of their own, count with those who call them, named beside."""
    steps = []
    for (file, _, name), (_, calls, own, total, callers) in _functions(stats):
        if file != "~":
            steps.append(Step(f"{_short(file)}: {name}", calls, own, total))
            continue
        for (caller_file, _, caller), (_, count, spent, whole) in callers.items():
            built_in = _ADDRESS.sub("", name)
            label = f"{_short(caller_file)}: {caller} → {built_in}"
            steps.append(Step(label, count, spent, whole))
    return sorted(steps, key=lambda step: -step.own)


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else path.name


def _table(steps: list[Step], an_entry: float, remark: str) -> str:
    lines = [
        "# Where the time goes",
        "",
        remark,
        "",
        "| step | own µs an entry | with all it calls | calls an entry |",
        "|---|---|---|---|",
    ]
    for step in steps[:_LINES]:
        name = step.name.replace("|", "\\|")
        lines.append(
            f"| `{name}` | {step.own * an_entry:.2f} | {step.total * an_entry:.2f} "
            f"| {step.calls * an_entry / 1e6:.2f} |"
        )
    others = sum(step.own for step in steps[_LINES:]) * an_entry
    return "\n".join([*lines, f"| {len(steps[_LINES:])} others | {others:.2f} | | |"]) + "\n"
