"""JSON text to compressed bytes and back: zstd, dictionaries, checksums, size limits.

A stored text is::

    frame      = one zstd frame: content size present, dictionary id absent, and an XXH64 checksum
                 only for a whole file, which has no digest
    dictionary = raw bytes from zstd's trainer, named by their SHA-256, chosen by entry type
    digest     = the first 16 bytes of the SHA-256 of the text before compression

Frames do not name their dictionary; the record does, which saves four bytes in each.
The frame format is RFC 8878's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
import zstandard

from rustassistant.entry import Entry, Producer
from rustassistant.errors import DamagedError, UsageError
from rustassistant.usage import stated_usage

MAX_TEXT_BYTES: Final = 64 * 2**20
"""The longest JSON text that is kept or given back. Real ones are a few KiB; what claims more
is damaged or hostile, and is refused before memory is taken for it."""

DIGEST_BYTES: Final = 16
"""Half a SHA-256: two of 2**64 texts would have the same by chance, and the rest of it would be a
thirtieth of a database."""

DEFAULT_LEVEL: Final = 5
"""Takes five microseconds an entry more than 3, and a twentieth less room."""

MAX_DICTIONARY_BYTES: Final = 64 * 2**10
_MIN_DICTIONARY_BYTES: Final = 4 * 2**10
_TYPICAL_BYTES: Final = 2_000
_MIN_MATCH: Final = 5
_DEEPER: Final = 2
MIN_SAMPLES: Final = 64
"""From fewer texts no dictionary is trained."""
_DICTIONARY_SHARE: Final = 32
"""A dictionary may take up to this part of the text it serves: larger ones don't repay."""


class Dictionary(NamedTuple):
    """Bytes that the results of one entry type have in common, as a row of the destination."""

    id: int
    cache_type: str
    data: bytes


class Record(msgspec.Struct, array_like=True, gc=False):
    """One entry ready to be stored: its columns, its compressed texts, and where it lay.

    ``result`` and ``original`` are frames; ``result_digest`` is `text_digest` of the former;
    ``name`` is the source file's name where that is not the one its path implies; ``stamp`` tells
    the file's state apart (see ``stores.base``), None where it can't be trusted; ``usage`` is input
    and output tokens,
    where the result states them.
    """

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
    result_digest: bytes
    result_size: int
    dictionary_id: int | None
    original: bytes | None
    name: bytes | None
    stamp: int | None
    seal: int
    usage: tuple[int, int] | None


_columns: Final = msgspec.msgpack.Encoder().encode


def seal(
    cache_type: str,
    file_path: str,
    file_hash: bytes,
    file_size: int | None,
    producer: Producer,
    analyzed_at: int,
    tokens_used: int | None,
    result_digest: bytes,
) -> int:
    """CRC-32 over what an entry says of itself, as a msgpack array.

    A damaged database can join a row with another file's or another producer's: the digest of the
    result would be right, and the answer wrong. Nothing here is secret, so 32 bits are enough:
    signed ones, which SQLite keeps in four bytes.
    """
    columns = (cache_type, file_path, file_hash, file_size, *producer, analyzed_at, tokens_used,
               result_digest)  # fmt: skip
    return (crc32(_columns(columns)) ^ 2**31) - 2**31


def text_digest(text: bytes) -> bytes:
    """What a text is known by, 16 bytes long."""
    return sha256(text).digest()[:DIGEST_BYTES]


class Compressor:
    """Makes frames, with a dictionary's bytes or without. Not for two threads at once: it reuses
    its contexts.

    With a dictionary it departs from zstd's choices for a level, up to where zstd looks for the
    best way through a text: matches shorter than five bytes are left to entropy coding, every place
    in the dictionary is remembered, and the search goes deeper. On texts of a few KiB this makes
    frames smaller, and takes hardly longer.
    """

    def __init__(self, level: int, dictionary: bytes | None = None) -> None:
        self._level = level
        self._dictionary = None if dictionary is None else _loaded(dictionary)
        self.result = self._context(checksum=False).compress
        """The frame for a result."""

    @cached_property
    def original(self) -> Callable[[bytes], bytes]:
        """The frame for a whole file: few are kept, so its context is made when needed."""
        return self._context(checksum=True).compress

    def _context(self, *, checksum: bool) -> zstandard.ZstdCompressor:
        choose = partial(
            zstandard.ZstdCompressionParameters.from_level,
            self._level,
            write_checksum=checksum,
            write_content_size=True,
            write_dict_id=False,
        )
        if self._dictionary is None:
            return zstandard.ZstdCompressor(compression_params=choose())
        size = len(self._dictionary)
        parameters = choose(source_size=_TYPICAL_BYTES, dict_size=size)
        if parameters.strategy < zstandard.STRATEGY_BTOPT:
            parameters = choose(
                source_size=_TYPICAL_BYTES,
                dict_size=size,
                min_match=_MIN_MATCH,
                hash_log=max(parameters.hash_log, size.bit_length() + 1),
                search_log=parameters.search_log + _DEEPER,
            )
        return zstandard.ZstdCompressor(compression_params=parameters, dict_data=self._dictionary)


