"""Results on their way out of a database, and back: as a tree, as lines, as a v1 file."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import apsw

from faults.children import Commits, Say, Told, made_small
from faults.journeys import FINISHED, PLAIN, end
from faults.oracle import Oracle, assert_sound, contents
from faults.sources import Source, build
from rustassistant.check import check_database
from rustassistant.errors import RustAssistantError
from rustassistant.export import CacheExporter, CacheImporter, ExportResult, ImportResult
from rustassistant.migrate import CacheMigrator
from rustassistant.stores.interchange import jsonl
from rustassistant.stores.json_tree.layout import UNFINISHED
from rustassistant.stores.sqlite import partitions
from rustassistant.stores.v1.schema import COLUMNS, ENTRIES, REPLACED
from rustassistant.transfer import engine
from support import Cache, dump, fields_of, snapshot

FILES: Final = 12
_ASIDE: Final = re.compile(r"replaced\.backup-[^/]*/")


def texts(root: Path) -> dict[str, bytes]:
    """The bytes of every file below a directory."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


class Export:
    """One way from a database of a few entries to ``out``, which may be there already."""

    command = "export"
    options: Sequence[str] = ()
    origin = "cache.db"
    out: str
    errors = frozenset(("OutOfSpaceError", "DestinationError", "SourceUnreadableError"))

    def __init__(self, name: str, seed: int, directory: Path) -> None:
        self.name = f"{name}, seed {seed}"
        self._directory = directory
        self._number = 0
        random = Random(self.name)
        self.is_plain = random.random() < PLAIN
        self.source = self.made(directory / "source", random)
        self._base = directory / "base"
        self._base.mkdir()
        CacheMigrator(self.source.root, self._base / "cache.db", jobs=1).migrate()
        self._database = (self._base / "cache.db").read_bytes()
        self.prepare(self._base, random)
        self.before = self.found(self._base)
        undisturbed = self.begin()
        self.run(undisturbed)
        self.wanted = self.found(undisturbed)

    def made(self, root: Path, random: Random) -> Source:
        """What the database is made from."""
        return build(root, random, FILES, broken=0)

    def empty(self) -> Path:
        """A directory of its own for each case."""
        self._number += 1
        root = self._directory / f"case{self._number}"
        root.mkdir()
        return root

    def begin(self) -> Path:
        """The database, and what is there already."""
        root = self.empty()
        shutil.copytree(self._base, root, dirs_exist_ok=True)
        return root

    def ready(self, say: Say) -> Commits:
        """Small steps; an import says what it has committed."""
        commits = Commits(say)
        made_small((engine, "COMMIT_ROWS", 4), (partitions, "_PARTITION_ENTRIES", 3),
                   (jsonl, "_PARTITION_LINES", 3))  # fmt: skip
        return commits

    def act(self, root: Path, say: Say) -> None:
        """Export; an error of ours is an answer like any other."""
        commits = self.ready(say)
        try:
            result = self.run(root)
        except RustAssistantError as error:
            commits.forget()
            say("refused", [type(error).__name__, error.exit_code, error.message])
        else:
            commits.acknowledge()
            say("done", result.total_failed)
            if not result.total_failed:
                say("safe", [FINISHED])

    def check(self, root: Path, told: Told) -> None:
        """Nothing is lost and nothing is half; a rerun makes it whole, and another does nothing."""
        self.check_database(root)
        left = self.empty()
        shutil.copytree(root, left, dirs_exist_ok=True)  # looking must not mend what a rerun has to
        self.check_left(left, told)
        if FINISHED in told.acknowledged:
            self.check_whole(left, told)
        end(left)
        result = self.run(root)
        assert not result.failures, result.failures
        self.check_whole(root, told)
        self.check_tidy(root)
        before = self.seen(root)
        self.run(root)
        assert self.seen(root) == before, "a run that had nothing to do wrote"
        self.check_database(root)

    def check_database(self, root: Path) -> None:
        """The source is as it was."""
        assert (root / "cache.db").read_bytes() == self._database, "the source was written to"

    def seen(self, root: Path) -> Any:
        """Every byte and time."""
        return snapshot(root)

    def check_whole(self, root: Path, told: Told) -> None:
        """All is as an undisturbed run leaves it."""
        assert self.found(root) == self.wanted, "not what an undisturbed run leaves"

    def check_tidy(self, root: Path) -> None:
        """Nothing is left behind beside what was made."""
        leftovers = {path.name for path in root.iterdir()} - {"cache.db", self.out}
        assert not leftovers, f"left behind: {leftovers}"

    def prepare(self, root: Path, random: Random) -> None:
        """Make what is there before the run; without this, nothing."""

    def run(self, root: Path) -> ExportResult | ImportResult:
        """The run itself."""
        raise NotImplementedError

    def arguments(self, root: Path) -> list[str]:
        """The same as a command."""
        return ["cache", self.command, "--quiet", "--jobs", "2", "-s", str(root / self.origin),
                "-d", str(root / self.out), *self.options]  # fmt: skip

    def found(self, root: Path) -> Any:
        """What is there, whatever names depend on the time of day."""
        raise NotImplementedError

    def check_left(self, root: Path, told: Told) -> None:
        """What must hold at once."""
        raise NotImplementedError


