"""What a sync tells: while it runs, and at its end. Data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from rustassistant.sync.decide import Choice, Clash
from rustassistant.sync.elements import Facts

MAX_LISTED: Final = 1_000
"""Failures and notes beyond these are counted only."""


class Sign(StrEnum):
    """What is done about one result."""

    ADD = "+"
    DELETE = "-"
    CHANGE = "~"
    LEAVE = "="
    CONFLICT = "!"


class Step(NamedTuple):
    """One thing that was done, or would be. ``to`` is ``a``, ``b`` or empty for neither."""

    sign: Sign
    to: str
    cache_type: str
    file_path: str
    repository: str
    note: str = ""


class Trouble(NamedTuple):
    """A result that could not be read, or not be put where it belongs."""

    path: str
    cache_type: str
    reason: str


class Question(NamedTuple):
    """A conflict that somebody is asked about. ``show`` says in a few lines how the two differ."""

    clash: Clash
    facts: Facts
    show: Callable[[], list[str]]


Ask = Callable[[Question], Choice]
Told = Callable[[Step], None]


@dataclass(slots=True)
class Moved:
    """What came to one side, changed there, and left it."""

    added: int = 0
    changed: int = 0
    deleted: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)


@dataclass(slots=True)
class SyncResult:
    """How the two sides are now. ``a`` and ``b`` say what was done on each.

    ``equal`` results are on both; ``kept`` were deleted on one side and left on the other, as
    deletions were not to travel; ``resolved`` conflicts are among what changed, ``left`` ones were
    not touched; ``filtered`` results are on one side only and were not meant. ``trash`` names the
    directories where files are that had to go. ``waiting`` counts files whose results the next run
    is to try again.
    """

    a: Moved = field(default_factory=Moved)
    b: Moved = field(default_factory=Moved)
    equal: int = 0
    kept: int = 0
    resolved: int = 0
    left: int = 0
    filtered: int = 0
    failed: int = 0
    failures: list[Trouble] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    trash: list[str] = field(default_factory=list)
    waiting: int = 0
    is_first: bool = False
    seconds: float = 0.0

    @property
    def did_something(self) -> bool:
        """Whether anything was changed."""
        return bool(self.a or self.b)

    def fail(self, trouble: Trouble) -> None:
        """Name what could not be read or put."""
        self.failed += 1
        if len(self.failures) < MAX_LISTED:
            self.failures.append(trouble)

    def note(self, path: str, text: str) -> None:
        """Tell of an oddity."""
        if len(self.notes) < MAX_LISTED:
            self.notes.append((path, text))
