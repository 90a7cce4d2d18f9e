"""Looking at many files of one directory: what they are called, which of them are as they were."""

from collections.abc import Collection

def stamp(size: int, modified: int, changed: int, inode: int) -> int:
    """What ``reading.stamp_of`` makes of a file's size, its two times (ns) and its inode."""

def unchanged(
    directory: int, names: tuple[str, ...], known: list[Collection[int] | None]
) -> tuple[list[int], int]:
    """Positions of the files that have one of the stamps known of them, and their bytes in all.

    ``directory`` is an open descriptor; ``known`` holds, for each of the names, stamps or None.
    """

def names_alone(path: str, suffix: bytes) -> list[str] | None:
    """Names of what lies in a directory, in no order, if all of it are regular files with that
    suffix; None if anything else lies there too, or if that can't be told."""
