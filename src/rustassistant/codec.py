"""JSON text to compressed bytes and back: zstd, dictionaries, checksums, size limits.

A stored text is::

    frame      = one zstd frame without its magic number, the four bytes that are the same in
                 each: content size present, dictionary id absent, and an XXH64 checksum only for
                 a whole file, which has no digest
    dictionary = raw bytes from zstd's trainer, named by their SHA-256, chosen by entry type
    digest     = the first 16 bytes of the SHA-256 of the text before compression

Frames do not name their dictionary; the record does, which saves four bytes in each.
The frame format is RFC 8878's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

import zstandard

from rustassistant.entry import Entry
from rustassistant.errors import DamagedError
from rustassistant.levels import DEFAULT_LEVEL, THOROUGH_LEVEL
from rustassistant.native import Packer
from rustassistant.records import Packing, Record, RecordList, pack, seal
from rustassistant.usage import stated_usage

if TYPE_CHECKING:
    from rustassistant.native.records import Packer as NativePacker

MAGIC: Final = bytes.fromhex("28b52ffd")
"""What zstd's own frames begin with, and stored ones leave out."""

MAX_TEXT_BYTES: Final = 64 * 2**20
"""The longest JSON text that is kept or given back. Real ones are a few KiB; what claims more
is damaged or hostile, and is refused before memory is taken for it."""

DIGEST_BYTES: Final = 16
"""Half a SHA-256: two of 2**64 texts would have the same by chance, and the rest of it would be a
thirtieth of a database."""

MAX_DICTIONARY_BYTES: Final = 64 * 2**10
_MIN_DICTIONARY_BYTES: Final = 4 * 2**10
_TYPICAL_BYTES: Final = 2_000
_MIN_MATCH: Final = 5
_DEEPER: Final = 2
_LARGER: Final = 1.75
"""As much larger may a dictionary be, where that is found to pay."""

_COVER: Final = {"k": 200, "d": 6}
"""How zstd's trainer cuts samples up. By itself it tries several ways, which takes longer, and on
results of each type comes to dictionaries that save less."""

_QUICK: Final = _COVER | {"f": 18}
_THOROUGH: Final = _COVER | {"level": THOROUGH_LEVEL}
"""``f`` bits of a hash tell pieces of samples apart; ``level`` is what entropy tables are tuned
for."""

MIN_SAMPLES: Final = 64
"""From fewer texts no dictionary is trained."""
_REMEMBERED_BYTES: Final = 16 * 2**20
_DICTIONARY_SHARE: Final = 32
"""A dictionary may take up to this part of the text it serves: larger ones don't repay."""


class Dictionary(NamedTuple):
    """Bytes that the results of one entry type have in common, as a row of the destination."""

    id: int
    cache_type: str
    data: bytes


def text_digest(text: bytes) -> bytes:
    """What a text is known by, 16 bytes long."""
    return sha256(text).digest()[:DIGEST_BYTES]


class Compressor:
    """Makes frames, with a dictionary's bytes or without. Not for two threads at once: it reuses
    its contexts.

    With a dictionary it departs from zstd's choices for a level: the search goes deeper and, up to
    where zstd looks for the best way through a text by itself, matches shorter than five bytes are
    left to entropy coding, and every place in the dictionary is remembered. On texts of a few KiB
    this makes frames smaller, and takes hardly longer.
    """

    def __init__(self, level: int, dictionary: bytes | None = None) -> None:
        self._level = level
        self._dictionary = None if dictionary is None else _loaded(dictionary)
        self._compress = self._context(checksum=False).compress

    def result(self, text: bytes) -> bytes:
        """The frame for a result."""
        return self._compress(text)[len(MAGIC) :]

    def original(self, text: bytes) -> bytes:
        """The frame for a whole file."""
        return self._checking.compress(text)[len(MAGIC) :]

    @cached_property
    def _checking(self) -> zstandard.ZstdCompressor:
        """Few whole files are kept, so its context is made when needed."""
        return self._context(checksum=True)

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
        chosen = choose(source_size=_TYPICAL_BYTES, dict_size=size)
        tuned = {"search_log": chosen.search_log + _DEEPER}
        if chosen.strategy < zstandard.STRATEGY_BTOPT:
            tuned["min_match"] = _MIN_MATCH
            tuned["hash_log"] = max(chosen.hash_log, size.bit_length() + 1)
        parameters = choose(source_size=_TYPICAL_BYTES, dict_size=size, **tuned)
        return zstandard.ZstdCompressor(compression_params=parameters, dict_data=self._dictionary)


