"""How long migrating, migrating again and verifying take, and how much memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import ours
from corpus import Tree
from figures import Figure, Setting, seconds
from measure import run

_DROP: Final = Path("/proc/sys/vm/drop_caches")
_LARGEST_SMALLER: Final = 200_000
_DURABLE: Final = (
    "tar is `tar cf - repos | wc -c`. Ours is durable: every commit waits for the disk. The tree is"
    " read once before each run, so that all of it is in memory."
)
_STATS: Final = "find is `find repos -type f -printf '%s %T@'`."
_RERUN: Final = "the same again, nothing new"
_VERIFY: Final = "rustassistant cache verify"


def _fresh(tree: Tree, database: Path) -> float:
    ours.remove(database)
    return seconds(ours.migrate(tree.repos, database))


def _warm(tree: Tree, way: Callable[[], float]) -> float:
    """Have the tree read before, uncounted: some systems take memory back that lies idle a while,
    and who came first would find less of it there than who comes next."""
    run(ours.tar(tree.repos))
    return way()


def speed(setting: Setting) -> list[Figure]:
    """A first migration at default settings, against tar."""
    return [one for one in _runs(setting, {ours.TAR}) if one.name == "speed"]


def rerun(setting: Setting) -> list[Figure]:
    """A migration that finds nothing new, against looking at each file's size and time."""
    return [one for one in _runs(setting, {ours.FIND, _RERUN}) if one.name == "rerun"]


def verify(setting: Setting) -> list[Figure]:
    """A comparison of every entry, against the migration."""
    return [one for one in _runs(setting, {_VERIFY}) if one.name == "verify"]


def together(setting: Setting) -> list[Figure]:
    """All three, each round one migration."""
    return _runs(setting, {ours.TAR, ours.FIND, _RERUN, _VERIFY})


def _runs(setting: Setting, wanted: set[str]) -> list[Figure]:
    tree, database = setting.tree(setting.size), setting.work / "ours.db"
    migrate = ours.migrate(tree.repos, database)
    ways: dict[str, Callable[[], float]] = {
        ours.TAR: partial(seconds, ours.tar(tree.repos)),
        ours.MIGRATE: partial(_fresh, tree, database),
        ours.FIND: partial(seconds, ours.find(tree.repos)),
        _RERUN: partial(seconds, migrate),
        _VERIFY: partial(seconds, ours.verify(tree.repos, database)),
    }
    ways = {
        name: partial(_warm, tree, way)
        for name, way in ways.items()
        if name == ours.MIGRATE or name in wanted
    }
    taken = setting.in_turns(ways)
    ours.remove(database)
    comparisons = [
        ("speed", "Migration", ours.TAR, ours.MIGRATE, _DURABLE),
        ("rerun", "Migration again, nothing new", ours.FIND, _RERUN, _STATS),
        ("verify", "Verification", ours.MIGRATE, _VERIFY, "All fields of all entries, no sample."),
    ]
    return [
        Figure(name=name, title=title, baseline=baseline, entries=tree.entries,
               rows={one: taken[one] for one in (baseline, other)}, remarks=(remark,))
        for name, title, baseline, other, remark in comparisons
        if baseline in taken and other in taken
    ]  # fmt: skip


def cold(setting: Setting) -> list[Figure]:
    """A first migration when nothing is in the page cache, against tar equally cold."""
    title = "Migration, page cache dropped"
    if not os.access(_DROP, os.W_OK):
        why = "the page cache can't be dropped here: that takes root, and Linux"
        return [Figure(name="cold", title=title, skipped=why)]
    tree, database = setting.tree(setting.small), setting.work / "ours.db"
    ways: dict[str, Callable[[], float]] = {
        ours.TAR: partial(_cold_tar, tree),
        ours.MIGRATE: partial(_cold_migration, tree, database),
    }
    taken = setting.in_turns(ways)
    ours.remove(database)
    remark = "Dropped before each run of each. Programs are read from disk anew, Python among them."
    return [
        Figure(name="cold", title=title, baseline=ours.TAR, entries=tree.entries, rows=taken,
               remarks=(remark,))
    ]  # fmt: skip


def _drop_page_cache() -> None:
    os.sync()
    _DROP.write_text("3\n")


def _cold_tar(tree: Tree) -> float:
    _drop_page_cache()
    return seconds(ours.tar(tree.repos))


def _cold_migration(tree: Tree, database: Path) -> float:
    ours.remove(database)
    _drop_page_cache()
    return seconds(ours.migrate(tree.repos, database))


def memory(setting: Setting) -> list[Figure]:
    """The most that all processes hold together, in MiB, and the time, at two sizes in turns."""
    smaller = min(_LARGEST_SMALLER, max(1, setting.size // 10))
    if setting.size > _LARGEST_SMALLER:
        smaller = _LARGEST_SMALLER
    names = {f"{count:,} entries": setting.tree(count) for count in (smaller, setting.size)}
    database = setting.work / "ours.db"
    times: dict[str, list[float]] = {name: [] for name in names}

    def peak(name: str, tree: Tree) -> float:
        ours.remove(database)
        taken = run(ours.migrate(tree.repos, database), watch_memory=True)
        times[name].append(taken.seconds)
        return taken.memory / 2**20

    ways = {name: partial(_warm, tree, partial(peak, name, tree)) for name, tree in names.items()}
    peaks = setting.in_turns(ways, 1 if setting.size > _LARGEST_SMALLER else None)
    ours.remove(database)
    first, entries = next(iter(names)), [tree.entries for tree in names.values()]
    linear = f"{entries[1] / entries[0]:.1f} times the entries."
    return [
        Figure(name="memory", title="Memory at its peak, all processes", unit="MiB", rows=peaks,
               baseline=first, entries=setting.size,
               remarks=("Pages that processes share count once.",))
        if all(map(all, peaks.values()))
        else Figure(name="memory", title="Memory", skipped="this system does not tell it"),
        Figure(name="growth", title="Time at both sizes", rows=times, baseline=first,
               entries=setting.size, remarks=(linear,)),
    ]  # fmt: skip
