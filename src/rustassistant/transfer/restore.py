"""Putting a backup of a tree back: made beside its place, proven whole, then swapped in."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from rustassistant.errors import (
    DamagedError,
    OccupiedError,
    OutOfSpaceError,
    RestoreError,
    RustAssistantError,
)
from rustassistant.stores.base import Tree, printable
from rustassistant.stores.renaming import exchange, rename_new, sync_directory, undisturbed
from rustassistant.transfer.archive import Sink, Totals, read_archive
from rustassistant.transfer.backup import Copying
from rustassistant.transfer.members import Member, leads_outside
from rustassistant.transfer.partial import dated_name, partial_directory
from rustassistant.transfer.walking import ReportCopied, below, size_of

_FILE_MODE: Final = 0o777
_DIRECTORY_MODE: Final = 0o3777
"""Who unpacks an archive gives no file the rights of its owner; groups keep their directories."""


class Restored(NamedTuple):
    """A restored tree: where it is, where what lay there went, and what it holds, in bytes."""

    path: str
    kept: str | None
    files: int
    size: int


def restore_directory(
    tree: Tree, place: str, *, force: bool = False, progress: ReportCopied | None = None
) -> Restored:
    """Put a backup that is a directory to ``place``, or in it if it is a part of a repository.

    Every file is read back and compared. What lies there is kept beside it, and is only moved if
    ``force``: else OccupiedError. Raises RestoreError, OutOfSpaceError.
    """
    source = tree.path if tree.part is None else os.path.join(tree.path, tree.part)
    target = target_of(place, tree.part)
    if os.path.commonpath([target, os.path.realpath(tree.path)]) == os.path.realpath(tree.path):
        raise RestoreError(
            f"{printable(target)} lies inside the backup",
            hint="Name a place outside it: a backup is never written to.",
        )
    with _making(target, force=force) as partial:
        total = size_of(source)
        _check_room(target, total)
        copying = Copying(total, progress)
        copying.tree(source, partial)
        os.sync()
        kept = swap_in(partial, target, force=force)
    return Restored(target, kept, copying.files, copying.done)


def restore_archive(
    path: str,
    place: str,
    part: str | None,
    *,
    force: bool = False,
    outside_links: bool = False,
    progress: ReportCopied | None = None,
) -> Restored:
    """The same for an archive; ``part`` is what its end says. Raises DamagedError if it does not
    prove whole, RestoreError for a link that leads outside unless ``outside_links``."""
    target = target_of(place, part)
    with _making(target, force=force) as partial:
        unpacking = _Unpacking(partial, target, part, path, outside_links=outside_links)
        totals = read_archive(path, unpacking, progress)
        unpacking.finish()
        os.sync()
        kept = swap_in(partial, target, force=force)
    return Restored(target, kept, totals.files, totals.size)


def target_of(place: str, part: str | None) -> str:
    """Where a backup goes: a repository's cache into the repository, all else to the place."""
    resolved = os.path.realpath(place)
    if part is None or os.path.basename(resolved) == part:
        return resolved
    return os.path.realpath(os.path.join(resolved, part))


def check_free(target: str, *, force: bool) -> None:
    """Raise OccupiedError if something lies there that may not be moved."""
    if not force and os.path.lexists(target):
        raise _occupied(target)


def _occupied(target: str) -> OccupiedError:
    return OccupiedError(f"{printable(target)} exists already; nothing was overwritten")


@contextmanager
def errors_of_restoring(target: str) -> Iterator[None]:
    """Name what the system would not let us do."""
    try:
        yield
    except FileExistsError:
        raise OccupiedError(
            f"{printable(target)} exists already; nothing was overwritten"
        ) from None
    except OSError as error:
        raise _named(error, target) from None


