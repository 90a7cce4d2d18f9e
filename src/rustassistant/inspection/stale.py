"""How many entries are about files as they are now, and how many about what is gone."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Final

import apsw

from rustassistant.configuration import Configuration
from rustassistant.errors import DamagedError, NotFoundError, UsageError
from rustassistant.inspection.opening import AnyPath, opened, resolved
from rustassistant.inspection.scope import scope_of
from rustassistant.inspection.working_tree import FileNow, Look, WorkingTree
from rustassistant.pricing import Prices
from rustassistant.results import Spending
from rustassistant.spending import Bill, MonthlyPrices, bill
from rustassistant.stores.base import Repository, printable
from rustassistant.stores.sqlite.totals import month_of
from rustassistant.stores.sqlite.views.browsing import (
    Analysis,
    Repo,
    analyses,
    count_items,
    repositories,
)
from rustassistant.transfer.selection import ALL, Selection
from rustassistant.usage import MAX_TOKENS

Told = Callable[[int, int, int], None]
"""Entries done, entries in all, and how many of those done can't be told."""

_NAMED: Final = 20
"""Files that can't be read, which are named for each repository; the others are counted."""


class FileState(StrEnum):
    """How the file that an entry is about compares with what was analysed."""

    CURRENT = "current"
    CHANGED = "changed"
    DELETED = "deleted"
    UNREADABLE = "unreadable"
    NOT_HERE = "not here"


@dataclass(slots=True)
class Tally:
    """Entries of one state; ``stored_bytes`` are their frames, ``bill`` what they cost, half of the
    tokens taken as input."""

    entries: int = 0
    stored_bytes: int = 0
    bill: Bill = field(default_factory=Bill)


@dataclass(frozen=True, slots=True)
class RepositoryStaleness:
    """One repository: where it was looked for, whether it is there, entries by state; and files
    that could not be read, with the reason, the first few."""

    path: str
    root: str
    is_here: bool
    entries: dict[FileState, int]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def all_gone(self) -> bool:
        """Whether it is there, but none of its files is: it may be the wrong directory."""
        return self.is_here and set(self.entries) == {FileState.DELETED}


@dataclass(frozen=True, slots=True)
class Unused:
    """A model, or a type's prompt (None: from before prompts were recorded), no longer used."""

    name: str | None
    entries: int
    cache_type: str | None = None


@dataclass(frozen=True, slots=True)
class Staleness:
    """The whole. ``damaged`` entries could not be told apart."""

    entries: int
    states: dict[FileState, Tally]
    repositories: tuple[RepositoryStaleness, ...]
    unused_models: tuple[Unused, ...]
    unused_prompts: tuple[Unused, ...]
    damaged: tuple[str, ...]


def look_for_stale(
    database: AnyPath,
    configuration: Configuration,
    *,
    selection: Selection = ALL,
    at: AnyPath | None = None,
    progress: Told | None = None,
) -> Staleness:
    """Compare entries with the files that they are about, each of which is read once.

    ``at`` is where the one repository that is selected lies now, if not where it lay. A model is no
    longer used if each of its entries has a newer one by another model, of the same type and file,
    or is about a file that was deleted; likewise a prompt of a type. Entries outside the selection
    count for that too, as long as they are of its repositories.
    """
    with opened(resolved(database)) as connection:
        looking = _Looking(connection, selection, progress)
        chosen = [
            one
            for one in repositories(connection)
            if selection.admits_repository(Repository(one.path, one.directory))
        ]
        if selection.repositories and not chosen:
            raise NotFoundError(
                f"the database holds nothing of {', '.join(selection.repositories)}",
                hint="`rustassistant cache status` names the repositories.",
            )
        if at is not None and len(chosen) != 1:
            raise UsageError(
                f"--at says where one repository lies, and {len(chosen)} are meant",
                hint="Name it with --repo; `rustassistant cache status` lists them.",
            )
        root = None if at is None else os.path.abspath(os.path.expanduser(at))
        if root is not None and not os.path.isdir(root):
            raise NotFoundError(f"{printable(root)} is not a directory")
        seen = tuple(looking.repository(one, root or one.path) for one in chosen)
    return looking.result(seen, MonthlyPrices(Prices(configuration.prices)))


