"""Giving files of a tree their names, once what they hold is on the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from rustassistant.errors import EntryError
from rustassistant.stores.base import printable
from rustassistant.stores.json_tree.files import (
    Root,
    Taken,
    directory_below,
    keep_aside,
    present,
)
from rustassistant.stores.outcomes import Failure, Problem

_FATAL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))


class Tally(msgspec.Struct):
    """What became of the entries that a tree was given; the counts add up to all of them.

    ``superseded`` are older than what has their name; ``replaced`` files are kept in ``aside``,
    and ``renamed`` entries (among those written or unchanged) lie under names of their own.
    ``conflicts`` tell of files that were there and differ; ``unresolved`` entries failed for it.
    """

    written: int = 0
    unchanged: int = 0
    superseded: int = 0
    renamed: int = 0
    replaced: int = 0
    unresolved: int = 0
    conflict_count: int = 0
    conflicts: list[Problem] = msgspec.field(default_factory=list)
    failures: list[Failure] = msgspec.field(default_factory=list)
    notes: list[Problem] = msgspec.field(default_factory=list)
    aside: str | None = None

    def fail(
        self, path: str, parts: Sequence[bytes], name: bytes, cache_type: str, reason: str
    ) -> None:
        """Name an entry that could not be written, by where it would lie."""
        place = os.path.join(os.fsencode(path), *parts, name)
        self.failures.append(Failure(printable(place), cache_type, reason))


class Step(NamedTuple):
    """One name to be given at the next commit.

    ``replaces`` is the digest of what it replaces, which is kept ``aside`` or under the name
    ``beside``, unless the run knows it.
    """

    parts: tuple[bytes, ...]
    name: bytes
    number: int
    cache_type: str
    replaces: bytes | None = None
    aside: bool = False
    beside: bytes | None = None
    is_meta: bool = False


class Naming:
    """Takes the steps of each commit, and says in ``tally`` what could not be done."""

    def __init__(self, root: Root, tally: Tally) -> None:
        self._root = root
        self._tally = tally
        self._nameless: set[bytes] = set()

    def give(self, steps: Sequence[Step]) -> None:
        """Give all names, in this order, and make them last.

        The ``meta.json`` of a repository has to come before its entries, which are not to be seen
        without it.
        """
        os.sync()  # one wait for the whole batch; waiting for each file takes minutes
        with self._root.errors_named():
            self._give_all(steps)

    def _give_all(self, steps: Sequence[Step]) -> None:
        parts: tuple[bytes, ...] | None = None
        directory: int | None = None
        try:
            for step in steps:
                if step.parts != parts:
                    if directory is not None:
                        os.fsync(directory)
                        os.close(directory)
                        directory = None
                    parts = step.parts
                    directory = self._made(step)
                if directory is not None:
                    self._give_name(directory, step)
            if directory is not None:
                os.fsync(directory)
        finally:
            if directory is not None:
                os.close(directory)

    def _made(self, step: Step) -> int | None:
        if step.parts[0] in self._nameless:
            self._not_named(step, "its repository's meta.json could not be written")
            return None
        try:
            with self._root.errors_named():
                return directory_below(self._root.descriptor, step.parts, make=True)
        except EntryError as error:
            self._not_named(step, error.message)
            return None

    def _give_name(self, directory: int, step: Step) -> None:
        try:
            if step.replaces is not None:
                _check_same(directory, step)
                if step.aside:
                    self._keep_aside(directory, step)
                elif step.beside is not None:
                    with suppress(Taken):  # the name tells the content
                        keep_aside(directory, step.name, directory, step.beside)
            self._root.name(step.number, directory, step.name, replace=step.replaces is not None)
        except EntryError as error:
            self._not_named(step, error.message)
        except Taken:
            self._not_named(step, "was made by somebody else meanwhile; run again")
        except OSError as error:
            if error.errno in _FATAL:
                with self._root.errors_named():
                    raise
            self._not_named(step, f"cannot be written: {error.strerror}")

    def _keep_aside(self, directory: int, step: Step) -> None:
        """Keep a file that is to be replaced, with its path, where a migration can read it."""
        if self._tally.aside is None:
            stamp = f"replaced.backup-{datetime.now().astimezone():%Y-%m-%dT%H%M%S}"
            number = 1
            while os.path.lexists(os.path.join(self._root.path, stamp + _nth(number))):
                number += 1
            self._tally.aside = stamp + _nth(number)
        parts = (self._tally.aside.encode(), *step.parts)
        aside = directory_below(self._root.descriptor, parts, make=True)
        assert aside is not None  # noqa: S101 - it was made
        try:
            keep_aside(directory, step.name, aside, step.name)
        finally:
            os.close(aside)
        self._tally.replaced += 1

    def _not_named(self, step: Step, reason: str) -> None:
        if step.is_meta:
            # Without it, nobody could tell whose entries they are: they fail with it.
            self._nameless.add(step.parts[0])
            place = os.path.join(os.fsencode(self._root.path), *step.parts, step.name)
            self._tally.notes.append(Problem(printable(place), reason))
            return
        self._tally.written -= 1
        self._tally.fail(self._root.path, step.parts, step.name, step.cache_type, reason)


def _check_same(directory: int, step: Step) -> None:
    """Raise EntryError if what is to be replaced is not what was looked at."""
    there = present(directory, step.name)
    if there is None or sha256(there).digest() != step.replaces:
        raise EntryError("was changed by somebody else meanwhile; run again")


def _nth(number: int) -> str:
    return "" if number == 1 else f"-{number}"
