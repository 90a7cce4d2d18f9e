"""A JSON cache tree as one side of a sync."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b, sha256
from typing import Final

import msgspec

from rustassistant.entry_json import parse
from rustassistant.errors import DestinationError, EntryError, LockedError
from rustassistant.stores.base import Folder, Found, Repository, Survey, printable
from rustassistant.stores.json_tree.changing import Change, Expected, TreeChanges
from rustassistant.stores.json_tree.layout import (
    GIT_DIRECTORY,
    LOCAL_DIRECTORY,
    UNFINISHED,
    Listing,
    walk,
)
from rustassistant.stores.json_tree.places import Layout, Place, Placement, name_for, suffixed
from rustassistant.stores.json_tree.reading import stamp_of
from rustassistant.stores.json_tree.standing import Standing, standing_of
from rustassistant.stores.json_tree.store import JsonPartition, JsonTree
from rustassistant.stores.json_tree.writing import file_of
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.sync.elements import Columns, columns_of, element_of, facts_of, repository_key
from rustassistant.sync.side import Failed, Incoming, KeyOf, Leaving, Listed
from rustassistant.sync.state import Container, Item, State

_BATCH: Final = 2_000
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
        listed = Listed()
        state.begin_listing()
        for item in walk(self.path):
            if isinstance(item, Problem):
                listed.problems.append(item)
            elif isinstance(item, Failure):
                hides = _is_directory(item.path) or state.lies_below(side, os.fsencode(item.path))
                (listed.unlisted if hides else listed.failures).append(item)
            else:
                self._list_folder(state, side, item, listed)
        state.end_listing(side)
        return listed

    def _list_folder(self, state: State, side: int, listing: Listing, listed: Listed) -> None:
        container = state.container(side, os.fsencode(listing.path), listing.folder)
        known = state.known(container)
        names = [os.fsencode(name) for name in listing.names]
        changed = _changed(listing, names, known)
        listed.read += len(changed)
        gone = known.keys() - set(names)
        for start in range(0, len(changed), _BATCH):
            some = tuple(changed[start : start + _BATCH])
            partition = JsonPartition(listing.folder, listing.path, some)
            items = []
            for name, found in zip(some, partition.read({}), strict=True):
                if isinstance(found, Failure):
                    if os.path.lexists(os.path.join(listing.path, name)):
                        listed.failures.append(found)  # what it was when last read stays in mind
                    else:
                        gone.add(os.fsencode(name))
                elif isinstance(found, Found):
                    items.append(self._item(os.fsencode(name), found, listing.folder))
            state.put(side, container, items)
        if gone:
            state.drop(container, gone)

    def _item(self, name: bytes, found: Found, folder: Folder) -> Item:
        columns = columns_of(found.entry)
        element = element_of(self.key_of(folder.repository), folder.cache_type, columns)
        return Item(name, found.stamp, element, facts_of(folder, columns))

    def read(
        self, container: Container, names: Iterable[bytes]
    ) -> Iterator[tuple[bytes, Found | Failure]]:
        """Read files of one directory."""
        wanted = tuple(map(os.fsdecode, names))
        partition = JsonPartition(container.folder, os.fsdecode(container.path), wanted)
        for name, found in zip(wanted, partition.read({}), strict=True):
            if isinstance(found, Found | Failure):  # without stamps, nothing is unchanged
                yield os.fsencode(name), found

    def survey(self) -> Survey:
        """How many of which type, with samples."""
        return JsonTree(self.path).survey()

    # Changing.

    def tidy(self) -> None:
        """Remove what a run that was killed has left half done, unless it is another's."""
        if os.path.isdir(os.path.join(self.standing.base, UNFINISHED)):
            with suppress(LockedError, DestinationError):
                TreeChanges(self.standing).close()

    def prepare(self, source: Survey) -> None:
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


def _is_directory(path: str) -> bool:
    """Whether a path is a directory, or may be: one that can't be found may only look otherwise."""
    return not os.path.lexists(path) or (os.path.isdir(path) and not os.path.islink(path))


