from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.entry import Entry
from rustassistant.stores.base import Repository
from rustassistant.transfer.digest import Digest, whose
from support import sample_entry

REPOSITORY = Repository("/home/dev/project", "1afbf223", b"{}")
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
ENTRIES = st.lists(
    st.builds(
        sample_entry,
        file_path=TEXTS,
        result=st.binary(max_size=8),
        tokens_used=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        original=st.one_of(st.none(), st.binary(max_size=4)),
    ),
    max_size=8,
)


def digest_of(entries: Sequence[Entry], repository: Repository = REPOSITORY) -> Digest:
    digest = Digest()
    for entry in entries:
        digest.add(repository, entry)
    return digest


def test_digest_of_nothing_is_zero() -> None:
    assert (Digest().hexdigest(), Digest().count) == ("0" * 64, 0)


def test_digest_is_the_published_sum() -> None:
    entries = [sample_entry(), sample_entry(file_path="src/other.rs", original=b"the file")]
    total = 0
    for one in entries:
        fields = [
            one.repository, one.cache_type, one.file_path, one.file_hash, one.file_size,
            one.provider, one.model, one.prompt_hash, one.schema_version, one.analyzed_at,
            one.tokens_used, hashlib.sha256(one.result).digest(),
            None if one.original is None else hashlib.sha256(one.original).digest(),
        ]  # fmt: skip
        message = msgspec.msgpack.encode(fields)
        total += int(hashlib.sha256(message).hexdigest(), 16)
    assert digest_of(entries).hexdigest() == f"{total % 2**256:064x}"


def test_digest_does_not_change_from_version_to_version() -> None:
    known = "642a4888486c9646aa74f82bb045e055e709fc65da945324ffa4836a33c44e64"
    assert digest_of([sample_entry()]).hexdigest() == known


@pytest.mark.parametrize(
    "changes",
    [
        {"cache_type": "todos"},
        {"file_path": "src/lib2.rs"},
        {"file_hash": bytes(32)},
        {"file_size": None},
        {"file_size": 14},
        {"provider": "other"},
        {"model": "other"},
        {"prompt_hash": None},
        {"prompt_hash": ""},
        {"schema_version": None},
        {"schema_version": 2},
        {"analyzed_at": 1_770_174_834_878_744_253},
        {"tokens_used": None},
        {"tokens_used": 0},
        {"result": b'{\n    "summary": "short" \n  }'},
        {"original": b""},
        {"provider": "xaig", "model": "rok-beta"},
    ],
    ids=str,
)
def test_every_field_counts(changes: dict[str, Any]) -> None:
    assert digest_of([sample_entry(**changes)]) != digest_of([sample_entry()])


def test_the_text_kept_with_an_entry_counts() -> None:
    one, other = (digest_of([sample_entry(original=text)]) for text in (b"a", b"b"))
    assert one != other


@given(ENTRIES, st.randoms(use_true_random=False))
def test_digest_is_the_same_in_any_order(entries: list[Entry], chance: random.Random) -> None:
    shuffled = entries.copy()
    chance.shuffle(shuffled)
    assert digest_of(shuffled) == digest_of(entries)


@given(ENTRIES, st.integers(0, 8))
def test_digest_is_the_same_however_it_is_split(entries: list[Entry], middle: int) -> None:
    one, other = digest_of(entries[:middle]), digest_of(entries[middle:])
    one.merge(other)
    assert one == digest_of(entries)
    assert one.count == len(entries)


@given(ENTRIES, st.integers(0, 8))
def test_without_takes_away_what_was_merged(entries: list[Entry], middle: int) -> None:
    left = digest_of(entries).without(digest_of(entries[middle:]))
    assert left == digest_of(entries[:middle])


def test_an_entry_that_is_there_twice_counts_twice() -> None:
    one, two, four = (digest_of([sample_entry()] * times) for times in (1, 2, 4))
    assert len({one.hexdigest(), two.hexdigest(), four.hexdigest(), "0" * 64}) == 4


@given(ENTRIES)
def test_digest_travels(entries: list[Entry]) -> None:
    digest = digest_of(entries)
    assert Digest.of_state(digest.state) == digest
    assert len(digest.state) == 40
    copied = pickle.loads(pickle.dumps(digest))  # noqa: S301 - made right here
    assert (copied, copied.count) == (digest, len(entries))


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="39 bytes are no state"):
        Digest.of_state(bytes(39))


def test_other_messages_count_too() -> None:
    digest = Digest()
    digest.add_message(b"src/bad.rs: the file is empty")
    assert digest.count == 1
    assert digest.hexdigest() == hashlib.sha256(b"src/bad.rs: the file is empty").hexdigest()


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        (Repository("/home/dev/project", "1afbf223", b"{}"), "/home/dev/project"),
        (Repository("/home/dev/project", "1afbf223"), "/home/dev/project"),
        (Repository("/mnt/disk/repos/1afbf223", "1afbf223"), "1afbf223"),
        (Repository("/home/dev/project"), None),
    ],
    ids=["by meta.json", "whose meta.json is not kept", "by its directory", "where it lies"],
)
def test_a_repository_is_named_as_on_every_machine(
    repository: Repository, expected: str | None
) -> None:
    assert whose(repository) == expected


def test_where_a_local_cache_lies_does_not_matter() -> None:
    here, there = (digest_of([sample_entry()], Repository(path)) for path in ("/a/p", "/b/p"))
    assert here == there


def test_which_repository_a_file_names_does_matter() -> None:
    here, there = (digest_of([sample_entry()], Repository(path, "x")) for path in ("/a/p", "/b/p"))
    assert here != there
