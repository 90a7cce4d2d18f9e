"""The reference store: plain dictionaries, nothing on disk. Tests measure the others against it."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rustassistant.codec import Decoder, Dictionary, Record
from rustassistant.entry import Entry
from rustassistant.entry_json import file_name
from rustassistant.errors import DamagedError, LockedError
from rustassistant.stores.base import (
    Candidate,
    Folder,
    Known,
    Outcomes,
    Query,
    Repository,
    StoreInfo,
)


class _Kept(NamedTuple):
    folder: Folder
    entry: Entry


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


class _State:
    """What a commit makes visible all at once."""

    def __init__(self) -> None:
        self.entries: list[_Kept] = []
        self.places: dict[tuple[_Place, Entry], int | None] = {}
        self.dictionaries: list[Dictionary] = []


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

    @contextmanager
    def writer(self) -> Iterator[MemoryWriter]:
        """The one writer."""
        if self._locked:
            raise LockedError("the memory store has a writer already")
        self._locked = True
        try:
            writer = MemoryWriter(self)
            yield writer
            writer.commit()
        finally:
            self._locked = False

    def finder(self) -> MemoryFinder:
        """A view of what was committed."""
        return MemoryFinder(self._state)


class MemoryWriter:
    """Works on a copy, which a commit puts in the store's place."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._state = copy.deepcopy(store._state)
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

    def put(self, folder: Folder, records: Sequence[Record]) -> Outcomes:
        """Add what is not there yet."""
        outcomes = Outcomes()
        for record in records:
            entry = self._decode(folder, record)
            name = file_name(entry.file_path) if record.name is None else os.fsdecode(record.name)
            place = (_place(folder, name), entry)
            present = any(
                kept.entry == entry and _key(kept.folder.repository) == _key(folder.repository)
                for kept in self._state.entries
            )
            if place in self._state.places:
                outcomes.unchanged += 1
                if self._state.places[place] is None or record.stamp is None:
                    continue
            elif present:
                outcomes.duplicate += 1
            else:
                outcomes.migrated += 1
                self._state.entries.append(_Kept(folder, entry))
            self._state.places[place] = record.stamp
        return outcomes

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
            if kept.entry.file_hash == file_hash
        ]  # fmt: skip

    def lookup(self, query: Query) -> Entry | None:
        """The entry that answers, or None."""
        best = query.best(self.candidates(query.file_hash))
        return None if best is None else self._state.entries[best.id].entry
