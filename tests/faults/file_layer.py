"""A file layer under SQLite that counts every operation and lets a fault happen at one of them.

It is SQLite's own for Unix, with `FaultyFile` before each file. What Python does to files by itself
(see ``system_calls``) is counted among them. Shared memory is not: SQLite maps it without asking,
and it holds nothing that outlives its processes; that there may be no room for it is tried with a
limit on the size of files.

It takes over the process: only for a child that does nothing else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol

import apsw

from faults.system_calls import SystemCalls, exists

CHANGES: Final = frozenset(
    ("write", "sync", "truncate", "delete", "create", "mkdir", "rmdir", "link", "rename",
     "exchange", "sync directory", "sync all")
)  # fmt: skip


class Operation(NamedTuple):
    """One operation on a file. ``target`` is the other name of a rename, a link or an exchange;
    ``size`` a truncation's, in bytes."""

    number: int
    kind: str
    path: str
    data: bytes = b""
    offset: int = 0
    size: int = 0
    target: str = ""
    by_python: bool = False


Proceed = Callable[[bytes], Any]
"""Does what is asked for; a write may be made of other bytes."""


class Fault(Protocol):
    """What happens at an operation: it proceeds, or does not."""

    def __call__(self, operation: Operation, proceed: Proceed) -> Any:
        """Answer with what ``proceed`` gives."""


class FileLayer:
    """Sends every operation below ``root`` through ``fault``. Numbers begin with 1."""

    def __init__(self, root: str, fault: Fault, *, is_plain: bool = False) -> None:
        self._root = root
        self._fault = fault
        self._count = 0
        self._vfs = _FaultyVfs(self)
        SystemCalls(self.run, root, is_plain=is_plain)
        apsw.Connection = _Connection  # type: ignore[misc]

    def run(self, kind: str, path: str, proceed: Proceed, **facts: Any) -> Any:
        """One operation."""
        if not self._is_watched(path) and not self._is_watched(facts.get("target", "")):
            return proceed(facts.get("data", b""))
        self._count += 1
        return self._fault(Operation(self._count, kind, path, **facts), proceed)

    def _is_watched(self, path: str) -> bool:
        return path == self._root or path.startswith(self._root + "/")


class _Connection(apsw.Connection):
    """Closes as SQLite does, which tells of no failure: apsw raises what a layer in Python did."""

    def close(self, force: bool = False) -> None:
        with suppress(apsw.Error):
            super().close(force)


class _FaultyVfs(apsw.VFS):
    def __init__(self, layer: FileLayer) -> None:
        self._layer = layer
        super().__init__("faulty", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        if name is None:
            return apsw.VFSFile("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        creates = flags[0] & apsw.SQLITE_OPEN_CREATE and not exists(path)
        opened: apsw.VFSFile = self._layer.run(
            "create" if creates else "open",
            path,
            lambda _: FaultyFile(self._layer, name, path, flags),
        )
        return opened

    def xDelete(self, filename: str, syncdir: bool) -> None:
        delete = super().xDelete
        if exists(filename):
            self._layer.run("delete", filename, lambda _: delete(filename, syncdir))
            if syncdir:
                self._layer.run("sync directory", os.path.dirname(filename), lambda _: None)
        else:
            delete(filename, syncdir)


class FaultyFile(apsw.VFSFile):
    """A file of SQLite's. Locks and shared memory pass through."""

    def __init__(self, layer: FileLayer, name: Any, path: str, flags: list[int]) -> None:
        self._layer = layer
        self._path = path
        super().__init__("unix", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        read = super().xRead
        text: bytes = self._layer.run("read", self._path, lambda _: read(amount, offset))
        return text

    def xWrite(self, data: Any, offset: int) -> None:
        write = super().xWrite
        self._layer.run(
            "write", self._path, lambda part: write(part, offset), data=bytes(data), offset=offset
        )

    def xSync(self, flags: int) -> None:
        sync = super().xSync
        self._layer.run("sync", self._path, lambda _: sync(flags))

    def xTruncate(self, newsize: int) -> None:
        truncate = super().xTruncate
        self._layer.run("truncate", self._path, lambda _: truncate(newsize), size=newsize)

    def xFileSize(self) -> int:
        measure = super().xFileSize
        size: int = self._layer.run("size", self._path, lambda _: measure())
        return size


class SourceLayer:
    """Counts what is asked of files and directories below ``root``, to fail at one request.

    Takes over the process, like `FileLayer`. ``count`` is how many there were.
    """

    def __init__(self, root: str, failing: int, *, for_good: bool = False) -> None:
        self._root = root
        self._failing = failing
        self._for_good = for_good
        self._paths: dict[int, str] = {}
        self.count = 0
        self.failed: list[str] = []
        for name in ("open", "read", "fstat", "stat", "lstat", "listdir", "scandir"):
            setattr(os, name, self._watched(name, getattr(os, name)))

    def _watched(self, name: str, real: Any) -> Any:
        def watched(path: Any, *args: Any, **options: Any) -> Any:
            where = self._where(path, options.get("dir_fd"))
            if where == self._root or where.startswith(self._root + "/"):
                self.count += 1
                is_due = self.count == self._failing
                if is_due or (self._for_good and self.count > self._failing):
                    self.failed.append(f"{name} {where}")
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            answer = real(path, *args, **options)
            if name == "open":
                self._paths[answer] = where
            return answer

        return watched

    def _where(self, path: Any, directory: int | None) -> str:
        if isinstance(path, int):
            return self._paths.get(path, "")
        return os.path.join(self._paths.get(directory or -1, ""), os.fsdecode(path))
