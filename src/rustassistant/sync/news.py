"""What is known of the changes on a side since it was listed, so that not all need be looked at.

News are a hint about where to look, no more: what is there is read from the side itself.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from rustassistant.sync.report import Trouble

_OWN_NAME: Final = re.compile(r"~[0-9a-f]{16}(?=\.json$)")
"""See ``suffixed`` in the tree's ``places``."""


@dataclass(slots=True)
class News:
    """What may have changed on a side.

    ``names`` are files by their directory; ``parts`` are directories right below the root, in which
    more has changed than files that were known; ``whole`` if nobody can tell what has.
    """

    names: defaultdict[bytes, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    parts: set[bytes] = field(default_factory=set)
    whole: bool = False

    def __bool__(self) -> bool:
        return self.whole or bool(self.names or self.parts)

    def add(self, other: News) -> None:
        """Take in further news."""
        for directory, names in other.names.items():
            self.names[directory] |= names
        self.parts |= other.parts
        self.whole = self.whole or other.whole


@dataclass(slots=True)
class Recollection:
    """What earlier runs of a watch have told that later ones, which look at less, have to tell too:
    of each side what could not be read, and all notes. ``run`` is the number of the
    last run; a pair that has another now was synced by somebody else meanwhile. While it
    ``is_doubtful`` whose a directory is, only a look at everything can tell."""

    failures: tuple[list[Trouble], list[Trouble]] = field(default_factory=lambda: ([], []))
    notes: dict[tuple[str, str], None] = field(default_factory=dict)
    run: str | None = None
    is_doubtful: bool = False

    def is_unread(self, side: int, cache_type: str, names: Container[str]) -> bool:
        """Whether something of that type that has one of these names on a side, or one that files
        get beside another, could not be read: nobody can tell what it holds."""
        return any(
            one.cache_type == cache_type and _OWN_NAME.sub("", os.path.basename(one.path)) in names
            for one in self.failures[side]
        )


class TooManyGoneError(Exception):
    """So much has vanished that only a look at everything can judge it."""
