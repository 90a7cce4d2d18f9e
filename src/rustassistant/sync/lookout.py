"""Noticing that a side has changed: told by the kernel where it can, and else by looking.

Both say where to look, no more. Before everything is listed, `begin` is called: what changes from
then on is news.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final, Protocol

from rustassistant.errors import RustAssistantError
from rustassistant.stores.json_tree.layout import LOCAL_DIRECTORY
from rustassistant.stores.sqlite.surroundings import tells_no_changes
from rustassistant.sync import kernel
from rustassistant.sync.news import News
from rustassistant.sync.side import Side
from rustassistant.sync.tree import TreeSide

_SHARE: Final = 4
"""A look takes no more than a fifth of the time."""
_CONFIRMING_SECONDS: Final = 1.0
"""What changed within a step of the clock before it was looked at may have changed again unseen."""


_NOT_THERE: Final = "it does not exist"


class Lookout(Protocol):
    """Watches one side. ``reason`` says why it has to look though it might have been told."""

    reason: str | None

    def begin(self) -> None:
        """From now on, tell of changes."""

    def news(self) -> News:
        """What has changed since then, or since the last time."""

    def descriptor(self) -> int | None:
        """What can be read when there is news; None if one has to ask."""

    def close(self) -> None:
        """The end."""


def lookout_for(side: Side) -> Lookout:
    """The best there is."""
    return TreeLookout(side) if isinstance(side, TreeSide) else Looks(side)


class Looks:
    """Compares times and sizes, which for a database costs nothing, and for a tree as many looks as
    it has files: the longer that takes, the seldomer it is done."""

    reason: str | None = None

    def __init__(self, side: Side) -> None:
        self._side = side
        self._seen: bytes | None = None
        self._next = self._confirm = 0.0

    def begin(self) -> None:
        """From now on, tell of changes."""
        self._seen = self._look()
        self._confirm = time.monotonic() + _CONFIRMING_SECONDS

    def news(self) -> News:
        """Everything, or nothing."""
        now = time.monotonic()
        if now < self._next:
            return News()
        seen = self._look()
        is_other, is_due = seen != self._seen, 0 < self._confirm <= now
        self._seen = seen
        if is_other:
            self._confirm = max(self._next, now + _CONFIRMING_SECONDS)
        elif is_due:
            self._confirm = 0.0
        return News(whole=is_other or is_due)

    def _look(self) -> bytes:
        started = time.monotonic()
        try:
            seen = self._side.glance()
        except RustAssistantError as error:  # the sync says so
            seen = error.message.encode()
        ended = time.monotonic()
        self._next = ended + _SHARE * (ended - started)
        return seen

    def descriptor(self) -> None:
        """One has to ask."""

    def close(self) -> None:
        """Nothing is open."""


class TreeLookout:
    """Told by the kernel, unless it has no more watches to give, or would not know."""

    def __init__(self, side: TreeSide) -> None:
        local = side.standing.local
        root, only = side.path, None
        if local is not None:
            root, only = os.path.join(local, LOCAL_DIRECTORY), b"cache"
        self._root, self._only = os.fsencode(root), only
        self._looks = Looks(side)
        self._kernel: kernel.KernelNotices | None = None
        self.reason: str | None = None

    def begin(self) -> None:
        """From now on, tell of changes. Watches are set anew, as nobody knows which are missing."""
        self.close()
        self.reason = self._listen()
        if self.reason is not None:
            self._looks.begin()

    def _listen(self) -> str | None:
        if not kernel.IS_THERE:
            return "this system's kernel is not asked"
        kind = tells_no_changes(os.fsdecode(self._root))
        if kind is not None:
            return f"it lies on a {kind} file system, which does not tell of changes"
        try:
            self._kernel = kernel.KernelNotices(self._root, self._only)
        except FileNotFoundError:
            return _NOT_THERE
        except OSError as error:
            return _unwatchable(error)
        return None

    def news(self) -> News:
        """What was told, or seen."""
        if self._kernel is None:
            if self.reason != _NOT_THERE or not os.path.isdir(self._root):
                return self._looks.news()
            self.begin()
            return News(whole=True)
        try:
            news = self._kernel.news()
        except OSError as error:  # no watch to be had for a new directory
            self.close()
            self.reason = _unwatchable(error)
            self._looks.begin()
            return News(whole=True)
        if self._kernel.is_lost:
            self.begin()
        return news

    def descriptor(self) -> int | None:
        """What can be read when there is news; None if one has to ask."""
        return None if self._kernel is None else self._kernel.fileno()

    def close(self) -> None:
        """Listen no more."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None


def _unwatchable(error: OSError) -> str:
    limits = (errno.ENOSPC, errno.EMFILE, errno.ENFILE)
    hint = "; sysctl fs.inotify has its limits" if error.errno in limits else ""
    return f"the kernel can't tell of changes in it: {error.strerror}{hint}"
