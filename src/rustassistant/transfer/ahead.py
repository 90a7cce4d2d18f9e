"""Reading some of a partition before going on with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rustassistant.stores.base import Found
from rustassistant.stores.outcomes import Failure

_AHEAD_BYTES: Final = 2**20


def read_ahead(items: Iterable[Found | Failure]) -> Iterator[list[Found | Failure]]:
    """The same items, many read before the first is passed on.

    Reading and compressing push each other's data out of the processor's caches, and a tenth of a
    migration goes by with that; and a database can be asked about many at once.
    """
    ahead, size = list[Found | Failure](), 0
    for item in items:
        ahead.append(item)
        size += item.size
        if size > _AHEAD_BYTES:
            yield ahead
            ahead, size = [], 0
    yield ahead
