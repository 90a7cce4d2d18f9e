"""What programs ask of a store that serves them: look up, put, remove, list, claim, count.

The promises, beside those of ``stores.base``:

- ``put`` returns when the entry would survive a power cut, and from then on every lookup, in
  whatever process, finds it. While somebody else holds the store for long, the entry waits in a
  safe place beside it, where lookups find it too.
- Lookups wait for nobody, and any number of threads and processes may make them at once.
- A claim is held by one at a time, and ends with its holder's process, however that ends.
- Nothing is open in a process that forks, at the moment it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry
from rustassistant.errors import DamagedError


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """What a program asks for. Parts that are None are not compared; ``file_hash`` is 32 bytes.

    Where a prompt hash is asked for and nothing has it, an entry from before prompt hashes answers
    instead, unless ``exact``. ``repository`` and ``file_path`` choose among what would do.
    """

    cache_type: str
    file_hash: bytes
    model: str | None = None
    prompt_hash: str | None = None
    schema_version: int | None = None
    exact: bool = False
    provider: str | None = None
    repository: str | None = None
    file_path: str | None = None

    def accepts(self, answer: Answer) -> bool:
        """Whether an entry answers: its parts are compared themselves, not a key."""
        return (
            self.file_hash == answer.file_hash
            and self.cache_type == answer.cache_type
            and self.accepts_from(
                answer.provider, answer.model, answer.prompt_hash, answer.schema_version
            )
        )

    def accepts_from(
        self, provider: str, model: str, prompt_hash: str | None, schema_version: int | None
    ) -> bool:
        """Whether what such a producer made answers, if it is about what was asked for."""
        if prompt_hash is None:
            if self.exact:
                return False
        elif self.prompt_hash is not None and self.prompt_hash != prompt_hash:
            return False
        if schema_version is None:
            schema_version = DEFAULT_SCHEMA_VERSION
        return (
            (self.model is None or self.model == model)
            and (self.schema_version is None or self.schema_version == schema_version)
            and (self.provider is None or self.provider == provider)
        )

    def rank(self, answer: Answer) -> tuple[bool, int, int, int]:
        """Larger is better: an exact match, then the very file, then the newest."""
        return (
            self.prompt_hash is None or answer.prompt_hash is not None,
            (answer.file_path == self.file_path) + (answer.repository == self.repository),
            answer.analyzed_at,
            answer.id,
        )


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An entry that a program gets. ``id`` is the store's own, 0 while it waits beside it.

    The columns as in `Entry`; ``result`` is JSON text.
    """

    id: int
    repository: str
    cache_type: str
    file_path: str
    file_hash: bytes
    file_size: int | None
    provider: str
    model: str
    prompt_hash: str | None
    schema_version: int | None
    analyzed_at: int
    tokens_used: int | None
    result: bytes

    @classmethod
    def from_entry(cls, entry: Entry) -> Answer:
        """The same, of an entry that is not in the store yet."""
        return cls(
            0,
            entry.repository,
            entry.cache_type,
            entry.file_path,
            entry.file_hash,
            entry.file_size,
            entry.provider,
            entry.model,
            entry.prompt_hash,
            entry.schema_version,
            entry.analyzed_at,
            entry.tokens_used,
            entry.result,
        )

    @property
    def identity(self) -> tuple[str, str, str, bytes, str, str, int]:
        """What tells entries apart, as `Entry.identity`."""
        version = self.schema_version
        return (
            self.repository,
            self.cache_type,
            self.file_path,
            self.file_hash,
            self.model,
            self.prompt_hash or "",
            DEFAULT_SCHEMA_VERSION if version is None else version,
        )


class Filter(NamedTuple):
    """Which entries to list or remove: those equal in all parts that are not None."""

    cache_type: str | None = None
    repository: str | None = None
    file_path: str | None = None
    file_hash: bytes | None = None
    provider: str | None = None
    model: str | None = None
    prompt_hash: str | None = None
    schema_version: int | None = None

    def accepts(self, answer: Answer) -> bool:
        """Whether an entry is among them. An absent schema version counts as 1."""
        version = answer.schema_version
        return (
            self.cache_type in (None, answer.cache_type)
            and self.repository in (None, answer.repository)
            and self.file_path in (None, answer.file_path)
            and self.file_hash in (None, answer.file_hash)
            and self.provider in (None, answer.provider)
            and self.model in (None, answer.model)
            and self.prompt_hash in (None, answer.prompt_hash)
            and self.schema_version
            in (None, DEFAULT_SCHEMA_VERSION if version is None else version)
        )


class Question(NamedTuple):
    """What traffic is counted by. ``day`` is days since 1970 UTC; empty parts are unknown."""

    day: int
    cache_type: str
    model: str
    repository: str


class Traffic(NamedTuple):
    """Hits, misses, and the tokens that hits would have used anew."""

    hits: int = 0
    misses: int = 0
    tokens_saved: int = 0


class Use(NamedTuple):
    """Hits of one entry, and when the last was, in nanoseconds since 1970 UTC."""

    hits: int
    last_used: int


class Claim(Protocol):
    """The right to compute something. To be released by whoever got it."""

    def release(self) -> None:
        """Let the next one have it."""


class LiveStore(Protocol):
    """A store that is open for programs. ``path`` is where it lies, whatever the working
    directory may be later on."""

    path: str

    def lookup(self, wanted: Wanted) -> Answer | None:
        """The entry that answers, or None. Raises DamagedError, never a wrong answer."""

    def put(self, entry: Entry, *, set_now: bool) -> None:
        """Keep an entry for good. With ``set_now`` it answers before whatever was there."""

    def remove(self, wanted: Filter) -> int:
        """Let these answer no more; return how many they were. Raises LockedError."""

    def list(self, wanted: Filter) -> Iterator[Answer | DamagedError]:
        """These entries; in place of one that can't be read, the error that says why."""

    def claim(self, key: bytes) -> Claim | None:
        """The claim to a key, or None while another holds it. Does not wait."""

    def count(self, uses: Mapping[int, Use], traffic: Mapping[Question, Traffic]) -> None:
        """Add to what was counted, all or nothing. Raises LockedError without waiting long."""

    def traffic(self) -> Traffic:
        """Sums of all that was counted."""

    def fold(self) -> None:
        """Move what waits beside the store into it, if that can be done at once."""

    def close(self, *exc_info: Any) -> None:
        """Close what is open, for good."""
