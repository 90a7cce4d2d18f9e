"""A JSON cache tree as a source of entries."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b, sha256
from typing import Final

import msgspec

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.entry import Entry
from rustassistant.entry_json import file_name, parse
from rustassistant.errors import EntryError
from rustassistant.native import Reader, unchanged
from rustassistant.stores.base import (
    Folder,
    Found,
    Look,
    Partition,
    Stamps,
    StoreInfo,
    Survey,
    Taker,
    Tree,
    printable,
)
from rustassistant.stores.json_tree.layout import LOCAL_DIRECTORY, Listing, holds_local_cache, walk
from rustassistant.stores.json_tree.reading import READ_FLAGS, is_fresh, read_file, stamp_of
from rustassistant.stores.json_tree.scanning import Rescan
from rustassistant.stores.outcomes import Failure, Problem

PARTITION_FILES: Final = 512
"""Large enough that handing a partition to a worker costs little beside reading it, small enough
that some dozens of them in flight take a few MiB."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SAMPLES_PER_TYPE: Final = 1200
_ASKED: Final = 4
_ANNOUNCED_BYTES: Final = 64 * 2**10
"""Of each file at most: all of almost any entry, and of a partition no more than 32 MiB."""

ReadUsual = Callable[[int, str, int], Found | None]
"""Takes an open directory, a name and the time, as `read_file` does."""


class JsonPartition(msgspec.Struct, frozen=True):
    """Some files of one directory."""

    folder: Folder
    path: str
    names: tuple[str, ...]

    @property
    def label(self) -> str:
        """The directory, for people."""
        return printable(self.path)

    def part(self, positions: Sequence[int]) -> JsonPartition:
        """Some of its files."""
        names = tuple(self.names[position] for position in positions)
        return msgspec.structs.replace(self, names=names)

    def state(self) -> bytes | None:
        """Of all its files' stamps; None if a change to one might not show, or it is gone."""
        now = time.time_ns()
        digest = blake2b(digest_size=16)
        try:
            directory = os.open(self.path, _DIRECTORY)
            try:
                for name in self.names:
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if is_fresh(status.st_mtime_ns, now):
                        return None
                    digest.update(stamp_of(status).to_bytes(8, "little", signed=True))
            finally:
                os.close(directory)
        except OSError:
            return None
        return digest.digest()

    def place(self, position: int) -> str:
        """The file."""
        return self._path(self.names[position])

    def look(self, known: Stamps) -> Look:
        """Open none of the files."""
        try:
            directory = os.open(self.path, _DIRECTORY)
        except OSError:
            return Look()  # reading says why
        try:
            positions, size = (unchanged or _unchanged)(directory, self.names, [*known])
        finally:
            os.close(directory)
        return Look(tuple(positions), size)

    def read(self, taker: Taker | None = None) -> Iterator[Found | Failure]:
        """Read each file."""
        names, now = self.names, time.time_ns()
        try:
            directory = os.open(self.path, _DIRECTORY)
        except OSError as error:
            for name in names:
                yield self._failure(name, f"its directory cannot be read: {error.strerror}")
            return
        try:
            _announce(names, directory)
            usual, position = self._reader(), 0
            while position < len(names):
                if taker is not None:
                    position = taker.take(directory, names, position, now)
                    if position == len(names):
                        break
                name = names[position]
                yield usual(directory, name, now) or self._read_one(name, directory, now)
                position += 1
        finally:
            os.close(directory)

    def _reader(self) -> ReadUsual:
        """What reads files that are as the Rust program prints them, if it was compiled."""
        if Reader is None:
            return _read_nothing
        repository, cache_type = self.folder.repository.path, self.folder.cache_type
        return Reader(
            self.label, repository, cache_type, found=Found, entry=Entry, sha256=sha256
        ).read

    def _read_one(self, name: str, directory: int, now: int) -> Found | Failure:
        folder = self.folder
        try:
            text, stamp = read_file(name, directory=directory, now=now)
        except EntryError as error:
            return self._failure(name, error.message, _size(name, directory))
        try:
            entry, notes = parse(
                text, repository=folder.repository.path, cache_type=folder.cache_type
            )
        except EntryError as error:
            return self._failure(name, error.message, len(text))
        own_name = None if name == file_name(entry.file_path) else os.fsencode(name)
        return Found(entry, self._path(name), len(text), own_name, stamp, notes)

    def _path(self, name: str) -> str:
        return printable(f"{self.path}/{name}")

    def _failure(self, name: str, reason: str, size: int = 0) -> Failure:
        return Failure(self._path(name), self.folder.cache_type, reason, size)


def _read_nothing(directory: int, name: str, now: int) -> None:
    """Leave every file to `JsonPartition._read_one`."""


