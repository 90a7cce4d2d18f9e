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
    encoding._terms.cache_clear()  # no result is remembered
    return encode_partition(msgspec.msgpack.encode(terms), partition)


def in_python(make: Callable[[], bytes]) -> bytes:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codec, "encode_usual", None)
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
        count += len(unpack_batch(message).records)
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
    monkeypatch.setattr(encoding, "_add", None)
    [partition] = JsonTree(cache.root).partitions()
    assert not isinstance(partition, Failure | Problem)
    batch = unpack_batch(encoded(terms, partition))
    assert len(batch.records) == 50
    assert batch.size == sum(file.stat().st_size for file in cache.root.rglob("src*.json"))


@pytest.mark.shared
def test_real_files_are_encoded_alike() -> None:
    assert check(SHARED / "real-2026-02" / "repo", TERMS[1])
