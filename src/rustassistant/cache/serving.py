"""What an open cache does with its database: answer, keep, count; and nothing at all if it is off.

When a cache is dropped, or the program ends, what was counted is written; a forked child counts
anew.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, Final
from weakref import finalize

from rustassistant.cache.background import Background
from rustassistant.cache.cached import CachedAnalysis, CacheStatistics
from rustassistant.cache.limit import Limit
from rustassistant.cache.tally import Tally
from rustassistant.cache.warning import LOGGER, DamagedEntryWarning, warn
from rustassistant.entry import Entry
from rustassistant.errors import DamagedError
from rustassistant.locations import Place
from rustassistant.stores import open_live
from rustassistant.stores.live import Answer, Claim, Filter, LiveStore, Wanted


class _Opened:
    """What has to be brought to an end when a cache is gone: held until that has been done."""

    def __init__(self, store: LiveStore) -> None:
        self.store = store
        self.tally = Tally(store.count)
        self.background = Background()
        _opened.add(self)
        _see_to_children_of_multiprocessing()

    def close(self) -> None:
        self.background.wait()
        self.tally.end()
        self.close_store()

    def abandon(self) -> None:
        """To be called by the garbage collector, in the midst of anything: it waits for nothing."""
        if not self.tally.abandon(then=lambda: _end(self, "close_store")):
            _opened.discard(self)

    def close_store(self) -> None:
        _opened.discard(self)
        self.store.close()

    def flush(self) -> None:
        self.tally.flush()
        self.store.fold()

    def begin_anew_in_child(self) -> None:
        self.background.begin_anew_in_child()
        self.tally.begin_anew_in_child()


class Served:
    """A database that is open. It is what computations need of a cache, see `Keeper`."""

    enabled: bool = True

    def __init__(self, place: Place, *, patience: float, memory: int, claim_timeout: float) -> None:
        self.claim_timeout = claim_timeout
        self.store = open_live(place, patience=patience, memory=memory)
        self._limit = Limit(self.store.path)
        self._opened = _Opened(self.store)
        self.background = self._opened.background
        self._unless_closed = finalize(self, self._opened.abandon)
        self._unless_closed.atexit = False  # all are closed then

    def close(self) -> None:
        """Write what was counted, close the database. May be called again."""
        if self._unless_closed.detach() is not None:
            self._opened.close()

    def find(self, wanted: Wanted) -> Answer | None:
        """What answers; damage is a miss, with a warning. Counts nothing."""
        try:
            return self.store.lookup(wanted)
        except DamagedError as error:
            warn(DamagedEntryWarning, error)
        return None

    def count(self, answer: Answer | None, wanted: Wanted) -> None:
        """A hit, or a miss if there is no answer."""
        self._opened.tally.count(answer, wanted)

    def claim(self, key: bytes) -> Claim | None:
        """The claim to a key, or None while another holds it."""
        return self.store.claim(key)

    def keep(self, entry: Entry, *, set_now: bool) -> None:
        """Keep an entry, and to the configured size."""
        self.store.put(entry, set_now=set_now)
        self._limit.has_written()

    def remove(self, chosen: Filter) -> int:
        """Let entries answer no more; how many they were."""
        return self.store.remove(chosen)

    def list(self, chosen: Filter) -> Iterator[CachedAnalysis]:
        """Entries; damaged ones are left out, with a warning each."""
        for answer in self.store.list(chosen):
            if isinstance(answer, DamagedError):
                warn(DamagedEntryWarning, answer)
            else:
                yield CachedAnalysis(answer)

    def statistics(self) -> CacheStatistics:
        """All that was counted, written or not."""
        sums = zip(self.store.traffic(), self._opened.tally.pending(), strict=True)
        return CacheStatistics(*(written + pending for written, pending in sums))

    def flush(self) -> None:
        """Write what was counted, and fold in what waits, if nobody holds the database."""
        self._opened.flush()

    def __repr__(self) -> str:
        return str(self.store)


class Unserved:
    """The same without a database: nothing is found or kept."""

    enabled: bool = False

    def __init__(self, *, claim_timeout: float) -> None:
        self.claim_timeout = claim_timeout
        self.background = Background()

    def close(self) -> None:
        """Nothing is open."""

    def find(self, wanted: Wanted) -> None:
        """Nothing."""

    def count(self, answer: Answer | None, wanted: Wanted) -> None:
        """Not at all."""

    def claim(self, key: bytes) -> None:
        """There is nothing to wait for."""

    def keep(self, entry: Entry, *, set_now: bool) -> None:
        """Nowhere."""

    def remove(self, chosen: Filter) -> int:
        """None were there."""
        return 0

    def list(self, chosen: Filter) -> Iterator[CachedAnalysis]:
        """None."""
        return iter(())

    def statistics(self) -> CacheStatistics:
        """Nothing was counted."""
        return CacheStatistics(0, 0, 0)

    def flush(self) -> None:
        """Nothing waits."""

    def __repr__(self) -> str:
        return "disabled"


_opened: Final[set[_Opened]] = set()
_AFTER_OTHERS: Final = -100
"""Among what multiprocessing does at a child's end."""


def _end(opened: _Opened, how: str) -> None:
    try:
        getattr(opened, how)()
    except Exception as error:
        LOGGER.warning("%r was not ended well: %s", opened.store, error)


def _end_all(how: str) -> None:
    for opened in list(_opened):
        _end(opened, how)


def _see_to_children_of_multiprocessing() -> None:
    """It ends children without ``atexit``, and has a list of its own for what is to be done then,
    which is empty when a child begins. To be called before a fork and whenever one is opened.

    What is open is written, not closed: threads of the child may go on for longer.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        from multiprocessing.process import parent_process  # imported for those who use it alone

        _after_forks_by(util)
        if parent_process() is not None:
            _at_end_of_child(os.getpid())


@cache
def _after_forks_by(util: Any) -> None:
    util.register_after_fork(_end_all, lambda _: _at_end_of_child(os.getpid()))


@cache
def _at_end_of_child(pid: int) -> None:
    from multiprocessing.util import Finalize

    Finalize(None, _end_all, ("flush",), exitpriority=_AFTER_OTHERS)


def _begin_anew() -> None:
    for opened in list(_opened):
        opened.begin_anew_in_child()


atexit.register(_end_all, "close")
os.register_at_fork(
    before=_see_to_children_of_multiprocessing,
    after_in_child=_begin_anew,
)
