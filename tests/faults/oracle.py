"""What must hold after every fault, whatever it was."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import apsw

from faults.children import Acknowledged
from faults.sources import File, Source
from rustassistant.check import check_database
from rustassistant.entry import Entry
from rustassistant.entry_json import render
from rustassistant.errors import DamagedError, ForeignFileError, NewerFileError
from rustassistant.migrate import CacheMigrator, MigrationResult
from rustassistant.stores.sqlite import SqliteStore
from support import snapshot

REFUSALS: Final = (DamagedError, ForeignFileError, NewerFileError)
"""What says that a file is not as it was made."""

Contents = dict[str, list[tuple[Any, ...]]]

_VIEW = """
SELECT cache_type, repo_path, file_path, file_hash, provider, model, prompt_hash, schema_version,
       tokens_used, file_size, created_at FROM cache_entries ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
"""


_TABLES: Final = ("repositories", "folders", "producers", "files", "entries", "copies", "trash")


class Held:
    """Which files of a source a database gives back, and what is wrong with what it gives back.

    The text of each is printed again and held against the file's own bytes.
    """

    def __init__(self, database: Path, files: Iterable[File]) -> None:
        self.texts: set[tuple[str, bytes]] = set()
        self.damaged: list[str] = []
        known: defaultdict[tuple[Any, ...], set[bytes]] = defaultdict(set)
        given: defaultdict[tuple[Any, ...], set[bytes]] = defaultdict(set)
        with SqliteStore(database).finder() as finder, finder.snapshot():
            for file in files:
                asked = (file.place.repository, *file.known.identity)
                known[asked].add(file.text)
                for one in finder.find(file.place, file.known):
                    if isinstance(one, Entry):
                        given[asked].add(render(one))
                    else:
                        self.damaged.append(f"{file.path}: {one.message}")
                if file.text in given[asked]:
                    self.texts.add((file.path, file.text))
        self.paths = {path for path, _ in self.texts}
        self.wrong = [asked for asked, those in given.items() if those - known[asked]]


class Oracle:
    """Holds a database that a fault befell against the source that was being migrated into it."""

    def __init__(self, source: Source, undisturbed: Path) -> None:
        """``undisturbed`` is a database that nothing happened to, made from the same source."""
        self._source = source
        self._before = snapshot(source.root)
        self._contents = contents(undisturbed)

    def check(self, database: Path, acknowledged: Acknowledged = frozenset()) -> None:
        """All of it: what the fault left, and that two reruns make it whole."""
        copy = database.with_name("copy") / database.name
        copy.parent.mkdir(parents=True)
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(f"{database}{suffix}"):
                shutil.copy(f"{database}{suffix}", f"{copy}{suffix}")
        self.check_left(copy, acknowledged)  # looking must not mend what a rerun has to
        shutil.rmtree(copy.parent)
        self.check_rerun(database)

    def check_left(self, database: Path, acknowledged: Acknowledged = frozenset()) -> None:
        """What must hold at once: what was acknowledged is there, nothing is damaged."""
        unknown = acknowledged - {file.acknowledged_as for file in self._source.entries}
        assert not unknown, f"acknowledged, and no entry of the source: {unknown}"
        if not database.exists():
            assert not acknowledged, "commits were acknowledged, and there is no database"
            return
        assert_sound(database)
        problems = check_database(database).problems
        assert not problems, problems
        held = Held(database, self._source.entries)
        assert not held.damaged, held.damaged
        assert not held.wrong, held.wrong
        lost = [
            file.path
            for file in self._source.entries
            if file.acknowledged_as in acknowledged and file.path not in held.paths
        ]
        assert not lost, f"acknowledged, and lost: {lost}"

    def check_rerun(self, database: Path) -> None:
        """A rerun completes, and a second one writes nothing."""
        result = CacheMigrator(self._source.root, database, jobs=1).migrate()
        self.check_complete(database, result)
        self.check_writes_nothing(database)
        self.check_source()

    def check_complete(self, database: Path, result: MigrationResult) -> None:
        """Every source entry is in the destination with equal text or named as failed."""
        failed = {failure.file_path for failure in result.failures}
        assert len(result.failures) == len(failed) == result.total_failed, "named twice"
        assert failed == self._source.broken
        assert result.total_entries == len(self._source.files)
        held = Held(database, self._source.entries)
        assert not held.damaged, held.damaged
        assert not held.wrong, held.wrong
        missing = {file.path for file in self._source.entries} - held.paths
        assert not missing, f"neither in the destination nor failed: {missing}"
        assert contents(database) == self._contents, "not what an undisturbed run leaves"
        assert_sound(database)
        leftovers = set(os.listdir(database.parent)) - {database.name}
        assert not leftovers, f"left behind: {leftovers}"

    def check_writes_nothing(self, database: Path) -> None:
        """Another rerun leaves every byte and time as it is, and makes no file."""
        before = snapshot(database.parent)
        CacheMigrator(self._source.root, database, jobs=1).migrate()
        assert snapshot(database.parent) == before, "a rerun that had nothing to do wrote"

    def check_source(self) -> None:
        """Not a byte or a time of the source has changed."""
        assert snapshot(self._source.root) == self._before, "the source was written to"


def assert_sound(database: Path) -> None:
    """SQLite finds nothing wrong, as any tool that opens the file would see it."""
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        assert found == [("ok",)], found
        found = connection.execute("PRAGMA foreign_key_check").fetchall()
        assert not found, found


def is_sound(database: Path) -> bool:
    """Whether nothing is found to be wrong, by SQLite or by our own check."""
    try:
        assert_sound(database)
        return check_database(database).sound
    except (AssertionError, apsw.Error, *REFUSALS):
        return False


def contents(database: Path) -> Contents:
    """What a database holds, whatever the order and the runs in which it came there."""
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        counts = [
            (table, connection.execute(f"SELECT count(*) FROM {table}").get)  # noqa: S608
            for table in _TABLES
        ]
        return {"entries": connection.execute(_VIEW).fetchall(), "counts": counts}


def verified(source: Source, database: Path) -> Sequence[str]:
    """Paths that verifying finds amiss: all of them if it refuses the database as a whole."""
    try:
        verification = CacheMigrator(source.root, database, jobs=1).verify()
    except REFUSALS:
        return [file.path for file in source.files]
    return [difference.path for difference in verification.differences]
