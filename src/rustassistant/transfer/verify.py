"""Compare two stores, entry by entry, field by field. Changes nothing; problems are data."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Final

import msgspec

from rustassistant.entry import Entry, differing_fields
from rustassistant.errors import DamagedError, InterruptedRunError
from rustassistant.stores.base import (
    Destination,
    Failure,
    Finder,
    Folder,
    Found,
    Partition,
    Problem,
    Source,
)
from rustassistant.transfer.flow import answers
from rustassistant.transfer.plan import Options, executor_for
from rustassistant.transfer.report import (
    Cancelled,
    Comparison,
    Difference,
    Progress,
    ReportProgress,
)


class _Compared(msgspec.Struct, array_like=True):
    """What a worker finds out about a partition."""

    compared: int
    differences: list[tuple[str, str, str]]
    failures: list[Failure]


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(_Compared).decode


def compare_partition(finder: Finder, partition: Partition) -> bytes:
    """A worker's task: read a partition and look each entry up, packed as a `_Compared`."""
    outcome = _Compared(0, [], [])
    with finder, finder.snapshot():
        for item in partition.read({}):
            if isinstance(item, Found):
                outcome.compared += 1
                what = difference(finder, partition.folder, item.entry)
                if what:
                    outcome.differences.append((item.path, item.entry.cache_type, what))
            elif isinstance(item, Failure):
                outcome.failures.append(item)
    return _pack(outcome)


def difference(finder: Finder, folder: Folder, entry: Entry) -> str:
    """How what the store gives back differs from an entry; empty if it does not."""
    try:
        found = finder.find(folder, entry)
    except DamagedError as error:
        return f"damaged in the destination: {error.message}"
    if not found:
        return "missing from the destination"
    damaged = [one for one in found if isinstance(one, DamagedError)]
    others = [differing_fields(entry, one) for one in found if isinstance(one, Entry)]
    closest = min(others, key=len, default=None)
    if closest == []:
        return ""
    if damaged:
        return f"damaged in the destination: {damaged[0].message}"
    return f"differs in {', '.join(closest or ())}"


def compare(
    source: Source,
    destination: Destination,
    *,
    options: Options | None = None,
    progress: ReportProgress | None = None,
    cancelled: Cancelled | None = None,
) -> Comparison:
    """Read every entry of ``source`` again and hold it against what ``destination`` gives back.

    What the destination holds besides is no difference.
    """
    total = source.survey().total
    finder = destination.finder()
    with finder:
        pass  # a destination that can't be opened is one error, not one for each partition
    comparison = Comparison()
    executor, window = executor_for(options or Options(), total)

    def submit(executor: Executor, partition: Partition) -> Future[bytes]:
        return executor.submit(compare_partition, finder, partition)

    try:
        items = answers(source.partitions(), executor=executor, window=window, submit=submit)
        for item in items:
            if isinstance(item, Problem):
                continue  # the transfer has told it already
            if isinstance(item, Failure):
                comparison.unreadable.append(item)
                continue
            outcome = _unpack(item.message)
            comparison.compared += outcome.compared
            comparison.unreadable.extend(outcome.failures)
            comparison.differences.extend(Difference(*parts) for parts in outcome.differences)
            if progress is not None:
                done = comparison.compared + len(comparison.unreadable)
                wrong = len(comparison.differences)
                progress(
                    Progress(max(total, done), done, done - wrong, wrong, item.partition.label)
                )
            if cancelled is not None and cancelled():
                raise InterruptedRunError(
                    f"stopped after comparing {comparison.compared} entries",
                    hint="Nothing was changed; a verification begins anew each time.",
                )
    finally:
        executor.shutdown(cancel_futures=True)
    return comparison
