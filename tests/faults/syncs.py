"""Two small caches that are being brought in step, with a past that both remember."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw

from faults.children import Say, Told, made_small
from faults.exports import texts
from faults.journeys import FINISHED, PLAIN
from faults.oracle import assert_sound
from faults.recording import Record, State, states
from rustassistant.check import check_database
from rustassistant.entry_json import render
from rustassistant.errors import RustAssistantError
from rustassistant.stores.base import Found
from rustassistant.stores.json_tree import JsonTree, changing
from rustassistant.stores.json_tree.layout import UNFINISHED
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.sync import CacheSync, Sign, Step, SyncResult, run, tree
from rustassistant.sync.elements import columns_of, element_of, repository_key
from rustassistant.sync.memory import state_path
from support import snapshot
from sync.pairs import Database, Side, Tree, side_of

EDITED: Final = ("edited", "", "")
"""What is acknowledged when people and programs have done their part, and the sync begins."""

_FILES: Final = 10
JOURNEYS_OF: Final = {
    "sync of a tree and a database": ("tree", "database"),
    "sync of two trees": ("tree", "tree"),
    "sync of two databases": ("database", "database"),
}
_RESOLVE: Final = ("newest", "keep-both", "b")
_STEPS: Final = 6
"""Of each case's small run: results that are made durable, and remembered, together."""

_EDITS: Final = ("change a", "change b", "change both", "same", "delete a", "delete b",
                 "delete a, change b", "delete both", "more in a", "more in b")  # fmt: skip


