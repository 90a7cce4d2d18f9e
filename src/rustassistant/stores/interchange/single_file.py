"""A destination that is one file, made anew by each run.

It is written beside its place, and gets its name when it is whole: half an export under the name of
a whole one would be taken for all there is.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Final, NoReturn, Protocol, cast

import msgspec

from rustassistant.entry import Entry
from rustassistant.errors import (
    ConflictError,
    DamagedError,
    DestinationError,
    EntryError,
    ForeignFileError,
    OutOfSpaceError,
    RustAssistantError,
    UsageError,
)
from rustassistant.records import Record
from rustassistant.stores.base import Finder, Folder, StoreInfo, printable
from rustassistant.stores.outcomes import Failure, OnConflict, Outcome, Outcomes, Put, Rules
from rustassistant.stores.plain_writer import PlainWriter
from rustassistant.stores.renaming import rename_new

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_CHUNK: Final = 2**20
_NAME_PART: Final = 40
"""Characters of the name that are repeated in that of the file beside it."""

_RANDOM: Final = re.compile(r"[a-z0-9_]{8}")
"""What ``tempfile`` ends names with."""

_NO_LINKS: Final = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
_NEWEST: Final = Rules()


class FileTally(msgspec.Struct):
    """What became of the entries of a run, and of a file that was there: ``unchanged`` if it was
    the same, else ``replaced``, and kept as ``aside``. A rehearsal keeps none."""

    written: int = 0
    failures: list[Failure] = msgspec.field(default_factory=list)
    unchanged: bool = False
    replaced: bool = False
    aside: str | None = None


class Sink(Protocol):
    """Where entries go to, in one format."""

    def add(self, folder: Folder, entry: Entry, name: bytes | None) -> None:
        """Write one entry. Raises EntryError if the format can't hold it."""

    def close(self) -> None:
        """Write what has come together, and the format's end."""


class _Digested(io.RawIOBase):
    """A file that nothing is kept of but its size and its digest."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = sha256()

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Buffer, /) -> int:
        self._digest.update(data)
        length = memoryview(data).nbytes
        self.size += length
        return length

    def digest(self) -> bytes:
        return self._digest.digest()


class FileWriter(PlainWriter):
    """Writes entries, in the order in which they come."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.tally = FileTally()
        self._sink = sink

    def put(self, folder: Folder, records: Sequence[Record]) -> Put:
        """Write them all."""
        each = [self._put_one(folder, record) for record in records]
        return Put(Outcomes(migrated=each.count(Outcome.MIGRATED)), each)

    def _put_one(self, folder: Folder, record: Record) -> Outcome:
        try:
            self._sink.add(folder, self.entry(folder, record), record.name)
        except (EntryError, DamagedError) as error:
            path = f"{folder.repository.path}/{record.file_path}"
            self.tally.failures.append(Failure(path, folder.cache_type, error.message))
            return Outcome.FAILED
        self.tally.written += 1
        return Outcome.MIGRATED

    def commit(self) -> None:
        """Nothing lasts before the file is whole."""


