"""Keeping two places in step for as long as somebody wants: looking often, working seldom.

Both sides are looked at a few times a second, by the times and sizes of their files alone; only if
something is other than at the last look, they are synced. The longer a look takes, the seldomer it
is taken, down to once a second. (The kernel could tell of changes, but not over network file
systems, and not of what happened while nobody watched.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from rustassistant.errors import InterruptedRunError, RustAssistantError
from rustassistant.sync.api import CacheSync
from rustassistant.sync.report import SyncResult, Told

SHORTEST_SECONDS: Final = 0.25
LONGEST_SECONDS: Final = 1.0
_SHARE: Final = 8
"""A look takes no more than an eighth of the time between two."""
_SETTLING_SECONDS: Final = 0.1
_SETTLING_LOOKS: Final = 2
_CONFIRMING_SECONDS: Final = 1.0
"""What changed within a step of the clock before it was read may have changed again unseen."""
_SLICE_SECONDS: Final = 0.05
_SURELY_SECONDS: Final = 30.0
"""However still it seems, both are compared so often: some file systems have coarse clocks."""


class Watcher(Protocol):
    """Hears of what happens."""

    def synced(self, result: SyncResult) -> None:
        """A sync is done; it may have found nothing to do."""

    def troubled(self, error: RustAssistantError) -> None:
        """A sync could not be done; it is tried again. Told once for each trouble."""

    def recovered(self) -> None:
        """It could be done again."""


def watch(
    sync: CacheSync,
    watcher: Watcher,
    stopped: Callable[[], bool],
    told: Told | None = None,
    *,
    forget: bool = False,
) -> None:
    """Sync, and again whenever either side changes, until ``stopped`` says so."""
    _Watch(sync, watcher, stopped, told, forget=forget).run()


class _Watch:
    def __init__(
        self,
        sync: CacheSync,
        watcher: Watcher,
        stopped: Callable[[], bool],
        told: Told | None,
        *,
        forget: bool,
    ) -> None:
        self._sync = sync
        self._watcher = watcher
        self._stopped = stopped
        self._told = told
        self._forget = forget
        self._seen: object = None
        self._trouble: str | None = None
        self._due = 0.0

    def run(self) -> None:
        while not self._stopped():
            started = time.monotonic()
            looks = self._look()
            cost = time.monotonic() - started
            if looks != self._seen or started >= self._due:
                self._run_once(self._settled(looks))
            self._pause(min(LONGEST_SECONDS, max(SHORTEST_SECONDS, _SHARE * cost)))

    def _look(self) -> object:
        return tuple(side.glance() for side in self._sync.sides)

    def _settled(self, looks: object) -> object:
        """What it looks like once a writer who is at it has come to a pause, or does not."""
        for _ in range(_SETTLING_LOOKS):
            self._pause(_SETTLING_SECONDS)
            now = self._look()
            if now == looks:
                break
            looks = now
        return looks

    def _run_once(self, looks: object) -> None:
        if self._stopped():
            return
        is_news = looks != self._seen
        try:
            result = self._sync.run(self._told, forget=self._forget)
        except InterruptedRunError:
            return  # that is how a watch ends
        except RustAssistantError as error:
            if error.message != self._trouble:
                self._trouble = error.message
                self._watcher.troubled(error)
            self._seen = None
            self._pause(LONGEST_SECONDS)
            return
        self._forget = False
        self._seen = looks
        self._due = time.monotonic() + (_CONFIRMING_SECONDS if is_news else _SURELY_SECONDS)
        if self._trouble is not None:
            self._trouble = None
            self._watcher.recovered()
        self._watcher.synced(result)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopped() and (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, _SLICE_SECONDS))
