from __future__ import annotations

import json
import random
import struct
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from rustassistant.codec import (
    MAGIC,
    MAX_DICTIONARY_BYTES,
    MAX_TEXT_BYTES,
    Decoder,
    Dictionary,
    Encoder,
    train_dictionary,
)
from rustassistant.errors import DamagedError
from rustassistant.records import Record
from support import sample_entry

WORDS = ["parses", "the", "configuration", "file", "error", "missing", "async", "handler", "when"]


def analysis(number: int) -> bytes:
    """A result much like a real one: the same fields, other words."""
    chosen = random.Random(number)
    fields = {
        "summary": " ".join(chosen.choices(WORDS, k=40)),
        "code_smells": [],
        "complexity_score": chosen.random(),
        "suggestions": chosen.choices(WORDS, k=5),
    }
    return json.dumps(fields, indent=2).encode()


def noise(number: int, size: int) -> bytes:
    return bytes(random.Random(number).choices(b"0123456789abcdef", k=size))


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    data = train_dictionary([analysis(number) for number in range(300)], expected=3_000)
    assert data is not None
    return Dictionary(7, "docs", data)


def encode(encoder: Encoder, **fields: Any) -> Record:
    return encoder.encode(sample_entry(**fields), name=None, stamp=None)


def decoder_of(*dictionaries: Dictionary) -> Decoder:
    return Decoder({one.id: one.data for one in dictionaries}.__getitem__)


def frame_claiming(size: int) -> bytes:
    """A frame of a few bytes whose header promises ``size`` of them (RFC 8878, 3.1.1.1)."""
    raw_block = struct.pack("<I", 1 << 3 | 1)[:3] + b"x"
    return b"\xe0" + struct.pack("<Q", size) + raw_block