def _changed(listing: Listing, names: list[bytes], known: dict[bytes, int | None]) -> list[str]:
    """Names whose file is not as it was when it was read."""
    changed = []
    try:
        directory = os.open(listing.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return listing.names  # reading says why
    try:
        for text, name in zip(listing.names, names, strict=True):
            stamp = known.get(name)
            try:
                same = stamp is not None and stamp == stamp_of(
                    os.stat(text, dir_fd=directory, follow_symlinks=False)
                )
            except OSError:
                same = False
            if not same:
                changed.append(text)
    finally:
        os.close(directory)
    return changed


class TreeWork:
    """Changes to one tree."""

    def __init__(self, tree: TreeSide, changes: TreeChanges, state: State, side: int) -> None:
        self._tree = tree
        self._changes = changes
        self._state = state
        self._homes: dict[str, tuple[Repository, str]] = {}
        self._staged: list[tuple[Incoming, Change]] = []
        self._leaving: list[Leaving] = []
        folders = [one.folder for one in state.containers(side)]
        for folder in folders:
            key = tree.key_of(folder.repository)
            self._homes.setdefault(key, (folder.repository, folder.layout))
        self._placement = Placement(None, folders)

    def add(self, incoming: Incoming, found: Found, folder: Folder) -> None:
        """Stage one result, to get its name in `commit`."""
        home = self._home(folder)
        entry = msgspec.structs.replace(found.entry, repository=home.repository.path)
        text = file_of(entry)
        key = self._tree.key_of(home.repository)
        if element_of(key, home.cache_type, _columns_in(text, home)) != incoming.element:
            raise EntryError("a file can't say all that is stored of it")
        digest = sha256(text).digest()
        name = name_for(entry.file_path, found.name, digest)
        place, expected = self._place(home), None
        replaced = self._first(incoming.replaces)
        is_newer = replaced is not None and replaced.element.analyzed_at < entry.analyzed_at
        if incoming.beside and not is_newer:
            name, replaced = suffixed(name, digest), None
        if replaced is not None:
            container = self._state.container_of(replaced.place)
            place, name = self._place_of(container), replaced.place.name
            expected = self._judge(replaced, container.folder)
        change = Change(
            place,
            name,
            self._changes.stage(text),
            digest,
            home.repository.path,
            expected,
            self._news(incoming, home),
            keeps=replaced is not None and replaced.is_lost,
            beside=incoming.beside,
        )
        self._staged.append((incoming, change))

    def remove(self, leaving: Leaving) -> None:
        """Have a result moved to the trash with the next `commit`."""
        self._leaving.append(leaving)

    def commit(self) -> list[Failed]:
        """Give all that was staged its names, and take others away."""
        if self._staged:
            self._changes.settle()
        failed = []
        for incoming, change in self._staged:
            try:
                self._changes.do(change)
                if not incoming.beside:
                    self._leaving.extend(self._others(incoming))
            except EntryError as error:
                failed.append(Failed(incoming.element, error.message))
        self._staged.clear()
        for leaving in self._leaving:
            try:
                self._remove(leaving)
            except EntryError as error:
                failed.append(Failed(leaving.element, error.message))
        self._leaving.clear()
        self._changes.finish()
        return failed

    def _remove(self, leaving: Leaving) -> None:
        container = self._state.container_of(leaving.place)
        repository = container.folder.repository.path
        judge = self._judge(leaving, container.folder)
        self._changes.do(
            Change(self._place_of(container), leaving.place.name, None, b"", repository, judge)
        )

    def _first(self, leaving: tuple[Leaving, ...]) -> Leaving | None:
        """Whose name a result gets: the newest's, and of its names the shortest."""
        if not leaving:
            return None
        newest = max(leaving, key=lambda one: (one.element.analyzed_at, one.element.digest))
        same = [one for one in leaving if one.element == newest.element]
        return min(same, key=lambda one: (len(one.place.name), one.place))

    def _others(self, incoming: Incoming) -> list[Leaving]:
        first = self._first(incoming.replaces)
        return [one for one in incoming.replaces if one is not first]

    def _judge(self, leaving: Leaving, folder: Folder) -> Expected:
        key = self._tree.key_of(folder.repository)

        def is_it(text: bytes) -> bool:
            try:
                columns = _columns_in(text, folder)
            except EntryError:
                return False
            return element_of(key, folder.cache_type, columns) == leaving.element

        return is_it

    def _news(self, incoming: Incoming, folder: Folder) -> Expected:
        """Judges a file that has the name already: it may be of another path with that name."""
        key = self._tree.key_of(folder.repository)

        def is_news(text: bytes) -> bool:
            try:
                there = element_of(key, folder.cache_type, _columns_in(text, folder))
            except EntryError:
                return False
            return there.slot == incoming.element.slot and there.digest not in incoming.present

        return is_news

    # Where things go.

    def _home(self, folder: Folder) -> Folder:
        """The folder as it is here: under the name that its repository has in this tree."""
        standing = self._tree.standing
        if standing.local is not None:
            own = Repository(printable(standing.local))
            return msgspec.structs.replace(folder, repository=own, layout=Layout.LOCAL.value)
        key = self._tree.key_of(folder.repository)
        if key in self._homes:
            repository, layout = self._homes[key]
            return msgspec.structs.replace(folder, repository=repository, layout=layout)
        if folder.layout == Layout.LOCAL:
            return msgspec.structs.replace(folder, layout=Layout.CENTRALIZED.value)
        return folder

    def _place(self, folder: Folder) -> Place:
        if self._tree.standing.local is not None:
            return Placement(None, [folder]).place(folder)
        return self._placement.place(folder)

    def _place_of(self, container: Container) -> Place:
        base = os.fsencode(self._tree.standing.base)
        parts = tuple(os.path.relpath(container.path, base).split(b"/"))
        return Place(parts, 0, None)


def _columns_in(text: bytes, folder: Folder) -> Columns:
    parsed = parse(text, repository=folder.repository.path, cache_type=folder.cache_type)
    return columns_of(parsed.entry)
