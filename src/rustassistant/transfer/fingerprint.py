"""One digest over all that a source holds, to tell whether it has changed since."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Final

import msgspec

from rustassistant.errors import InterruptedRunError
from rustassistant.stores.base import Found, Partition, Source
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.transfer.digest import Digest
from rustassistant.transfer.flow import answers
from rustassistant.transfer.plan import Options, executor_for
from rustassistant.transfer.report import Cancelled, Progress, ReportProgress

_encode: Final = msgspec.msgpack.Encoder().encode


def digest_partition(partition: Partition) -> bytes:
    """A worker's task: the state of the digest over a partition, what can't be read included."""
    digest = Digest()
    for item in partition.read():
        if isinstance(item, Found):
            digest.add(partition.folder.repository, item.entry)
        elif isinstance(item, Failure):
            digest.add_message(_failed(item))
    return digest.state


def _failed(failure: Failure) -> bytes:
    return _encode(("failure", failure.path, failure.reason))


def fingerprint(
    source: Source,
    *,
    options: Options | None = None,
    progress: ReportProgress | None = None,
    cancelled: Cancelled | None = None,
) -> Digest:
    """Read everything and digest it. Nothing but the content counts, not times or inodes."""
    total = source.survey().total
    digest = Digest()
    failed = 0
    executor, window = executor_for(options or Options(), total)

    def submit(executor: Executor, partition: Partition) -> Future[bytes]:
        return executor.submit(digest_partition, partition)

    try:
        items = answers(source.partitions(), executor=executor, window=window, submit=submit)
        for item in items:
            if isinstance(item, Problem):
                continue
            if isinstance(item, Failure):
                failed += 1
                digest.add_message(_failed(item))
                continue
            digest.merge(Digest.of_state(item.message))
            if progress is not None:
                done = digest.count
                progress(Progress(max(total, done), done, done, failed, item.partition.label))
            if cancelled is not None and cancelled():
                raise InterruptedRunError(
                    f"stopped after reading {digest.count} entries", hint="Nothing was changed."
                )
    finally:
        executor.shutdown(cancel_futures=True)
    return digest
