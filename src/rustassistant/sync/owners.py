"""Whose the directories of a tree are while their ``meta.json`` does not tell: whose they were.

A ``meta.json`` that is empty, cut off or missing for a moment would else make another repository of
all that lies beside it: gone under one name, and new under another.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from rustassistant.stores.base import Folder, Repository, printable
from rustassistant.stores.json_tree.layout import Listing
from rustassistant.stores.json_tree.meta import META_NAME, read_repository
from rustassistant.stores.json_tree.places import Layout
from rustassistant.stores.outcomes import Failure
from rustassistant.sync.elements import has_owner
from rustassistant.sync.side import KeyOf, Listed
from rustassistant.sync.state import Container


class _Known(NamedTuple):
    repository: Repository
    containers: list[Container]


class Owners:
    """Which repository each directory of a tree was of when that was last told."""

    def __init__(self, containers: Iterable[Container], key_of: KeyOf) -> None:
        self._key_of = key_of
        self._known: dict[bytes, _Known] = {}
        for container in containers:
            directory = _directory_of(container.path, container.folder)
            if directory is not None and has_owner(container.folder.repository):
                known = self._known.setdefault(directory, _Known(container.folder.repository, []))
                known.containers.append(container)
        self._told: set[bytes] = set()
        self._lost: set[bytes] = set()
        self._listed: set[bytes] = set()

    def as_remembered(self, listing: Listing) -> Listing:
        """The listing, in the name of the repository that its directory was of if need be."""
        path, folder = os.fsencode(listing.path), listing.folder
        directory = _directory_of(path, folder)
        if directory is None or directory not in self._known:
            return listing
        repository = self._known[directory].repository
        if not self._is_doubtful(folder.repository, repository):
            self._told.add(directory)
            return listing
        self._lost.add(directory)
        self._listed.add(path)
        return listing._replace(folder=msgspec.structs.replace(folder, repository=repository))

    def of_lost(self) -> Iterator[Container]:
        """Containers in directories without an owner that were not listed, as nothing is in them
        now: they are to be remembered all the same, or the directory's owner would be forgotten.
        """
        for directory, known in self._known.items():
            if directory in self._told:
                continue
            path = os.fsdecode(directory)
            if directory in self._lost or (
                os.path.isdir(path)
                and self._is_doubtful(read_repository(path)[0], known.repository)
            ):
                self._lost.add(directory)
                yield from (one for one in known.containers if one.path not in self._listed)

    def _is_doubtful(self, now: Repository, before: Repository) -> bool:
        """Unless the pair is of one repository, whichever it is."""
        return not has_owner(now) and self._key_of(now) != self._key_of(before)

    def tell(self, listed: Listed) -> None:
        """Note the keys of these repositories, and what is to be done for them."""
        for directory in sorted(self._lost):
            repository = self._known[directory].repository
            listed.unowned.add(self._key_of(repository))
            path = printable(os.path.join(directory, META_NAME.encode()))
            why = next((one.text for one in listed.problems if one.path == path), "")
            listed.problems[:] = [one for one in listed.problems if one.path != path]
            why = why.partition(": its entries")[0] or "does not tell"
            reason = (
                f"{why}, so nobody can tell whose directory this is: nothing of "
                f"{repository.path!r}, whose it was, is synced until it is told again"
            )
            listed.failures.append(Failure(path, "", reason))


def _directory_of(path: bytes, folder: Folder) -> bytes | None:
    """The directory in which a folder's repository has its ``meta.json``, if it has one."""
    if folder.layout == Layout.LOCAL:
        return None
    below = 1 + (folder.layout == Layout.CENTRALIZED)
    below += len(folder.subfolder.split("/")) if folder.subfolder else 0
    for _ in range(below):
        path = os.path.dirname(path)
    return path
