"""A JSON cache tree as one side of a sync."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Final

from rustassistant.errors import DestinationError, LockedError
from rustassistant.stores.base import Folder, Found, Survey, printable
from rustassistant.stores.json_tree.changing import TreeChanges
from rustassistant.stores.json_tree.layout import (
    GIT_DIRECTORY,
    LOCAL_DIRECTORY,
    UNFINISHED,
)
from rustassistant.stores.json_tree.standing import Standing, standing_of
from rustassistant.stores.json_tree.store import JsonPartition, JsonTree
from rustassistant.stores.outcomes import Failure
from rustassistant.sync.elements import repository_key
from rustassistant.sync.news import News
from rustassistant.sync.side import KeyOf, Listed, Side
from rustassistant.sync.state import Container, State
from rustassistant.sync.tree_listing import TreeListing
from rustassistant.sync.tree_work import TreeWork

_FEW: Final = 50
"""Files that are waited for one by one: for more, one wait for the whole disk is quicker."""

_BAD_DISK: Final = frozenset((errno.EIO, errno.ENOSPC, errno.EDQUOT))
_NOT_LOOKED_AT: Final = frozenset((GIT_DIRECTORY, UNFINISHED))


class TreeSide:
    """The tree at ``path``, which is made if need be."""

    kind = "tree"
    is_narrow = True

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self.location = printable(self.path)
        self.place = self.path
        self.key_of: KeyOf = repository_key
        self.trash: str | None = None
        self._standing: Standing | None = None
        self._is_settled = False

    @property
    def standing(self) -> Standing:
        """What the directory stands for, as it was when first asked."""
        if self._standing is None:
            self._standing = standing_of(self.path)
        return self._standing

    @property
    def is_single(self) -> bool:
        """Whether it can only hold entries of one repository."""
        return self.standing.is_single

    def exists(self) -> bool:
        """Whether there is anything."""
        return os.path.lexists(self.path)

    def own_key(self, folders: Iterable[Folder]) -> str | None:
        """Of a repository's own cache, the key of that; None if any repository may be in it."""
        if not self.is_single:
            return None
        if self.standing.local is not None:
            return printable(self.standing.local)
        return next((self.key_of(folder.repository) for folder in folders), "")

    # Looking.

    def glance(self) -> bytes:
        """Bytes that are others when anything has changed; cheaper than listing."""
        digest = blake2b(digest_size=16)
        local = self.standing.local
        pending = [self.path if local is None else os.path.join(local, LOCAL_DIRECTORY)]
        while pending:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        if entry.name in _NOT_LOOKED_AT:
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                            digest.update(os.fsencode(entry.path))
                        else:
                            status = entry.stat(follow_symlinks=False)
                            facts = (status.st_size, status.st_mtime_ns, status.st_ino)
                            digest.update(b"%d,%d,%d;" % facts)
            except OSError as error:
                digest.update(b"!%d" % (error.errno or 0))
        return digest.digest()

    def list(self, state: State, side: int) -> Listed:
        """Bring what is remembered of the tree up to date."""
        return self._listing(state, side).whole()

    def list_news(self, state: State, side: int, news: News) -> Listed | None:
        """The same for what the news name; None if only a look at everything can judge them."""
        return self._listing(state, side).of_news(news)

    def _listing(self, state: State, side: int) -> TreeListing:
        return TreeListing(self.path, state, side, self.key_of, is_single=self.is_single)

    def remember(self, before: Side) -> None:
        """Nothing: the files are there to look at."""

    def read(
        self, container: Container, names: Iterable[bytes]
    ) -> Iterator[tuple[bytes, Found | Failure]]:
        """Read files of one directory."""
        wanted = tuple(map(os.fsdecode, names))
        partition = JsonPartition(container.folder, os.fsdecode(container.path), wanted)
        for name, found in zip(wanted, partition.read(), strict=True):
            if isinstance(found, Found | Failure):  # without stamps, nothing is unchanged
                yield os.fsencode(name), found

    def survey(self) -> Survey:
        """How many of which type, with samples."""
        return JsonTree(self.path).survey()

    def mark(self) -> str:
        """Nothing: files say themselves how old they are."""
        return ""

    def is_older(self, mark: str) -> bool:
        """Never."""
        return False

    def pinned(self) -> frozenset[bytes]:
        """None: files can't be pinned."""
        return frozenset()

    # Changing.

    def tidy(self) -> None:
        """Remove what a run that was killed has left half done, unless it is another's."""
        if os.path.isdir(os.path.join(self.standing.base, UNFINISHED)):
            with suppress(LockedError, DestinationError):
                TreeChanges(self.standing).close()

    def settle(self, found: Iterable[tuple[Container, bytes]]) -> None:
        """Wait for the disk: for those files and their directories, or of many for everything.

        The Rust program does not wait for its own files.
        """
        files = [os.path.join(container.path, name) for container, name in found]
        if self._is_settled or not files:
            return
        if len(files) > _FEW:
            os.sync()
            self._is_settled = True  # whatever is still to be named was there before, too
            return
        top = os.fsencode(self.standing.base)
        directories = {top}
        for path in files:
            _sync(path)
            while len(path := os.path.dirname(path)) > len(top):
                directories.add(path)
        for directory in directories:
            _sync(directory)

    def prepare(self, survey: Callable[[], Survey]) -> None:
        """Nothing to get ready."""

    @contextmanager
    def changes(self, state: State, side: int, *, other: str) -> Iterator[TreeWork]:
        """Hold the tree's lock; raises LockedError, naming who has it."""
        changes = TreeChanges(self.standing)
        try:
            yield TreeWork(self, changes, state, side)
        finally:
            changes.close()
            self.trash = changes.trash or self.trash


def _sync(path: bytes) -> None:
    """Wait until a file or directory is on the disk. One that is gone, the next run sees."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _BAD_DISK:
            raise DestinationError(
                f"{printable(path)} cannot be made durable: {error.strerror}"
            ) from None
