"""What is under way when a fault strikes."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Any, Final

from faults.children import Commits, Say, Told, in_child, migrate
from faults.file_layer import Fault, FileLayer, Operation, Proceed
from faults.oracle import Oracle
from faults.sources import Source, add_file, age, build
from rustassistant.migrate import CacheMigrator
from support import Cache

NAMES: Final = ("new", "grown", "trained")
"""Into a database that must be made, with its directory; into one that holds half of it already;
into a new one with a dictionary and long results."""

Counts = dict[str, int]
"""How many faults strike each scenario, for each seed: fewer the one that takes longest."""


class Scenario:
    """A source, and a place where its database is or will be."""

    def __init__(self, name: str, seed: int, directory: Path) -> None:
        self.name = name
        self.seed = seed
        random = Random(f"{name} {seed}")
        self._directory = directory
        self._number = 0
        self._begun: Path | None = None
        cache = Cache(directory / "source")
        if name == "trained":
            _fill(cache, random, 80)
        source = build(cache.root, random, 24)
        if name == "grown":
            self._begun = directory / "begun.db"
            CacheMigrator(source.root, self._begun, jobs=1).migrate()
            for number in range(100, 116):
                add_file(cache, random, number, [{"new": 1}])
            source = Source(cache.root)
        self.source = source
        undisturbed = directory / "undisturbed.db"
        if self._begun is not None:
            shutil.copy(self._begun, undisturbed)
        CacheMigrator(source.root, undisturbed, jobs=1).migrate()
        self.oracle = Oracle(source, undisturbed)

    def root(self) -> Path:
        """An empty directory for a case."""
        self._number += 1
        root = self._directory / f"case{self._number}"
        root.mkdir()
        return root

    def place(self) -> Path:
        """Where a database is to be, in a directory of its own: as it is before the run."""
        database = self.root() / self.file
        if self._begun is not None:
            shutil.copy(self._begun, database)
        return database

    @property
    def file(self) -> str:
        """The database, as seen from the directory of a case."""
        return "made/cache.db" if self._begun is None else "cache.db"

    def root_of(self, database: Path) -> Path:
        """The directory that the run may change."""
        return self._directory / database.relative_to(self._directory).parts[0]

    def remove(self, database: Path) -> None:
        """Make room for the next case."""
        shutil.rmtree(self.root_of(database))

    def run(self, database: Path, fault: Fault) -> Told:
        """Migrate in a child to which that fault happens."""

        def action(say: Say) -> None:
            commits = Commits(say)
            FileLayer(str(self.root_of(database)), fault)
            migrate(str(self.source.root), str(database), say, commits)

        return in_child(action)

    def operations(self) -> list[Operation]:
        """All that an undisturbed run does to files; without what it writes."""
        database = self.place()
        try:

            def action(say: Say) -> None:
                seen: list[tuple[int, str, str]] = []

                def note(operation: Operation, proceed: Proceed) -> Any:
                    seen.append((operation.number, operation.kind, operation.path))
                    return proceed(operation.data)

                commits = Commits(lambda *_: None)
                FileLayer(str(self.root_of(database)), note)
                migrate(str(self.source.root), str(database), say, commits)
                say("seen", seen)

            told = in_child(action)
            assert told.value("done"), told
            return [Operation(*one) for one in told.value("seen")]
        finally:
            self.remove(database)


def _fill(cache: Cache, random: Random, count: int) -> None:
    """So much of one type that a dictionary pays."""
    for number in range(count):
        result = {
            "advice": "Split this function in two and name them for what they do. " * 24,
            "line": number,
            "certainty": random.random(),
            "for": random.randbytes(6).hex(),
        }
        file = cache.add(
            f"src/t{number}.rs", content=b"%d" % number, cache_type="docs", result=result
        )
        age(file)
