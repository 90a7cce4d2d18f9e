"""Beside other ways to have all entries in one place: how long it takes, and how large it gets."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Final

import ours
from corpus import Tree
from figures import Figure, Setting, seconds
from measure import run
from peers import PEERS, Sample, answers_of_ours, samples_of

_SAMPLES: Final = 50
_CPU: Final = (
    "Ours and DuckDB work in as many processes or threads as there are processors, tar and the "
    "others in one: with more processors, or with busy ones, times differ from these."
)
_PROGRAM: Final = Path(__file__).with_name("peers.py")


def peers(setting: Setting) -> list[Figure]:
    """Each fills its own place from nothing; afterwards all are asked for the same keys."""
    tree = setting.tree(setting.small)
    places = {ours.MIGRATE: setting.work / "ours.db"}
    commands: dict[str, ours.Command] = {
        ours.TAR: ours.tar(tree.repos),
        ours.MIGRATE: ours.migrate(tree.repos, places[ours.MIGRATE]),
    }
    remarks, names = ["tar keeps nothing: it says what reading alone takes."], {}
    for name, peer in PEERS.items():
        if peer.missing():
            remarks.append(f"{name} is not installed and was skipped.")
            continue
        names[peer.label()] = name
        place = places[peer.label()] = setting.work / f"peer-{name}"
        commands[peer.label()] = [sys.executable, _PROGRAM, name, tree.repos, place]
        remarks.append(peer.words)
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    ways = {
        name: partial(_fill, command, places.get(name), cpu[name])
        for name, command in commands.items()
    }
    taken = setting.in_turns(ways)
    samples = samples_of(tree.repos, _SAMPLES)
    for label, place in places.items():
        remarks.append(_told_of(label, names.get(label), tree, place, samples))
        setting.peer_sizes[label] = ours.bytes_of(place)
        ours.remove(place)
    title = "Migration beside its peers"
    return [
        Figure(
            name=name,
            title=heading,
            baseline=ours.MIGRATE,
            entries=tree.entries,
            rows=rows,
            remarks=tuple(said),
        )
        for name, heading, rows, said in (
            ("peers", title, taken, remarks),
            ("cpu", f"{title}: processor time", cpu, [_CPU]),
        )
    ]


def _fill(command: ours.Command, place: Path | None, cpu: list[float]) -> float:
    if place is not None:
        ours.remove(place)
    taken = run(command)
    cpu.append(taken.cpu)
    return taken.seconds


def _told_of(label: str, name: str | None, tree: Tree, place: Path, samples: list[Sample]) -> str:
    """Whether the work was the same; raises AssertionError if it should have been and was not."""
    held, found = (
        answers_of_ours(place, samples) if name is None else PEERS[name].answers(place, samples)
    )
    said = f"{label}: {held:,} of {tree.entries:,} entries; {found} of {len(samples)} keys found."
    assert name == "reference" or (held, found) == (tree.entries, len(samples)), said
    return said


def size(setting: Setting) -> list[Figure]:
    """Bytes of databases, logs and all, against the bytes in the source's files."""
    if not setting.peer_sizes:
        peers(Setting(setting.work, 1, setting.small, setting.small, setting.told))
    tree = setting.tree(setting.small)
    sizes = {"source": tree.size}
    for level in ("default level", "level 12"):
        options = () if level == "default level" else ("--level", "12")
        database = setting.work / "size.db"
        setting.told(f"  {level}")
        seconds(ours.migrate(tree.repos, database, *options))
        sizes[f"{ours.MIGRATE}, {level}"] = ours.bytes_of(database)
        if not options:
            setting.told("  recompressed")
            for command in ours.recompress(database):
                seconds(command)
            sizes["the same, recompressed and compacted"] = ours.bytes_of(database)
        ours.remove(database)
    others = {name: size for name, size in setting.peer_sizes.items() if name != ours.MIGRATE}
    return [
        Figure(
            name="size",
            title="Size: database and log",
            unit="bytes",
            baseline="source",
            entries=tree.entries,
            rows={name: [float(value)] for name, value in (sizes | others).items()},
            remarks=("The source counts as the bytes in its files, not the blocks they take.",),
        )
    ]