@lru_cache(maxsize=8)
def _loaded(dictionary: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary)


class Encoder:
    """Turns entries into records. Not for two threads at once: it reuses its contexts."""

    def __init__(self, *, level: int = DEFAULT_LEVEL, dictionaries: Iterable[Dictionary] = ()):
        self._plain = Compressor(level)
        self._by_type = {
            dictionary.cache_type: (dictionary.id, Compressor(level, dictionary.data))
            for dictionary in dictionaries
        }

    def encode(self, entry: Entry, *, name: bytes | None, stamp: int | None) -> Record:
        """Compress an entry's texts with the dictionary of its type, where there is one."""
        dictionary_id, compressor = self._by_type.get(entry.cache_type, (None, self._plain))
        original = entry.original
        digest = text_digest(entry.result)
        return Record(
            entry.file_path,
            entry.file_hash,
            entry.file_size,
            entry.provider,
            entry.model,
            entry.prompt_hash,
            entry.schema_version,
            entry.analyzed_at,
            entry.tokens_used,
            compressor.result(entry.result),
            digest,
            len(entry.result),
            dictionary_id,
            None if original is None else compressor.original(original),
            name,
            stamp,
            seal(
                entry.cache_type,
                entry.file_path,
                entry.file_hash,
                entry.file_size,
                entry.producer,
                entry.analyzed_at,
                entry.tokens_used,
                digest,
            ),
            stated_usage(entry.result),
        )


_NO_EXTRA_DATA: Final = (0, False, False)
"""By position: as a keyword, ``allow_extra_data`` takes a tenth of decompressing."""


class Decoder:
    """Gives texts back, each checked. Not for two threads at once: it reuses its contexts.

    ``load`` fetches a dictionary's bytes by id; it is asked once for each.
    """

    def __init__(self, load: Callable[[int], bytes]) -> None:
        self._load = load
        self._contexts: dict[int | None, zstandard.ZstdDecompressor] = {
            None: zstandard.ZstdDecompressor()
        }

    def decode(self, frame: bytes, dictionary_id: int | None, digest: bytes | None = None) -> bytes:
        """The text of a frame. Raises DamagedError if it is not exactly what was stored."""
        try:
            size = zstandard.frame_content_size(frame)
            if not 0 <= size <= MAX_TEXT_BYTES:
                raise DamagedError(f"a stored text claims {size} bytes, more than can be right")
            context = self._contexts.get(dictionary_id) or self._context(dictionary_id)
            text = context.decompress(frame, *_NO_EXTRA_DATA)
        except (zstandard.ZstdError, TypeError) as error:  # TypeError: what is stored is no bytes
            raise DamagedError(f"a stored text does not decompress: {error}") from None
        if digest is not None and text_digest(text) != digest:
            raise DamagedError("a stored text differs from its SHA-256")
        return text

    def _context(self, dictionary_id: int | None) -> zstandard.ZstdDecompressor:
        assert dictionary_id is not None  # noqa: S101 - None is there from the start
        context = zstandard.ZstdDecompressor(dict_data=_loaded(self._load(dictionary_id)))
        self._contexts[dictionary_id] = context
        return context


def dictionary_size(mean: float, expected: int) -> int | None:
    """Bytes that a dictionary for so many texts of that mean size should have; None for too few."""
    size = min(MAX_DICTIONARY_BYTES, int(mean * expected / _DICTIONARY_SHARE))
    return size if size >= _MIN_DICTIONARY_BYTES else None


def train_dictionary(samples: Sequence[bytes], *, expected: int) -> bytes | None:
    """A dictionary from sample texts of one type, or None where it would not pay.

    ``expected`` is how many such texts are to be stored. Every fourth sample is held out to see
    whether what the dictionary saves on all of them outweighs its own bytes.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    held_out = samples[::4]
    training: list[bytes | bytearray | memoryview] = [
        sample for index, sample in enumerate(samples) if index % 4
    ]
    mean = sum(map(len, samples)) / len(samples)
    size = dictionary_size(mean, expected)
    if size is None:
        return None
    try:
        dictionary = zstandard.train_dictionary(size, training)
    except zstandard.ZstdError:
        return None  # zstd found too little in common
    data = dictionary.as_bytes()
    plain, primed = Compressor(DEFAULT_LEVEL), Compressor(DEFAULT_LEVEL, data)
    saved = sum(len(plain.result(text)) - len(primed.result(text)) for text in held_out)
    return data if saved / len(held_out) * expected > len(data) else None


def check_level(level: int) -> int:
    """The level itself, if zstd has it (1 to 22)."""
    if not 1 <= level <= zstandard.MAX_COMPRESSION_LEVEL:
        raise UsageError(
            f"compression level {level} does not exist",
            hint=f"Choose one from 1 (fastest) to {zstandard.MAX_COMPRESSION_LEVEL} (smallest).",
        )
    return level
