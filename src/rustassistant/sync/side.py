"""What the two sides of a sync have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from rustassistant.stores.base import Folder, Found, Repository, Survey
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.sync.elements import Element
from rustassistant.sync.news import News
from rustassistant.sync.state import Container, Place, State


@dataclass(slots=True)
class Listed:
    """What came of listing a side. ``unlisted`` are directories whose contents nobody can tell,
    ``unowned`` the keys of repositories of which nobody can tell just now whether their directory
    is still theirs; ``read`` counts results that had to be read. Unless the ``whole`` of it was
    listed, ``files`` were, and all ``below`` some directories; both as printed."""

    unlisted: list[Failure] = field(default_factory=list)
    unowned: set[str] = field(default_factory=set)
    failures: list[Failure] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    read: int = 0
    whole: bool = False
    files: set[str] = field(default_factory=set)
    below: list[str] = field(default_factory=list)

    def covers(self, path: str) -> bool:
        """Whether it was looked at."""
        return self.whole or path in self.files or path.startswith(tuple(self.below))


class Leaving(NamedTuple):
    """A result that is to leave a place of a side; ``is_lost`` if the other side has it not."""

    element: Element
    place: Place
    is_lost: bool
    is_deleted: bool = False


class Incoming(NamedTuple):
    """A result that is to come to a side: it takes the place of those that it ``replaces``, or lies
    ``beside`` them; the newest then gets the name, where there is one for them all. ``present`` are
    the digests of what was found there for the same file: anything else has come since."""

    element: Element
    replaces: tuple[Leaving, ...] = ()
    beside: bool = False
    present: frozenset[bytes] = frozenset()


class Failed(NamedTuple):
    """A result that could not come or leave, and why."""

    element: Element
    reason: str


CHANGED: Final = "was changed by somebody else meanwhile: left for the next run"


KeyOf = Callable[[Repository], str]
"""What names a repository on both sides of a pair."""


class Work(Protocol):
    """Changes to one side, which are there, and durable, after `commit`."""

    def add(self, incoming: Incoming, found: Found, folder: Folder) -> None:
        """Take in what was found in a folder of the other side. Raises EntryError if it can't be
        held here."""

    def remove(self, leaving: Leaving) -> None:
        """Have a result moved to the trash."""

    def commit(self) -> list[Failed]:
        """Carry out what has come together; return what could not be."""


class Side(Protocol):
    """A place that is kept in step with another. ``place`` names it for good."""

    kind: str
    is_narrow: bool
    location: str
    place: str
    trash: str | None
    key_of: KeyOf

    @property
    def is_single(self) -> bool:
        """Whether it can only hold entries of one repository."""

    def exists(self) -> bool:
        """Whether there is anything."""

    def own_key(self, folders: Iterable[Folder]) -> str | None:
        """Of a side for one repository, the key of that."""

    def glance(self) -> bytes:
        """Bytes that are others when anything has changed."""

    def list(self, state: State, side: int) -> Listed:
        """Bring what is remembered of this side up to date."""

    def list_news(self, state: State, side: int, news: News) -> Listed | None:
        """The same for what the news name; None if only a look at everything can judge them."""

    def remember(self, before: Side) -> None:
        """Take over what an earlier object for the same place knows of it."""

    def read(
        self, container: Container, names: Iterable[bytes]
    ) -> Iterator[tuple[bytes, Found | Failure]]:
        """Read results that lie together."""

    def tidy(self) -> None:
        """Remove what a run that was killed has left half done, and take in what waits."""

    def settle(self, found: Iterable[tuple[Container, bytes]]) -> None:
        """Make durable what lies at those names, whoever wrote it: what is remembered as being
        there, and then lost by a power cut, would look as if somebody had deleted it."""

    def survey(self) -> Survey:
        """How many results of which type, with samples."""

    def mark(self) -> str:
        """What shows later that this side has not been put back to an older state; empty if
        nothing does."""

    def is_older(self, mark: str) -> bool:
        """Whether it is as it was before that mark was made, or is another one."""

    def pinned(self) -> frozenset[bytes]:
        """Names of results that are never deleted."""

    def prepare(self, survey: Callable[[], Survey]) -> None:
        """Get ready for many results of a source."""

    def changes(self, state: State, side: int, *, other: str) -> AbstractContextManager[Work]:
        """Hold its lock, to change it. ``other`` names the other side."""
