"""Trees with a bit of everything that can lie in a directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from support import Cache, dump, fields_of, snapshot

LONG_AGO = 1_600_000_000_123_456_789


def age(root: Path) -> None:
    """Give everything times of its own, to the nanosecond."""
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        moment = LONG_AGO + number
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    os.utime(root, ns=(LONG_AGO, LONG_AGO))


def varied(root: Path) -> Path:
    """A cache with files, links, a FIFO, odd names, modes and times."""
    cache = Cache(root)
    for number in range(5):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    directory = cache.repository("/home/dev/other") / "cache" / "todos"
    directory.mkdir(parents=True)
    (directory / "empty.json").write_bytes(b"")
    (directory / "large.bin").write_bytes(os.urandom(2**20 + 17))
    (directory / "larger.bin").write_bytes(os.urandom(2**10) * (5 * 2**10))
    (directory / "private.json").write_bytes(b"{}")
    (directory / "private.json").chmod(0o400)
    (directory / "program").write_bytes(b"#!/bin/sh\n")
    (directory / "program").chmod(0o755)
    (directory / "link.json").symlink_to("private.json")
    (directory / "dangling").symlink_to("nowhere/at/all")
    (directory / "up").symlink_to("../..")
    (directory / ("n" * 255)).write_bytes(b"long")
    (directory / "two\nlines \\ back").write_bytes(b"odd")
    os.mkfifo(directory / "fifo", 0o640)
    (cache.root / os.fsdecode(b"not-utf8-\xff")).write_bytes(b"\xff")
    (cache.root / os.fsdecode(b"link-\xfe")).symlink_to(os.fsdecode(b"not-utf8-\xff"))
    (cache.root / "hollow").mkdir(0o750)
    (cache.root / "locked").mkdir()
    (cache.root / "locked" / "kept.json").write_bytes(b"{}")
    (cache.root / "locked").chmod(0o550)
    cache.root.chmod(0o711)
    age(cache.root)
    os.utime(directory / "empty.json", ns=(-1_500_000_001, -1_500_000_001))  # before 1970
    return cache.root


def repository(root: Path) -> Path:
    """A repository with code, and a cache of its own."""
    directory = root / ".rustassistant" / "cache" / "docs"
    directory.mkdir(parents=True)
    (directory / "src_lib_rs.json").write_bytes(dump(fields_of()))
    (root / ".rustassistant" / "config.toml").write_text("x = 1\n")
    (root / "src").mkdir()
    (root / "src" / "lib.rs").write_text("fn main() {}\n")
    (root / ".git").mkdir()
    root.chmod(0o750)
    age(root)
    return root


class State(NamedTuple):
    """What lies in a place, and its own mode and time."""

    mode: int
    mtime: int
    below: dict[str, tuple[int, int, bytes]]


def state(path: Path) -> State:
    """All that a backup keeps of a directory."""
    status = path.stat()
    return State(stat.S_IMODE(status.st_mode), status.st_mtime_ns, snapshot(path))
