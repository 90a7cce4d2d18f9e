"""Compare two stores, entry by entry, field by field. Changes nothing; problems are data."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future

from rustassistant.errors import InterruptedRunError
from rustassistant.stores.base import (
    Destination,
    Finder,
    Partition,
    Repository,
    Source,
)
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.transfer.checkpoint import Checkpoint, Part, key_of
from rustassistant.transfer.comparing import Comparer, unpack_compared
from rustassistant.transfer.digest import Digest
from rustassistant.transfer.flow import Answer, answers, check_told
from rustassistant.transfer.plan import Options, executor_for
from rustassistant.transfer.report import (
    Cancelled,
    Comparison,
    Difference,
    Progress,
    ReportProgress,
)


def compare(
    source: Source,
    destination: Destination,
    *,
    options: Options | None = None,
    progress: ReportProgress | None = None,
    cancelled: Cancelled | None = None,
    checkpoint: Checkpoint | None = None,
) -> Comparison:
    """Read every entry of ``source`` again and hold it against what ``destination`` gives back.

    Only what the options' selection admits is compared; what the destination holds besides is no
    difference. With a ``checkpoint``, what it knows to be equal is not read again, and when the
    comparison is stopped it remembers how far that came.
    """
    total = source.survey().total
    finder = destination.finder()
    with finder:
        pass  # a destination that can't be opened is one error, not one for each partition
    run = _Run(finder, total, options or Options(), checkpoint, progress)
    return run.over(source, cancelled)


class _Run:
    """One comparison on its way."""

    def __init__(
        self,
        finder: Finder,
        total: int,
        options: Options,
        checkpoint: Checkpoint | None,
        progress: ReportProgress | None,
    ) -> None:
        selection = options.selection
        self._comparer = Comparer(finder, selection if selection.reads_entries else None)
        self._options = options
        self._checkpoint = checkpoint
        self._progress = progress
        self._total = total
        self._comparison = Comparison()
        self._told_meta: set[Difference] = set()

    def over(self, source: Source, cancelled: Cancelled | None) -> Comparison:
        comparison, checkpoint = self._comparison, self._checkpoint
        executor, window = executor_for(self._options, self._total)
        try:
            items = answers(
                self._meant(source), executor=executor, window=window, submit=self._submit
            )
            for item in items:
                if isinstance(item, Problem):
                    continue  # the transfer has told it already
                if isinstance(item, Failure):
                    comparison.unreadable.append(item)
                    continue
                self._take(item)
                self._tell(item.partition.label)
                if checkpoint is not None:
                    checkpoint.save_if_due(self._total)
                if cancelled is not None:
                    self._stop_if(cancelled)
        except BaseException:
            if checkpoint is not None:
                checkpoint.save(self._total)
            raise
        finally:
            executor.shutdown(cancel_futures=True)
            self._comparer.close()
        if comparison.filtered:
            self._tell("")  # what was left out last, too
        if checkpoint is not None:
            checkpoint.remove()
        return comparison

    def _meant(self, source: Source) -> Iterator[Partition | Failure | Problem]:
        """What the selection does not leave out as a whole."""
        admits = self._options.selection.admits_folder
        for item in source.partitions():
            if isinstance(item, Failure | Problem) or admits(item.folder):
                yield item
            else:
                self._comparison.filtered += len(item.names)

    def _submit(self, executor: Executor, partition: Partition) -> Future[bytes]:
        token = known = None
        if self._checkpoint is not None:
            token = self._checkpoint.token()
            part = self._checkpoint.known(key_of(partition))
            known = None if part is None else part.state
        return executor.submit(self._comparer, partition, token, known)

    def _take(self, answer: Answer) -> None:
        outcome = unpack_compared(answer.message)
        comparison, folder = self._comparison, answer.partition.folder
        if not outcome.as_before:
            told = outcome.compared + outcome.filtered + len(outcome.failures)
            check_told(answer.partition, told)
        part = outcome.part
        if self._checkpoint is not None:
            key = key_of(answer.partition)
            if outcome.as_before:
                part = self._checkpoint.resumed(key)
                comparison.resumed += part.compared
            self._checkpoint.note(outcome.token, key, part)
        if part is None:
            part = Part(b"", outcome.compared, outcome.digest, outcome.removed)
        comparison.compared += part.compared
        comparison.filtered += outcome.filtered
        comparison.digest.merge(Digest.of_state(part.digest))
        comparison.removed.merge(Digest.of_state(part.removed))
        comparison.unreadable.extend(outcome.failures)
        comparison.differences.extend(Difference(*parts) for parts in outcome.differences)
        if outcome.meta:
            self._tell_meta(folder.repository, outcome.meta)

    def _tell_meta(self, repository: Repository, what: str) -> None:
        """Once for each repository, however many partitions it has."""
        path = "/".join(filter(None, (repository.directory, "meta.json")))
        one = Difference(f"{path} of {repository.path}", "", what)
        if one not in self._told_meta:
            self._told_meta.add(one)
            self._comparison.differences.append(one)

    def _tell(self, current: str) -> None:
        if self._progress is not None:
            comparison = self._comparison
            done = comparison.compared + comparison.filtered + len(comparison.unreadable)
            wrong = len(comparison.differences)
            total = max(self._total, done)
            self._progress(Progress(total, done, max(0, done - wrong), wrong, current))

    def _stop_if(self, cancelled: Cancelled) -> None:
        if not cancelled():
            return
        compared = f"stopped after comparing {self._comparison.compared} of {self._total} entries"
        if self._checkpoint is None:
            hint = "Nothing was changed; this verification begins anew each time."
        else:
            hint = "Nothing was changed. Run the same command again: it goes on where it stopped."
        raise InterruptedRunError(compared, hint=hint)
