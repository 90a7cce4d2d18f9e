"""Repairing a cache database: damaged rows go to quarantine, and what was sound stays.

Everything happens in one transaction over the file itself, which is committed only if a check
within it finds nothing any more. Where pages are damaged, the rows are salvaged into a new file
instead, which takes the damaged one's name when it is sound; that one stays beside it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from secrets import token_hex
from typing import Final, NamedTuple

import apsw

from rustassistant.errors import DamagedError, ForeignFileError, NotFoundError
from rustassistant.stores.base import printable
from rustassistant.stores.renaming import sync_directory
from rustassistant.stores.sqlite.connection import (
    BUSY_TIMEOUT_MS,
    check_permissions,
    check_writable,
)
from rustassistant.stores.sqlite.copying import put_in_place
from rustassistant.stores.sqlite.creation import create
from rustassistant.stores.sqlite.integrity.checking import (
    DAMAGE,
    STEPS_BETWEEN_SIGNALS,
    Examined,
    cut_off,
    examine,
    examine_salvaged,
    open_leniently,
    problems_of_salvage,
    was_ours,
)
from rustassistant.stores.sqlite.integrity.images import copy_bytes, image_of
from rustassistant.stores.sqlite.integrity.mending import Mender
from rustassistant.stores.sqlite.integrity.problems import Looked, Problem, Remedy
from rustassistant.stores.sqlite.integrity.quarantine import LOST, keep
from rustassistant.stores.sqlite.integrity.salvaging import (
    Salvaged,
    columns_of,
    salvage,
)
from rustassistant.stores.sqlite.integrity.structure import broken
from rustassistant.stores.sqlite.naming import errors_named, from_os_error

_ROUNDS: Final = 8
"""Remedies may show more to be done (a file that nobody needs any more), each round less."""

_NAME_PART: Final = 50


class Repaired(NamedTuple):
    """What a repair found and what of it is left; ``kept`` is where the file lies as it was."""

    found: list[Problem]
    left: list[Problem]
    entries: int
    kept: str | None
    rebuilt: bool


def repair_database(path: str, *, keep_copy: bool = True, looked: Looked | None = None) -> Repaired:
    """Repair the database at ``path``; nothing is changed if nothing is wrong with it.

    Holds the write lock. With ``keep_copy`` the file as it was stays beside it; it does so in any
    case if it had to be built anew. Raises LockedError, OutOfSpaceError, and what
    `check_database` does.
    """
    if not os.path.exists(path):
        raise NotFoundError(f"the database {printable(path)} does not exist")
    try:
        with errors_named(path):
            return _repair(path, keep_copy=keep_copy, looked=looked)
    except OSError as error:
        raise from_os_error(path, error) from None


def _repair(path: str, *, keep_copy: bool, looked: Looked | None) -> Repaired:
    connection, wrong = _open(path)
    if connection is None:
        return _rebuild(path, None, [broken(wrong)], looked)
    with closing(connection):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except DAMAGE as error:
            return _rebuild(path, connection, [broken(wrong or str(error))], looked)
        first = examine(connection, looked, wrong)
        if not first.problems:
            connection.execute("ROLLBACK")
            return Repaired([], [], first.entries, None, False)
        if not first.is_broken:
            aside = _copy_aside(path) if keep_copy else None
            if not _mend(connection, first):
                connection.execute("COMMIT")
                return Repaired(first.problems, [], first.entries, aside, False)
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")  # still nobody else is to write
            if aside is not None:
                _remove(aside)  # the file itself is kept
        return _rebuild(path, connection, first.problems, looked)


def _open(path: str) -> tuple[apsw.Connection | None, str]:
    """A connection for writing to a file of ours, however damaged, and what was wrong with it."""
    wrong = ""
    try:
        check_writable(path)
    except (ForeignFileError, DamagedError) as error:
        if not was_ours(path):
            raise
        check_permissions(path)
        wrong = error.message
    if not wrong:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.set_progress_handler(lambda: False, STEPS_BETWEEN_SIGNALS)
            connection.execute("PRAGMA trusted_schema=OFF; PRAGMA synchronous=FULL")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except DAMAGE as error:
            connection.close()
            wrong = cut_off(path) or str(error)
        else:
            return connection, ""
    # Its rows are only read, for a new file.
    return open_leniently(path, apsw.SQLITE_OPEN_READWRITE), wrong


def _mend(connection: apsw.Connection, first: Examined) -> list[Problem]:
    """Carry out remedies until nothing is wrong any more; what is left if that is not to be."""
    now = first
    for _ in range(_ROUNDS):
        if not now.problems or now.is_broken:
            break
        try:
            Mender(connection, now.problems).carry_out(now.sums)
        except (*DAMAGE, DamagedError):
            break
        now = examine(connection)
    return now.problems


def _rebuild(
    path: str, connection: apsw.Connection | None, found: list[Problem], looked: Looked | None
) -> Repaired:
    """Salvage all rows into a new file, make that sound, and give it the damaged one's name."""
    pages_only = [problem for problem in found if problem.remedy is not Remedy.SET_ASIDE]
    with _new_file(path) as new:
        os.chmod(new, stat.S_IMODE(os.stat(path).st_mode))
        with closing(apsw.Connection(new, flags=apsw.SQLITE_OPEN_READWRITE)) as target:
            target.execute("PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF")
            target.execute("BEGIN IMMEDIATE")
            salvaged = _salvage(path, connection, target)
            outside = problems_of_salvage(target, salvaged)
            problems, entries = examine_salvaged(target, salvaged, looked)
            for problem, values in outside:
                if problem.remedy is Remedy.SET_ASIDE:
                    keep(target, problem, values, outcome=LOST)
            Mender(target, problems[len(outside) :]).carry_out({})
            left = _mend(target, examine(target))
            target.execute("COMMIT")
            target.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        if connection is not None:
            connection.close()  # it must not be open when the file gets another name
        aside = _free_name(path)
        put_in_place(new, path, aside)
    return Repaired(pages_only + problems, left, entries, aside, True)


