"""What a disk may hold after the power failed, worked out from a record of what was written.

The model is the least that POSIX promises: what a file held at its last sync is there; of what was
written to it since, any part of 512 bytes may be there or not, in any order. A name that was made,
changed or removed since its directory was last synced may be as before; a directory whose name is
not there takes all with it that lies in it. Changing a name is one step, also from one directory to
another: it lasts once either of them was synced. SQLite itself syncs the directory when it first
syncs a journal or log that it made, which is taken from its source (``unixSync``). Shared memory is
gone.

Left out: bytes that nobody wrote (a sector garbled by the power cut itself) are not made up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from faults.file_layer import CHANGES, Operation

SECTOR: Final = 512
_SYNCS_DIRECTORY: Final = ("-journal", "-wal")


class Event(NamedTuple):
    """A change that a run made to the disk, or entries that it acknowledged just then."""

    kind: str
    path: str = ""
    data: bytes = b""
    offset: int = 0
    size: int = 0
    target: str = ""
    safe: Sequence[Any] = ()


class Recorder:
    """A fault that lets everything proceed, and keeps it."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, operation: Operation, proceed: Callable[[bytes], Any]) -> Any:
        answer = proceed(operation.data)
        if operation.kind in CHANGES:
            _, kind, path, data, offset, size, target, _ = operation
            self.events.append(Event(kind, path, data, offset, size, target))
        return answer


class _File:
    """A file's bytes as last synced, and what was done to it since."""

    def __init__(self, path: str, content: bytes = b"") -> None:
        self.synced = content
        self.pending: list[Event] = []
        self.syncs_directory = path.endswith(_SYNCS_DIRECTORY)

    def sync(self) -> None:
        self.synced = _applied(self.synced, self.pending, lambda: True)
        self.pending.clear()


Files = dict[str, bytes | None]
"""Everything below a directory by its path: a file's bytes, None for a directory."""

Names = dict[str, "_File | None"]


class Disk:
    """A directory tree to which events happen, and which can lose its power."""

    def __init__(self, root: str, before: Files) -> None:
        self._root = root
        self._synced: Names = {}
        self._names: Names = {}
        self._pending: list[tuple[Event, _File | None]] = []
        self.acknowledged: set[tuple[str, str, str]] = set()
        for path, content in before.items():
            made = None if content is None else _File(path, content)
            self._synced[path] = self._names[path] = made

    def play(self, events: Iterable[Event]) -> None:
        """Let these happen, one after another."""
        for event in events:
            self._play(event)

    def _play(self, event: Event) -> None:
        kind, path = event.kind, event.path
        if kind == "safe":
            self.acknowledged.update((a, b, c) for a, b, c in event.safe)
        elif kind in ("write", "truncate"):
            self._file(path).pending.append(event)
        elif kind == "sync":
            file = self._file(path)
            file.sync()
            if file.syncs_directory:
                file.syncs_directory = False
                self._sync_directory(os.path.dirname(path))
        elif kind == "sync directory":
            self._sync_directory(path)
        elif kind == "sync all":
            self._sync_all()
        else:
            file_or_none = _File(path) if kind == "create" else self._names.get(path)
            self._pending.append((event, file_or_none))
            _rename(self._names, event, file_or_none)

    def _file(self, path: str) -> _File:
        file = self._names[path]
        assert file is not None, f"{path} is a directory"
        return file

    def _sync_directory(self, directory: str) -> None:
        waiting = self._pending
        self._pending = []
        for event, file in waiting:
            if directory in (os.path.dirname(event.path), os.path.dirname(event.target)):
                _rename(self._synced, event, file)
            else:
                self._pending.append((event, file))

    def _sync_all(self) -> None:
        for event, file in self._pending:
            _rename(self._synced, event, file)
        self._pending = []
        for one in self._names.values():
            if one is not None:
                one.sync()

    def files(self) -> Files:
        """Files and their bytes as programs see them while there is power."""
        return {
            path: None if file is None else _applied(file.synced, file.pending, lambda: True)
            for path, file in self._names.items()
        }

    def after_power_cut(self, how: str, random: Random) -> Files:
        """Files and their bytes as they may be found. ``how`` is one of `WAYS`."""
        names = dict(self._synced)
        for event, file in self._pending:
            if _kept(how, random, names=True):
                _rename(names, event, file)
        return {
            path: None if file is None else self._content(file, how, random)
            for path, file in names.items()
            if self._is_reached(path, names)
        }

    def _is_reached(self, path: str, names: Names) -> bool:
        """Whether all directories that it lies in are there."""
        above = os.path.dirname(path)
        while above != self._root and above in names:
            above = os.path.dirname(above)
        return above == self._root

    @staticmethod
    def _content(file: _File, how: str, random: Random) -> bytes:
        pending = list(file.pending)
        if how == "prefix":
            del pending[random.randint(0, len(pending)) :]
        elif how == "reordered":
            random.shuffle(pending)
        share = random.choice((0.1, 0.5, 0.9))

        def keep() -> bool:
            if how in ("torn", "reordered"):
                return random.random() < share
            return _kept(how, random, names=False)

        return _applied(file.synced, pending, keep, whole=how not in ("torn", "reordered"))


