"""The reference store: plain dictionaries, nothing on disk. Tests measure the others against it."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rustassistant.codec import Decoder, Dictionary, text_digest
from rustassistant.entry import Entry
from rustassistant.entry_json import file_name
from rustassistant.errors import DamagedError, LockedError
from rustassistant.records import Record
from rustassistant.stores.base import Candidate, Folder, Known, Query, Repository, StoreInfo
from rustassistant.stores.outcomes import (
    Conflict,
    OnConflict,
    Outcome,
    Outcomes,
    Put,
    Rules,
    Run,
    RunNote,
)


class _Kept(NamedTuple):
    folder: Folder
    entry: Entry
    superseded: bool = False

    @property
    def standing(self) -> tuple[int, bytes]:
        """What decides which of two answers."""
        return (self.entry.analyzed_at, text_digest(self.entry.result))


class _Place(NamedTuple):
    repository: tuple[str, str | None]
    cache_type: str
    layout: str
    subfolder: str
    name: str


def _key(repository: Repository) -> tuple[str, str | None]:
    """What tells repositories apart; their meta.json may change."""
    return (repository.path, repository.directory)


def _place(folder: Folder, name: str) -> _Place:
    return _Place(_key(folder.repository), folder.cache_type, folder.layout, folder.subfolder, name)


def _same_identity(one: _Kept, other: _Kept) -> bool:
    return one.entry.identity == other.entry.identity and _key(one.folder.repository) == _key(
        other.folder.repository
    )


class _State:
    """What a commit makes visible all at once."""

    def __init__(self) -> None:
        self.entries: list[_Kept] = []
        self.places: dict[tuple[_Place, Entry], int | None] = {}
        self.dictionaries: list[Dictionary] = []
        self.runs: list[tuple[Run, list[RunNote]]] = []


class MemoryStore:
    """A store that lives as long as its process."""

    def __init__(self) -> None:
        self._state = _State()
        self._locked = False

    def info(self) -> StoreInfo:
        """Its size counts results only."""
        size = sum(len(kept.entry.result) for kept in self._state.entries)
        return StoreInfo("memory", "memory", size)

    def check_writable(self) -> None:
        """Nothing can be in the way."""

    def room(self) -> int | None:
        """Not counted."""
        return None

    def entries(self) -> list[Entry]:
        """All that it holds."""
        return [kept.entry for kept in self._state.entries]

    def runs(self) -> list[tuple[Run, list[RunNote]]]:
        """What runs told, with their notes."""
        return self._state.runs

    @contextmanager
    def rehearsal(self) -> Iterator[MemoryStore]:
        """A copy of it."""
        copied = MemoryStore()
        copied._state = copy.deepcopy(self._state)
        yield copied

    @contextmanager
    def writer(self, rules: Rules = Rules()) -> Iterator[MemoryWriter]:
        """The one writer."""
        if self._locked:
            raise LockedError("the memory store has a writer already")
        self._locked = True
        try:
            writer = MemoryWriter(self, rules)
            yield writer
            writer.commit()
        finally:
            self._locked = False

    def finder(self) -> MemoryFinder:
        """A view of what was committed."""
        return MemoryFinder(self._state)


class MemoryWriter:
    """Works on a copy, which a commit puts in the store's place."""

    def __init__(self, store: MemoryStore, rules: Rules) -> None:
        self._store = store
        self._rules = rules
        self._state = copy.deepcopy(store._state)
        self._run: Run | None = None
        self._decoder = Decoder(lambda wanted: self._dictionary(wanted).data)

    def commit(self) -> None:
        """Make visible what was put."""
        self._store._state = copy.deepcopy(self._state)

    def known(self, folder: Folder) -> Known:
        """Stamps by file name."""
        stamps: defaultdict[str, list[int]] = defaultdict(list)
        for (place, _), stamp in self._state.places.items():
            if place == _place(folder, place.name) and stamp is not None:
                stamps[place.name].append(stamp)
        return stamps

    def dictionaries(self) -> Sequence[Dictionary]:
        """The newest of each type."""
        return list({one.cache_type: one for one in self._state.dictionaries}.values())

    def _dictionary(self, wanted: int) -> Dictionary:
        return self._state.dictionaries[wanted - 1]

    def add_dictionary(self, cache_type: str, data: bytes) -> Dictionary:
        """Keep a dictionary."""
        kept = self._state.dictionaries
        for one in kept:
            if (one.cache_type, one.data) == (cache_type, data):
                return one
        kept.append(Dictionary(len(kept) + 1, cache_type, data))
        return kept[-1]

    def log(self, run: Run, notes: Sequence[RunNote]) -> None:
        """Keep the run as it is now."""
        if self._run is None:
            self._run = copy.copy(run)
            self._state.runs.append((self._run, []))
        kept = self._state.runs[-1]
        self._state.runs[-1] = (copy.copy(run), [*kept[1], *notes])

    def last_notes(self, sources: str) -> Sequence[RunNote]:
        """Of the latest run over the same sources."""
        return next((notes for run, notes in self._state.runs[::-1] if run.sources == sources), [])

    def put(self, folder: Folder, records: Sequence[Record]) -> Put:
        """Add what is not there yet."""
        outcomes, conflicts = Outcomes(), list[Conflict]()
        each = []
        for record in records:
            outcome = self._put_one(folder, record, outcomes, conflicts)
            outcomes.count(outcome)
            each.append(outcome)
        return Put(outcomes, each, conflicts)

    def _put_one(
        self, folder: Folder, record: Record, outcomes: Outcomes, conflicts: list[Conflict]
    ) -> Outcome:
        entry = self._decode(folder, record)
        name = file_name(entry.file_path) if record.name is None else os.fsdecode(record.name)
        place = (_place(folder, name), entry)
        if place in self._state.places:
            replaces = self._rules.restamp and record.stamp is not None
            if replaces and self._state.places[place] is not None:
                self._state.places[place] = record.stamp
            return Outcome.UNCHANGED
        self._state.places[place] = record.stamp
        own = _Kept(folder, entry)
        alike = [kept for kept in self._state.entries if _same_identity(kept, own)]
        if any(kept.entry == entry for kept in alike):
            return Outcome.DUPLICATE
        answers = self._resolve(own, record, alike, conflicts)
        shares = answers and self._rules.dedup and self._is_like_another(own)
        self._state.entries.append(own._replace(superseded=not answers))
        outcomes.shared += shares
        return Outcome.DUPLICATE if shares else Outcome.MIGRATED

    def _resolve(
        self, own: _Kept, record: Record, alike: Sequence[_Kept], conflicts: list[Conflict]
    ) -> bool:
        policy = self._rules.on_conflict
        keeps_both = policy is OnConflict.KEEP_BOTH
        preferred = policy.best(kept.standing for kept in [own, *alike])[1]
        answers = keeps_both or own.standing[1] == preferred
        live = [
            kept for kept in alike if not kept.superseded and kept.standing[1] != own.standing[1]
        ]
        newest = {kept.standing[1]: kept for kept in sorted(live, key=lambda one: one.standing)}
        conflicts += (
            Conflict(
                own.folder.repository.path,
                own.folder.cache_type,
                record.file_path,
                own.entry.analyzed_at,
                kept.entry.analyzed_at,
                policy.best([own.standing, kept.standing]) == own.standing,
            )
            for kept in newest.values()
        )
        for kept in [] if keeps_both else alike:
            index = self._state.entries.index(kept)
            loses = kept.standing[1] != preferred
            self._state.entries[index] = kept._replace(superseded=loses)
        return answers

    def _is_like_another(self, own: _Kept) -> bool:
        """Whether another entry has the same type, key and result."""
        entry = own.entry
        return entry.original is None and any(
            not kept.superseded
            and kept.entry.original is None
            and kept.entry.cache_type == entry.cache_type
            and kept.entry.file_hash == entry.file_hash
            and kept.entry.file_size == entry.file_size
            and kept.entry.producer == entry.producer
            and kept.entry.tokens_used == entry.tokens_used
            and kept.entry.result == entry.result
            for kept in self._state.entries
        )

    def _decode(self, folder: Folder, record: Record) -> Entry:
        decode, dictionary = self._decoder.decode, record.dictionary_id
        original = record.original
        return Entry(
            repository=folder.repository.path,
            cache_type=folder.cache_type,
            file_path=record.file_path,
            file_hash=record.file_hash,
            analyzed_at=record.analyzed_at,
            provider=record.provider,
            model=record.model,
            prompt_hash=record.prompt_hash,
            schema_version=record.schema_version,
            result=decode(record.result, dictionary, record.result_digest),
            tokens_used=record.tokens_used,
            file_size=record.file_size,
            original=None if original is None else decode(original, dictionary),
        )


class MemoryFinder:
    """Looks through everything."""

    def __init__(self, state: _State) -> None:
        self._state = state

    def __enter__(self) -> MemoryFinder:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        """Nothing to close."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What it sees never changes."""
        yield

    def find(self, folder: Folder, entry: Entry) -> Sequence[Entry | DamagedError]:
        """Every entry with that one's identity."""
        return [
            kept.entry
            for kept in self._state.entries
            if kept.entry.identity == entry.identity
            and _key(kept.folder.repository) == _key(folder.repository)
        ]

    def candidates(self, file_hash: bytes) -> Sequence[Candidate]:
        """Every entry about that content."""
        return [
            Candidate(number, kept.entry.repository, kept.entry.cache_type, kept.entry.file_path,
                      file_hash, *kept.entry.producer, kept.entry.analyzed_at)
            for number, kept in enumerate(self._state.entries)
            if kept.entry.file_hash == file_hash and not kept.superseded
        ]  # fmt: skip

    def lookup(self, query: Query) -> Entry | None:
        """The entry that answers, or None."""
        best = query.best(self.candidates(query.file_hash))
        return None if best is None else self._state.entries[best.id].entry