def _salvage(path: str, connection: apsw.Connection | None, target: apsw.Connection) -> Salvaged:
    """Read over a connection of its own: SQLite gives no pages out of one that holds the lock."""
    reader = None
    if connection is not None:
        reader = open_leniently(path, apsw.SQLITE_OPEN_READONLY)
    try:
        with image_of(path, reader, os.path.dirname(path)) as pages:
            return salvage(pages, target, columns_of(reader))
    finally:
        if reader is not None:
            reader.close()


@contextmanager
def _new_file(path: str) -> Iterator[str]:
    """A database of ours with nothing in it, beside another, until it is given that one's name."""
    directory, name = os.path.split(path)
    prefix = f".{name[:_NAME_PART]}.repair-"
    for leftover in os.listdir(directory):
        if leftover.startswith(prefix):  # of a repair that died; we hold the lock that it held
            with suppress(OSError):
                os.unlink(os.path.join(directory, leftover))
    new = os.path.join(directory, prefix + token_hex(4))
    create(new)
    try:
        yield new
    finally:
        _remove(new)


def _copy_aside(path: str) -> str:
    """Copy a file and its log as they lie there. A copy that can't be finished is removed."""
    aside = _free_name(path)
    try:
        for suffix in ("", "-wal"):
            if os.path.exists(path + suffix) and os.path.getsize(path + suffix):
                copy_bytes(path + suffix, aside + suffix)
        sync_directory(os.path.dirname(path))
    except BaseException:
        _remove(aside)
        raise
    return aside


def _remove(path: str) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)


def _free_name(path: str) -> str:
    wanted = f"{path}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    name, number = wanted, 1
    while any(os.path.lexists(name + suffix) for suffix in ("", "-wal", "-shm")):
        number += 1
        name = f"{wanted}-{number}"
    return name
