"""A checked copy of a directory tree or of one file, made before anything else is done.

The copy appears under its name only when it is whole: until then it lies beside it, and a run that
is stopped leaves nothing that could be taken for a backup.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, Final, NamedTuple

from rustassistant.errors import BackupError, OutOfSpaceError, RustAssistantError
from rustassistant.stores.base import Tree, printable
from rustassistant.transfer.archive import Totals, read_archive
from rustassistant.transfer.packing import write_archive
from rustassistant.transfer.partial import (
    ARCHIVE_SUFFIX,
    partial_directory,
    partial_file,
    publish,
)
from rustassistant.transfer.walking import (
    ATTEMPTS,
    ReportCopied,
    below,
    changing,
    opened,
    size_of,
    state_of,
    walk,
)

_CHUNK: Final = 2**20
_HINT: Final = "or name another place for the backup; the source is never written to."


class BackupMade(NamedTuple):
    """A finished backup: where it is, and the files in it, whose contents are ``size`` bytes."""

    path: str
    files: int
    size: int


def back_up(tree: Tree, wanted: str, *, progress: ReportCopied | None = None) -> BackupMade:
    """Copy a tree to ``wanted`` or, if that exists, to a dated name beside it.

    A name that ends in ``.tar.zst`` gets one compressed archive, any other a directory (a file if
    the tree is but one). Permissions, times and links are kept; all is read back and compared.
    Raises BackupError or OutOfSpaceError, and then leaves nothing behind.
    """
    wanted = os.path.abspath(wanted)
    source = tree.path if tree.part is None else os.path.join(tree.path, tree.part)
    check_outside(source, wanted)
    with errors_of_backup(wanted):
        if wanted.endswith(ARCHIVE_SUFFIX) and os.path.isdir(source):
            return _archive(tree, wanted, progress)
        return _plain(tree, source, wanted, progress)


@contextmanager
def errors_of_backup(wanted: str) -> Iterator[None]:
    """Name what the system would not let us do."""
    try:
        yield
    except OSError as error:
        raise _named(error, wanted) from None


def check_outside(source: str, target: str) -> None:
    """Raise BackupError if a backup would lie inside what it is a backup of."""
    place, root = os.path.realpath(target), os.path.realpath(source)
    if os.path.commonpath([place, root]) == root:
        raise BackupError(
            f"the backup {printable(target)} would lie inside what it is a backup of",
            hint="Name a place outside the source.",
        )


def _archive(tree: Tree, wanted: str, progress: ReportCopied | None) -> BackupMade:
    with partial_file(wanted) as partial:
        totals = write_archive(tree, partial, _half(progress, 0))
        if read_archive(partial, None, _half(progress, 1)) != totals:
            raise BackupError(f"the archive {printable(wanted)} could not be read back as written")
        return _made(publish(partial, wanted), totals)


def _made(path: str, totals: Totals) -> BackupMade:
    return BackupMade(path, totals.files, totals.size)


def _half(progress: ReportCopied | None, half: int) -> ReportCopied | None:
    """Writing and reading back are one bar."""
    if progress is None:
        return None
    return lambda done, total: progress(half * total + done, 2 * total)


def _plain(tree: Tree, source: str, wanted: str, progress: ReportCopied | None) -> BackupMade:
    if not os.path.isdir(source):
        total = os.lstat(source).st_size
        _check_room(os.path.dirname(wanted), total, wanted)
        with partial_directory(wanted) as partial:
            place = os.path.join(partial, "copy")
            copying = Copying(total, progress)
            copying.file(source, place)
            os.sync()
            return BackupMade(publish(place, wanted), 1, copying.done)
    total = size_of(source)
    _check_room(os.path.dirname(wanted), total, wanted)
    with partial_directory(wanted) as partial:
        place = partial
        if tree.part is not None:
            place = os.path.join(partial, tree.part)
            os.mkdir(place, 0o700)
        copying = Copying(total, progress)
        copying.tree(source, place)
        if tree.part is not None:
            shutil.copystat(tree.path, partial)
        os.sync()  # once for all: waiting for the disk after each file takes minutes
        return BackupMade(publish(partial, wanted), copying.files, copying.done)


def _check_room(parent: str, total: int, target: str) -> None:
    free = shutil.disk_usage(parent).free
    if free < total:
        raise OutOfSpaceError(
            f"the backup needs {_mib(total)}, but the disk of {printable(target)} has only "
            f"{_mib(free)} free: {_mib(total - free)} are missing",
            hint=f"Free some space, name a .tar.zst, which is smaller, {_HINT}",
        )


def _named(error: OSError, target: str) -> RustAssistantError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(
            f"the disk of the backup {printable(target)} is full",
            hint=f"Nothing was changed. Free some space, {_HINT}",
        )
    place = printable(error.filename) if error.filename else printable(target)
    return BackupError(
        f"the backup was not made: {place}: {error.strerror}",
        hint=f"Nothing was changed. Mend this, {_HINT}",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


class Copying:
    """Copies trees file by file, each read back and compared."""

    def __init__(self, total: int, progress: ReportCopied | None) -> None:
        self._total = total
        self._progress = progress
        self.done = 0
        self.files = 0

    def tree(self, source: str, target: str) -> None:
        """Copy what is in a directory into an existing one, permissions and times included."""
        directories = [(source, target)]
        for one in walk(source):
            place = below(target, one.parts)
            mode = one.status.st_mode
            if stat.S_ISDIR(mode):
                os.mkdir(place, 0o700)
                directories.append((one.path, place))
            elif stat.S_ISREG(mode):
                self.file(one.path, place)
            elif stat.S_ISLNK(mode):
                os.symlink(os.readlink(one.path), place)
                shutil.copystat(one.path, place, follow_symlinks=False)
            elif stat.S_ISFIFO(mode):
                os.mkfifo(place)
                shutil.copystat(one.path, place, follow_symlinks=False)
        for path, place in reversed(directories):  # last, since filling one changes its times
            shutil.copystat(path, place)

    def file(self, source: str, target: str) -> None:
        """Copy one file to a new one, as it is at one moment."""
        with open(target, "xb") as writer, opened(source) as reader:
            for _ in range(ATTEMPTS):
                before = os.fstat(reader.fileno())
                digest = _pour(reader, writer)
                if state_of(os.fstat(reader.fileno())) == state_of(before):
                    break
                reader.seek(0)
                writer.seek(0)
                writer.truncate()
            else:
                raise changing(source)
        shutil.copystat(source, target, follow_symlinks=False)
        with open(target, "rb") as copied:
            if _pour(copied, None) != digest:
                raise BackupError(f"the copy of {printable(source)} differs from it")
        self.done += before.st_size
        self.files += 1
        if self._progress is not None:
            self._progress(self.done, self._total)


def _pour(reader: IO[bytes], writer: IO[bytes] | None) -> bytes:
    """Copy all that is left to read; return its SHA-256."""
    digest = sha256()
    while chunk := reader.read(_CHUNK):
        digest.update(chunk)
        if writer is not None:
            writer.write(chunk)
    return digest.digest()