class SingleFile:
    """The file at ``path``; a subclass knows the format."""

    kind = ""
    beginnings: tuple[bytes, ...] = ()
    """What a file of the format begins with: only such a file is replaced by a newer export."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.realpath(path)
        self.tally = FileTally()
        self._only_looks = False

    def sink(self, file: IO[bytes]) -> Sink:
        """What writes entries to an open file in this format."""
        raise NotImplementedError

    def info(self) -> StoreInfo:
        """Where it is and its size. A missing one has size 0."""
        size = 0
        with suppress(OSError):
            size = os.stat(self.path).st_size
        return StoreInfo(self.kind, printable(self.path), size)

    def check_writable(self) -> None:
        """Raise now what writing would raise later. Makes nothing."""
        parent = os.path.dirname(self.path)
        if os.path.lexists(self.path):
            self._check_own()
        if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
            raise DestinationError(
                f"{printable(self.path)} cannot be made: {printable(parent)} is no directory that "
                "we may write to"
            )

    def _check_own(self) -> None:
        try:
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                raise DestinationError(
                    f"{printable(self.path)} is no file", hint="Name a file to export to."
                )
            with open(self.path, "rb") as file:
                head = file.read(16)
        except OSError as error:
            _raise_named(error, self.path)
        if head and not head.startswith(self.beginnings):
            raise ForeignFileError(f"{printable(self.path)} is there, and is no {self.kind} file")

    def room(self) -> int | None:
        """Free bytes on its disk, for users like us."""
        parent = os.path.dirname(self.path)
        return shutil.disk_usage(parent).free if os.path.isdir(parent) else None

    @contextmanager
    def rehearsal(self) -> Iterator[SingleFile]:
        """One that compares with what is there, and writes nothing."""
        looking = type(self)(self.path)
        looking._only_looks = True
        yield looking

    def finder(self) -> Finder:
        """Nothing can be looked up in such a file."""
        raise UsageError(
            f"{printable(self.path)} can't be looked things up in", hint="Import it first."
        )

    @contextmanager
    def writer(self, rules: Rules = _NEWEST) -> Iterator[FileWriter]:
        """Write the file; a different one of that name is kept under a dated name.

        Raises ConflictError instead if the policy is to fail.
        """
        if self._only_looks:
            read = _Digested()
            with self._written_to(cast("IO[bytes]", read)) as writer:
                yield writer
            self._compare(read, rules)
            return
        self.check_writable()
        try:
            with _beside(self.path) as (file, place):
                with self._written_to(file) as writer:
                    yield writer
                file.flush()
                os.fsync(file.fileno())
                self._give_name(place, rules)
        except OSError as error:
            _raise_named(error, self.path)

    @contextmanager
    def _written_to(self, file: IO[bytes]) -> Iterator[FileWriter]:
        sink = self.sink(file)
        writer = FileWriter(sink)
        self.tally = writer.tally
        try:
            yield writer
        except BaseException:
            with suppress(Exception):  # the file is thrown away
                sink.close()
            raise
        sink.close()

    def _compare(self, read: _Digested, rules: Rules) -> None:
        """Tell what `_give_name` would do. Raises ConflictError if it would."""
        try:
            if not os.path.lexists(self.path):
                return
            if read.size == os.path.getsize(self.path) and read.digest() == _digest(self.path):
                self.tally.unchanged = True
                return
        except OSError as error:
            _raise_named(error, self.path)
        self._check_replaceable(rules)
        self.tally.replaced = True

    def _check_replaceable(self, rules: Rules) -> None:
        if rules.on_conflict is OnConflict.FAIL:
            raise ConflictError(
                f"{printable(self.path)} is there and differs; it was left alone",
                hint="Nothing was changed. With --on-conflict newest it is replaced, and kept "
                "beside the new one under a dated name.",
            )

    def _give_name(self, beside: str, rules: Rules) -> None:
        """Put the finished file in its place. What is there is never lost."""
        try:
            _second_name(beside, self.path)  # a rename would replace what is there
        except FileExistsError:
            if _same(beside, self.path):
                os.unlink(beside)
                self.tally.unchanged = True
                return
            self._check_replaceable(rules)
            aside = _dated(self.path)
            _second_name(self.path, aside)
            _sync_directory_of(self.path)  # its new name has to last before it loses the old one
            os.rename(beside, self.path)
            self.tally.replaced, self.tally.aside = True, printable(aside)
        else:
            with suppress(FileNotFoundError):
                os.unlink(beside)
        _sync_directory_of(self.path)


def _sync_directory_of(path: str) -> None:
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _beside(path: str) -> Iterator[tuple[IO[bytes], str]]:
    """An empty file in the same directory, removed at the end if it still has that name.

    It is locked for as long as we live; one that nobody holds was left by a run that died.
    """
    directory, name = os.path.split(path)
    prefix = f".{name[:_NAME_PART]}.partial-"
    _remove_left(directory, prefix)
    while True:
        descriptor, place = tempfile.mkstemp(prefix=prefix, dir=directory)
        with open(descriptor, "wb", buffering=_CHUNK) as file:
            with suppress(OSError):  # a file system without locks: nothing is ever removed there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not os.path.lexists(place):
                continue  # taken for a dead run's in the moment before it was locked
            try:
                yield file, place
            finally:
                with suppress(OSError):
                    os.unlink(place)
            return


def _remove_left(directory: str, prefix: str) -> None:
    """What runs that died have left; what can't be removed is in nobody's way."""
    with suppress(OSError):  # a directory that may be written to, but not listed
        for name in os.listdir(directory):
            if name.startswith(prefix) and _RANDOM.fullmatch(name[len(prefix) :]):
                with suppress(OSError):
                    _remove_if_left(os.path.join(directory, name))


def _remove_if_left(path: str) -> None:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)


def _second_name(path: str, name: str) -> None:
    """Link a file, or move it where file systems know no links. Raises FileExistsError."""
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_new(path, name)


def _dated(path: str) -> str:
    dated = f"{path}.backup-{datetime.now().astimezone():%Y-%m-%dT%H%M%S}"
    name, number = dated, 2
    while os.path.lexists(name):
        name, number = f"{dated}-{number}", number + 1
    return name


def _same(one: str, other: str) -> bool:
    if os.path.getsize(one) != os.path.getsize(other):
        return False
    return _digest(one) == _digest(other)


def _digest(path: str) -> bytes:
    digest = sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()


def _raise_named(error: OSError, path: str) -> NoReturn:
    named: RustAssistantError
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        named = OutOfSpaceError(f"the disk of {printable(path)} is full")
    else:
        named = DestinationError(f"{printable(path)} cannot be written: {error.strerror}")
    raise named from None