@contextmanager
def directories_made(path: str) -> Iterator[None]:
    """The directory and those above it, 0700 each; if all fails, those that were made go again."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    made: list[str] = []
    try:
        for directory in reversed(missing):
            os.mkdir(directory, 0o700)
            made.append(directory)
            sync_directory(os.path.dirname(directory))
        yield
    except BaseException:
        for directory in reversed(made):
            with suppress(OSError):
                os.rmdir(directory)
        raise


@contextmanager
def _making(target: str, *, force: bool) -> Iterator[str]:
    """A place to make the tree in, beside its own. Its name is one that no migration reads."""
    check_free(target, force=force)
    with (
        errors_of_restoring(target),
        directories_made(os.path.dirname(target)),
        partial_directory(f"{target}.backup") as partial,
    ):
        yield partial


def swap_in(new: str, target: str, *, force: bool) -> str | None:
    """Give a finished tree its name; return where what lay there is now, None if nothing did.

    Raises FileExistsError if something lies there and ``force`` does not allow to move it. At no
    moment is there nothing under the name, where the system can swap two in one step.
    """
    with undisturbed():
        return _swap_in(new, target, force=force)


def _swap_in(new: str, target: str, *, force: bool) -> str | None:
    if not force or not os.path.lexists(target):
        rename_new(new, target)
        sync_directory(os.path.dirname(target))
        return None
    kept = dated_name(f"{target}.backup")
    rename_new(new, kept)  # if the process dies now, there is one copy more, and nothing is lost
    try:
        swapped = exchange(kept, target)
    except BaseException:
        os.rename(kept, new)
        raise
    if not swapped:
        os.rename(kept, new)
        rename_new(target, kept)
        try:
            rename_new(new, target)
        except BaseException:
            os.rename(kept, target)
            raise
    sync_directory(os.path.dirname(target))
    return kept


def _check_room(target: str, needed: int) -> None:
    free = shutil.disk_usage(os.path.dirname(target)).free
    if free < needed:
        raise OutOfSpaceError(
            f"restoring needs {needed / 2**20:,.1f} MiB, but the disk of {printable(target)} has "
            f"only {free / 2**20:,.1f} MiB free",
            hint="Free some space, or name a place on another disk; nothing was changed.",
        )


def _named(error: OSError, target: str) -> RustAssistantError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpaceError(
            f"the disk of {printable(target)} is full",
            hint="Free some space, or name a place on another disk; nothing was changed.",
        )
    place = printable(error.filename) if error.filename else printable(target)
    return RestoreError(
        f"nothing was restored: {place}: {error.strerror or error}",
        hint="Mend this, and run the same command again; what lay there was not touched.",
    )


class _Unpacking:
    """Makes on the disk what comes out of an archive. The reader has refused names that lead
    elsewhere, and everything whose directory did not come before it."""

    def __init__(
        self, root: str, target: str, part: str | None, archive: str, *, outside_links: bool
    ) -> None:
        self._root = root
        self._target = target
        self._depth = 1 if part is None else 2
        self._part = part
        self._archive = archive
        self._outside_links = outside_links
        self._open: list[tuple[str, Member]] = []

    def expect(self, totals: Totals, room: int) -> None:
        """Refuse at once what the disk has no room for."""
        _check_room(self._target, max(totals.size, room))

    def begin(self, member: Member) -> Sink | None:
        """Make it."""
        parts = member.parts[self._depth :]
        if not parts:
            self._top(member)
            return None
        place = below(self._root, parts)
        self._leave(len(parts) - 1)
        if member.kind == "directory":
            os.mkdir(place, 0o700)
            self._open.append((place, member))
        elif member.kind == "link":
            self._link(member, parts, place)
        elif member.kind == "fifo":
            os.mkfifo(place, 0o600)
            _dress(place, member)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            return _NewFile(os.open(place, flags, 0o600), member)
        return None

    def finish(self) -> None:
        """Give the directories that are still open their modes and times, the root last."""
        self._leave(-1)

    def _top(self, member: Member) -> None:
        if len(member.parts) == self._depth:
            if self._part is not None and member.parts[-1] != self._part:
                raise DamagedError(f"the archive {printable(self._archive)} holds something else")
            self._open.append((self._root, member))

    def _link(self, member: Member, parts: tuple[str, ...], place: str) -> None:
        if leads_outside(parts, member.target) and not self._outside_links:
            raise RestoreError(
                f"the link {printable(member.name)} leads outside the cache, to "
                f"{printable(member.target)}",
                hint="Nothing was restored. If you trust where the archive comes from, add "
                "--outside-links.",
            )
        os.symlink(member.target, place)
        with suppress(NotImplementedError):
            os.utime(place, ns=(member.mtime, member.mtime), follow_symlinks=False)

    def _leave(self, depth: int) -> None:
        """Close directories deeper than that: filling them has changed their times."""
        while len(self._open) > depth + 1:
            _dress(*self._open.pop())


def _dress(place: str, member: Member) -> None:
    mask = _DIRECTORY_MODE if member.kind == "directory" else _FILE_MODE
    os.chmod(place, member.mode & mask)
    os.utime(place, ns=(member.mtime, member.mtime))


class _NewFile:
    """A file that gets its mode and time when it is closed."""

    def __init__(self, descriptor: int, member: Member) -> None:
        self._file = open(descriptor, "wb")  # noqa: SIM115 - closed by whoever fills it
        self._member = member

    def write(self, data: bytes) -> int:
        """Add to it."""
        return self._file.write(data)

    def close(self) -> None:
        """Flush, and dress."""
        with self._file:
            self._file.flush()
            os.fchmod(self._file.fileno(), self._member.mode & _FILE_MODE)
            os.utime(self._file.fileno(), ns=(self._member.mtime, self._member.mtime))
