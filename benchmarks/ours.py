"""The commands to measure, and what to hold them against."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

Command = list[str | Path]

TAR: Final = "tar"
FIND: Final = "find"
MIGRATE: Final = "rustassistant cache migrate"


def rustassistant(*arguments: str | Path) -> Command:
    """The installed command, as a user runs it; through the interpreter if it isn't there."""
    script = Path(sys.executable).with_name("rustassistant")
    return [script, *arguments] if script.is_file() else [sys.executable, "-m", *_named(arguments)]


def _named(arguments: tuple[str | Path, ...]) -> Command:
    return ["rustassistant", *arguments]


def migrate(repos: Path, database: Path, *options: str) -> Command:
    """Default settings, unless ``options`` say otherwise."""
    return rustassistant("cache", "migrate", "-q", "-s", repos, "-d", database, *options)


def recompress(database: Path) -> list[Command]:
    """As small as it gets: new dictionaries, the level that is meant for when nobody waits."""
    return [
        rustassistant("cache", "recompress", "-q", "-d", database, "--train"),
        rustassistant("cache", "compact", "-q", "-d", database),
    ]


def verify(repos: Path, database: Path) -> Command:
    """All of it anew, whatever an interrupted comparison noted."""
    return rustassistant("cache", "verify", "-q", "--fresh", "-s", repos, "-d", database)


def tar(repos: Path) -> Command:
    """Read everything and keep nothing. Through a pipe: GNU tar reads no file for /dev/null."""
    return ["sh", "-c", f"tar cf - -C {shlex.quote(str(repos.parent))} {repos.name} | wc -c"]


def find(repos: Path) -> Command:
    """Look at every file's size and time and open none."""
    return ["find", repos, "-type", "f", "-printf", "%s %T@\\n"]


def remove(database: Path) -> None:
    """The database, a directory of one, and what lies beside it."""
    for path in database.parent.glob(f"{database.name}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def bytes_of(database: Path) -> int:
    """With the write-ahead log and whatever else lies beside it or, of a directory, in it."""
    size = 0
    for path in database.parent.glob(f"{database.name}*"):
        parts = path.rglob("*") if path.is_dir() else [path]
        size += sum(part.stat().st_size for part in parts if part.is_file())
    return size