@lru_cache(maxsize=8)
def _loaded(dictionary: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary)


class _Result(NamedTuple):
    """What is made of a result's text."""

    frame: bytes
    usage: tuple[int, int] | None


class _Kind(NamedTuple):
    """How results of a type are encoded, and those that were met last, by digest."""

    dictionary_id: int | None
    compressor: Compressor
    results: dict[bytes, _Result]


class Encoder:
    """Turns entries into records. Not for two threads at once: it reuses its contexts.

    It remembers the results it met last, up to `_REMEMBERED_BYTES` of frames: clones of a
    repository, and caches that were copied, bring the same ones again, and compressing is a third
    of the work.
    """

    def __init__(self, *, level: int = DEFAULT_LEVEL, dictionaries: Iterable[Dictionary] = ()):
        self._remembered = 0
        self._without = _Kind(None, Compressor(level), {})
        self._by_type = {
            dictionary.cache_type: _Kind(dictionary.id, Compressor(level, dictionary.data), {})
            for dictionary in dictionaries
        }

    def _kind(self, cache_type: str) -> _Kind:
        return self._by_type.get(cache_type, self._without)

    def packing(self, cache_type: str, *, takes_files: bool) -> Packing:
        """Something to put records of a type together with, until this is called again.

        If it ``takes_files``, it makes records of most by itself, where that is compiled.
        """
        if Packer is None or not takes_files:
            return RecordList()
        kind, packer = self._kind(cache_type), self._packer
        packer.begin(cache_type, kind.dictionary_id, kind.results, partial(self._result, kind))
        return packer

    @cached_property
    def _packer(self) -> NativePacker:
        """It holds some MiB, so there is but one."""
        assert Packer is not None  # noqa: S101 - asked before
        return Packer(sha256=sha256, crc32=crc32, pack=pack, digest_bytes=DIGEST_BYTES)

    def encode(self, entry: Entry, *, name: bytes | None, stamp: int | None) -> Record:
        """Compress an entry's texts with the dictionary of its type, where there is one."""
        kind, original = self._kind(entry.cache_type), entry.original
        digest = text_digest(entry.result)
        result = kind.results.get(digest) or self._result(kind, entry.result, digest)
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
            result.frame,
            digest,
            len(entry.result),
            kind.dictionary_id,
            None if original is None else kind.compressor.original(original),
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
            result.usage,
        )

    def _result(self, kind: _Kind, text: bytes, digest: bytes) -> _Result:
        made = _Result(kind.compressor.result(text), stated_usage(text))
        self._remembered += len(made.frame)
        if self._remembered > _REMEMBERED_BYTES:
            for one in (self._without, *self._by_type.values()):
                one.results.clear()
            self._remembered = len(made.frame)
        kind.results[digest] = made
        return made


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
            whole = MAGIC + frame
            size = zstandard.frame_content_size(whole)
            if not 0 <= size <= MAX_TEXT_BYTES:
                raise DamagedError(f"a stored text claims {size} bytes, more than can be right")
            context = self._contexts.get(dictionary_id) or self._context(dictionary_id)
            text = context.decompress(whole, *_NO_EXTRA_DATA)
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


def train_dictionary(
    samples: Sequence[bytes], *, expected: int, thorough: bool = False
) -> bytes | None:
    """A dictionary from sample texts of one type, or None where it would not pay.

    ``expected`` is how many such texts are to be stored. Every fourth sample is held out to see
    whether what the dictionary saves on all of them outweighs its own bytes. ``thorough`` takes
    far longer, tries larger ones too, and is for results that are compressed hard.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    held_out = samples[::4]
    training = [sample for index, sample in enumerate(samples) if index % 4]
    size = dictionary_size(sum(map(len, samples)) / len(samples), expected)
    if size is None:
        return None
    level = THOROUGH_LEVEL if thorough else DEFAULT_LEVEL

    def cost(dictionary: bytes | None) -> float:
        """Bytes that all texts take with it, itself included."""
        compress = Compressor(level, dictionary).result
        mean = sum(len(compress(text)) for text in held_out) / len(held_out)
        return mean * expected + len(dictionary or b"")

    if not thorough:
        return min((None, _trained(training, size, **_QUICK)), key=cost)
    sizes = (size, int(size * _LARGER))
    return min((None, *(_trained(training, each, **_THOROUGH) for each in sizes)), key=cost)


def _trained(samples: Sequence[bytes], size: int, **parameters: int) -> bytes | None:
    try:
        return zstandard.train_dictionary(size, [*samples], **parameters).as_bytes()
    except zstandard.ZstdError:
        return None  # zstd found too little in common
