"""What every store promises, and the data that travels between stores.

The promises, which ``tests/stores/store_suite.py`` holds every store to:

- Listing is lazy: ``partitions()`` never holds more than one folder's names.
- Reading never writes, and one bad entry never hides the next: it comes out as a `Failure`.
- A batch is all there or not at all. What ``put`` reported becomes durable with ``commit``; a
  process that dies between the two leaves the store as the last commit left it.
- Putting what is already there changes nothing and says so, so anything may be tried again.
- Absence is an empty answer, never an error; damage is an error, never an empty answer.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from rustassistant.codec import Dictionary
from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry
from rustassistant.errors import DamagedError
from rustassistant.records import Record
from rustassistant.stores.outcomes import Failure, Problem, Put, Rules, Run, RunNote


class Repository(msgspec.Struct, frozen=True):
    """A repository whose analyses a store holds.

    ``path`` is what ``meta.json`` says, or where the cache lay if that could not be read;
    ``directory`` is the cache's own directory for it (``<hash8>``, None in the local layout), which
    tells two caches that claim one path apart; ``meta`` is the text of ``meta.json``, for export.
    """

    path: str
    directory: str | None = None
    meta: bytes | None = None


class Folder(msgspec.Struct, frozen=True):
    """Where entries of one repository and type lie together.

    ``layout`` is ``centralized``, ``flat`` or ``local``; ``subfolder`` is the path below the type
    directory, empty in everything the Rust program writes.
    """

    repository: Repository
    cache_type: str
    layout: str
    subfolder: str = ""


Known = Mapping[str, Collection[int]]
"""What a destination has seen of a folder: the stamps under which each file name was read."""

Stamps = Sequence[Collection[int] | None]
"""The same of a partition, in the order of its names; None for those never seen."""


class Found(NamedTuple):
    """An entry read from a store. ``name`` and ``stamp`` as in `Record`; ``size`` in bytes."""

    entry: Entry
    path: str
    size: int
    name: bytes | None = None
    stamp: int | None = None
    notes: tuple[str, ...] = ()


class Look(NamedTuple):
    """Which entries of a partition are, by their stamps, as they were when last read.

    ``unchanged`` are their positions, in order; ``size`` is the bytes that all of them take.
    """

    unchanged: Sequence[int] = ()
    size: int = 0


class Taker(Protocol):
    """What takes files that hold entries, many at a time, to make of them what is needed."""

    def take(self, directory: int, names: tuple[str, ...], start: int, now: int) -> int:
        """Take files of an open directory, from a position in ``names`` on.

        Returns the position of the first that it does not take, which is then to be read. ``now``
        is nanoseconds since 1970, no later than the first read.
        """


class Partition(Protocol):
    """A small, picklable piece of a store: some entries of one folder."""

    @property
    def folder(self) -> Folder:
        """Where its entries lie."""

    @property
    def names(self) -> Sequence[str]:
        """What its entries are called there; as many as there are entries."""

    @property
    def label(self) -> str:
        """For people: where in the store it is."""

    def place(self, position: int) -> str:
        """For people: where the entry at that position of ``names`` is."""

    def look(self, known: Stamps) -> Look:
        """Tell which entries have a known stamp. What that can't be told of is not among them."""

    def read(self, taker: Taker | None = None) -> Iterator[Found | Failure]:
        """Read each entry, in the order of ``names``, or those that a ``taker`` does not take."""

    def part(self, positions: Sequence[int]) -> Partition:
        """The entries at some positions of ``names`` only."""


class Survey(NamedTuple):
    """What a look over a store's listing found: no entry was read for it.

    ``files`` by type; ``mean_size`` in bytes; ``samples`` are partitions that together hold some
    hundreds of entries of each type, spread evenly.
    """

    files: Mapping[str, int]
    mean_size: float
    samples: Sequence[Partition]

    @property
    def total(self) -> int:
        """How many files there are."""
        return sum(self.files.values())


class Candidate(NamedTuple):
    """Provenance of an entry that a store holds, without its result; ``id`` is the store's own."""

    id: int
    repository: str
    cache_type: str
    file_path: str
    file_hash: bytes
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    analyzed_at: int


class Query(NamedTuple):
    """What a program asks a cache. Parts that are None are not compared.

    ``file_hash`` is 32 bytes. Where a prompt hash is asked for and nothing has it, an entry from
    before prompt hashes answers instead, unless ``exact``.
    """

    cache_type: str
    file_hash: bytes
    model: str | None = None
    prompt_hash: str | None = None
    schema_version: int | None = None
    exact: bool = False

    def why_not(self, candidate: Candidate) -> list[str]:
        """The parts in which a candidate is not what was asked for; none means a hit.

        The stored parts are compared, not keys: a model's name may contain the ``:`` that joins
        the parts of a key.
        """
        prompt_hash = candidate.prompt_hash
        version = candidate.schema_version
        version = DEFAULT_SCHEMA_VERSION if version is None else version
        differs = {
            "content": self.file_hash != candidate.file_hash,
            "type": self.cache_type != candidate.cache_type,
            "model": self.model not in (None, candidate.model),
            "prompt hash": (
                self.exact if prompt_hash is None else self.prompt_hash not in (None, prompt_hash)
            ),
            "schema version": self.schema_version not in (None, version),
        }
        return [part for part, is_other in differs.items() if is_other]

    def best(self, candidates: Iterable[Candidate]) -> Candidate | None:
        """The answer: an exact match before an entry from before prompt hashes, then the newest."""
        hits = [candidate for candidate in candidates if not self.why_not(candidate)]
        return max(hits, key=self._rank, default=None)

    def _rank(self, hit: Candidate) -> tuple[bool, int, int]:
        exact = self.prompt_hash is None or hit.prompt_hash is not None
        return (exact, hit.analyzed_at, hit.id)


