"""Records of entries that were read, made many at a time."""

from collections.abc import Callable, Mapping
from typing import Any

from rustassistant.codec import Record

def encode_usual(
    items: list[Any],
    start: int,
    records: list[Record],
    *,
    compressors: Callable[[str], tuple[int | None, Any]],
    known: Mapping[tuple[int | None, bytes], Any],
    compressed: Callable[[bytes, int | None, Any, bytes], Any],
    found: type[Any],
    record: type[Record],
    seal: Callable[..., int],
    sha256: Callable[[bytes], Any],
    digest_bytes: int,
) -> tuple[int, int]:
    """Append the records of ``items`` from ``start`` on; tell how far that went, and the bytes that
    these take in the source.

    ``compressors`` gives a dictionary's id and a compressor by type; ``known`` are results by
    dictionary and digest, and ``compressed`` makes those that are not, as `codec.Encoder` does.
    """
