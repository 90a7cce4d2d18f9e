"""One number for a whole set of entries, which two machines can compare over the telephone.

Each entry is hashed alone and the hashes are added up::

    digest  = sum of SHA-256(message) over all entries, modulo 2^256, as 64 hex digits
    message = the MessagePack array of repository, cache_type, file_path, file_hash, file_size,
              provider, model, prompt_hash, schema_version, analyzed_at, tokens_used,
              SHA-256 of result (compact JSON), SHA-256 of original or nil

A sum does not depend on the order of its terms, nor on how they are split: workers add up what they
read, and an entry that is there twice counts twice. This is AdHash (Bellare and Micciancio, "A New
Paradigm for Collision-free Hashing", EUROCRYPT 1997), over a multiset. Two digests that are equal
rule out loss, damage and confusion by accident. They do not rule out malice: who may choose entries
can find others with the same sum (Wagner, "A Generalized Birthday Problem", CRYPTO 2002).

Where entries lie (layout, file names) and the text of ``meta.json`` are not part of it, so that a
tree, the database made of it and what is exported from that have one digest.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from rustassistant.entry import Entry
from rustassistant.stores.base import Repository

_MODULUS: Final = 2**256
_SUM_BYTES: Final = 32
_COUNT_BYTES: Final = 8

_encode: Final = msgspec.msgpack.Encoder().encode


class Digest:
    """The digest of ``count`` things. Picklable; ``state`` is the same in 40 bytes."""

    __slots__ = ("_sum", "count")

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    @classmethod
    def of_state(cls, state: bytes) -> Digest:
        """The one whose ``state`` this was. Raises ValueError for anything else."""
        if len(state) != _COUNT_BYTES + _SUM_BYTES:
            raise ValueError(f"{len(state)} bytes are no state of a digest")
        made = cls()
        made.count = int.from_bytes(state[:_COUNT_BYTES], "little")
        made._sum = int.from_bytes(state[_COUNT_BYTES:], "little")
        return made

    @property
    def state(self) -> bytes:
        """40 bytes that travel between processes: the count and the sum."""
        return self.count.to_bytes(_COUNT_BYTES, "little") + self._sum.to_bytes(
            _SUM_BYTES, "little"
        )

    def add(self, repository: Repository, entry: Entry) -> None:
        """Count an entry of this repository."""
        original = entry.original
        self.add_message(
            _encode(
                (
                    whose(repository),
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
                    sha256(entry.result).digest(),
                    None if original is None else sha256(original).digest(),
                )
            )
        )

    def add_message(self, message: bytes) -> None:
        """Count something else that can be said in bytes, such as a file that can't be read."""
        self._sum = (self._sum + int.from_bytes(sha256(message).digest(), "big")) % _MODULUS
        self.count += 1

    def merge(self, other: Digest) -> None:
        """Count all that the other has counted."""
        self._sum = (self._sum + other._sum) % _MODULUS
        self.count += other.count

    def without(self, other: Digest) -> Digest:
        """The digest of what is left when all that the other has counted is taken away."""
        left = Digest()
        left._sum = (self._sum - other._sum) % _MODULUS
        left.count = self.count - other.count
        return left

    def hexdigest(self) -> str:
        """64 hex digits; all zeros for nothing at all."""
        return f"{self._sum:064x}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self.state == other.state

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Digest({self.count}, {self.hexdigest()})"


def whose(repository: Repository) -> str | None:
    """What names a repository on every machine that holds these entries.

    Its path, where a file says it. In the local layout none does, but for an export of several: the
    path is where the cache happens to lie, so None stands for it. Where ``meta.json`` can't tell,
    the path is that of the cache's own directory: then the name of the directory does.
    """
    directory = repository.directory
    if directory is None:
        return None if repository.meta is None else repository.path
    return directory if repository.path.endswith(f"/{directory}") else repository.path
