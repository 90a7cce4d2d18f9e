"""Entries that wait beside the database, while somebody else holds its write lock.

Each is a file of its own in ``<database>.pending/``, written beside its place, synced and renamed::

    name    = file hash (64 hex digits) "-" time (ns, 19 digits) "-" 8 hex digits ".entry"
    content = header LF entry
    header  = a JSON object: "repository", "cache_type", "set_now", "sha256" (of the entry, hex)
    entry   = the entry's file as the Rust program would write it

so that a person can read what waits there, and keep it without this program.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from secrets import token_hex
from typing import Final, NamedTuple

import msgspec

from rustassistant.entry import Entry
from rustassistant.entry_json import parse, render
from rustassistant.errors import DamagedError, EntryError
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.naming import from_os_error

SUFFIX: Final = ".pending"
ENDING: Final = ".entry"
_UNFINISHED: Final = ".new"
_UNFINISHED_SECONDS: Final = 600
"""Writing one takes milliseconds: what is older is nobody's any more."""


class _Header(msgspec.Struct):
    repository: str
    cache_type: str
    set_now: bool
    sha256: str


class Waiting(NamedTuple):
    """An entry that waits, and its file."""

    entry: Entry
    set_now: bool
    path: str


class Spool:
    """What waits for one database."""

    def __init__(self, database: str) -> None:
        self.directory = database + SUFFIX

    def is_empty(self) -> bool:
        """Whether nothing waits, told by one look: the directory goes with its last entry."""
        return not os.access(self.directory, os.F_OK)

    def add(self, entry: Entry, *, set_now: bool) -> None:
        """Keep an entry there; it would survive a power cut when this returns."""
        text = render(entry)
        header = _Header(entry.repository, entry.cache_type, set_now, sha256(text).hexdigest())
        name = f"{entry.file_hash.hex()}-{time.time_ns():019d}-{token_hex(4)}"
        temporary = os.path.join(self.directory, f".{name}{_UNFINISHED}")
        content = msgspec.json.encode(header) + b"\n" + text
        try:
            while True:
                self._make_directory()
                try:
                    _write(temporary, content)
                    os.rename(temporary, os.path.join(self.directory, name + ENDING))
                except FileNotFoundError:
                    continue  # the last that waited there was folded in, and the directory with it
                with suppress(FileNotFoundError):  # this one was folded in already
                    _sync_directory(self.directory)
                return
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary)
            raise from_os_error(temporary, error) from None

    def _make_directory(self) -> None:
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            return
        _sync_directory(os.path.dirname(self.directory))

    def waiting(self, file_hash: bytes | None = None) -> Iterator[Waiting | DamagedError]:
        """What waits, of one content or all, the oldest first. What cannot be read stays there."""
        start = "" if file_hash is None else file_hash.hex()
        try:
            names = os.listdir(self.directory)
        except OSError:
            return
        names = [name for name in names if name.startswith(start) and name.endswith(ENDING)]
        for name in sorted(names, key=lambda name: name.split("-")[1:]):
            path = os.path.join(self.directory, name)
            try:
                yield _read(path)
            except FileNotFoundError:
                continue  # folded in meanwhile
            except (OSError, EntryError, DamagedError) as error:
                yield DamagedError(f"{printable(path)}: {error}")

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Whether there is anything. Within it, nobody else folds, or removes the directory.

        To be entered with the database's lock, and left when what was folded is gone: whoever
        came between would fold it again, and so bring back what has just been deleted.
        """
        descriptor = self._lock()
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _lock(self) -> int | None:
        while True:
            try:
                descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(os.stat(self.directory), os.fstat(descriptor)):
                    return descriptor
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # whoever held it has removed it

    def remove(self, paths: list[str]) -> None:
        """After they were committed. What a process that was killed did not finish goes too."""
        for path in [*paths, *self._unfinished()]:
            with suppress(FileNotFoundError):
                os.unlink(path)
        with suppress(OSError):  # others wait there
            os.rmdir(self.directory)

    def _unfinished(self) -> Iterator[str]:
        with suppress(OSError), os.scandir(self.directory) as files:
            for file in files:
                if file.name.endswith(_UNFINISHED) and _age(file) > _UNFINISHED_SECONDS:
                    yield file.path


def _age(file: os.DirEntry[str]) -> float:
    try:
        return time.time() - file.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0


def _read(path: str) -> Waiting:
    with open(path, "rb") as file:
        first, _, text = file.read().partition(b"\n")
    try:
        header = msgspec.json.decode(first, type=_Header)
    except msgspec.DecodeError as error:
        raise DamagedError(str(error)) from None
    if sha256(text).hexdigest() != header.sha256:
        raise DamagedError("it differs from its SHA-256")
    parsed = parse(text, repository=header.repository, cache_type=header.cache_type)
    return Waiting(parsed.entry, header.set_now, path)


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
