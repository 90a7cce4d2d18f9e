"""Records that compiled code makes are those that Python makes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from rustassistant import codec
from rustassistant.codec import Dictionary
from rustassistant.records import PackedRecords
from rustassistant.stores.base import Partition
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.outcomes import Failure, Problem
from rustassistant.transfer import encoding
from rustassistant.transfer.encoding import Terms, encode_partition, unpack_batch
from rustassistant.transfer.selection import Selection
from support import SHARED, Cache, dump, fields_of

pytest.importorskip(
    "rustassistant.native.records", reason="there was no C compiler when this was installed"
)
DICTIONARY: Final = Dictionary(7, "docs", b'{"summary": "the function returns", "issues": []}' * 9)
TERMS: Final = (
    Terms(3, []),
    Terms(3, [DICTIONARY]),
    Terms(3, [DICTIONARY], names_paths=True),
    Terms(3, [DICTIONARY], Selection(models=("grok-beta",))),
)


def encoded(terms: Terms, partition: Partition) -> bytes:
    encoding.forget_terms()  # no result is remembered
    return encode_partition(msgspec.msgpack.encode(terms), partition)


def in_python(make: Callable[[], bytes]) -> bytes:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codec, "Packer", None)
        return make()


def check(tree: Path, terms: Terms) -> int:
    partitions = [
        one for one in JsonTree(tree).partitions() if not isinstance(one, Failure | Problem)
    ]
    assert partitions
    count = 0
    for partition in partitions:
        message = encoded(terms, partition)
        assert message == in_python(lambda one=partition: encoded(terms, one))  # type: ignore[misc]
        count += len(PackedRecords(bytes(unpack_batch(message).records)))
    return count


def files_of_all_kinds() -> list[bytes]:
    usual = dump(fields_of())
    return [
        usual,
        dump(fields_of(result={"usage": {"prompt_tokens": 3, "completion_tokens": 4}})),
        dump(fields_of(old=True)),
        dump(fields_of(tokens_used=None, file_size=None, model="other")),
        dump(fields_of() | {"reviewed_by": "Zoë"}),  # kept as a whole
        dump(fields_of() | {"cache_type": "todos"}),  # with a note
        b"not JSON",
        usual[:-1],
    ]


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("seed", range(5))
def test_whatever_was_read_is_encoded_alike(tmp_path: Path, terms: Terms, seed: int) -> None:
    cache, chance = Cache(tmp_path / "repos"), random.Random(seed)
    for number in range(200):
        file = cache.add(f"src/{number}.rs", content=b"%d" % number)
        if chance.random() < 0.4:
            file.write_bytes(chance.choice(files_of_all_kinds()))
        os.utime(file, ns=(10**18, 10**18))  # of so fresh a file the stamp may be trusted or not
    assert 100 < check(cache.root, terms) < 200


@pytest.mark.parametrize("terms", TERMS[:2])
def test_what_is_usual_takes_no_step_in_python(
    tmp_path: Path, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(50):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    monkeypatch.setattr(codec.Encoder, "encode", None)
    [partition] = JsonTree(cache.root).partitions()
    assert not isinstance(partition, Failure | Problem)
    batch = unpack_batch(encoded(terms, partition))
    assert len(PackedRecords(bytes(batch.records))) == 50
    assert batch.size == sum(file.stat().st_size for file in cache.root.rglob("src*.json"))


def test_numbers_and_texts_of_every_width_are_packed_alike(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    limits = [2**bits + one for bits in (5, 7, 8, 15, 16, 31, 32, 53) for one in (-1, 0)]
    for number, limit in enumerate(limits):
        cache.add(
            f"src/{number}.rs",
            content=b"%d" % number,
            file_size=limit,
            tokens_used=limit - 1,
            schema_version=min(limit, 2**32 - 1),
            prompt_hash="p" * min(limit, 70_000),
            model="m" * (min(limit, 70_000) - 1),
            provider="ö" * min(limit, 300),
            result={"usage": {"input_tokens": min(limit, 10**9), "output_tokens": 0}},
        )
        cache.add(f"x{number}.rs", content=b"x%d" % number, result=[number] * min(limit, 40_000))
    for second, fraction in ((0, ""), (1, ".5"), (59, ".000000001")):
        for year in (1700, 1969, 1970, 2200):
            moment = f"{year}-12-31T23:59:{second:02}{fraction:0<4}+00:00"
            cache.add(f"{year}-{second}", content=b"t", analyzed_at=moment)
    for file in cache.root.rglob("*.json"):
        os.utime(file, ns=(10**18, 10**18))
    for terms in TERMS[:2]:
        assert check(cache.root, terms) > 2 * len(limits)


def test_more_than_is_read_ahead_comes_in_its_order(tmp_path: Path) -> None:
    cache, chance = Cache(tmp_path / "repos"), random.Random(1)
    for number in range(1_100):
        size = chance.choice((1, 1, 1, 5_000, 20_000))
        file = cache.add(f"{number}", content=b"%d" % number, result=chance.randbytes(size).hex())
        if chance.random() < 0.05:
            file.write_bytes(chance.choice(files_of_all_kinds()))
        os.utime(file, ns=(10**18, 10**18))
    assert 1_000 < check(cache.root, TERMS[1]) < 1_100


def test_records_larger_than_the_room_that_is_kept_come_whole(tmp_path: Path) -> None:
    cache, chance = Cache(tmp_path / "repos"), random.Random(2)
    for number in range(3):
        file = cache.add(f"{number}", content=b"%d" % number, result=chance.randbytes(10**6).hex())
        file.write_bytes(file.read_bytes() + b"\n")  # kept as a whole, and a result besides
    cache.add("x.rs", cache_type="todos", result=1)
    for file in cache.root.rglob("*.json"):
        os.utime(file, ns=(10**18, 10**18))
    partitions = [
        one for one in JsonTree(cache.root).partitions() if not isinstance(one, Failure | Problem)
    ]
    assert len(partitions) == 2
    expected = in_python(lambda: b"".join(encoded(TERMS[0], one) for one in partitions))
    packed = msgspec.msgpack.encode(TERMS[0])
    for _ in range(2):  # by one packer
        assert b"".join(encode_partition(packed, one) for one in partitions) == expected


def test_a_packer_that_failed_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "repos")
    for number in range(20):
        cache.add(f"src/{number}.rs", content=b"%d" % number, result=number)
    [partition] = JsonTree(cache.root).partitions()
    assert not isinstance(partition, Failure | Problem)
    expected = encoded(TERMS[0], partition)
    packed = msgspec.msgpack.encode(TERMS[0])
    encoding.forget_terms()
    with monkeypatch.context() as patched:
        patched.setattr(codec, "stated_usage", fails_at_last)
        with pytest.raises(MemoryError):
            encode_partition(packed, partition)
    assert encode_partition(packed, partition) == expected


def fails_at_last(text: bytes) -> None:
    if text == b"19":
        raise MemoryError


@pytest.mark.shared
def test_real_files_are_encoded_alike() -> None:
    assert check(SHARED / "real-2026-02" / "repo", TERMS[1])
