from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.entry import CacheType, Entry, content_hash, differing_fields, full_key
from support import fields_of, sample_entry

HASHES = st.binary(min_size=32, max_size=32)

OTHER_VALUES: dict[str, Any] = {
    "repository": "/home/dev/other",
    "cache_type": "todos",
    "file_path": "src/main.rs",
    "file_hash": bytes(32),
    "analyzed_at": 1_770_174_834_878_744_253,
    "provider": "openai",
    "model": "gpt-4",
    "prompt_hash": None,
    "schema_version": None,
    "result": b'{"summary": "short"}',
    "tokens_used": None,
    "file_size": None,
    "original": b"{}",
}


def test_full_key_is_the_known_answer() -> None:
    # Computed once with sha256sum(1) from "aa...aa:grok-beta:b56f6b9b1ff77eac:1".
    assert full_key("a" * 64, "grok-beta", "b56f6b9b1ff77eac", 1) == (
        "1463b089da35546015ae0840b25d8b9e8caef41336ab3bd66bc2aa59a3fbdc90"
    )


@given(
    HASHES,
    st.text(max_size=20),
    st.text(min_size=1, max_size=20),
    st.integers(-(2**63), 2**63 - 1),
)
def test_full_key_follows_the_formula(
    file_hash: bytes, model: str, prompt_hash: str, version: int
) -> None:
    joined = ":".join([file_hash.hex(), model, prompt_hash, str(version)])
    expected = hashlib.sha256(joined.encode()).hexdigest()
    assert full_key(file_hash.hex(), model, prompt_hash, version) == expected


def test_absent_prompt_hash_counts_as_empty() -> None:
    assert full_key("ab", "m", None, 1) == hashlib.sha256(b"ab:m::1").hexdigest()


def test_absent_schema_version_counts_as_1() -> None:
    assert full_key("ab", "m", "p", None) == full_key("ab", "m", "p", 1)
    assert full_key("ab", "m", "p", 0) == hashlib.sha256(b"ab:m:p:0").hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"file_hash": bytes(32)},
        {"model": "gpt-4"},
        {"prompt_hash": "default"},
        {"prompt_hash": None},
        {"schema_version": 2},
    ],
)
def test_each_part_of_a_request_changes_the_key(changes: dict[str, Any]) -> None:
    assert sample_entry(**changes).key != sample_entry().key


def test_nothing_but_the_request_changes_the_key() -> None:
    parts = {"file_hash", "model", "prompt_hash", "schema_version"}
    others = {name: value for name, value in OTHER_VALUES.items() if name not in parts}
    assert sample_entry(**others).key == sample_entry().key


def test_an_entrys_key_starts_with_the_key_in_its_file() -> None:
    fields = fields_of()
    assert sample_entry().key.startswith(fields["cache_key"])
    assert len(sample_entry().key) == 64


@pytest.mark.parametrize("name", Entry.__struct_fields__)
def test_a_difference_in_any_field_is_named(name: str) -> None:
    one = sample_entry()
    assert getattr(one, name) != OTHER_VALUES[name], "the test itself must change something"
    other = msgspec.structs.replace(one, **{name: OTHER_VALUES[name]})
    assert differing_fields(one, other) == [name]
    assert differing_fields(other, one) == [name]
    assert one != other


def test_all_differences_are_named() -> None:
    other = sample_entry(**OTHER_VALUES)
    assert differing_fields(sample_entry(), other) == list(Entry.__struct_fields__)


def test_equal_entries_differ_in_nothing() -> None:
    assert differing_fields(sample_entry(), sample_entry()) == []


@pytest.mark.parametrize("name", ["repository", "cache_type", "file_path", "model"])
def test_entries_that_differ_in_place_or_request_are_not_the_same(name: str) -> None:
    other = sample_entry(**{name: OTHER_VALUES[name]})
    assert other.identity != sample_entry().identity


def test_a_newer_answer_to_the_same_request_has_the_same_identity() -> None:
    newer = sample_entry(analyzed_at=2**62, result=b"{}", tokens_used=9, provider="openai")
    assert newer.identity == sample_entry().identity


def test_content_hash_is_the_sha256_by_which_entries_name_a_file() -> None:
    assert content_hash(b"fn main() {}\n") == sample_entry().file_hash
    assert content_hash(b"").hex().startswith("e3b0c442")


def test_the_cache_types_are_named_as_their_directories() -> None:
    assert {str(kind) for kind in CacheType} == {"analysis", "docs", "refactor", "todos"}


def test_the_producer_keeps_what_is_absent_absent() -> None:
    assert sample_entry().producer == ("xai", "grok-beta", "b56f6b9b1ff77eac", 1)
    old = sample_entry(prompt_hash=None, schema_version=None)
    assert old.producer == ("xai", "grok-beta", None, None)
