"""Records of files, made in one go: read, taken apart, encoded and packed, many at a time."""

from collections.abc import Callable
from typing import Any

from rustassistant.records import Record

class Packer:
    """Packs records one behind the other, as `rustassistant.records.RecordList` does.

    ``sha256`` is hashlib's, ``crc32`` zlib's; ``pack`` makes msgpack of a record.
    """

    size: int

    def __init__(
        self,
        *,
        sha256: Callable[[bytes], Any],
        crc32: Callable[..., int],
        pack: Callable[[Record], bytes],
        digest_bytes: int,
    ) -> None: ...
    def begin(
        self,
        cache_type: str,
        dictionary_id: int | None,
        known: dict[bytes, Any],
        compressed: Callable[[bytes, bytes], Any],
    ) -> None:
        """Forget all records, and take entries of one type from now on.

        ``known`` are results by digest, and ``compressed`` makes those that are not, as
        `codec.Encoder` does.
        """

    def take(self, directory: int, names: tuple[str, ...], start: int, now: int) -> int:
        """Take files from a position in ``names`` on; give that of the first that is not taken."""

    def append(self, record: Record, size: int) -> None:
        """Add a record of an entry that takes so many bytes in the source."""

    def packed(self) -> bytes:
        """All of them, as a msgpack array."""
