"""What the kernel tells of changes in a tree: inotify, on Linux.

Each directory has a watch of its own, as inotify knows no other; a tree has few for its many files.
What is told is only where to look. Where it leaves a doubt (a directory is gone or moved, or more
happened than the kernel keeps), the news are that everything has to be looked at. See inotify(7),
also for what it never tells: changes that other machines make to a shared disk.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from rustassistant.stores.json_tree.layout import GIT_DIRECTORY, UNFINISHED, is_backup
from rustassistant.sync.news import News

try:
    from inotify_simple import INotify, flags
except ImportError:  # another system than Linux
    INotify = flags = None

IS_THERE: Final = INotify is not None
_NOT_LOOKED_AT: Final = frozenset((os.fsencode(GIT_DIRECTORY), os.fsencode(UNFINISHED)))
_SUFFIX: Final = b".json"
_PASSING: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP))
"""A directory can't be watched as it is gone again, or is none, or is closed to us: what comes of
that shows when it is listed. Any other error means that inotify has reached a limit."""


def _mask() -> int:
    return int(
        flags.CREATE | flags.MODIFY | flags.CLOSE_WRITE | flags.ATTRIB | flags.DELETE
        | flags.MOVED_FROM | flags.MOVED_TO | flags.DELETE_SELF | flags.MOVE_SELF
        | flags.ONLYDIR | flags.DONT_FOLLOW | flags.EXCL_UNLINK
    )  # fmt: skip


class KernelNotices:
    """Listens from its making on. Raises OSError where the kernel has no watches to give.

    With ``only``, of the root itself that one directory counts. Once it ``is_lost``, it no longer
    knows which directories it watches.
    """

    def __init__(self, root: bytes, only: bytes | None = None) -> None:
        self._root = root
        self._only = only
        self._top = root if only is None else os.path.join(root, only)
        self.is_lost = False
        self._mask = _mask()
        self._paths: dict[int, bytes] = {}
        self._inotify: Any = INotify(nonblocking=True)
        try:
            os.stat(root)
            self._watch(root)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """A descriptor that can be read when something was told."""
        return int(self._inotify.fileno())

    def close(self) -> None:
        """Listen no more."""
        self._inotify.close()

    def _watch(self, top: bytes) -> None:
        """Watch a directory and all below it."""
        pending = [top]
        while pending:
            path = pending.pop()
            try:
                self._paths[self._inotify.add_watch(path, self._mask)] = path
                with os.scandir(path) as entries:
                    pending += [
                        entry.path
                        for entry in entries
                        if entry.is_dir(follow_symlinks=False) and self._counts(path, entry.name)
                    ]
            except OSError as error:
                if error.errno not in _PASSING:
                    raise

    def _counts(self, directory: bytes, name: bytes) -> bool:
        """Whether a directory of that name can have results in it."""
        if directory == self._root and self._only is not None:
            return name == self._only
        is_beside_repositories = directory in (self._root, self._top)
        return name not in _NOT_LOOKED_AT and not (
            is_beside_repositories and is_backup(os.fsdecode(name))
        )

    def news(self) -> News:
        """All that was told since the last time."""
        news = News()
        for event in self._inotify.read(timeout=0):
            self._take(event.wd, event.mask, os.fsencode(event.name), news)
        return news

    def _take(self, wd: int, mask: int, name: bytes, news: News) -> None:
        if mask & flags.IGNORED:
            self._paths.pop(wd, None)
            return
        directory = self._paths.get(wd)
        if mask & (flags.Q_OVERFLOW | flags.UNMOUNT | flags.DELETE_SELF | flags.MOVE_SELF):
            news.whole = self.is_lost = True
        elif directory is None:
            return  # it was told of that this one is gone
        elif not mask & flags.ISDIR:
            if name.endswith(_SUFFIX) and (directory != self._root or self._only is None):
                news.names[directory].add(name)
        elif name and not self._counts(directory, name):
            return
        elif mask & (flags.DELETE | flags.MOVED_FROM):
            news.whole = self.is_lost = True
        else:
            self._take_directory(os.path.join(directory, name) if name else directory, mask, news)

    def _take_directory(self, path: bytes, mask: int, news: News) -> None:
        """One has come, or its permissions have changed."""
        if mask & (flags.CREATE | flags.MOVED_TO):
            self._watch(path)
        part = path[len(self._root) :].lstrip(b"/").split(b"/", 1)[0]
        if part:
            news.parts.add(part)
        else:
            news.whole = True
