"""One lister, many workers, one consumer: partitions go out and their answers come back in order.

The order is the listing's, whoever finishes first, so that two runs over the same source write the
same file. At most ``window`` partitions are under way, which bounds memory whatever the size.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple

from rustassistant.errors import RustAssistantError, WorkerDiedError
from rustassistant.stores.base import Partition
from rustassistant.stores.outcomes import Failure, Problem

Submit = Callable[[Executor, Partition], "Future[bytes]"]


class Answer(NamedTuple):
    """What was made of a partition, by a worker or without one."""

    partition: Partition
    message: bytes


class _Pending(NamedTuple):
    partition: Partition
    future: Future[bytes]
    again: bool = False


def answers(
    items: Iterable[Partition | Answer | Failure | Problem],
    *,
    executor: Executor,
    window: int,
    submit: Submit,
) -> Iterator[Answer | Failure | Problem]:
    """Send each partition through ``submit``; pass everything else on in its place.

    A partition whose worker died is tried again in halves, down to the one entry that kills
    workers. That is tried once more, as it may have been chance, and is then a failure like any
    other.
    """
    pending: deque[_Pending | Answer | Failure | Problem] = deque()
    for item in items:
        if isinstance(item, Answer | Failure | Problem):
            pending.append(item)
        else:
            pending.append(_Pending(item, submit(executor, item)))
        while len(pending) >= window:
            yield from _next(pending, executor, submit)
    while pending:
        yield from _next(pending, executor, submit)


def check_told(partition: Partition, told: int) -> None:
    """Raise RustAssistantError unless as many entries are told of as a partition has.

    It can't happen, and must not go unnoticed if it does: what is lost here, nobody counts.
    """
    count = len(partition.names)
    if told != count:
        raise RustAssistantError(
            f"{partition.label}: of {count} entries {told} came back from being read",
            hint="This is an error in the program; the source is untouched. Please report it.",
        )


def _next(
    pending: deque[_Pending | Answer | Failure | Problem], executor: Executor, submit: Submit
) -> Iterator[Answer | Failure | Problem]:
    item = pending.popleft()
    if not isinstance(item, _Pending):
        yield item
        return
    partition = item.partition
    try:
        yield Answer(partition, item.future.result())
    except WorkerDiedError as error:
        if item.again:
            path = partition.place(0)
            reason = f"{error.message} each time it was read; it may need more memory than there is"
            yield Failure(path, partition.folder.cache_type, reason)
            return
        parts = _halves(partition)
        pending.extendleft(
            _Pending(part, submit(executor, part), again=len(parts) == 1)
            for part in reversed(parts)
        )


def _halves(partition: Partition) -> Sequence[Partition]:
    """Two, or itself alone if it has but one entry."""
    count = len(partition.names)
    middle = count // 2
    if not middle:
        return [partition]
    return [partition.part(range(middle)), partition.part(range(middle, count))]
