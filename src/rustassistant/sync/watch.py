"""Keeping two places in step for as long as somebody wants, with work that follows the changes.

At the start both sides are compared whole. From then on the kernel tells which files of a tree
change, and a database which of its rows; what is told together is synced together. Once in a while
both are compared whole again, for what nobody told, but never for more than a fiftieth of the time.
It also judges what news can't: many deletions, and directories or sides that are gone.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, Protocol

from rustassistant.errors import InterruptedRunError, LockedError, RustAssistantError
from rustassistant.sync.api import CacheSync
from rustassistant.sync.lookout import Lookout, lookout_for
from rustassistant.sync.news import News, TooManyGoneError
from rustassistant.sync.report import SyncResult, Told

LOOK_SECONDS: Final = 0.25
"""How often it is looked where nobody tells, and whether to stop."""
WHOLE_SECONDS: Final = 60.0
_WHOLE_SHARE: Final = 50
_TRYING_SHARE: Final = 4
"""A fiftieth of the time, and a fifth where it fails."""
_QUIET_SECONDS: Final = 0.1
_GATHERING_SECONDS: Final = 1.0
"""A change is synced when nothing more was told for the one time, at the latest after the other."""
_CALM_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 60.0
"""So it is with many deletions, so that they are judged together."""
_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 30.0


class Watcher(Protocol):
    """Hears of what happens."""

    def synced(self, result: SyncResult) -> None:
        """A sync is done; it may have found nothing to do."""

    def troubled(self, error: RustAssistantError) -> None:
        """A sync could not be done; it is tried again. Told once for each trouble."""

    def recovered(self) -> None:
        """It could be done again."""

    def slowed(self, place: str, reason: str) -> None:
        """Changes of a side have to be looked for, as nobody tells of them."""


def watch(
    sync: CacheSync,
    watcher: Watcher,
    stopped: Callable[[], bool],
    told: Told | None = None,
    *,
    forget: bool = False,
) -> None:
    """Sync, and again whenever either side changes, until ``stopped`` says so."""
    with ExitStack() as stack:
        lookouts = [lookout_for(side) for side in sync.sides]
        for one in lookouts:
            stack.callback(one.close)
        _Watch(sync, lookouts, watcher, stopped, told, forget=forget).run()


class _Watch:
    def __init__(
        self,
        sync: CacheSync,
        lookouts: list[Lookout],
        watcher: Watcher,
        stopped: Callable[[], bool],
        told: Told | None,
        *,
        forget: bool,
    ) -> None:
        self._sync = sync
        self._lookouts = lookouts
        self._watcher = watcher
        self._stopped = stopped
        self._told = told
        self._forget = forget
        self._news = (News(), News())
        self._is_whole_due = True
        self._whole_at = 0.0
        self._again_at: float | None = None
        self._retry = _RETRY_SECONDS
        self._trouble: str | None = None
        self._slow: dict[int, str | None] = {}

    def run(self) -> None:
        while not self._stopped():
            if self._is_whole_due or time.monotonic() >= self._whole_at:
                self._sync_whole()
            elif self._gather() or self._is_again_due():
                self._sync_news()
            else:
                self._wait(LOOK_SECONDS)

    def _is_again_due(self) -> bool:
        return self._again_at is not None and time.monotonic() >= self._again_at

    # Noticing.

    def _hear(self) -> bool:
        """Take in what is told; whether there was anything."""
        heard = False
        for news, lookout in zip(self._news, self._lookouts, strict=True):
            more = lookout.news()
            news.add(more)
            heard = heard or bool(more)
        return heard

    def _gather(self) -> bool:
        """Whether there is news; if so, after whoever makes it has come to a pause, or does not."""
        if not self._hear():
            return any(self._news)
        self._until_quiet(_QUIET_SECONDS, _GATHERING_SECONDS)
        return True

    def _until_quiet(self, quiet: float, longest: float) -> None:
        now = time.monotonic()
        end, quiet_at = now + longest, now + quiet
        while not self._stopped() and (now := time.monotonic()) < min(end, quiet_at):
            self._wait(min(end, quiet_at) - now)
            if self._hear():
                quiet_at = time.monotonic() + quiet

    def _wait(self, seconds: float) -> None:
        """For something to be told, no longer than that."""
        listening = select.poll()
        for lookout in self._lookouts:
            descriptor = lookout.descriptor()
            if descriptor is not None:
                listening.register(descriptor, select.POLLIN)
        listening.poll(min(seconds, LOOK_SECONDS) * 1000)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopped() and (rest := end - time.monotonic()) > 0:
            time.sleep(min(rest, LOOK_SECONDS))

    # Syncing.

    def _sync_whole(self) -> None:
        started = time.process_time()
        for number, lookout in enumerate(self._lookouts):
            lookout.begin()
            self._tell_slow(number, lookout.reason)
        self._news = (News(), News())
        if self._do(lambda: self._sync.run(self._told, forget=self._forget, followed=True)):
            self._forget = self._is_whole_due = False
        took = time.process_time() - started
        if self._is_whole_due:
            self._pause(_TRYING_SHARE * took)
        self._whole_at = time.monotonic() + max(WHOLE_SECONDS, _WHOLE_SHARE * took)

    def _tell_slow(self, number: int, reason: str | None) -> None:
        side = self._sync.sides[number]
        if reason is not None and side.exists() and reason != self._slow.get(number):
            self._watcher.slowed(side.location, reason)
        self._slow[number] = reason if side.exists() else None

    def _sync_news(self) -> None:
        try:
            news, self._news = self._news, (News(), News())
            if not self._do(lambda: self._sync.follow(news, self._told)):
                for ours, more in zip(self._news, news, strict=True):
                    ours.add(more)
        except TooManyGoneError:
            self._until_quiet(_CALM_SECONDS, _PATIENCE_SECONDS)
            self._is_whole_due = True

    def _expect(self, *changed: object) -> None:
        """Where we may have changed something and nobody tells us, the next sync has to look: what
        is not listed looks as if it were gone."""
        for news, lookout, is_changed in zip(self._news, self._lookouts, changed, strict=True):
            if is_changed and lookout.descriptor() is None:
                news.add(News(whole=True))

    def _do(self, run: Callable[[], SyncResult]) -> bool:
        """Whether it could be done."""
        try:
            result = run()
        except InterruptedRunError:
            return False  # that is how a watch ends
        except RustAssistantError as error:
            if error.message != self._trouble:
                self._trouble = error.message
                self._watcher.troubled(error)
            self._expect(True, True)
            # Of what was not begun, the news stay; of anything else nobody knows how far it came.
            self._is_whole_due = self._is_whole_due or not isinstance(error, LockedError)
            self._pause(_RETRY_SECONDS)
            return False
        self._expect(result.a, result.b)
        self._again_at = None
        self._retry = min(2 * self._retry, _LONGEST_RETRY_SECONDS) if result.waiting else 1.0
        if result.waiting:
            self._again_at = time.monotonic() + self._retry / 2
        if self._trouble is not None:
            self._trouble = None
            self._watcher.recovered()
        self._watcher.synced(result)
        return True
