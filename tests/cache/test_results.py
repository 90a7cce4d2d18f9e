from __future__ import annotations

import json
import math
import sys
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.cache.results import from_text, to_text
from rustassistant.entry_json import parse, render
from rustassistant.errors import DamagedError, UnsuitableResultError, UsageError
from support import sample_entry

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
RESULTS = st.recursive(
    SCALARS, lambda below: st.lists(below) | st.dictionaries(TEXT, below), max_leaves=20
)


def same(one: Any, other: Any) -> bool:
    """Equal in type and sign too, which ``==`` does not ask for."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@given(RESULTS)
def test_what_comes_back_is_what_went_in(result: Any) -> None:
    assert same(from_text(to_text(result)), result)


@given(RESULTS)
def test_an_entry_with_it_is_a_file_that_is_read_back_to_the_byte(result: Any) -> None:
    entry = sample_entry(result=to_text(result))
    parsed = parse(render(entry), repository=entry.repository, cache_type=entry.cache_type)
    assert parsed.entry == entry
    assert json.loads(render(entry))["result"] == result


def test_text_is_compact() -> None:
    text = to_text({"b": [1, {}], "a": "é"})
    assert text.decode() == '{"b":[1,{}],"a":"é"}'


@pytest.mark.parametrize("number", [10**400, -(10**400), 2**64, 0.1, -0.0, 5e-324, 1.7e308])
def test_numbers_come_back_to_the_last_digit(number: float) -> None:
    assert same(from_text(to_text([number])), [number])


def test_tuples_come_back_as_lists() -> None:
    assert from_text(to_text((1, ("a",)))) == [1, ["a"]]


class Grade(IntEnum):
    GOOD = 1


def test_numbers_with_names_come_back_equal() -> None:
    assert from_text(to_text({"grade": Grade.GOOD})) == {"grade": Grade.GOOD}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (math.nan, "not JSON"),
        ([math.inf], "not JSON"),
        ({"a": {1: 2}}, r"result\['a'\] has the key 1"),
        ({None: 1}, "key None"),
        ({"a": {1, 2}}, r"result\['a'\] is a set"),
        ([b"x"], r"result\[0\] is a bytes"),
        (object(), "result is a object"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
    ],
)
def test_what_json_would_alter_is_refused_and_handed_back(result: Any, reason: str) -> None:
    with pytest.raises(UnsuitableResultError, match=reason) as raised:
        to_text(result)
    assert isinstance(raised.value, UsageError)
    assert raised.value.value is not None


def test_a_number_longer_than_python_reads_at_once_comes_back_to_the_last_digit() -> None:
    """As a migration brings it; Python's own limit stands against what strangers send."""
    digits = "12" + "0" * 700 + "345678901" * 1000
    read = from_text(f'{{"n": [{digits}, -{digits}, 7, 0.5]}}'.encode())
    number = 12
    for start in range(2, len(digits), 100):
        part = digits[start : start + 100]
        number = number * 10 ** len(part) + int(part)
    assert read == {"n": [number, -number, 7, 0.5]}


def test_a_number_too_long_to_be_read_is_told_and_where_its_text_is() -> None:
    with pytest.raises(DamagedError, match="2000000 digits") as raised:
        from_text(b"[" + b"7" * 2_000_000 + b"]")
    assert "text" in raised.value.hint


class Spelled(str):
    """Text that equals itself alone."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize("others", [(Spelled("a"),), ("a",), (Spelled("a"), "b", Spelled("c"))])
def test_keys_that_are_spelled_alike_are_refused(others: tuple[str, ...]) -> None:
    result = {"deep": [{Spelled("a"): 1, **dict.fromkeys(others, 2)}]}
    with pytest.raises(UnsuitableResultError, match=r"result\['deep'\]\[0\] .*'a' twice") as raised:
        to_text(result)
    assert raised.value.value is result


def test_text_of_a_kind_of_its_own_may_be_a_key() -> None:
    assert from_text(to_text({Spelled("a"): 1, "b": 2, Spelled("c"): 3})) == {
        "a": 1,
        "b": 2,
        "c": 3,
    }


def test_a_number_that_python_would_not_print_is_refused() -> None:
    with pytest.raises(UnsuitableResultError, match="digits"):
        to_text(10 ** (sys.get_int_max_str_digits() + 1))


def nested(levels: int) -> Any:
    result: Any = 1
    for _ in range(levels):
        result = [result]
    return result


def test_nesting_goes_as_deep_as_an_entrys_file_may() -> None:
    deepest = nested(255)
    entry = sample_entry(result=to_text(deepest))
    assert parse(render(entry), repository="r", cache_type="docs").entry.result == to_text(deepest)
    with pytest.raises(UnsuitableResultError, match="255 levels"):
        to_text(nested(256))


def test_a_result_that_holds_itself_is_refused() -> None:
    result: list[Any] = []
    result.append(result)
    with pytest.raises(UnsuitableResultError, match="holds itself"):
        to_text(result)


def test_a_result_larger_than_is_ever_given_back_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rustassistant.cache.results.MAX_TEXT_BYTES", 10)
    to_text("12345678")
    with pytest.raises(UnsuitableResultError, match="11 bytes"):
        to_text("123456789")
