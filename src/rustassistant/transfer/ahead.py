"""Reading some of a partition before going on with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rustassistant.stores.base import Found
from rustassistant.stores.outcomes import Failure

_AHEAD_BYTES: Final = 2**20


def read_ahead(items: Iterable[Found | Failure]) -> Iterator[list[Found | Failure]]:
    """The same items, many read before the first is passed on.

    A database can be asked about many at once, which is quicker than about each.
    """
    ahead, size = list[Found | Failure](), 0
    for item in items:
        ahead.append(item)
        size += item.size
        if size > _AHEAD_BYTES:
            yield ahead
            ahead, size = [], 0
    yield ahead
