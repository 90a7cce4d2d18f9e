"""Places for what is not finished yet: they lie beside the name that it is to get.

Each is locked for as long as its maker lives. One that nobody holds was left by a process that
died, and the next run for the same name removes it; the kernel drops the lock, so neither a process
id that is used again nor a container with ids of its own misleads.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from secrets import token_hex
from typing import Final

from rustassistant.stores.renaming import rename_new, sync_directory

ARCHIVE_SUFFIX: Final = ".tar.zst"
_OWN: Final = re.compile(r"\d+_[0-9a-f]{8}", re.ASCII)


def free_name(wanted: str) -> str:
    """``wanted``, or if that is taken, the same with the date, and a number if need be."""
    return wanted if not os.path.lexists(wanted) else dated_name(wanted)


def dated_name(wanted: str) -> str:
    """A free name: with the date, and a number if need be, before the suffix of an archive."""
    suffix = ARCHIVE_SUFFIX if wanted.endswith(ARCHIVE_SUFFIX) else ""
    dated = f"{wanted.removesuffix(suffix)}-{datetime.now().astimezone():%Y-%m-%dT%H%M%S}"
    name, number = dated + suffix, 2
    while os.path.lexists(name):
        name, number = f"{dated}-{number}{suffix}", number + 1
    return name


def publish(partial: str, wanted: str) -> str:
    """Give what is finished its name, or a free one like it; return that."""
    while True:
        name = free_name(wanted)
        try:
            rename_new(partial, name)
        except FileExistsError:
            continue  # somebody took it in this moment
        sync_directory(os.path.dirname(name))
        return name


@contextmanager
def partial_directory(wanted: str) -> Iterator[str]:
    """A directory of our own, 0700, removed at the end unless it was renamed."""
    while True:
        path = _name(wanted)
        os.mkdir(path, 0o700)
        try:
            lock = _locked(path)
            if lock is not None:
                break
        except BaseException:
            remove(path)
            raise
    try:
        yield path
    finally:
        remove(path)
        os.close(lock)


@contextmanager
def partial_file(wanted: str) -> Iterator[str]:
    """An empty file of our own, 0600, removed at the end unless it was renamed."""
    while True:
        path = _name(wanted)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        lock = _locked(path)
        if lock is not None:
            break
    try:
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)
        os.close(lock)


def _name(wanted: str) -> str:
    _remove_stale(wanted)
    return f"{wanted}.partial-{os.getpid()}_{token_hex(4)}"


def _locked(path: str) -> int | None:
    """A descriptor that holds its lock; None if it was taken for a dead process's meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        with suppress(OSError):  # a file system without locks: nothing is ever removed there
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.lexists(path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove_stale(wanted: str) -> None:
    """What processes of ours that died have left beside this name."""
    directory, name = os.path.split(wanted)
    start = f"{name}.partial-"
    with suppress(OSError):  # a directory that may be written to, but not listed
        for leftover in os.listdir(directory):
            if leftover.startswith(start) and _OWN.fullmatch(leftover[len(start) :]):
                _remove_if_left(os.path.join(directory, leftover))


def _remove_if_left(path: str) -> None:
    with suppress(OSError):
        if os.lstat(path).st_uid != os.geteuid():
            return
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
        finally:
            os.close(descriptor)


def remove(path: str) -> None:
    """Remove a file, or a tree: however deep, and directories that are read-only included."""
    if not os.path.isdir(path) or os.path.islink(path):
        with suppress(OSError):
            os.unlink(path)
        return
    directories = [path]
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
