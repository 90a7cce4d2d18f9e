"""Small caches with something of everything, and what must become of each of their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from rustassistant.codec import text_digest
from rustassistant.entry import Entry
from rustassistant.stores.base import Folder, Found
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.outcomes import Failure, Problem
from support import Cache, dump, fields_of

REPOSITORIES: Final = ("/home/dev/project", "/home/dev/größe")
TYPES: Final = ("analysis", "docs", "refactor", "todos")
_AGED: Final = 1_770_000_000
"""When the files were last changed: long ago, so that no later run has to read them again."""

_BROKEN: Final = (b"", b"{", b'{"file_path": "a.rs"}', b"[1, 2]", b'{"result": "\xff"}')


class File(NamedTuple):
    """A source file: its bytes, and the entry it holds, or None for one that must fail."""

    path: str
    text: bytes
    folder: Folder | None = None
    entry: Entry | None = None

    @property
    def known(self) -> Entry:
        """Its entry, where it must have one."""
        assert self.entry is not None, self.path
        return self.entry

    @property
    def place(self) -> Folder:
        """Its folder, likewise."""
        assert self.folder is not None, self.path
        return self.folder

    @property
    def acknowledged_as(self) -> tuple[str, str, str]:
        """What tells it apart in an acknowledgement: type, path, digest of its result."""
        entry = self.known
        return (entry.cache_type, entry.file_path, text_digest(entry.result).hex())


class Source:
    """A cache tree and what it holds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = _read(root)
        self.entries = [file for file in self.files if file.entry is not None]
        self.broken = {file.path for file in self.files if file.entry is None}


def build(root: Path, random: Random, files: int, *, broken: int = 3) -> Source:
    """A tree of so many files and some copies; ``broken`` of them must fail."""
    cache = Cache(root)
    shared = [_result(random, 200) for _ in range(3)]
    for number in range(files - broken):
        add_file(cache, random, number, shared)
    for number in range(broken):
        where = {"repository": random.choice(REPOSITORIES), "cache_type": random.choice(TYPES)}
        age(cache.add(f"broken{number}.rs", text=_BROKEN[number % len(_BROKEN)], **where))
    made = Source(root)
    assert len(made.broken) == broken
    return made


def add_file(cache: Cache, random: Random, number: int, shared: Sequence[Any]) -> Path:
    """One more file, now of this kind, now of that."""
    repository, cache_type = random.choice(REPOSITORIES), random.choice(TYPES)
    path = f"src/part{number % 7}/ä{number}.rs"
    result = random.choice(shared) if number % 3 == 0 else _result(random, _size(random))
    fields: dict[str, Any] = {
        "content": b"%d" % (number // 4),  # files of equal content are many
        "cache_type": cache_type,
        "result": result,
        "tokens_used": random.choice((None, 17, 4711)),
        "old": number % 5 == 1,
        "analyzed_at": f"2026-02-04T03:13:54.{number:09}+00:00",
    }
    text = name = None
    if number % 6 == 2:  # the columns would not give it back
        made = fields_of(path, **fields) | {"confidence": 0.5}
        text = dump(made)
    if number % 11 == 4:
        name = f"other name {number}.json"
    file = cache.add(path, repository=repository, text=text, name=name, **fields)
    if number % 9 == 5:  # the same entry once more
        age(file, file.with_name(f"again {number}.json"))
    if number % 13 == 7:  # another result for the same request
        newer = fields | {"result": _result(random, 300), "analyzed_at": "2026-03-01T00:00:00Z"}
        age(cache.add(path, repository=repository, name=f"newer {number}.json", **newer))
    return age(file)


def age(file: Path, copy: Path | None = None) -> Path:
    """Set its times back; with ``copy``, first make another file with the same bytes."""
    if copy is not None:
        copy.write_bytes(file.read_bytes())
        os.utime(copy, (_AGED, _AGED))
    os.utime(file, (_AGED, _AGED))
    return file


def _size(random: Random) -> int:
    return random.choice((20, 200, 900, 3_000, 9_000)) if random.random() < 0.5 else 300


def _result(random: Random, size: int) -> dict[str, Any]:
    words = [random.choice(("error", "handling", "is", "done", "in", "place")) for _ in range(8)]
    return {
        "summary": " ".join(words),
        "score": random.random(),
        "noise": random.randbytes(size // 2).hex(),
    }


def _read(root: Path) -> list[File]:
    files = []
    for partition in JsonTree(root).partitions():
        assert not isinstance(partition, Failure | Problem), partition
        for item in partition.read():
            text = Path(item.path).read_bytes()
            if isinstance(item, Found):
                files.append(File(item.path, text, partition.folder, item.entry))
            else:
                files.append(File(item.path, text))
    return files
