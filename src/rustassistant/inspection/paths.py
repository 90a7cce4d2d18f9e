"""Which entries are about a file that somebody names, wherever its repository lies by now."""

from __future__ import annotations

import os
from pathlib import Path

from rustassistant.stores.base import printable

_Rank = tuple[bool, bool, int]


def suffixes(file: str | os.PathLike[str]) -> list[str]:
    """What a file's path in its repository may be, the longest first: all ends of its path."""
    named = printable(os.path.normpath(file))
    ends = [named]
    for path in _absolutes(file):
        parts = path.strip("/").split("/")
        ends += ["/".join(parts[start:]) for start in range(len(parts))]
    return list(dict.fromkeys(ends))


def ranked(file: str | os.PathLike[str], repository: str, path: str) -> _Rank:
    """How well an entry's file fits a named one; the largest is meant.

    Best is the file itself in its repository, then one whose path in the repository was named,
    then the longest common end.
    """
    root = repository.rstrip("/")
    is_it = any(absolute == f"{root}/{path}" for absolute in _absolutes(file))
    return (is_it, printable(os.path.normpath(file)) == path, path.count("/") + 1)


def _absolutes(file: str | os.PathLike[str]) -> list[str]:
    """As it is named, and without links."""
    path = Path(file).expanduser()
    return list(
        dict.fromkeys((printable(os.path.abspath(path)), printable(os.path.realpath(path))))
    )
