"""A checked copy of a directory tree, made before anything else is done.

The copy appears under its name only when it is whole: until then it lies beside it, and a run that
is stopped leaves nothing that could be taken for a backup.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from rustassistant.errors import BackupError, OutOfSpaceError, RustAssistantError
from rustassistant.stores.base import Tree, printable

_CHUNK: Final = 2**20

ReportCopied = Callable[[int, int], None]
"""Called with the bytes copied so far and the bytes in all."""


class _File(NamedTuple):
    path: str
    status: os.stat_result


def free_name(wanted: str) -> str:
    """``wanted``, or if that is taken, the same with the date, and a number if need be."""
    if not os.path.lexists(wanted):
        return wanted
    dated = f"{wanted}-{datetime.now().astimezone():%Y-%m-%dT%H%M%S}"
    name, number = dated, 2
    while os.path.lexists(name):
        name, number = f"{dated}-{number}", number + 1
    return name


def back_up(tree: Tree, wanted: str, *, progress: ReportCopied | None = None) -> str:
    """Copy a tree to ``wanted`` or, if that exists, to a dated name beside it; return the name.

    Permissions, times and links are kept; every file is read back and compared. Raises BackupError
    or OutOfSpaceError, and then leaves nothing behind.
    """
    target = free_name(os.path.abspath(wanted))
    source = tree.path if tree.part is None else os.path.join(tree.path, tree.part)
    if os.path.commonpath([os.path.realpath(target), os.path.realpath(source)]) == os.path.realpath(
        source
    ):
        raise BackupError(
            f"the backup {printable(target)} would lie inside what it is a backup of",
            hint="Name a place outside the source.",
        )
    partial = ""
    try:
        total = sum(_size(file.status) for file in _walk(source))
        _check_room(os.path.dirname(target), total, target)
        # A name of our own: two backups at once must not remove each other's work.
        partial = tempfile.mkdtemp(
            prefix=f"{os.path.basename(target)}.partial-", dir=os.path.dirname(target)
        )
        place = partial
        if tree.part is not None:
            place = os.path.join(partial, tree.part)
            os.mkdir(place, 0o700)
        _Copy(total, progress).tree(source, place)
        if tree.part is not None:
            shutil.copystat(tree.path, partial)
        os.sync()  # once for all: waiting for the disk after each file takes minutes
        os.rename(partial, target)
        _sync_directory(os.path.dirname(target))
    except OSError as error:
        raise _named(error, target) from None
    finally:
        if partial:
            _remove(partial)
    return target


def _remove(partial: str) -> None:
    """Remove what was copied so far: however deep, and directories copied read-only included."""
    directories = [partial]
    for directory in directories:  # grows as directories are found
        with suppress(OSError):
            os.chmod(directory, 0o700)
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
                    else:
                        os.unlink(entry.path)
    for directory in reversed(directories):
        with suppress(OSError):
            os.rmdir(directory)


def _sync_directory(path: str) -> None:
    """Make the names in it durable too."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _check_room(parent: str, total: int, target: str) -> None:
    try:
        free = shutil.disk_usage(parent).free
    except OSError as error:
        raise _named(error, target) from None
    if free < total:
        raise OutOfSpaceError(
            f"the backup needs {_mib(total)}, but the disk of {printable(target)} has only "
            f"{_mib(free)} free: {_mib(total - free)} are missing",
            hint="Free some space, or run again without --backup: the source is never written to.",
        )


def _named(error: OSError, target: str) -> RustAssistantError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(
            f"the disk of the backup {printable(target)} is full",
            hint="Free some space, or run again without --backup: the source is never written to.",
        )
    place = printable(error.filename) if error.filename else printable(target)
    return BackupError(
        f"the backup was not made: {place}: {error.strerror}",
        hint="Nothing was migrated. Mend this, or run again without --backup: the source is never "
        "written to.",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _size(status: os.stat_result) -> int:
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _walk(directory: str) -> Iterator[_File]:
    """Everything below a directory, each directory before what is in it."""
    pending = [directory]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                yield _File(entry.path, status)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)


class _Copy:
    def __init__(self, total: int, progress: ReportCopied | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def tree(self, source: str, target: str) -> None:
        """Copy what is in a directory into an existing one, permissions and times included."""
        directories = [(source, target)]
        for path, status in _walk(source):
            place = target + path[len(source) :]
            if stat.S_ISDIR(status.st_mode):
                os.mkdir(place, 0o700)
                directories.append((path, place))
            elif stat.S_ISREG(status.st_mode):
                self._file(path, place, status)
            elif stat.S_ISLNK(status.st_mode):
                os.symlink(os.readlink(path), place)
                shutil.copystat(path, place, follow_symlinks=False)
            elif stat.S_ISFIFO(status.st_mode):
                os.mkfifo(place)
                shutil.copystat(path, place, follow_symlinks=False)
            # Sockets and devices are somebody's endpoints: they hold nothing to keep.
        for path, place in reversed(directories):  # last, since filling one changes its times
            shutil.copystat(path, place)

    def _file(self, source: str, target: str, status: os.stat_result) -> None:
        digest = sha256()
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with (
            open(os.open(source, flags), "rb") as reader,
            open(target, "xb") as writer,
        ):
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                writer.write(chunk)
        shutil.copystat(source, target, follow_symlinks=False)
        with open(target, "rb") as copied:
            check = sha256()
            while chunk := copied.read(_CHUNK):
                check.update(chunk)
        if check.digest() != digest.digest():
            raise BackupError(f"the copy of {printable(source)} differs from it")
        self._done += status.st_size
        if self._progress is not None:
            self._progress(self._done, self._total)
