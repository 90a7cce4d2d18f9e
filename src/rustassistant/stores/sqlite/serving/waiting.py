"""A database as a source, with the entries that wait beside it: whoever leaves it leaves with all.

Nothing of what waits is touched; the next program that writes to the database folds it in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

import apsw
import msgspec

from rustassistant.entry import Entry
from rustassistant.entry_json import file_name
from rustassistant.errors import DamagedError
from rustassistant.stores.base import (
    Folder,
    Found,
    Look,
    Partition,
    Stamps,
    Survey,
    Taker,
    printable,
)
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.held import HeldReader
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.serving.additions import folder_for, folders_of
from rustassistant.stores.sqlite.serving.spool import ENDING, Spool, Waiting
from rustassistant.stores.sqlite.store import SqliteStore
from rustassistant.stores.sqlite.trash import SUPERSEDED

_PARTITION_ENTRIES: Final = 64
"""A partition carries its entries, which may be folded in, and their files gone, at any time."""


class WaitingPartition(msgspec.Struct, frozen=True):
    """Some entries that wait, all of one folder, with their files."""

    folder: Folder
    paths: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def names(self) -> Sequence[str]:
        """What their files would be called in a tree."""
        return [file_name(entry.file_path) for entry in self.entries]

    @property
    def label(self) -> str:
        """The directory in which they wait, for people."""
        return printable(os.path.dirname(self.paths[0]))

    def part(self, positions: Sequence[int]) -> WaitingPartition:
        """Some of them."""
        return msgspec.structs.replace(
            self,
            paths=tuple(self.paths[position] for position in positions),
            entries=tuple(self.entries[position] for position in positions),
        )

    def place(self, position: int) -> str:
        """The file in which it waits."""
        return printable(self.paths[position])

    def look(self, known: Stamps) -> Look:
        """They have no stamps."""
        return Look()

    def read(self, taker: Taker | None = None) -> Iterator[Found | Failure]:
        """Each, as it was when it was listed."""
        for path, entry in zip(self.paths, self.entries, strict=True):
            yield Found(entry, printable(path), len(entry.result))


class SqliteWithWaiting(SqliteStore):
    """The database at ``path``, and what waits beside it. If only that is there, it is all."""

    @property
    def exists(self) -> bool:
        """Whether there is anything of it."""
        return os.path.exists(self.path) or not self._spool.is_empty()

    @property
    def _spool(self) -> Spool:
        return Spool(self.path)

    def survey(self) -> Survey:
        """Count what waits too."""
        waiting = [part for part in self._waiting() if isinstance(part, WaitingPartition)]
        own = Survey({}, 0.0, ()) if self._is_gone() else super().survey()
        files = dict(own.files)
        for part in waiting:
            cache_type = part.folder.cache_type
            files[cache_type] = files.get(cache_type, 0) + len(part.entries)
        return own._replace(files=files)

    def partitions(self) -> Iterator[Partition | Failure | Problem]:  # type: ignore[override]
        """List what waits, then the database."""
        # In this order: what is folded in between is in the database then, and comes once more.
        count = 0
        for part in self._waiting():
            count += len(part.entries) if isinstance(part, WaitingPartition) else 0
            yield part
        if count:
            waits = "1 entry waits" if count == 1 else f"{count} entries wait"
            yield Problem(
                printable(self._spool.directory),
                f"{waits} to be written into the database; read from here like all others",
            )
        if not self._is_gone():
            yield from super().partitions()

    def _is_gone(self) -> bool:
        return not os.path.exists(self.path) and not self._spool.is_empty()

    def _waiting(self) -> Iterator[WaitingPartition | Failure]:
        """What waits, and what of it can't be read, some entries of one folder at a time."""
        if self._spool.is_empty():
            return
        try:
            os.listdir(self._spool.directory)
        except FileNotFoundError:
            return  # folded in meanwhile
        except OSError as error:
            reason = f"what waits here can't be listed: {error.strerror}"
            yield Failure(printable(self._spool.directory), "", reason)
            return
        part: WaitingPartition | None = None
        with _Folders(self.path, superseded=self._superseded) as folders:
            for one in self._spool.waiting():
                if isinstance(one, DamagedError):
                    path, _, reason = one.message.partition(f"{ENDING}: ")
                    yield Failure(path + ENDING, "", reason)
                    continue
                folder = folders.place(one)
                if folder is None:
                    continue
                if (
                    part is not None
                    and part.folder == folder
                    and len(part.paths) < _PARTITION_ENTRIES
                ):
                    part = msgspec.structs.replace(
                        part, paths=(*part.paths, one.path), entries=(*part.entries, one.entry)
                    )
                    continue
                if part is not None:
                    yield part
                part = WaitingPartition(folder, (one.path,), (one.entry,))
        if part is not None:
            yield part


class _Folders:
    """Where the database would keep what waits; without a database, where the Rust program would
    look."""

    def __init__(self, path: str, *, superseded: bool) -> None:
        self._path = path
        self._removed = (None, SUPERSEDED) if superseded else (None,)

    def __enter__(self) -> _Folders:
        self._connection = open_for_reading(self._path) if os.path.exists(self._path) else None
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def place(self, one: Waiting) -> Folder | None:
        """The folder of an entry; None if the database lists that very entry.

        Then somebody folded it in and was killed before its file was removed.
        """
        if self._connection is None:
            return folder_for(one.entry, ())
        try:
            with errors_named(self._path):
                return self._looked_up(self._connection, one.entry)
        except DamagedError:  # what can be read of it is listed; this can be read
            return folder_for(one.entry, ())

    def _looked_up(self, connection: apsw.Connection, entry: Entry) -> Folder | None:
        folder = folder_for(entry, folders_of(connection.execute, entry))
        held = HeldReader(EntryReader(connection))
        for there in held.held(folder, entry):
            if isinstance(there, DamagedError) or there.entry != entry:
                continue
            if there.removed in self._removed:
                return None
        own = held.repository(folder.repository)
        return folder if own is None else msgspec.structs.replace(folder, repository=own)
