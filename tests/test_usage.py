from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.usage import MAX_STATED_TOKENS, Usage, stated_usage

COUNT = st.integers(0, MAX_STATED_TOKENS)
PAIRS = [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")]


def said(value: Any) -> Usage | None:
    return stated_usage(json.dumps(value).encode())


@given(tokens_in=COUNT, tokens_out=st.integers(1, MAX_STATED_TOKENS), names=st.sampled_from(PAIRS))
def test_both_spellings_are_read_in_usage_and_at_the_top(
    tokens_in: int, tokens_out: int, names: tuple[str, str]
) -> None:
    counts = dict(zip(names, (tokens_in, tokens_out), strict=True))
    assert said({"answer": "x", "usage": counts | {"total_tokens": 3}}) == (tokens_in, tokens_out)
    assert said({"answer": "x"} | counts) == (tokens_in, tokens_out)


def test_usage_outweighs_the_top() -> None:
    result = {
        "input_tokens": 7,
        "output_tokens": 8,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    assert said(result) == Usage(1, 2)


@pytest.mark.parametrize("usage", ["call foo()", None, [1], 3, {}, {"input_tokens": 5}])
def test_a_usage_that_says_nothing_leaves_it_to_the_top(usage: Any) -> None:
    assert said({"usage": usage, "input_tokens": 7, "output_tokens": 8}) == Usage(7, 8)


@pytest.mark.parametrize(
    "count", [-1, MAX_STATED_TOKENS + 1, 2**70, True, "5", None, 1.5, [5], {"count": 5}]
)
@pytest.mark.parametrize("names", PAIRS)
def test_counts_that_are_none_say_nothing(count: Any, names: tuple[str, str]) -> None:
    first, second = names
    assert said({"usage": {first: count, second: 5}}) is None
    assert said({"usage": {first: 5, second: count}}) is None


def test_one_count_alone_and_two_zeros_say_nothing() -> None:
    assert said({"usage": {"prompt_tokens": 5}}) is None
    assert said({"usage": {"output_tokens": 5}}) is None
    assert said({"usage": {"input_tokens": 0, "output_tokens": 0}}) is None
    assert said({"usage": {"input_tokens": 0, "output_tokens": 3}}) == Usage(0, 3)


def test_counts_of_different_spellings_are_not_joined() -> None:
    assert said({"usage": {"prompt_tokens": 5, "output_tokens": 6}}) is None
    assert said({"input_tokens": 5, "usage": {"output_tokens": 6}}) is None


def test_counts_elsewhere_are_not_this_results() -> None:
    counts = {"input_tokens": 5, "output_tokens": 6}
    assert said([counts]) is None
    assert said({"calls": [{"usage": counts}], "answer": {"usage": counts}}) is None
    assert said({"usage": {"usage": counts}}) is None
    assert said(json.dumps({"usage": counts})) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'"input_tokens"',
        b'{"input_tokens": 5, "output_tokens": 6',
        b'\xff\xfe{"input_tokens": 5, "output_tokens": 6}',
        b'{"input_tokens": ' + b"[" * 100_000,
        b'{"usage":' * 100_000 + b'{"input_tokens": 5}',
        b'{"input_tokens": ' + b"9" * 100_000 + b', "output_tokens": 6}',
        b'{"usage": {"input_tokens": "\xff", "output_tokens": 6}}',
    ],
    ids=lambda text: repr(text[:24]),
)
def test_text_that_is_no_json_says_nothing(text: bytes) -> None:
    assert stated_usage(text) is None


@given(st.binary())
def test_no_bytes_raise(text: bytes) -> None:
    assert stated_usage(text + b'"input_tokens"') is None


@given(
    st.recursive(
        st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.booleans(), st.none()),
        lambda inner: st.one_of(
            st.lists(inner),
            st.dictionaries(
                st.sampled_from(["usage", *PAIRS[0], *PAIRS[1]]) | st.text(max_size=3), inner
            ),
        ),
        max_leaves=12,
    )
)
def test_no_json_raises_and_what_is_said_stands_there(value: Any) -> None:
    usage = said(value)
    if usage is not None:
        places = [value, value.get("usage")]
        assert any(
            isinstance(place, dict) and tuple(map(place.get, names)) == usage
            for place in places
            for names in PAIRS
        )
