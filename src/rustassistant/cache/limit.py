"""Keeping a database within the size that is configured for it, while programs write to it."""

from __future__ import annotations

import os
import time
from typing import Final

from rustassistant.cache.warning import LOGGER

_SECONDS: Final = 5.0
"""Between two looks at the size: each reads a few sums."""


class Limit:
    """``[cache] max_size`` of ``config.toml``, or ``RUSTASSISTANT_MAX_SIZE``; none by default.

    It is asked for once, at the first write, or later if it can't be read then. What stands in the
    way is logged, and stops nobody.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._is_known = False
        self._max_size: int | None = None
        self._next = -float("inf")

    def has_written(self) -> None:
        """Evict what was used longest ago if the live entries have become too large."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _SECONDS
        if not self._is_known:
            self._ask()
        if self._max_size is None:
            return
        try:
            _keep_within(self._path, self._max_size)
        except Exception as error:  # what was set is kept, whatever this is
            LOGGER.warning("nothing was evicted, though max_size is configured: %s", error)

    def _ask(self) -> None:
        try:
            self._max_size = _configured()
        except Exception as error:
            LOGGER.warning(
                "nothing was evicted: it can't be read whether max_size is configured: %s", error
            )
            return
        self._is_known = True
        if self._max_size is None:
            self._next = float("inf")


def _configured() -> int | None:
    from rustassistant.configuration import load

    name = "RUSTASSISTANT_MAX_SIZE"
    return load({name: os.environ[name]} if name in os.environ else {}).cache.max_size


def _keep_within(path: str, max_size: int) -> None:
    from rustassistant.configuration import load
    from rustassistant.pricing import Prices
    from rustassistant.retention import Worth
    from rustassistant.retention.eviction import keep_within

    def worth() -> Worth:
        configuration = load({})
        return Worth(Prices(configuration.prices), float(configuration.cost.seconds_per_entry))

    keep_within(path, max_size, worth)