class ToTree(Export):
    """Into a new tree, with all results of each file."""

    out = "repos"
    every = True
    options: Sequence[str] = ("--all",)

    def run(self, root: Path) -> ExportResult:
        place = root / self.out
        return CacheExporter(root / "cache.db", place, every=self.every, jobs=1).export()

    def found(self, root: Path) -> Any:
        found = texts(root / self.out)
        found = {path: text for path, text in found.items() if not path.startswith(UNFINISHED)}
        aside = {(_ASIDE.sub("", path), text) for path, text in found.items() if _ASIDE.match(path)}
        return {path: text for path, text in found.items() if not _ASIDE.match(path)}, aside

    def check_left(self, root: Path, told: Told) -> None:
        named, aside = self.found(root)
        before, wanted = self.before[0], self.wanted[0]
        half = [
            path for path, text in named.items() if text not in (before.get(path), wanted.get(path))
        ]
        assert not half, f"neither what was there nor what is to be there: {half}"
        kept = {*named.values(), *(text for _, text in aside)}
        lost = [path for path, text in before.items() if text not in kept]
        assert not lost, f"was there, and is lost: {lost}"

    def check_tidy(self, root: Path) -> None:
        super().check_tidy(root)
        assert not (root / self.out / UNFINISHED).exists(), "unfinished files are left behind"


