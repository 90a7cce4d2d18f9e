"""Computing what is not there, once among all who ask for the same at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec

from rustassistant.cache.background import Background
from rustassistant.cache.cached import CachedAnalysis, Computed
from rustassistant.cache.results import to_text
from rustassistant.cache.warning import NotKeptWarning, warn
from rustassistant.cache.wording import optional_number
from rustassistant.entry import Entry
from rustassistant.errors import DestinationError, RustAssistantError, UsageError
from rustassistant.stores.live import Answer, Claim, Wanted

_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.25
"""Seconds between looks at whether somebody else has done computing, which takes half a minute."""

_encode: Final = msgspec.msgpack.Encoder().encode
_under_way: ContextVar[frozenset[bytes]] = ContextVar("computations", default=frozenset())


class Keeper(Protocol):
    """What a computation needs of a cache."""

    enabled: bool
    claim_timeout: float
    background: Background

    def find(self, wanted: Wanted) -> Answer | None:
        """What answers; damage is a miss."""

    def count(self, answer: Answer | None, wanted: Wanted) -> None:
        """A hit, or a miss if there is no answer."""

    def claim(self, key: bytes) -> Claim | None:
        """The claim to a key, or None while another holds it."""

    def keep(self, entry: Entry, *, set_now: bool) -> None:
        """Keep an entry."""


class Computation:
    """One call for one key: look, claim, look again, compute, keep, release.

    ``make_entry`` makes an entry of a result's text and its tokens; ``may_keep`` says, after
    computing, whether the result is of what was asked.
    """

    def __init__(
        self,
        keeper: Keeper,
        wanted: Wanted,
        make_entry: Callable[[bytes, int | None], Entry],
        may_keep: Callable[[], bool] | None = None,
    ) -> None:
        self._keeper = keeper
        self._wanted = wanted
        self._make_entry = make_entry
        self._may_keep = may_keep
        # Parts of a MessagePack array, so that no two requests give the same bytes.
        parts = (wanted.cache_type, wanted.file_hash, wanted.model, wanted.prompt_hash,
                 wanted.schema_version, wanted.exact)  # fmt: skip
        self._key = sha256(_encode(parts)).digest()
        self._claim: Claim | None = None
        self._deadline = time.monotonic() + keeper.claim_timeout

    def run(self, compute: Callable[[], Any]) -> CachedAnalysis:
        """In the calling thread."""
        if not self._keeper.enabled:
            return self._made(compute())
        found = self._find()
        with self._not_within_itself(found):
            pauses = _pauses()
            while found is None and not self._try_claim():
                time.sleep(next(pauses))
                found = self._find()
            try:
                answer = self._counted(found)
                return self._keep(compute()) if answer is None else answer
            finally:
                self._release()

    async def run_async(self, compute: Callable[[], Awaitable[Any]]) -> CachedAnalysis:
        """In an event loop: no thread is held while it waits or computes."""
        if not self._keeper.enabled:
            return self._made(await compute())
        found = await asyncio.to_thread(self._find)
        with self._not_within_itself(found):
            pauses = _pauses()
            while found is None and not self._try_claim():
                await asyncio.sleep(next(pauses))
                found = await asyncio.to_thread(self._find)
            try:
                answer = self._counted(found)
                if answer is not None:
                    return answer
                value = await compute()
            except BaseException:
                self._release()
                raise
            # It is paid for: from here on it is kept, then released, even if this is cancelled.
            keeping = self._keeper.background.start(lambda: self._keep_and_release(value))
            return await asyncio.wrap_future(keeping)

    @contextmanager
    def _not_within_itself(self, found: Answer | None) -> Iterator[None]:
        under_way = _under_way.get()
        if found is None and self._key in under_way:
            raise UsageError("a computation asks the cache for what it is to compute itself")
        token = _under_way.set(under_way | {self._key})
        try:
            yield
        finally:
            _under_way.reset(token)

    def _find(self) -> Answer | None:
        return self._keeper.find(self._wanted)

    def _try_claim(self) -> bool:
        """Whether to go on: the claim is ours, or there is none to be had."""
        if time.monotonic() > self._deadline:
            return True
        try:
            self._claim = self._keeper.claim(self._key)
        except DestinationError:
            return True  # where nothing can be written, all may compute
        return self._claim is not None

    def _counted(self, found: Answer | None) -> CachedAnalysis | None:
        """The answer, if there is one now: whoever held the claim before may have left it."""
        found = found or self._find()
        self._keeper.count(found, self._wanted)
        return None if found is None else CachedAnalysis(found)

    def _made(self, value: Any) -> CachedAnalysis:
        return CachedAnalysis(Answer.from_entry(self._entry(value)[0]), computed=True)

    def _entry(self, value: Any) -> tuple[Entry, list[str]]:
        """An entry for what was computed, and what of it can't be kept."""
        computed = value if isinstance(value, Computed) else Computed(value)
        tokens_used, problems = None, []
        try:
            tokens_used = optional_number("tokens_used", computed.tokens_used)
        except UsageError as error:
            problems.append(f"of a computed result it could not be kept what it took: {error}")
        return self._make_entry(to_text(computed.result), tokens_used), problems

    def _keep(self, value: Any) -> CachedAnalysis:
        """Keep what was paid for. Whatever goes wrong, it is returned; and warnings come last,
        since they may be errors."""
        entry, problems = self._entry(value)
        try:
            if self._may_keep is None or self._may_keep():
                self._keeper.keep(entry, set_now=True)
        except Exception as error:
            why = error if isinstance(error, RustAssistantError) else repr(error)
            problems.append(f"a computed result could not be kept: {why}")
        for problem in problems:
            warn(NotKeptWarning, problem)
        return CachedAnalysis(Answer.from_entry(entry), computed=True)

    def _keep_and_release(self, value: Any) -> CachedAnalysis:
        try:
            return self._keep(value)
        finally:
            self._release()

    def _release(self) -> None:
        if self._claim is not None:
            self._claim.release()
            self._claim = None


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(_LONGEST_PAUSE, pause * 1.5)
