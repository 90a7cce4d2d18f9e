"""Two small caches to sync, changing them as programs and people do, and seeing all they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rustassistant.codec import Encoder
from rustassistant.entry import Entry
from rustassistant.entry_json import file_name, parse, render
from rustassistant.stores.base import Folder, Found, Repository
from rustassistant.stores.json_tree.store import JsonTree
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.partitions import SqlitePartition
from rustassistant.stores.sqlite.rows import EntryReader, entry_sql
from rustassistant.stores.sqlite.store import SqliteStore
from rustassistant.sync import CacheSync, Sign, Step, SyncResult
from support import Cache, dump, fields_of, hash8, snapshot

PROJECT: Final = "/home/dev/project"
KINDS: Final = [("tree", "database"), ("tree", "tree"), ("database", "database")]
FIRST_DAY = "2026-02-04T00:00:{:02d}+00:00"


def sync(a: Path, b: Path, **options: Any) -> tuple[SyncResult, list[Step]]:
    """Sync; the result, and every step."""
    steps: list[Step] = []
    how = {name: options.pop(name) for name in ("dry_run", "forget") if name in options}
    result = CacheSync(a, b, **options).run(steps.append, **how)
    return result, steps


def lines(steps: list[Step]) -> list[str]:
    """Steps as text, in the order of their paths."""
    return sorted(f"{step.sign.value} {step.to} {step.file_path}".replace("  ", " ")
                  for step in steps)  # fmt: skip


class Side:
    """A cache that is one side: what programs and people do to it, and what it holds."""

    path: Path

    def analyse(self, path: str, second: int, content: int = 0, note: str = "") -> None:
        """A program's result for a file of that content, made at that second."""
        raise NotImplementedError

    def delete(self, path: str) -> None:
        """Somebody removes the results of a file, on purpose."""
        raise NotImplementedError

    def live(self) -> set[bytes]:
        """The files of all that answers."""
        raise NotImplementedError

    def kept(self) -> set[bytes]:
        """The same, with what is in the trash."""
        raise NotImplementedError

    def paths(self) -> list[str]:
        """What files there are results for."""
        return sorted({json.loads(text)["file_path"] for text in self.live()})

    def notes(self, path: str) -> list[str]:
        """The notes of all results of a file, sorted."""
        found = [json.loads(text) for text in self.live()]
        return sorted(one["result"]["note"] for one in found if one["file_path"] == path)


def made(path: str, second: int, content: int, note: str) -> dict[str, Any]:
    return fields_of(
        path,
        content=b"%d" % content,
        analyzed_at=FIRST_DAY.format(second),
        result={"note": note or f"{path} at {second}"},
    )


class Tree(Side):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.cache = Cache(path)

    def file(self, path: str) -> Path:
        return self.path / hash8(PROJECT) / "cache" / "docs" / file_name(path)

    def analyse(self, path: str, second: int, content: int = 0, note: str = "") -> None:
        self.cache.add(path, text=dump(made(path, second, content, note)))

    def delete(self, path: str) -> None:
        for file in list(self.path.glob("*/cache/docs/*.json")):
            if json.loads(file.read_bytes())["file_path"] == path:
                file.unlink()

    def live(self) -> set[bytes]:
        return {file.read_bytes() for file in self.path.glob("*/cache/docs/*.json")}

    def kept(self) -> set[bytes]:
        trash = self.path.parent.glob(f"{self.path.name}.trash.backup-*/**/docs/*.json*")
        return self.live() | {file.read_bytes() for file in trash}


class Database(Side):
    def __init__(self, path: Path) -> None:
        self.path = path
        with SqliteStore(path).writer():
            pass  # so that it is there

    def analyse(self, path: str, second: int, content: int = 0, note: str = "") -> None:
        text = dump(made(path, second, content, note))
        entry = parse(text, repository=PROJECT, cache_type="docs").entry
        folder = Folder(Repository(PROJECT, hash8(PROJECT)), "docs", "centralized")
        with SqliteStore(self.path).writer() as writer:
            writer.put(folder, [Encoder().encode(entry, name=None, stamp=None)])

    def delete(self, path: str) -> None:
        ids = [row for row, entry in self._rows(live=True) if entry.file_path == path]
        with SqliteStore(self.path).writer() as writer:
            writer.throw_away(ids, reason="deleted")

    def live(self) -> set[bytes]:
        return {render(entry) for _, entry in self._rows(live=True)}

    def kept(self) -> set[bytes]:
        return {render(entry) for _, entry in self._rows(live=False)}

    def count(self) -> int:
        """How many entries answer, equal ones counted each."""
        return len(self._rows(live=True))

    def _rows(self, *, live: bool) -> list[tuple[int, Entry]]:
        if not self.path.exists():
            return []
        connection = open_for_reading(str(self.path))
        try:
            reader = EntryReader(connection)
            where = "WHERE e.id NOT IN (SELECT entry_id FROM trash)" if live else ""
            found = []
            for row in connection.execute(entry_sql() + where):
                entry = reader.entry(row)
                assert isinstance(entry, Entry)
                found.append((row[0], entry))
            return found
        finally:
            connection.close()


def side_of(kind: str, path: Path) -> Side:
    return Tree(path) if kind == "tree" else Database(path.with_suffix(".db"))


def texts(path: Path) -> Iterator[bytes]:
    """Every entry that our own reader finds in a tree, as a file."""
    for part in JsonTree(path).partitions():
        assert not isinstance(part, SqlitePartition)
        for found in getattr(part, "read", tuple)():
            assert isinstance(found, Found)
            yield render(found.entry)


def touch(path: Path, seconds: int) -> None:
    """Give every file below a time of change far away: clocks jump."""
    for file in path.rglob("*.json"):
        os.utime(file, (seconds, seconds))


def in_step(a: Side, b: Side) -> None:
    """A second sync finds nothing to do, and touches no byte of a tree."""
    before = [snapshot(side.path) for side in (a, b) if side.path.is_dir()]
    result, steps = sync(a.path, b.path)
    assert not result.did_something
    assert all(step.sign is Sign.LEAVE for step in steps)
    assert [snapshot(side.path) for side in (a, b) if side.path.is_dir()] == before


def conflict(a: Side, b: Side) -> None:
    """Both sides change ``x.rs``, b later; ``new.rs`` is news of a."""
    a.analyse("x.rs", 1)
    a.analyse("other.rs", 1)
    sync(a.path, b.path)
    a.analyse("x.rs", 5, note="of a")
    b.analyse("x.rs", 6, note="of b")
    a.analyse("new.rs", 7)


def filled(a: Side, b: Side, count: int = 6) -> None:
    """Both sides hold so many results."""
    for number in range(count):
        a.analyse(f"{number}.rs", 1)
    sync(a.path, b.path)