class Sync:
    """Caches ``a`` and ``b`` below a directory, which is the same for every case: what is
    remembered of a pair goes by its paths."""

    errors = frozenset(("OutOfSpaceError", "DestinationError", "SourceUnreadableError",
                        "UnsafeSyncError", "DamagedError"))  # fmt: skip

    def __init__(self, name: str, seed: int, place: Path) -> None:
        self.name = f"{name}, seed {seed}"
        self._random = Random(self.name)
        kinds = JOURNEYS_OF[name]
        number = seed + list(JOURNEYS_OF).index(name)
        self.few = self._random.choice((0, 50))  # with or without a wait for the whole disk
        self.is_plain = self._random.random() < PLAIN
        self._options: dict[str, Any] = {
            "delete": number % 2 == 0,
            "resolve": _RESOLVE[number % len(_RESOLVE)],
            "max_delete": "100%",
        }
        self._root = place / "case"
        self._aside = place / "aside"
        self._before_edits, self._edited = place / "before", place / "edited"
        self._root.mkdir()
        self.a, self.b = (
            side_of(kind, self._root / letter) for kind, letter in zip(kinds, "ab", strict=True)
        )
        self._sides = (self.a, self.b)
        self._begin_history()
        shutil.copytree(self._root, self._before_edits)
        edits = self._chosen()
        self._edit(edits)
        self._edits = edits
        self._remembered = self._memory()
        self.known = self._kept()
        shutil.copytree(self._root, self._edited)
        self.run(self._root)
        self.wanted = self._found()
        self._sync(delete=True)
        self.wanted_later = self._found()
        shutil.rmtree(self._root)

    # What has happened before.

    def _begin_history(self) -> None:
        for number in range(_FILES):
            self._sides[number % 2].analyse(f"{number}.rs", 1, note="x" * self._size())
        self._sync()

    def _size(self) -> int:
        return self._random.choice((10, 400, 3_000))

    def _chosen(self) -> list[tuple[str, str]]:
        """What is done to which file: every kind of thing once, to files in any order."""
        numbers = self._random.sample(range(_FILES), _FILES)
        edits = [(f"{number}.rs", edit) for number, edit in zip(numbers, _EDITS, strict=True)]
        new = [(f"new_{letter}{number}.rs", letter) for letter in "ab" for number in (1, 2)]
        return [*edits, *((path, f"change {letter}") for path, letter in new)]

    def _edit(self, edits: list[tuple[str, str]]) -> None:
        random = Random(self.name)
        for path, edit in edits:
            match edit.split():
                case ["change", "both"]:
                    seconds = random.sample((2, 3), 2)
                    self.a.analyse(path, seconds[0], note="of a")
                    self.b.analyse(path, seconds[1], note="of b")
                case ["change", letter]:
                    self._named(letter).analyse(path, 4, note=f"changed in {letter}")
                case ["same"]:
                    self.a.analyse(path, 5, note="the same")
                    self.b.analyse(path, 5, note="the same")
                case ["delete", "both"]:
                    self.a.delete(path)
                    self.b.delete(path)
                case ["delete", "a,", "change", "b"]:
                    self.a.delete(path)
                    self.b.analyse(path, 6, note="changed after all")
                case ["delete", letter]:
                    self._named(letter).delete(path)
                case ["more", "in", letter]:
                    self._named(letter).analyse(path, 7, content=7, note="of another content")

    def _named(self, letter: str) -> Side:
        return self.a if letter == "a" else self.b

    # A journey.

    def empty(self) -> Path:
        """The one place for all."""
        for left in (self._root, self._aside):
            shutil.rmtree(left, ignore_errors=True)
        self._root.mkdir()
        return self._root

    def begin(self) -> Path:
        """As it is when all have done their part."""
        shutil.copytree(self._edited, self.empty(), dirs_exist_ok=True)
        return self._root

    def ready(self, say: Say) -> None:
        """Small steps, and the memory of this pair."""
        os.environ["RUSTASSISTANT_HOME"] = str(self._root / "home")
        made_small((run, "_BATCH", _STEPS), (changing, "_FEW", self.few), (tree, "_FEW", self.few))

    def act(self, root: Path, say: Say) -> None:
        """Sync; an error of ours is an answer like any other."""
        self.ready(say)
        try:
            result = self.run(root)
        except RustAssistantError as error:
            say("refused", [type(error).__name__, error.exit_code, error.message])
        else:
            say("done", result.failed)
            if not result.failed:
                say("safe", [FINISHED])

    def run(self, root: Path) -> SyncResult:
        """The run itself."""
        return self._sync()[0]

    def arguments(self, root: Path) -> list[str]:
        """The same as a command."""
        resolve, delete = self._options["resolve"], self._options["delete"]
        named = ["--resolve", resolve, "--max-delete", "100%", *(["--delete"] if delete else [])]
        return ["cache", "sync", "--quiet", str(self.a.path), str(self.b.path), *named]

    def _sync(self, **changes: Any) -> tuple[SyncResult, list[Step]]:
        steps: list[Step] = []
        os.environ["RUSTASSISTANT_HOME"] = str(self._root / "home")
        sync = CacheSync(self.a.path, self.b.path, **(self._options | changes))
        return sync.run(steps.append), steps

    def record(self, wanted: int, seed: int) -> tuple[Record, Iterator[State]]:
        """The sync and what was done before it, which nobody made durable in a tree."""
        shutil.copytree(self._before_edits, self.empty(), dirs_exist_ok=True)

        def action(say: Say) -> None:
            self._edit(self._edits)
            say("safe", [EDITED])
            self.act(self._root, say)

        record = Record(self._root, action, is_plain=self.is_plain)
        assert "done" in record.told.said, record.told
        random = Random(f"forgotten {self.name} {seed}")
        return record, states(record, wanted, random, after=EDITED)

    # What must hold.

    def check(self, root: Path, told: Told) -> None:
        """Nothing is lost, doubled, half or remembered falsely; reruns end as one run would."""
        known = self.known
        if EDITED in told.acknowledged:  # the power cut may have taken what nobody had synced
            known = self._kept()
        self._check_left(told)
        # What could not be read for a while may lie beside what came meanwhile, as it was told.
        is_whole = EDITED not in told.acknowledged and not told.value("done")
        self._check_rerun(known, is_whole=is_whole)

    def _check_left(self, told: Told) -> None:
        shutil.copytree(self._root, self._aside)  # looking must not mend what a rerun has to
        for side in self._sides:
            if isinstance(side, Database):
                assert_sound(side.path)
                problems = check_database(side.path).problems
                assert not problems, problems
        half = [
            path
            for path, text in texts(self._root).items()
            if path.endswith(".json") and not _is_whole(text)
        ]
        assert EDITED in told.acknowledged or not half, f"half a file has a final name: {half}"
        if EDITED not in told.acknowledged:
            assert self.known <= self._kept(), "lost"
        if FINISHED in told.acknowledged and EDITED not in told.acknowledged:
            assert self._found() == self.wanted, "was reported as done, and is not"
        self._check_memory()
        shutil.rmtree(self._root)
        self._aside.rename(self._root)

    def _check_memory(self) -> None:
        """What is remembered as being on a side is there, or has left it since: what never was
        there would look as if somebody had deleted it."""
        present = [self._present(side) for side in self._sides]
        for name, sides in self._memory().items():
            for number in (0, 1):
                was = self._remembered.get(name, 0) & 1 << number
                if sides & 1 << number and not was:
                    assert name in present[number], "remembered, and not there"

    def _check_rerun(self, known: set[bytes], *, is_whole: bool) -> None:
        additions = self._additions()
        self._sync()
        if is_whole:
            assert self._found() == self.wanted, "not what an undisturbed run leaves"
        assert known <= self._kept(), "lost by the rerun"
        self._check_step()
        self._sync(delete=True)
        if is_whole:
            assert self._found() == self.wanted_later, "a later sync does not end the same"
        assert known <= self._kept(), "lost by a later sync"
        for side in self._sides:
            assert additions <= side.live(), "an addition was taken for a deletion"

    def _additions(self) -> set[bytes]:
        """Results of files that nobody ever changed or deleted, on whichever side they are."""
        live = self.a.live() | self.b.live()
        return {text for text in live if b'"file_path": "new_' in text and _is_whole(text)}

    def _check_step(self) -> None:
        """Another run does nothing."""
        before = self._seen()
        result, steps = self._sync()
        moved = [step for step in steps if step.sign not in (Sign.LEAVE, Sign.CONFLICT)]
        left = [side for side in self._sides if (side.path / UNFINISHED).exists()]
        assert not left, "unfinished files are left behind"
        assert not result.did_something, f"a run that had nothing to do did {moved}"
        assert self._seen() == before, "a run that had nothing to do wrote"

    def _seen(self) -> list[Any]:
        trees = [snapshot(side.path) for side in self._sides if isinstance(side, Tree)]
        databases = [
            (side.path.stat().st_mtime_ns, side.path.read_bytes())
            for side in self._sides
            if isinstance(side, Database)
        ]
        return [*trees, *databases, sorted(os.listdir(self._root))]

    def _kept(self) -> set[bytes]:
        return self.a.kept() | self.b.kept()

    def _found(self) -> list[Any]:
        """Both sides: files by their names, rows as often as they are there."""
        found: list[Any] = []
        for side in self._sides:
            if isinstance(side, Tree):
                found.append(
                    {
                        path: text
                        for path, text in texts(side.path).items()
                        if not path.startswith(UNFINISHED)
                    }
                )
            elif isinstance(side, Database):
                found.append(Counter(render(entry) for _, entry in side._rows(live=True)))
        return found

    def _memory(self) -> dict[tuple[bytes, bytes], int]:
        """On which sides each result was when they were in step, by slot and digest."""
        os.environ["RUSTASSISTANT_HOME"] = str(self._root / "home")
        path = state_path((os.path.realpath(self.a.path), os.path.realpath(self.b.path)))
        if not os.path.exists(path):
            return {}
        with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
                return {}
            rows = connection.execute("SELECT slot, digest, sides FROM agreed")
            return {(slot, digest): sides for slot, digest, sides in rows}

    def _present(self, side: Side) -> set[tuple[bytes, bytes]]:
        if not side.path.exists():
            return set()
        store = SqliteStore(side.path) if isinstance(side, Database) else JsonTree(side.path)
        found = set()
        for part in store.partitions():
            if isinstance(part, Failure | Problem):
                continue
            for item in part.read():
                if isinstance(item, Found):
                    key = repository_key(part.folder.repository)
                    made = element_of(key, part.folder.cache_type, columns_of(item.entry))
                    found.add((made.slot, made.digest))
        return found


def _is_whole(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


JOURNEYS: Final = dict.fromkeys(JOURNEYS_OF, Sync)