@contextmanager
def no_more_memory_than(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# --- What was encoded is decoded.


@settings(deadline=None)
@given(st.binary(max_size=2_000), st.none() | st.binary(max_size=2_000))
def test_texts_survive_without_a_dictionary(result: bytes, original: bytes | None) -> None:
    record = encode(Encoder(), result=result, original=original)
    decode = decoder_of().decode
    assert record.dictionary_id is None
    assert decode(record.result, None, record.result_digest) == result
    if original is None:
        assert record.original is None
    else:
        assert record.original is not None
        assert decode(record.original, None) == original


@settings(deadline=None)
@given(result=st.binary(max_size=2_000), original=st.binary(max_size=2_000))
def test_texts_survive_with_a_dictionary(
    dictionary: Dictionary, result: bytes, original: bytes
) -> None:
    record = encode(Encoder(dictionaries=[dictionary]), result=result, original=original)
    decode = decoder_of(dictionary).decode
    assert record.dictionary_id == dictionary.id
    assert decode(record.result, dictionary.id, record.result_digest) == result
    assert record.original is not None
    assert decode(record.original, dictionary.id) == original


def test_a_record_describes_its_entry() -> None:
    entry = sample_entry(result=b'{"summary": 1}')
    record = Encoder().encode(entry, name=b"other\xff.json", stamp=-5)
    for column in ("file_path", "file_hash", "file_size", "provider", "model", "prompt_hash",
                   "schema_version", "analyzed_at", "tokens_used"):  # fmt: skip
        assert getattr(record, column) == getattr(entry, column), column
    assert record.result_size == len(entry.result)
    assert record.result_digest == sha256(entry.result).digest()[:16]
    assert (record.name, record.stamp) == (b"other\xff.json", -5)


def test_a_dictionary_serves_its_own_type_only(dictionary: Dictionary) -> None:
    encoder = Encoder(dictionaries=[dictionary])
    text = analysis(9_999)
    docs, todos = encode(encoder, result=text), encode(encoder, result=text, cache_type="todos")
    assert docs.dictionary_id == dictionary.id
    assert todos.dictionary_id is None
    assert len(docs.result) < len(todos.result)
    assert decoder_of().decode(todos.result, None, todos.result_digest) == text


def test_frames_state_size_and_no_dictionary_id_and_a_checksum_where_there_is_no_digest(
    dictionary: Dictionary,
) -> None:
    record = encode(Encoder(dictionaries=[dictionary]), result=analysis(1), original=b"{}")
    for frame, size in ((record.result, len(analysis(1))), (record.original, 2)):
        assert frame is not None
        header = zstandard.get_frame_parameters(MAGIC + frame)
        assert header.content_size == size
        assert header.has_checksum == (frame is record.original)
        assert header.dict_id == 0


def test_a_higher_level_makes_it_smaller() -> None:
    text = b"".join(analysis(number) for number in range(40))
    fast, small = (len(encode(Encoder(level=level), result=text).result) for level in (1, 19))
    assert small < fast


def test_one_encoder_and_decoder_serve_many_texts(dictionary: Dictionary) -> None:
    asked: list[int] = []

    def load(wanted: int) -> bytes:
        asked.append(wanted)
        return dictionary.data

    encoder, decoder = Encoder(dictionaries=[dictionary]), Decoder(load)
    for number in range(20):
        record = encode(encoder, result=analysis(number))
        decoded = decoder.decode(record.result, record.dictionary_id, record.result_digest)
        assert decoded == analysis(number)
    assert asked == [dictionary.id], "a dictionary is prepared once, not for each text"


def test_a_result_that_comes_again_gives_the_same_record(dictionary: Dictionary) -> None:
    encoder = Encoder(dictionaries=[dictionary])
    text = b'{"summary":"short","usage":{"prompt_tokens":7,"completion_tokens":2}}'
    first = encode(encoder, cache_type=dictionary.cache_type, result=text)
    again = encode(encoder, cache_type=dictionary.cache_type, result=text, tokens_used=1)
    assert (again.result, again.usage, again.tokens_used) == (first.result, (7, 2), 1)
    other = encode(encoder, cache_type="other", result=text)
    assert other.dictionary_id is None
    assert decoder_of().decode(other.result, None, other.result_digest) == text


# --- What is damaged is refused.


def test_another_digest_is_refused() -> None:
    record = encode(Encoder(), result=b"[1]")
    with pytest.raises(DamagedError, match="differs from its SHA-256"):
        decoder_of().decode(record.result, None, sha256(b"[2]").digest())


@pytest.mark.parametrize("primed", [False, True])
def test_a_frame_cut_anywhere_is_refused(dictionary: Dictionary, primed: bool) -> None:
    encoder = Encoder(dictionaries=[dictionary] if primed else [])
    record = encode(encoder, result=analysis(3))
    decoder = decoder_of(dictionary)
    for end in range(len(record.result)):
        with pytest.raises(DamagedError):
            decoder.decode(record.result[:end], record.dictionary_id)


@pytest.mark.parametrize("digest", ["with its digest", "without"])
@pytest.mark.parametrize("primed", [False, True])
def test_any_single_flipped_bit_is_found_or_harmless(
    dictionary: Dictionary, primed: bool, digest: str
) -> None:
    encoder = Encoder(dictionaries=[dictionary] if primed else [])
    text = analysis(3)
    record = encode(encoder, result=text, original=text)
    has_digest = digest == "with its digest"
    given_digest = record.result_digest if has_digest else None
    sound = record.result if has_digest else record.original
    assert sound is not None
    decoder = decoder_of(dictionary)
    refused = 0
    for bit in range(8 * len(sound)):
        frame = bytearray(sound)
        frame[bit // 8] ^= 1 << bit % 8
        try:
            assert decoder.decode(bytes(frame), record.dictionary_id, given_digest) == text
        except DamagedError:
            refused += 1
    # The format has a few bits that mean nothing, or the same either way.
    assert refused > 0.95 * 8 * len(sound)


@settings(deadline=None)
@given(st.binary(max_size=300), st.data())
def test_a_digest_lets_no_altered_text_through(text: bytes, data: st.DataObject) -> None:
    record = encode(Encoder(), result=text)
    frame = bytearray(record.result)
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert decoder_of().decode(bytes(frame), None, record.result_digest) == text
    except DamagedError as error:
        assert error.hint  # noqa: PT017 - damage found is right, and so is damage without effect


@pytest.mark.parametrize(
    "frame", [b"", b"\0", b"not a frame", bytes(100), MAGIC, b"SQLite format 3\0"]
)
def test_what_is_no_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(DamagedError):
        decoder_of().decode(frame, None)


def test_bytes_after_a_frame_are_refused() -> None:
    record = encode(Encoder(), result=b"[1]")
    for tail in (b"\0", record.result):
        with pytest.raises(DamagedError, match="does not decompress"):
            decoder_of().decode(record.result + tail, None)


def test_a_frame_without_its_dictionary_is_refused(dictionary: Dictionary) -> None:
    record = encode(Encoder(dictionaries=[dictionary]), result=analysis(3))
    with pytest.raises(DamagedError):
        decoder_of().decode(record.result, None, record.result_digest)


def test_a_frame_with_another_dictionary_is_refused(dictionary: Dictionary) -> None:
    record = encode(Encoder(dictionaries=[dictionary]), result=analysis(3))
    other = Dictionary(8, "docs", bytes(reversed(dictionary.data)))
    with pytest.raises(DamagedError):
        decoder_of(other).decode(record.result, 8, record.result_digest)


def test_a_damaged_dictionary_is_refused(dictionary: Dictionary) -> None:
    record = encode(Encoder(dictionaries=[dictionary]), result=analysis(3))
    for damaged in (dictionary.data[:200], dictionary.data[:8] + bytes(len(dictionary.data) - 8)):
        decoder = decoder_of(dictionary._replace(data=damaged))
        with pytest.raises(DamagedError):
            decoder.decode(record.result, dictionary.id, record.result_digest)


def test_a_missing_dictionary_is_said_by_who_keeps_them() -> None:
    def load(wanted: int) -> bytes:
        raise DamagedError(f"dictionary {wanted} is missing")

    record = encode(Encoder(), result=b"{}")
    with pytest.raises(DamagedError, match="dictionary 3 is missing"):
        Decoder(load).decode(record.result, 3)


# --- Memory is bounded.


@pytest.mark.parametrize("size", [MAX_TEXT_BYTES + 1, 2**32, 2**40, 2**62])
def test_a_frame_that_claims_too_much_is_refused_before_memory_is_taken(size: int) -> None:
    with no_more_memory_than(2**20), pytest.raises(DamagedError, match=f"claims {size} bytes"):
        decoder_of().decode(frame_claiming(size), None)


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"[1]" * 100)
    with pytest.raises(DamagedError, match="more than can be right"):
        decoder_of().decode(frame.removeprefix(MAGIC), None)


def test_a_frame_larger_than_it_claims_is_refused() -> None:
    frame = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(bytes(100_000)))
    size = struct.unpack_from("<I", frame, 5)[0]
    assert size == 100_000, "where the header keeps the size"
    struct.pack_into("<I", frame, 5, 70_000)
    with no_more_memory_than(2**20), pytest.raises(DamagedError):
        decoder_of().decode(bytes(frame).removeprefix(MAGIC), None)