class Tree(NamedTuple):
    """A directory that holds all of a store, and what lies below it to be copied, or None for all.

    A repository's cache is one directory in it; the code around it is not the store's.
    """

    path: str
    part: str | None = None


class StoreInfo(NamedTuple):
    """What a store is: ``kind``, where it is, and the bytes it takes on disk, logs included."""

    kind: str
    location: str
    size: int


class Source(Protocol):
    """A store that entries can be read from."""

    def info(self) -> StoreInfo:
        """What it is. Raises NotFoundError if there is nothing."""

    def survey(self) -> Survey:
        """Count without reading."""

    def tree(self) -> Tree:
        """The files it consists of, for copying it as a whole."""

    def partitions(self) -> Iterator[Partition | Failure | Problem]:
        """List everything there is, in a fixed order; what can't be listed comes as a failure."""


class Writer(Protocol):
    """One store's one writer. Nothing it was given is visible before ``commit``."""

    def known(self, folder: Folder) -> Known:
        """Stamps of the files of this folder whose entries are here already, by file name."""

    def dictionaries(self) -> Sequence[Dictionary]:
        """The newest dictionary of each type."""

    def add_dictionary(self, cache_type: str, data: bytes) -> Dictionary:
        """Keep a dictionary, for good; one with the same bytes is kept once."""

    def put(self, folder: Folder, records: Sequence[Record]) -> Put:
        """Add what is not there yet."""

    def log(self, run: Run, notes: Sequence[RunNote]) -> None:
        """Remember how far a run is and what is new to note; committed with what it put."""

    def last_notes(self, sources: str) -> Collection[RunNote]:
        """What the latest run over the same sources had to note."""

    def commit(self) -> None:
        """Make durable all that was put."""


class Destination(Protocol):
    """A store that entries can be written to."""

    def info(self) -> StoreInfo:
        """What it is and how large."""

    def check_writable(self) -> None:
        """Raise now what ``writer`` would raise later, as far as can be told. Makes nothing."""

    def room(self) -> int | None:
        """Free bytes where it lies, or None where that is not for us to know."""

    def writer(self, rules: Rules = Rules()) -> AbstractContextManager[Writer]:
        """The one writer. Leaving without an error commits; with one, undoes since the last."""

    def rehearsal(self) -> AbstractContextManager[Destination]:
        """A private copy to try a run on, which leaves nothing behind."""

    def finder(self) -> Finder:
        """Something picklable that a worker can look entries up with."""


class Finder(Protocol):
    """Looks entries up in a store. Picklable; opens what it needs when entered."""

    def __enter__(self) -> Finder:
        """Open the store for reading."""

    def __exit__(self, *exc_info: Any) -> None:
        """Close it."""

    def snapshot(self) -> AbstractContextManager[None]:
        """Within it, all answers are of one moment, and come quicker."""

    def find(self, folder: Folder, entry: Entry) -> Sequence[Entry | DamagedError]:
        """Every entry here with that one's identity (repository, type, path, key).

        In place of one that can't be given back stands the error that says why.
        """

    def candidates(self, file_hash: bytes) -> Sequence[Candidate]:
        """All that the store knows about files with that content, of whatever type."""

    def lookup(self, query: Query) -> Entry | None:
        """The entry that answers, or None for a miss. Raises DamagedError, never a wrong answer."""


class Held(NamedTuple):
    """An entry as a store holds it. ``layout`` and ``subfolder`` as in `Folder`, ``name`` as in
    `Record`; ``removed`` says why it answers no more (``superseded``, …), None if it does."""

    entry: Entry
    layout: str
    subfolder: str
    name: bytes | None
    removed: str | None = None


@runtime_checkable
class PlaceFinder(Protocol):
    """A finder of a store that also keeps where entries lay, and so gives back whole trees."""

    def held(self, folder: Folder, entry: Entry) -> Iterator[Held | DamagedError]:
        """What `Finder.find` finds, at each of its places; lazily, so that one may stop early."""

    def held_here(self, folder: Folder, entries: Sequence[Entry]) -> Sequence[Sequence[Held]]:
        """For each entry, what is plainly there at its place, or beside it: much quicker for many
        than `held`, which tells of all else, damage included."""

    def repository(self, repository: Repository) -> Repository | None:
        """The repository with that path and directory, as it is here; None if there is none."""


@runtime_checkable
class HasState(Protocol):
    """A store, or a part of one, that can tell without being read whether it has changed."""

    def state(self) -> bytes | None:
        """Bytes that are others after every change; None where that can't be told just now."""


def printable(path: str | bytes | os.PathLike[str]) -> str:
    """A path as text that can be stored and printed anywhere; undecodable bytes as ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
