"""Changing a JSON cache tree that is one side of a sync."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

import msgspec

from rustassistant.entry_json import parse
from rustassistant.errors import EntryError
from rustassistant.stores.base import Folder, Found, Repository, printable
from rustassistant.stores.json_tree.changing import Change, Expected, TreeChanges
from rustassistant.stores.json_tree.meta import META_NAME
from rustassistant.stores.json_tree.places import (
    Layout,
    Place,
    Placement,
    hash8,
    name_for,
    suffixed,
)
from rustassistant.stores.json_tree.standing import Standing
from rustassistant.stores.json_tree.writing import file_of
from rustassistant.sync.elements import Columns, Element, columns_of, element_of, has_owner
from rustassistant.sync.side import Failed, Incoming, KeyOf, Leaving
from rustassistant.sync.state import Container, State

_ANY: Final = "/"
"""Whichever directory a repository has: no name of one."""

_DIGEST_MARK: Final = b"~"


class Tree(Protocol):
    """What is changed."""

    key_of: KeyOf

    @property
    def standing(self) -> Standing:
        """What the directory stands for."""


class _Staged(NamedTuple):
    """A result whose text is on the disk, and what goes once it has its name."""

    order: tuple[bool, bool, int]
    element: Element
    change: Change
    leaving: list[Leaving]


class TreeWork:
    """Changes to one tree."""

    def __init__(self, tree: Tree, changes: TreeChanges, state: State, side: int) -> None:
        self._tree = tree
        self._changes = changes
        self._state = state
        self._homes: dict[tuple[str, str | None], tuple[Repository, str]] = {}
        self._owners: dict[str | None, Repository] = {}
        self._staged: list[_Staged] = []
        self._leaving: list[Leaving] = []
        self._added: set[bytes] = set()
        folders = [one.folder for one in state.containers(side)]
        for folder in folders:
            repository = folder.repository
            key, home = tree.key_of(repository), (repository, folder.layout)
            self._homes.setdefault((key, repository.directory), home)
            self._homes.setdefault((key, _ANY), home)
            self._owners.setdefault(repository.directory, repository)
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
        plain = name_for(entry.file_path, None, digest)
        name = name_for(entry.file_path, found.name, digest)
        # Who had to take a longer name gets the one that programs look for, where that is free.
        is_longer = _is_longer(name, plain)
        if is_longer:
            name = plain
        place, expected = self._place(home), None
        replaced = self._first(incoming.replaces)
        is_newer = replaced is not None and replaced.element.analyzed_at < entry.analyzed_at
        if incoming.beside and not is_newer:
            replaced = None  # who has the name already keeps it
        leaving = [] if incoming.beside else [one for one in incoming.replaces if one != replaced]
        if replaced is not None:
            container = self._state.container_of(replaced.place)
            place = self._place_of(container)
            if _is_longer(replaced.place.name, plain):
                leaving += [] if incoming.beside else [replaced]
                name, replaced = plain, None
            else:
                name = replaced.place.name
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
        # The newest has the first choice of a name, before those that lay beside another.
        order = (incoming.beside, is_longer, -entry.analyzed_at)
        self._staged.append(_Staged(order, incoming.element, change, leaving))
        self._added.add(incoming.element.digest)

    def remove(self, leaving: Leaving) -> None:
        """Have a result moved to the trash with the next `commit`."""
        self._leaving.append(leaving)

    def commit(self) -> list[Failed]:
        """Give all that was staged its names, and take others away."""
        if self._staged:
            self._changes.settle()
        failed = []
        for staged in sorted(self._staged, key=lambda one: one.order):
            try:
                self._changes.do(staged.change)
                self._leaving.extend(staged.leaving)
            except EntryError as error:
                failed.append(Failed(staged.element, error.message))
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
            known = there.digest in incoming.present or there.digest in self._added
            return there.slot == incoming.element.slot and not known

        return is_news

    # Where things go.

    def _home(self, folder: Folder) -> Folder:
        """The folder as it is here: under the name that its repository has in this tree."""
        standing = self._tree.standing
        if standing.local is not None:
            own = Repository(printable(standing.local))
            return msgspec.structs.replace(folder, repository=own, layout=Layout.LOCAL.value)
        key, directory = self._tree.key_of(folder.repository), folder.repository.directory
        home = self._homes.get((key, directory)) or self._homes.get((key, _ANY))
        if home is not None:
            repository, layout = home
            return msgspec.structs.replace(folder, repository=repository, layout=layout)
        self._check_owner(folder.repository)
        if folder.layout == Layout.LOCAL:
            return msgspec.structs.replace(folder, layout=Layout.CENTRALIZED.value)
        return folder

    def _check_owner(self, incoming: Repository) -> None:
        """Refuse what may be meant by a directory that is here: one for which its name stands would
        not be found again under another, and one that is here may be its own."""
        here = self._owners.get(incoming.directory or hash8(incoming.path))
        for one in (incoming, here):
            if here is not None and one is not None and not has_owner(one):
                raise EntryError(
                    f"there is such a directory on the other side, and {one.path}/{META_NAME} does "
                    "not tell whose this is"
                )

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


def _is_longer(name: bytes, plain: bytes) -> bool:
    """Whether a name is what `suffixed` made of another."""
    if _DIGEST_MARK not in name:
        return False
    digits = name.rpartition(_DIGEST_MARK)[2].partition(b".")[0]
    try:
        return name == suffixed(plain, bytes.fromhex(digits.decode()))
    except ValueError:
        return False