WAYS: Final = ("nothing", "names", "contents", "prefix", "some", "torn", "reordered")
"""What of the unsynced is there after all: nothing; the changes of names, or else those of contents
alone; the first of each file's writes; some of them, whole; some sectors; those in any order."""


def _kept(how: str, random: Random, *, names: bool) -> bool:
    if how in ("nothing", "names", "contents"):
        return how == ("names" if names else "contents")
    return random.random() < 0.5 if names or how == "some" else True


def _rename(names: Names, event: Event, file: _File | None) -> None:
    """Do to the names what an event did. A new name lasts without the one that the file had."""
    kind, path, target = event.kind, event.path, event.target
    is_there = path in names and names[path] is file
    if kind in ("create", "mkdir"):
        names[path] = file
    elif kind == "link":
        names[target] = file
    elif kind == "exchange":
        before = names.pop(target, None)
        if is_there:
            del names[path]
        names[target] = file
        if before is not None:
            names[path] = before
    elif kind == "rmdir":
        for below in [one for one in names if one == path or one.startswith(path + "/")]:
            del names[below]
    else:
        if is_there:
            del names[path]
        if kind == "rename":
            names[target] = file


def _applied(
    content: bytes, pending: Iterable[Event], keep: Callable[[], bool], *, whole: bool = True
) -> bytes:
    """Bytes after those changes of which ``keep`` says so: whole ones, or each of their sectors."""
    made = bytearray(content)
    for event in pending:
        if event.kind == "truncate":
            if keep():
                del made[event.size :]
                made.extend(bytes(event.size - len(made)))
            continue
        for start, end in [(0, len(event.data))] if whole else _sectors(event):
            if keep():
                begin = event.offset + start
                made.extend(bytes(max(0, begin + end - start - len(made))))
                made[begin : begin + end - start] = event.data[start:end]
    return bytes(made)


def _sectors(event: Event) -> Iterable[tuple[int, int]]:
    """Where in the data of a write the sectors of its file begin and end."""
    start = 0
    while start < len(event.data):
        end = min(len(event.data), start + SECTOR - (event.offset + start) % SECTOR)
        yield start, end
        start = end


def read_in(root: Path) -> Files:
    """Everything below a directory."""
    return {
        str(path): None if path.is_dir() else path.read_bytes() for path in sorted(root.rglob("*"))
    }


def write_out(state: Files, old: str, new: Path) -> None:
    """Make these files and directories, which lay below ``old``, below ``new``."""
    for path, content in sorted(state.items()):
        place = new / os.path.relpath(path, old)
        if content is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(content)
