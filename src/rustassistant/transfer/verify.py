"""Compare two stores, entry by entry, field by field. Changes nothing; problems are data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Final

import msgspec

from rustassistant.entry import differing_fields
from rustassistant.entry_json import file_name
from rustassistant.errors import DamagedError, InterruptedRunError
from rustassistant.stores.base import (
    Destination,
    Finder,
    Folder,
    Found,
    HasState,
    Held,
    Partition,
    PlaceFinder,
    Repository,
    Source,
    printable,
)
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.transfer.ahead import read_ahead
from rustassistant.transfer.checkpoint import Checkpoint, Part, key_of
from rustassistant.transfer.digest import Digest
from rustassistant.transfer.flow import Answer, answers
from rustassistant.transfer.plan import Options, executor_for
from rustassistant.transfer.report import (
    Cancelled,
    Comparison,
    Difference,
    Progress,
    ReportProgress,
)
from rustassistant.transfer.selection import Selection


class _Compared(msgspec.Struct, array_like=True):
    """What a worker finds out about a partition.

    ``token`` is what the checkpoint gave with it, ``state`` that of its entries before they were
    read; ``as_before`` says that nothing was, since it is the state that the checkpoint knows.
    ``digest`` and ``removed`` are states of digests, the latter over entries that answer no more.
    """

    token: bytes | None
    state: bytes | None = None
    as_before: bool = False
    compared: int = 0
    filtered: int = 0
    meta: str = ""
    differences: list[tuple[str, str, str]] = []
    failures: list[Failure] = []
    digest: bytes = b""
    removed: bytes = b""

    @property
    def part(self) -> Part | None:
        """What a checkpoint may keep of it: all, if nothing was amiss and nothing left out."""
        amiss = self.meta or self.differences or self.failures
        if self.state is None or amiss or self.filtered:
            return None
        return Part(self.state, self.compared, self.digest, self.removed)


class _Verdict(msgspec.Struct, frozen=True):
    """About one entry: how it differs, empty if it does not, and whether it answers no more."""

    what: str = ""
    is_removed: bool = False


_EQUAL: Final = _Verdict()
_REMOVED: Final = _Verdict(is_removed=True)

_Look = Callable[[Found], Iterator[Held | DamagedError]]

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(_Compared).decode


def compare_partition(
    finder: Finder,
    partition: Partition,
    selection: Selection | None,
    token: bytes | None,
    known: bytes | None,
) -> bytes:
    """A worker's task: read a partition and look each entry up, packed as a `_Compared`.

    ``selection`` is None where all entries are meant. With a ``token`` its state is told too, and
    it is not read if that is the ``known`` one.
    """
    outcome = _Compared(token)
    if token is not None and isinstance(partition, HasState):
        outcome.state = partition.state()
        if known is not None and outcome.state == known:
            outcome.as_before = True
            return _pack(outcome)
    folder = partition.folder
    digest, removed = Digest(), Digest()
    with finder, finder.snapshot():
        outcome.meta = _difference_of_meta(finder, folder.repository)
        look = _look(finder, folder)
        for ahead in read_ahead(partition.read()):
            meant = []
            for item in ahead:
                if isinstance(item, Failure):
                    outcome.failures.append(item)
                elif selection is not None and not selection.admits(item.entry):
                    outcome.filtered += 1
                else:
                    meant.append(item)
            outcome.compared += len(meant)
            for item, plain in zip(meant, _plainly_held(finder, folder, meant), strict=True):
                digest.add(folder.repository, item.entry)
                verdict = _same(plain, folder, item) or _judge(look, folder, item)
                if verdict.is_removed:
                    removed.add(folder.repository, item.entry)
                if verdict.what:
                    outcome.differences.append((item.path, item.entry.cache_type, verdict.what))
    outcome.digest, outcome.removed = digest.state, removed.state
    return _pack(outcome)


def _plainly_held(
    finder: Finder, folder: Folder, items: Sequence[Found]
) -> Sequence[Sequence[Held]]:
    """For each entry, what the store has no trouble to find of it."""
    if isinstance(finder, PlaceFinder):
        try:
            return finder.held_here(folder, [item.entry for item in items])
        except DamagedError:
            pass  # looking for one after the other tells which
    return [()] * len(items)


def _same(held: Iterable[Held], folder: Folder, item: Found) -> _Verdict | None:
    """The verdict if an entry is among these, in all fields and at its place."""
    for one in held:
        if one.entry == item.entry and _is_at(one, folder, item):
            return _EQUAL if one.removed is None else _REMOVED
    return None


def _is_at(held: Held, folder: Folder, item: Found) -> bool:
    return (held.layout, held.subfolder, held.name) == (folder.layout, folder.subfolder, item.name)


def _judge(look: _Look, folder: Folder, item: Found) -> _Verdict:
    """How what the store gives back differs from an entry, its place included."""
    entry = item.entry
    damage, elsewhere, fields = "", "", None
    try:
        for held in look(item):
            if isinstance(held, DamagedError):
                damage = damage or held.message
            elif held.entry != entry:
                others = differing_fields(entry, held.entry)
                fields = others if fields is None else min(fields, others, key=len)
            elif _is_at(held, folder, item):
                return _EQUAL if held.removed is None else _REMOVED
            else:
                elsewhere = elsewhere or _place(held)
    except DamagedError as error:
        damage = damage or error.message
    if elsewhere:
        return _Verdict(f"equal, but at another place in the destination: {elsewhere}")
    if damage:
        return _Verdict(f"damaged in the destination: {damage}")
    if fields is None:
        return _Verdict("missing from the destination")
    return _Verdict(f"differs in {', '.join(fields)}")


def _look(finder: Finder, folder: Folder) -> _Look:
    """How to look entries up: a store that keeps no places has all of them in the right one."""
    if isinstance(finder, PlaceFinder):
        return lambda item: finder.held(folder, item.entry)

    def find(item: Found) -> Iterator[Held | DamagedError]:
        for found in finder.find(folder, item.entry):
            if isinstance(found, DamagedError):
                yield found
            else:
                yield Held(found, folder.layout, folder.subfolder, item.name)

    return find


def _place(held: Held) -> str:
    name = file_name(held.entry.file_path) if held.name is None else printable(held.name)
    return f"{held.layout} layout, {'/'.join(filter(None, (held.subfolder, name)))}"


def _difference_of_meta(finder: Finder, repository: Repository) -> str:
    """How the text of ``meta.json`` that the store keeps differs, empty if it does not."""
    if repository.meta is None or not isinstance(finder, PlaceFinder):
        return ""
    try:
        found = finder.repository(repository)
    except DamagedError:
        return ""  # that is told of each of its entries, as is one that is missing
    if found is None or found.meta == repository.meta:
        return ""
    return "missing from the destination" if found.meta is None else "differs in its text"


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
        self._finder = finder
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
        selection = self._options.selection
        return executor.submit(
            compare_partition,
            self._finder,
            partition,
            selection if selection.reads_entries else None,
            token,
            known,
        )

    def _take(self, answer: Answer) -> None:
        outcome = _unpack(answer.message)
        comparison, folder = self._comparison, answer.partition.folder
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
