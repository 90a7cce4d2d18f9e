"""Rows of a cache database as entries, each checked as it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import apsw
import msgspec

from rustassistant.codec import Decoder, seal
from rustassistant.entry import Entry, Producer
from rustassistant.entry_json import parse
from rustassistant.errors import DamagedError, EntryError
from rustassistant.stores.base import Candidate

ENTRY_SQL: Final = """
SELECT e.id, r.path, d.cache_type, f.path, f.hash, e.analyzed_at,
       p.provider, p.model, p.prompt_hash, p.schema_version, e.tokens_used, f.size,
       ifnull(e.result, o.result), e.result_digest,
       iif(e.result IS NULL, o.dictionary_id, e.dictionary_id),
       e.original, e.dictionary_id, e.seal
FROM {source}
JOIN folders d ON d.id = e.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
LEFT JOIN entries o ON o.id = e.result_of
"""


CANDIDATE_SQL: Final = """
SELECT e.id, r.path, d.cache_type, f.path, f.hash, p.provider, p.model, p.prompt_hash,
       p.schema_version, e.analyzed_at
FROM {source}
JOIN folders d ON d.id = e.folder_id
JOIN repositories r ON r.id = d.repository_id
JOIN producers p ON p.id = e.producer_id
"""


class EntryReader:
    """Reads entries over one connection. Not for two threads at once."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._decoder = Decoder(self._dictionary)

    def _dictionary(self, dictionary_id: int) -> bytes:
        row = self.connection.execute(
            "SELECT data FROM dictionaries WHERE id = ?", (dictionary_id,)
        ).fetchone()
        if row is None:
            raise DamagedError(f"dictionary {dictionary_id} is missing")
        if not isinstance(row[0], bytes):
            raise DamagedError(f"dictionary {dictionary_id} is damaged")
        return row[0]

    def select(
        self, source: str, condition: str, values: Iterable[Any]
    ) -> Iterator[Entry | DamagedError]:
        """Entries from the tables ``e`` and ``f`` joined as ``source`` says.

        One that is damaged comes as the error, so that it hides no other.
        """
        sql = ENTRY_SQL.format(source=source) + condition
        for row in self.connection.execute(sql, tuple(values)):
            yield self._entry(row)

    def candidates(self, source: str, condition: str, values: Iterable[Any]) -> list[Candidate]:
        """The same without results."""
        sql = CANDIDATE_SQL.format(source=source) + condition
        return [Candidate(*row) for row in self.connection.execute(sql, tuple(values))]

    def value(self, sql: str, values: Iterable[Any]) -> Any:
        """The first column of the first row, None if there is none."""
        return self.connection.execute(sql, tuple(values)).get

    def text(self, frame: bytes, dictionary_id: int | None, digest: bytes | None = None) -> bytes:
        """The text of a frame, held against its digest if there is one."""
        return self._decoder.decode(frame, dictionary_id, digest)

    def _entry(self, row: tuple[Any, ...]) -> Entry | DamagedError:
        entry_id, repository, cache_type, file_path = row[:4]
        try:
            return self._checked(row)
        except (
            DamagedError,
            EntryError,
            TypeError,
        ) as error:  # TypeError: a column of another type
            return DamagedError(
                f"entry {entry_id} ({cache_type} of {file_path} in {repository}): {error}"
            )

    def _checked(self, row: tuple[Any, ...]) -> Entry:
        (_, repository, cache_type, file_path, file_hash, analyzed_at, provider, model,
         prompt_hash, schema_version, tokens_used, file_size, frame, digest, dictionary_id,
         original, own_dictionary_id, its_seal) = row  # fmt: skip
        if frame is None:
            raise DamagedError("its result is missing")
        producer = Producer(provider, model, prompt_hash, schema_version)
        if its_seal != seal(
            cache_type, file_path, file_hash, file_size, producer, analyzed_at, tokens_used, digest
        ):
            raise DamagedError("its columns are not what was stored")
        entry = Entry(
            repository=repository,
            cache_type=cache_type,
            file_path=file_path,
            file_hash=file_hash,
            analyzed_at=analyzed_at,
            provider=provider,
            model=model,
            prompt_hash=prompt_hash,
            schema_version=schema_version,
            result=self._decoder.decode(frame, dictionary_id, digest),
            tokens_used=tokens_used,
            file_size=file_size,
        )
        if original is None:
            return entry
        text = self._decoder.decode(original, own_dictionary_id)
        entry = msgspec.structs.replace(entry, original=text)
        if parse(text, repository=repository, cache_type=cache_type).entry != entry:
            raise DamagedError("its columns and the file kept with it disagree")
        return entry