def test_the_longest_text_is_given_back() -> None:
    text = bytes(MAX_TEXT_BYTES)
    record = encode(Encoder(level=1), result=text)
    assert decoder_of().decode(record.result, None) == text


def test_what_an_encoder_remembers_is_bounded() -> None:
    encoder = Encoder(level=1)
    with no_more_memory_than(40 * 2**20):
        for number in range(200):
            encode(encoder, result=random.Random(number).randbytes(400_000))


# --- Dictionaries are trained where they pay.


@pytest.mark.parametrize(("samples", "expected"), [(64, 2_000), (300, 300), (400, 20_000)])
def test_a_dictionary_is_made_where_it_saves_more_than_it_takes(
    samples: int, expected: int
) -> None:
    data = train_dictionary([analysis(number) for number in range(samples)], expected=expected)
    assert data is not None
    assert len(data) <= MAX_DICTIONARY_BYTES
    plain, primed = Encoder(), Encoder(dictionaries=[Dictionary(1, "docs", data)])
    unseen = [analysis(10_000 + number) for number in range(expected)][:500]
    saved = sum(
        len(encode(plain, result=text).result) - len(encode(primed, result=text).result)
        for text in unseen
    )
    assert saved * expected / len(unseen) > len(data)


def test_no_dictionary_for_texts_without_anything_in_common() -> None:
    # zstd would make one of them all the same: it helps on the very texts it was made of only.
    samples: Sequence[bytes] = [noise(number, 1_000) for number in range(200)]
    assert zstandard.train_dictionary(9_375, [*samples])
    assert train_dictionary(samples, expected=300) is None
    assert train_dictionary(samples, expected=3_000) is None


@pytest.mark.parametrize("count", [0, 1, 63])
def test_no_dictionary_from_too_few_samples(count: int) -> None:
    samples = [analysis(number) for number in range(count)]
    assert train_dictionary(samples, expected=10_000) is None


def test_no_dictionary_for_too_little_text() -> None:
    assert train_dictionary([analysis(number) for number in range(64)], expected=64) is None


@pytest.mark.parametrize("sample", [b"", b"1", b"null"])
def test_no_dictionary_where_zstd_cannot_make_one(sample: bytes) -> None:
    assert train_dictionary([sample] * 100, expected=10**6) is None
