"""A uniform random sample of a source, the same on every machine that holds the same entries."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from rustassistant.errors import UsageError
from rustassistant.stores.base import Partition, Source, StoreInfo, Survey, Tree, printable
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.transfer.digest import whose

MAX_SEED: Final = 2**32 - 1

_FORM: Final = re.compile(r"(?P<number>[0-9]{1,18}(\.[0-9]{1,18})?)(?P<percent>%?)", re.ASCII)

_encode: Final = msgspec.msgpack.Encoder().encode


class Sample(NamedTuple):
    """How much of a source is meant, as a share of it (up to 1) or a number of entries; ``seed`` is
    what chance begins with."""

    seed: int
    share: float | None = None
    entries: int | None = None

    @classmethod
    def of(cls, text: str, seed: int) -> Sample:
        """From what people write: ``5%``, ``0.5%`` or ``1000``. Raises UsageError."""
        match = _FORM.fullmatch(text.strip())
        if match is not None:
            share = float(match["number"]) / 100
            if match["percent"] and 0 < share <= 1:
                return cls(seed, share=share)
            if not match["percent"] and "." not in text and int(match["number"]):
                return cls(seed, entries=int(match["number"]))
        raise UsageError(
            f"{text!r} is no sample", hint="Give a share such as 5%, or a number of entries."
        )

    def size(self, total: int) -> int:
        """How many of so many entries: at least one, if there are any."""
        if self.entries is not None:
            return min(self.entries, total)
        return min(total, max(1, math.ceil(round((self.share or 0) * total, 6))))


class Sampled:
    """Of a store, a sample.

    Each entry has a number: BLAKE2b, keyed with the seed, of its repository, type and place. Those
    with the lowest are the sample, however the store is listed and parted.
    """

    def __init__(self, store: Source, sample: Sample) -> None:
        self._store = store
        self._sample = sample
        self._limit: int | None = None
        self.population = 0

    def info(self) -> StoreInfo:
        """The store's own."""
        return self._store.info()

    def tree(self) -> Tree:
        """All of the store."""
        return self._store.tree()

    def survey(self) -> Survey:
        """List the store once to draw the sample. ``population`` is how many it is drawn from."""
        self.population = self._store.survey().total
        size = self._sample.size(self.population)
        lowest: list[tuple[int, str]] = []  # a heap: what stands first is the highest of them
        for partition in self._listed():
            cache_type = partition.folder.cache_type
            for number in self._numbers(partition):
                if len(lowest) < size:
                    heapq.heappush(lowest, (-number, cache_type))
                elif -number > lowest[0][0]:
                    heapq.heapreplace(lowest, (-number, cache_type))
        self._limit = -lowest[0][0] if lowest else -1
        return Survey(dict(Counter(cache_type for _, cache_type in lowest)), 0.0, [])

    def partitions(self) -> Iterator[Partition | Failure | Problem]:
        """What was drawn of each partition, and what can't be listed."""
        if self._limit is None:
            self.survey()
        limit = -1 if self._limit is None else self._limit
        for item in self._store.partitions():
            if isinstance(item, Failure | Problem):
                yield item
                continue
            numbers = self._numbers(item)
            drawn = [position for position, number in enumerate(numbers) if number <= limit]
            if drawn:
                yield item.part(drawn)

    def _listed(self) -> Iterator[Partition]:
        for item in self._store.partitions():
            if not isinstance(item, Failure | Problem):
                yield item

    def _numbers(self, partition: Partition) -> Iterator[int]:
        folder = partition.folder
        place = _encode(
            (whose(folder.repository), folder.cache_type, folder.layout, folder.subfolder)
        )
        begun = blake2b(place, digest_size=8, key=self._sample.seed.to_bytes(8, "little"))
        for name in partition.names:
            digest = begun.copy()
            digest.update(printable(name).encode())
            yield int.from_bytes(digest.digest(), "little")