class OverTree(ToTree):
    """Over a tree that holds some of it, other results for some files, and a file that is none."""

    every = False
    options = ()

    def seen(self, root: Path) -> Any:
        """What another file stands in the way of is written where nobody looks, and removed."""
        seen = snapshot(root)
        del seen[self.out]  # the directory itself, which tells when
        return seen

    def prepare(self, root: Path, random: Random) -> None:
        self.run(root)
        files = sorted((root / self.out).rglob("*.json"))
        files = [file for file in files if file.name != "meta.json"]
        random.shuffle(files)
        for file in files[: len(files) // 2]:
            file.unlink()
        older, newer, broken = files[-3:]
        for file, moment in ((older, "2025-01-01T00:00:00Z"), (newer, "2027-01-01T00:00:00Z")):
            path = file.stem.replace("_rs", ".rs").replace("_", "/")
            file.write_bytes(dump(fields_of(path, analyzed_at=moment, result={"of": moment})))
        broken.write_bytes(b"not an entry")


class ToLines(Export):
    """Into a new file of JSON Lines."""

    out = "lines.jsonl"
    options = ("--format", "jsonl")

    def run(self, root: Path) -> ExportResult:
        place = root / self.out
        return CacheExporter(root / "cache.db", place, format="jsonl", jobs=1).export()

    def found(self, root: Path) -> Any:
        """The file, and what is kept of files that it replaced."""
        found = texts(root)
        aside = {text for path, text in found.items() if path.startswith(f"{self.out}.backup-")}
        return found.get(self.out), aside

    def check_whole(self, root: Path, told: Told) -> None:
        """One that lacked what could not be read, as it said, is kept besides."""
        there, aside = self.found(root)
        assert there == self.wanted[0], "not what an undisturbed run leaves"
        further = aside - self.wanted[1]
        assert self.wanted[1] <= aside, "the file that was there is lost"
        assert not further or told.value("done"), "files are kept that nobody made"

    def check_left(self, root: Path, told: Told) -> None:
        (there, aside), before = self.found(root), self.before[0]
        # Without links, the old one has its new name before the new one has the old.
        is_whole = there in (before, self.wanted[0]) or (self.is_plain and there is None)
        assert is_whole or told.value("done"), "half a file has the name of a whole one"
        assert before in (None, there, *aside), "the file that was there is lost"

    def check_tidy(self, root: Path) -> None:
        names = {path.name for path in root.iterdir()}
        leftovers = {name for name in names if not name.startswith(self.out)} - {"cache.db"}
        assert not leftovers, f"left behind: {leftovers}"


class OverLines(ToLines):
    """Where another such file has the name."""

    def prepare(self, root: Path, random: Random) -> None:
        self.run(root)
        place = root / self.out
        lines = place.read_bytes().splitlines(keepends=True)
        place.write_bytes(b"".join(lines[:-1]))


class ToV1(Export):
    """Into the Rust program's own database, which holds some of it, and older results."""

    out = "v1.db"
    options = ("--format", "v1")

    def made(self, root: Path, random: Random) -> Source:
        """Results of a key each: of several with one key the outcome depends on the runs."""
        cache = Cache(root)
        for number in range(FILES):
            result = {"noise": random.randbytes(random.choice((20, 900, 5_000))).hex()}
            cache.add(f"src/{number}.rs", content=b"%d" % number, result=result)
        return Source(root)

    def prepare(self, root: Path, random: Random) -> None:
        self.run(root)
        with closing(apsw.Connection(str(root / self.out))) as connection:
            keys = [key for (key,) in connection.execute(f"SELECT cache_key FROM {ENTRIES}")]  # noqa: S608
            random.shuffle(keys)
            for key in keys[: len(keys) // 2]:
                connection.execute(f"DELETE FROM {ENTRIES} WHERE cache_key = ?", (key,))  # noqa: S608
            for key in keys[-3:]:
                connection.execute(
                    f"UPDATE {ENTRIES} SET created_at = '2020-01-01 00:00:00', model = 'older'"  # noqa: S608
                    " WHERE cache_key = ?",
                    (key,),
                )

    def run(self, root: Path) -> ExportResult:
        place = root / self.out
        return CacheExporter(root / "cache.db", place, format="v1", jobs=1).export()

    def found(self, root: Path) -> Any:
        return tuple(_rows(root / self.out, table) for table in (ENTRIES, REPLACED))

    def check_left(self, root: Path, told: Told) -> None:
        assert_sound(root / self.out)
        entries, replaced = self.found(root)
        before, wanted = self.before[0], self.wanted[0]
        strange = [*(entries - before - wanted), *(replaced - self.before[1] - self.wanted[1])]
        assert not strange, f"neither what was there nor what is to be there: {strange}"
        lost = before - entries - replaced
        assert not lost, f"was there, and is lost: {lost}"


def _rows(database: Path, table: str) -> Counter[tuple[Any, ...]]:
    with closing(apsw.Connection(str(database))) as connection:
        known: Iterable[Any] = connection.execute("SELECT name FROM sqlite_schema").fetchall()
        if (table,) not in known:
            return Counter()
        rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM {table}")  # noqa: S608
        return Counter(rows)


class FromLines(Export):
    """Lines read into a database, which holds some of it already."""

    command = "import"
    origin = "lines.jsonl"
    out = "imported.db"

    def prepare(self, root: Path, random: Random) -> None:
        lines = root / "lines.jsonl"
        CacheExporter(root / "cache.db", lines, format="jsonl", jobs=1).export()
        whole = lines.read_bytes()
        some = whole.splitlines(keepends=True)
        lines.write_bytes(b"".join(random.sample(some, len(some) // 3)))
        self.run(root)
        lines.write_bytes(whole)
        self._lines = whole

    def run(self, root: Path) -> ImportResult:
        return CacheImporter(root / "lines.jsonl", root / self.out, jobs=1).run()

    def found(self, root: Path) -> Any:
        return contents(root / self.out)

    def check_left(self, root: Path, told: Told) -> None:
        assert (root / "lines.jsonl").read_bytes() == self._lines
        oracle = Oracle(Source(self.source.root), root / self.out)
        acknowledged = told.acknowledged - {FINISHED}
        oracle.check_left(root / self.out, acknowledged)

    def check_tidy(self, root: Path) -> None:
        assert not check_database(root / self.out).problems
        leftovers = {path.name for path in root.iterdir()} - {"cache.db", "lines.jsonl", self.out}
        assert not leftovers, f"left behind: {leftovers}"


JOURNEYS: Final[dict[str, type[Export]]] = {
    "export to a tree": ToTree,
    "export over a tree": OverTree,
    "export to lines": ToLines,
    "export over lines": OverLines,
    "export to v1": ToV1,
    "import of lines": FromLines,
}
