"""The published API of backups: make one of a cache, whatever kind it is, and put one back.

A JSON tree becomes a directory or, under a name that ends in ``.tar.zst``, one archive; a database
becomes one file, while others go on writing to it. What a backup is shows in what is there, not in
its name.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import apsw

from rustassistant.errors import (
    DamagedError,
    NotACacheError,
    NotFoundError,
    OccupiedError,
    RestoreError,
    UsageError,
)
from rustassistant.stores import open_source
from rustassistant.stores.base import Tree, printable
from rustassistant.stores.renaming import undisturbed
from rustassistant.stores.sqlite.connection import check_place, is_database, read_header
from rustassistant.stores.sqlite.copying import (
    SIDECARS,
    Copied,
    copy_database,
    put_in_place,
)
from rustassistant.transfer.archive import MAGIC, part_of
from rustassistant.transfer.backup import back_up as back_up_tree
from rustassistant.transfer.backup import check_outside, errors_of_backup
from rustassistant.transfer.partial import ARCHIVE_SUFFIX, dated_name, partial_directory, publish
from rustassistant.transfer.restore import (
    check_free,
    directories_made,
    errors_of_restoring,
    restore_archive,
    restore_directory,
    target_of,
)
from rustassistant.transfer.walking import ReportCopied

Place = str | os.PathLike[str]


class Kind(StrEnum):
    """What a backup is."""

    DIRECTORY = "directory"
    ARCHIVE = "archive"
    DATABASE = "database"


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup of ``source`` at ``path``.

    ``files`` in a tree or ``entries`` in a database; ``size`` is the bytes of what was copied,
    ``stored`` those that the backup takes. ``damaged`` names entries (the first two hundred of
    ``total_damaged``) that were damaged in the database, and so are in the backup.
    """

    kind: Kind
    source: str
    path: str
    size: int
    stored: int
    files: int = 0
    entries: int = 0
    damaged: tuple[str, ...] = ()
    total_damaged: int = 0


@dataclass(frozen=True, slots=True)
class Restoration:
    """A backup that was put back at ``path``. ``kept`` is where what lay there is now, if anything
    did; ``files``, ``entries`` and ``size`` as in `Backup`."""

    kind: Kind
    source: str
    path: str
    kept: str | None
    size: int
    files: int = 0
    entries: int = 0


def back_up(
    source: Place, to: Place | None = None, *, progress: ReportCopied | None = None
) -> Backup:
    """Copy a cache to ``to``, or to ``<source>.backup``; check the copy; say where it is.

    What exists is never overwritten: the copy then gets a name with the date. A directory that is
    named with a ``/`` at its end gets the copy put in it. Raises NotFoundError, NotACacheError,
    BackupError, DamagedError, OutOfSpaceError, and then leaves nothing behind.
    """
    place = _absolute(source)
    wanted = place_for(place, to)
    if os.path.isfile(place) and _is_database(place):
        return _back_up_database(os.path.realpath(place), wanted, progress)
    made = back_up_tree(open_source(place).tree(), wanted, progress=progress)
    kind = Kind.ARCHIVE if os.path.isfile(made.path) else Kind.DIRECTORY
    stored = os.path.getsize(made.path) if kind is Kind.ARCHIVE else made.size
    return Backup(kind, place, made.path, made.size, stored, files=made.files)


def place_for(source: Place, to: Place | None = None) -> str:
    """Where `back_up` puts its copy, if that is free."""
    place = _absolute(source)
    beside = f"{place}.backup"
    if to is None:
        return beside
    given = os.path.expanduser(os.fspath(to))
    if given.endswith("/") and os.path.isdir(given):
        return os.path.join(_absolute(given), os.path.basename(beside))
    return _absolute(to)


def restore(
    backup: Place,
    to: Place,
    *,
    force: bool = False,
    outside_links: bool = False,
    progress: ReportCopied | None = None,
) -> Restoration:
    """Put a backup back at ``to``. All of it is proven before anything appears there.

    What lies there is never overwritten: it stays unless ``force``, and is then kept beside it
    under a name with the date. ``outside_links`` also restores an archive's links that lead out of
    the cache. Raises NotFoundError, DamagedError, OccupiedError, LockedError, RestoreError.
    """
    source, place = _absolute(backup), _absolute(to)
    match kind := kind_of(source):
        case Kind.DATABASE:
            return _restore_database(source, place, force=force, progress=progress)
        case Kind.ARCHIVE:
            part = part_of(source)
            _check_replaceable(place, part, force=force)
            done = restore_archive(
                source, place, part, force=force, outside_links=outside_links, progress=progress
            )
        case Kind.DIRECTORY:
            tree = _tree_of(source)
            _check_replaceable(place, tree.part, force=force)
            done = restore_directory(tree, place, force=force, progress=progress)
    return Restoration(kind, source, done.path, done.kept, done.size, files=done.files)