def _unchanged(directory: int, names: Sequence[str], known: Stamps) -> tuple[Sequence[int], int]:
    """Positions of the files that have one of the stamps known of them, and their bytes in all."""
    found, size = [], 0
    for position, (name, stamps) in enumerate(zip(names, known, strict=True)):
        if not stamps:
            continue
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            continue
        if stamp_of(status) in stamps:
            found.append(position)
            size += status.st_size
    return found, size


def _announce(names: Sequence[str], directory: int) -> None:
    """Have the kernel fetch files that are about to be read.

    From a disk it fetches many at a time, in whatever order suits that; to read one after the other
    waits for each. Where a few of them are in memory already, all are taken to be.
    """
    if len(names) < 2 or not hasattr(os, "RWF_NOWAIT"):
        return
    asked = names[:: max(1, len(names) // _ASKED)]
    if all(_is_in_memory(name, directory) for name in asked):
        return
    for name in names:
        with suppress(OSError):  # reading it says why
            descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
            try:
                os.posix_fadvise(descriptor, 0, _ANNOUNCED_BYTES, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)


def _is_in_memory(name: str, directory: int) -> bool:
    """Whether reading a file would not wait; false where its file system can't tell."""
    try:
        descriptor = os.open(name, READ_FLAGS, dir_fd=directory)
    except OSError:
        return True  # nothing of it will be read
    try:
        os.preadv(descriptor, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _size(name: str, directory: int) -> int:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_size
    except OSError:
        return 0


class JsonTree:
    """The tree at ``path``: a central root, one ``<hash8>`` directory, a repository or its
    ``.rustassistant``. Nothing is ever written to it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(path)
        self._scan = Rescan()

    def info(self) -> StoreInfo:
        """What it is. Its size is not known before it has been read."""
        walk(self.path)
        return StoreInfo("json", printable(self.path), 0)

    def tree(self) -> Tree:
        """The directory named as the source; of a repository, its ``.rustassistant`` alone."""
        walk(self.path)
        return Tree(self.path, LOCAL_DIRECTORY if holds_local_cache(self.path) else None)

    def survey(self) -> Survey:
        """Count the files of each type and pick samples, by names alone, of which many are kept
        for `partitions`."""
        files: defaultdict[str, int] = defaultdict(int)
        samples: defaultdict[str, _Sample] = defaultdict(_Sample)
        for item in walk(self.path, self._scan.first):
            if isinstance(item, Listing):
                files[item.folder.cache_type] += len(item.names)
                samples[item.folder.cache_type].offer(item)
        chosen = [part for sample in samples.values() for part in sample.partitions()]
        return Survey(dict(files), _mean_size(chosen), chosen)

    def partitions(self) -> Iterator[Partition | Failure | Problem]:
        """List the tree, one directory's names in memory at a time."""
        for item in walk(self.path, self._scan.again):
            if not isinstance(item, Listing):
                yield item
                continue
            for start in range(0, len(item.names), PARTITION_FILES):
                names = tuple(item.names[start : start + PARTITION_FILES])
                yield JsonPartition(item.folder, item.path, names)


class _Sample:
    """Evenly spread files out of a listing whose length is not known beforehand.

    Keeps every n-th; when too many have come together, drops every second one and doubles n.
    """

    def __init__(self) -> None:
        self._step = 1
        self._seen = 0
        self._kept: list[tuple[Folder, str, str]] = []

    def offer(self, listing: Listing) -> None:
        for index in range(-self._seen % self._step, len(listing.names), self._step):
            self._kept.append((listing.folder, listing.path, listing.names[index]))
        self._seen += len(listing.names)
        while len(self._kept) > _SAMPLES_PER_TYPE:
            self._kept = self._kept[::2]
            self._step *= 2

    def partitions(self) -> list[JsonPartition]:
        by_directory: defaultdict[str, list[str]] = defaultdict(list)
        folders = {}
        for folder, path, name in self._kept:
            by_directory[path].append(name)
            folders[path] = folder
        return [
            JsonPartition(folders[path], path, tuple(names)) for path, names in by_directory.items()
        ]


def _mean_size(samples: Sequence[JsonPartition]) -> float:
    """Mean bytes of a file, of at most a few hundred of them: enough to judge free space by."""
    paths = [f"{part.path}/{name}" for part in samples for name in part.names]
    sizes = []
    for path in paths[:: max(1, len(paths) // 400)]:
        with suppress(OSError):
            sizes.append(min(os.lstat(path).st_size, MAX_TEXT_BYTES))  # larger ones are refused
    return sum(sizes) / len(sizes) if sizes else 0.0
