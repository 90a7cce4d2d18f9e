"""What a worker does to compare: each entry of a partition held against what a store gives back."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from rustassistant.entry import differing_fields
from rustassistant.entry_json import file_name
from rustassistant.errors import DamagedError
from rustassistant.stores.base import (
    Finder,
    Folder,
    Found,
    HasState,
    Held,
    Partition,
    PlaceFinder,
    Repository,
    printable,
)
from rustassistant.stores.outcomes import Failure
from rustassistant.transfer.ahead import read_ahead
from rustassistant.transfer.checkpoint import Part
from rustassistant.transfer.digest import Digest
from rustassistant.transfer.selection import Selection


class Compared(msgspec.Struct, array_like=True):
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
unpack_compared: Final = msgspec.msgpack.Decoder(Compared).decode


class Comparer:
    """A worker's task: read partitions and look each of their entries up. Picklable.

    It opens the finder when the first partition comes, and keeps it open: that takes as long as a
    hundred entries. A worker closes it at its end; who calls it without one is to `close` it.
    ``selection`` is None where all entries are meant.
    """

    def __init__(self, finder: Finder, selection: Selection | None) -> None:
        self._finder = finder
        self._selection = selection
        self._is_open = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (Comparer, (self._finder, self._selection))

    def close(self) -> None:
        """Close what is open; it is opened again if it is needed again."""
        if self._is_open:
            self._is_open = False
            atexit.unregister(self.close)
            self._finder.__exit__(None, None, None)

    def __call__(self, partition: Partition, token: bytes | None, known: bytes | None) -> bytes:
        """What became of a partition, packed as a `Compared`.

        With a ``token`` its state is told too, and it is not read if that is the ``known`` one.
        """
        outcome = Compared(token)
        if token is not None and isinstance(partition, HasState):
            outcome.state = partition.state()
            if known is not None and outcome.state == known:
                outcome.as_before = True
                return _pack(outcome)
        try:
            with self._opened().snapshot():
                self._compare(partition, outcome)
        except BaseException:
            self.close()  # the next one gets it as new
            raise
        return _pack(outcome)

    def _opened(self) -> Finder:
        if not self._is_open:
            self._finder.__enter__()
            self._is_open = True
            atexit.register(self.close)
        return self._finder

    def _compare(self, partition: Partition, outcome: Compared) -> None:
        finder, folder, selection = self._finder, partition.folder, self._selection
        digest, removed = Digest(), Digest()
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
