"""From where to where: the caches that a run reads, and the store that it fills or looks into."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rustassistant.errors import UsageError
from rustassistant.locations import Location, Place, Unfit, located
from rustassistant.stores import open_destination, open_source
from rustassistant.stores.base import Destination, Source
from rustassistant.transfer.sources import Sources

KEEPS_LESS: Final = Unfit(
    "the Rust program's own database keeps less than an entry, so every one would differ",
    "`cache export --format v1 --dry-run` says what of a cache is missing there.",
)
"""Why nothing can be verified by such a database."""

ONE_ROW: Final = Unfit(
    "the Rust program's file has one row for a key, so it can't keep both",
    "Choose newest or oldest, which keep the other row in a table of its own, or fail.",
)
"""Why that policy makes no sense there."""


class Route:
    """One source or several, each named once, and a destination.

    ``names`` are the sources as they can be named again anywhere, scheme included; ``stores`` are
    the sources by their path, ``source`` is all of them as one. ``to`` is the destination as it was
    named, ``destination`` what is there. Raises UsageError for no source,
    and for a destination of a kind that is ``unfit``.
    """

    def __init__(
        self,
        source: Place | Sequence[Place],
        destination: Place,
        *,
        unfit: Mapping[str, Unfit],
    ) -> None:
        given = [source] if isinstance(source, str | os.PathLike) else list(source)
        sources: dict[Path, Location] = {}
        for place in map(located, given):
            sources.setdefault(Path(place.path), place)
        if not sources:
            raise UsageError("no source is named", hint="Name at least one.")
        to = located(destination)
        to.check_fit(unfit)
        self.names = tuple(map(str, sources.values()))
        self.stores = {path: open_source(str(place)) for path, place in sources.items()}
        self.to = to
        self.destination_path = Path(to.path)
        self.destination: Destination = open_destination(str(to))

    @property
    def keeps_all(self) -> bool:
        """Whether the destination gives entries back as it got them."""
        return self.to.scheme != "v1"

    @property
    def source_paths(self) -> tuple[Path, ...]:
        """Where the sources are."""
        return tuple(self.stores)

    @property
    def source(self) -> Source:
        """All that the sources hold."""
        stores = list(self.stores.values())
        return stores[0] if len(stores) == 1 else Sources(stores)
