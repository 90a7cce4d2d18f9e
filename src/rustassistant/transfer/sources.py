"""Several sources as one, and a source of which only some files are meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from rustassistant.errors import DamagedError
from rustassistant.stores.base import Partition, Source, StoreInfo, Survey, Tree
from rustassistant.stores.outcomes import Failure, Problem


class Sources:
    """All entries of several stores, one store after the other."""

    def __init__(self, stores: Sequence[Source]) -> None:
        self._stores = stores

    def info(self) -> StoreInfo:
        """Where they all are."""
        told = [store.info() for store in self._stores]
        locations = " and ".join(one.location for one in told)
        return StoreInfo("several", locations, sum(one.size for one in told))

    def survey(self) -> Survey:
        """What all of them hold together."""
        surveys = [store.survey() for store in self._stores]
        files: Counter[str] = Counter()
        for one in surveys:
            files.update(one.files)
        total = files.total()
        size = sum(one.total * one.mean_size for one in surveys)
        samples = [part for one in surveys for part in one.samples]
        return Survey(dict(files), size / total if total else 0.0, samples)

    def tree(self) -> Tree:
        """Of the first: each is copied for itself."""
        return self._stores[0].tree()

    def partitions(self) -> Iterator[Partition | Failure | Problem]:
        """List each. One that is damaged hides no other."""
        for store in self._stores:
            try:
                yield from store.partitions()
            except DamagedError as error:
                yield Failure(store.info().location, "", error.message)


class Only:
    """Of a store, those entries whose paths are named, or that lie below a path that is."""

    def __init__(self, store: Source, paths: Collection[str]) -> None:
        self._store = store
        self._paths = frozenset(paths)

    def info(self) -> StoreInfo:
        """The store's own."""
        return self._store.info()

    def survey(self) -> Survey:
        """How many of which type, by listing; no samples, as a dictionary is not their business."""
        files: Counter[str] = Counter()
        for item in self.partitions():
            if not isinstance(item, Failure | Problem):
                files[item.folder.cache_type] += len(item.names)
        return Survey(dict(files), 0.0, [])

    def tree(self) -> Tree:
        """All of the store."""
        return self._store.tree()

    def partitions(self) -> Iterator[Partition | Failure | Problem]:
        """List what is meant of each partition."""
        for item in self._store.partitions():
            if isinstance(item, Problem):
                continue
            if isinstance(item, Failure):
                if self._is_meant(item.path):
                    yield item
                continue
            if self._is_meant(item.label):
                yield item
                continue
            positions = [
                position
                for position in range(len(item.names))
                if item.place(position) in self._paths
            ]
            if positions:
                yield item.part(positions)

    def _is_meant(self, path: str) -> bool:
        while path:
            if path in self._paths:
                return True
            path = path.rpartition("/")[0]
        return False
