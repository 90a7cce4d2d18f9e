"""Which of a source's entries need not be read: those that are as the destination last saw them.

It is this process that looks: comparing stamps takes less than sending them to a worker, and a run
that finds nothing new starts none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rustassistant.stores.base import Folder, Known, Partition, Writer
from rustassistant.stores.outcomes import Failure, Outcome, Problem
from rustassistant.transfer.encoding import Batch, pack_batch
from rustassistant.transfer.flow import Answer


class Looking:
    """Remembers what the destination has seen of one folder at a time, which is how partitions
    come. With ``names_paths``, the places of unchanged entries are told too."""

    def __init__(self, writer: Writer, *, names_paths: bool) -> None:
        self._writer = writer
        self._names_paths = names_paths
        self._folder: Folder | None = None
        self._known: Known = {}

    def sort_out(
        self, items: Iterable[Partition | Failure | Problem]
    ) -> Iterator[Partition | Answer | Failure | Problem]:
        """Of each partition what is unchanged, as an answer, then the rest, to be read."""
        for item in items:
            if isinstance(item, Failure | Problem):
                yield item
                continue
            known = self._known_of(item.folder)
            if not known:
                yield item
                continue
            look = item.look(list(map(known.get, item.names)))
            count = len(item.names)
            if len(look.unchanged) == count:
                yield self._answer(item, look.size)
                continue
            if look.unchanged:
                yield self._answer(item.part(look.unchanged), look.size)
                unchanged = frozenset(look.unchanged)
                yield item.part([one for one in range(count) if one not in unchanged])
            else:
                yield item

    def _known_of(self, folder: Folder) -> Known:
        if folder != self._folder:
            self._folder, self._known = folder, self._writer.known(folder)
        return self._known

    def _answer(self, partition: Partition, size: int) -> Answer:
        batch = Batch(unchanged=len(partition.names), size=size)
        if self._names_paths:
            batch.others = [
                (partition.place(position), Outcome.UNCHANGED)
                for position in range(len(partition.names))
            ]
        return Answer(partition, pack_batch(batch))
