"""What writers of stores other than ours have in common: they keep entries, nothing about them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rustassistant.codec import Decoder, Dictionary
from rustassistant.entry import Entry
from rustassistant.records import Record
from rustassistant.stores.base import Folder, Known
from rustassistant.stores.outcomes import Run, RunNote


class PlainWriter:
    """A writer without stamps, dictionaries or runs, that needs entries rather than records."""

    def __init__(self) -> None:
        self._dictionaries: list[Dictionary] = []
        self._decoder = Decoder(lambda wanted: self._dictionaries[wanted - 1].data)

    def known(self, folder: Folder) -> Known:
        """Nothing: such a store does not remember what it was made from."""
        return {}

    def dictionaries(self) -> Sequence[Dictionary]:
        """None: what is stored is compressed without, if at all."""
        return ()

    def add_dictionary(self, cache_type: str, data: bytes) -> Dictionary:
        """Use it for the records of this run."""
        for one in self._dictionaries:
            if (one.cache_type, one.data) == (cache_type, data):
                return one
        self._dictionaries.append(Dictionary(len(self._dictionaries) + 1, cache_type, data))
        return self._dictionaries[-1]

    def log(self, run: Run, notes: Sequence[RunNote]) -> None:
        """Nowhere."""

    def last_notes(self, sources: str) -> Collection[RunNote]:
        """None."""
        return ()

    def text(self, record: Record) -> bytes:
        """The text of a record's result. Raises DamagedError if its frame can't be read."""
        return self._decoder.decode(record.result, record.dictionary_id, record.result_digest)

    def entry(self, folder: Folder, record: Record) -> Entry:
        """What a record stands for. Raises DamagedError if its frames can't be read."""
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
            result=self.text(record),
            tokens_used=record.tokens_used,
            file_size=record.file_size,
            original=None if original is None else decode(original, dictionary),
        )
