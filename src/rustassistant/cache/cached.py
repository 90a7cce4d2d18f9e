"""What programs get from the cache and give to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustassistant.cache.results import from_text
from rustassistant.stores.live import Answer


class CachedAnalysis:
    """A result and where it comes from. ``computed`` if it was made just now, for this call."""

    __slots__ = ("_answer", "_result", "computed")
    _result: Any  # set when it is first asked for; until then copies have nothing to mistake

    def __init__(self, answer: Answer, *, computed: bool = False) -> None:
        self._answer = answer
        self.computed = computed

    @property
    def text(self) -> bytes:
        """The result's JSON text, UTF-8, as it was stored."""
        return self._answer.result

    @property
    def result(self) -> Any:
        """The result itself: read from its text when first asked for.

        Raises DamagedError for an integer of more than a million digits.
        """
        try:
            return self._result
        except AttributeError:
            self._result = from_text(self._answer.result)
            return self._result

    @property
    def type(self) -> str:
        """The kind of analysis."""
        return self._answer.cache_type

    @property
    def repository(self) -> str:
        """The path of the repository it was made for."""
        return self._answer.repository

    @property
    def file_path(self) -> str:
        """The analysed file, relative to the repository."""
        return self._answer.file_path

    @property
    def file_hash(self) -> str:
        """SHA-256 of what was analysed, 64 hex digits."""
        return self._answer.file_hash.hex()

    @property
    def file_size(self) -> int | None:
        """Bytes that were analysed."""
        return self._answer.file_size

    @property
    def provider(self) -> str:
        """Who was paid."""
        return self._answer.provider

    @property
    def model(self) -> str:
        """What made the result."""
        return self._answer.model

    @property
    def prompt_hash(self) -> str | None:
        """First 16 hex digits of the prompt's SHA-256; None in entries from before prompts."""
        return self._answer.prompt_hash

    @property
    def schema_version(self) -> int:
        """The form of the result."""
        version = self._answer.schema_version
        return 1 if version is None else version

    @property
    def tokens_used(self) -> int | None:
        """Tokens that were paid for."""
        return self._answer.tokens_used

    @property
    def analyzed_at(self) -> int:
        """When, in nanoseconds since 1970 UTC."""
        return self._answer.analyzed_at

    def __repr__(self) -> str:
        return (
            f"<CachedAnalysis {self.type} of {self.file_path} in {self.repository} "
            f"by {self.model}, {len(self.text)} bytes>"
        )


@dataclass(frozen=True, slots=True)
class Computed:
    """What a computing function may return instead of the bare result, to say what it took.

    ``tokens_used`` is a whole number, of numpy's too; what can't be kept is left out, with a
    `NotKeptWarning`.
    """

    result: Any
    tokens_used: int | None = None


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """How often the cache was asked and answered, by all programs, ever since it was made.

    ``tokens_saved`` are those of the entries that answered, once for each hit.
    """

    hits: int
    misses: int
    tokens_saved: int

    @property
    def hit_rate(self) -> float:
        """Part of the questions that were answered, 0 to 1; 0 if none was asked."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0