class _Looking:
    def __init__(
        self, connection: apsw.Connection, selection: Selection, progress: Told | None
    ) -> None:
        self._connection = connection
        self._scope = scope_of(connection, selection)
        self._progress = progress
        self._total = count_items(connection, self._scope)
        self._done = self._failed = 0
        self._states: defaultdict[FileState, list[int]] = defaultdict(lambda: [0, 0])
        self._made: defaultdict[FileState, _Tokens] = defaultdict(_Tokens)
        self._models = _Uses()
        self._prompts = _Uses()
        self._damaged: list[str] = []

    def repository(self, one: Repo, root: str) -> RepositoryStaleness:
        """All entries of a repository, file by file."""
        tree = _open(root)
        entries: Counter[FileState] = Counter()
        unreadable: list[tuple[str, str]] = []
        try:
            for path, group in groupby(self._sound(one), key=lambda entry: entry.file_path):
                about = list(group)
                meant = [entry for entry in about if entry.meant]
                look = tree.look(path) if tree is not None and meant else None
                if look is not None and look.why and len(unreadable) < _NAMED:
                    unreadable.append((path, look.why))
                self._note_uses(about, look)
                for entry in meant:
                    state = _state(entry, look)
                    entries[state] += 1
                    self._count(entry, state)
                self._tell(len(meant))
        finally:
            if tree is not None:
                tree.__exit__()
        return RepositoryStaleness(
            one.path, root, tree is not None, dict(entries), tuple(unreadable)
        )

    def _sound(self, one: Repo) -> Iterator[Analysis]:
        for entry in analyses(self._connection, one.id, self._scope):
            if isinstance(entry, DamagedError):
                self._damaged.append(f"an entry of {one.path}: {entry}")
            else:
                yield entry

    def _note_uses(self, about: list[Analysis], look: Look | None) -> None:
        newest: dict[str, Analysis] = {}
        for entry in about:
            before = newest.setdefault(entry.cache_type, entry)
            if entry.analyzed_at > before.analyzed_at:
                newest[entry.cache_type] = entry
            if entry.meant:
                self._models.entries["", entry.model] += 1
                self._prompts.entries[entry.cache_type, entry.prompt_hash] += 1
        if look is not None and look.state is FileNow.DELETED:
            return
        for cache_type, entry in newest.items():
            self._models.used.add(("", entry.model))
            self._prompts.used.add((cache_type, entry.prompt_hash))

    def _count(self, entry: Analysis, state: FileState) -> None:
        sums = self._states[state]
        sums[0] += 1
        sums[1] += entry.stored_bytes
        self._made[state].add(entry)
        self._failed += state is FileState.UNREADABLE

    def _tell(self, entries: int) -> None:
        self._done += entries
        if self._progress is not None:
            self._progress(self._done, max(self._total, self._done), self._failed)

    def result(self, seen: tuple[RepositoryStaleness, ...], prices: MonthlyPrices) -> Staleness:
        """What came together."""
        states = {}
        for state in FileState:
            if state in self._states:
                entries, stored = self._states[state]
                states[state] = Tally(entries, stored, bill(self._made[state].spent(), prices))
        return Staleness(
            entries=self._done,
            states=states,
            repositories=seen,
            unused_models=tuple(
                Unused(name, entries) for (_, name), entries in self._models.unused()
            ),
            unused_prompts=tuple(
                Unused(name, entries, cache_type)
                for (cache_type, name), entries in self._prompts.unused()
            ),
            damaged=tuple(self._damaged),
        )


class _Uses:
    """Models, or prompts by type: how many entries each made, and which made a newest one."""

    def __init__(self) -> None:
        self.entries: Counter[tuple[str, str | None]] = Counter()
        self.used: set[tuple[str, str | None]] = set()

    def unused(self) -> Iterable[tuple[tuple[str, str | None], int]]:
        """Those that made none, the most entries first."""
        return [found for found in self.entries.most_common() if found[0] not in self.used]


class _Tokens:
    """Token counts by provider, model and month."""

    def __init__(self) -> None:
        self._sums: defaultdict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, entry: Analysis) -> None:
        """Count an entry."""
        sums = self._sums[entry.provider, entry.model, month_of(entry.analyzed_at)]
        tokens = entry.tokens_used
        said = tokens is not None and 0 <= tokens <= MAX_TOKENS
        sums[0] += 1
        sums[1] += tokens if tokens is not None and said else 0
        sums[2] += not said

    def spent(self) -> Iterator[tuple[Spending, int]]:
        """As costs are asked for."""
        for (provider, model, month), (entries, tokens, without) in self._sums.items():
            yield Spending(provider, model, entries, tokens, 0, 0, without), month


def _open(root: str) -> WorkingTree | None:
    """A repository, None if it is not on this machine."""
    try:
        return WorkingTree(root) if os.path.isabs(root) else None
    except (OSError, ValueError):
        return None


def _state(entry: Analysis, look: Look | None) -> FileState:
    if look is None:
        return FileState.NOT_HERE
    if look.state is FileNow.DELETED:
        return FileState.DELETED
    if look.state is FileNow.UNREADABLE:
        return FileState.UNREADABLE
    return FileState.CURRENT if look.digest == entry.file_hash else FileState.CHANGED
