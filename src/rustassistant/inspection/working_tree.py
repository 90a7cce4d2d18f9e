"""The files of a repository as they are now: read once each, and never beyond its root."""

from __future__ import annotations

import hashlib
import os
import stat
from enum import StrEnum
from typing import Final, NamedTuple

from rustassistant.stores.base import printable

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NOT_REGULAR: Final = "no regular file"
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not waiting for the other end of a FIFO."""


class FileNow(StrEnum):
    """What became of a file."""

    THERE = "there"
    DELETED = "deleted"
    UNREADABLE = "unreadable"


class Look(NamedTuple):
    """A file as it is; ``digest`` is the SHA-256 of its content if it is there, else ``why``."""

    state: FileNow
    digest: bytes = b""
    why: str = ""


class WorkingTree:
    """A repository at ``root``. Raises OSError if that is no directory that can be opened."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> WorkingTree:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def look(self, path: str) -> Look:
        """A file by its path in the repository.

        Links are followed as far as they stay in the repository. The path is one that a cache
        gives, which may come from anybody.
        """
        try:
            inside = os.path.relpath(os.path.realpath(os.path.join(self.root, path)), self.root)
            if inside == ".." or inside.startswith("../"):
                return Look(FileNow.UNREADABLE, why="leads out of the repository")
            return self._hashed(inside.split("/"))
        except (FileNotFoundError, NotADirectoryError):
            return Look(FileNow.DELETED)
        except OSError as error:
            return Look(FileNow.UNREADABLE, why=error.strerror or str(error))
        except ValueError as error:  # a NUL in the path, or half a surrogate pair
            return Look(FileNow.UNREADABLE, why=printable(str(error)))

    def _hashed(self, parts: list[str]) -> Look:
        """Each directory is opened in the one above, so that no link can be put in the way."""
        current = os.dup(self._descriptor)
        try:
            for part in parts[:-1]:
                below = os.open(part, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = below
            descriptor = os.open(parts[-1], _FILE, dir_fd=current)
        finally:
            os.close(current)
        hashed = hash_and_close(descriptor)
        if hashed is None:
            return Look(FileNow.UNREADABLE, why=NOT_REGULAR)
        return Look(FileNow.THERE, hashed[0])


def hash_and_close(descriptor: int) -> tuple[bytes, int] | None:
    """The SHA-256 of an open file's content, and its size, a piece at a time; None for what is no
    regular file, such as a directory or a FIFO. Closes it in any case."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return digest, file.tell()