def kind_of(backup: Place) -> Kind:
    """What a backup is, by what is there. Raises NotFoundError, RestoreError if it is none."""
    path = os.fspath(backup)
    if os.path.isdir(path):
        return Kind.DIRECTORY
    if not os.path.lexists(path):
        raise NotFoundError(
            f"the backup {printable(path)} does not exist",
            hint="Name a directory, a .tar.zst or a database that `rustassistant cache backup` "
            "made.",
        )
    if os.path.isfile(path):
        if _is_database(path):  # first: who closes a database's file drops its locks
            return Kind.DATABASE
        if _begins_as_archive(path):
            return Kind.ARCHIVE
    raise RestoreError(
        f"{printable(path)} is no backup: neither a directory nor an archive nor a database",
        hint="It may be cut off or be something else; it was left as it is.",
    )


def _begins_as_archive(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise RestoreError(
            f"{printable(path)} cannot be read: {error.strerror}", hint="Check its permissions."
        ) from None


def _is_database(path: str) -> bool:
    try:
        return is_database(read_header(path))
    except (OSError, apsw.Error, UnicodeEncodeError):
        return False


def _absolute(place: Place) -> str:
    given = os.path.expanduser(os.fspath(place))
    if not given:
        raise UsageError("an empty path names nothing", hint="Name a file or a directory.")
    return os.path.abspath(given)


def _back_up_database(source: str, wanted: str, progress: ReportCopied | None) -> Backup:
    if wanted.endswith(ARCHIVE_SUFFIX):
        raise UsageError(
            "a database is copied as a database, not into an archive",
            hint="Name a file such as cache.db.backup: its contents are compressed already.",
        )
    check_outside(source, wanted)
    with errors_of_backup(wanted), partial_directory(wanted) as partial:
        place = os.path.join(partial, "copy")
        copied = copy_database(source, place, progress)
        path = publish(place, wanted)
    return Backup(
        Kind.DATABASE,
        source,
        path,
        copied.size,
        copied.size,
        entries=copied.entries,
        damaged=copied.damaged,
        total_damaged=copied.damaged_count,
    )


def _restore_database(
    source: str, place: str, *, force: bool, progress: ReportCopied | None
) -> Restoration:
    target = os.path.realpath(place)
    if os.path.realpath(source) == target:
        raise RestoreError(
            f"{printable(target)} is the backup itself", hint="Name the place to restore it to."
        )
    check_free(target, force=force)
    check_place(target)
    with (
        errors_of_restoring(target),
        directories_made(os.path.dirname(target)),
        partial_directory(f"{target}.backup") as partial,
    ):
        new = os.path.join(partial, "copy")
        copied = copy_database(os.path.realpath(source), new, progress, at_rest=True)
        _refuse_damaged(source, copied)
        occupied = os.path.lexists(target)
        kept = _free_with_log(f"{target}.backup") if force and occupied else None
        with undisturbed():
            put_in_place(new, target, kept)
    return Restoration(Kind.DATABASE, source, target, kept, copied.size, entries=copied.entries)


def _free_with_log(wanted: str) -> str:
    """A dated name that is free for a database and for what lies beside one."""
    while True:
        name = dated_name(wanted)
        if not any(os.path.lexists(name + suffix) for suffix in SIDECARS):
            return name
        wanted += "-"


def _refuse_damaged(source: str, copied: Copied) -> None:
    if copied.damaged:
        more = f" (and {copied.damaged_count - 1} more)" if copied.damaged_count > 1 else ""
        raise DamagedError(
            f"the backup {printable(source)} is damaged: {copied.damaged[0]}{more}",
            hint="Nothing was restored. Restore another backup; if this is the last, copy the file "
            "by hand: all its other entries can be read.",
        )


def _tree_of(backup: str) -> Tree:
    try:
        return open_source(backup).tree()
    except NotACacheError:
        raise NotACacheError(
            f"{printable(backup)} holds no RustAssistant cache",
            hint="Name the backup itself. (A directory can always be copied by hand.)",
        ) from None


def _check_replaceable(place: str, part: str | None, *, force: bool) -> None:
    """Refuse to move aside what is not a cache: a home directory, say, or a project's code."""
    target = target_of(place, part)
    check_free(target, force=force)
    if not os.path.lexists(target):
        return
    is_cache = False
    with suppress(NotACacheError):
        is_cache = open_source(target).tree().part is None
    if not is_cache or not os.path.isdir(target):
        raise OccupiedError(
            f"{printable(target)} exists and is not a cache, so it was not moved",
            hint="Name another place, or move what lies there yourself.",
        )
