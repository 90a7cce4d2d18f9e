"""Giving the room of what is gone back to the disk."""

from __future__ import annotations

from collections.abc import Callable

from rustassistant.inspection.opening import AnyPath, resolved
from rustassistant.stores.sqlite.upkeep import compaction
from rustassistant.stores.sqlite.upkeep.compaction import Compacted

__all__ = ["Compacted", "compact"]


def compact(database: AnyPath, told: Callable[[str], None] | None = None) -> Compacted:
    """Rewrite a database without gaps and compare all rows; readers go on undisturbed.

    ``told`` is called with ``checking``, ``compacting`` and ``comparing``. Raises NotFoundError,
    LockedError, OutOfSpaceError before anything is begun, and DamagedError.
    """
    return compaction.compact(resolved(database), told)
