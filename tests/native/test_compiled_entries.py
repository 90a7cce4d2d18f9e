"""The compiled reader of entries' files says what the one in Python says, or nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant import entry_json
from rustassistant.entry_json import Parsed, parse
from rustassistant.errors import EntryError
from support import SHARED, dump, fields_of

entries = pytest.importorskip(
    "rustassistant.native.entries", reason="there was no C compiler when this was installed"
)
take_apart: Callable[[bytes], tuple[Any, ...] | None] = entries.take_apart

PLAIN: Final = dump(fields_of())
OLD: Final = dump(fields_of(old=True))
NESTED: Final = dump(
    fields_of(
        "src/größe.rs",
        result={
            "a": [],
            "b": {},
            "c": [1, -2.5, 1e-7, True, False, None, "", 'q"\\\n\u0001é😀'],
            "d": {"e": [{"f": [[0]]}, {"f": "long enough for eight bytes at a time"}]},
        },
        tokens_used=None,
    )
)
BASES: Final = (PLAIN, OLD, NESTED)

FRAGMENTS: Final = [
    bytes([byte])
    for byte in b'\0\t\n\r "\\/{}[],:-+.eE019tfnuaAzT\x7f\x80\xbf\xc0\xc2\xe0\xed\xf4\xff'
] + [b"\\ud800", b"\\u00e9", b"\\u12", b"null", b"true", b"00", b"-0", b"  ", b"\n  ",
     b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x8f\x80\x80", b"\xc3\xa9",
     b"\xf0\x9f\x98\x80", b"9" * 19, b'"', b'"",', b".5", b"e5", b"[]", b"{}", b",\n"]  # fmt: skip


def read(text: bytes, cache_type: str) -> Parsed | str:
    try:
        return parse(text, repository="/home/dev/project", cache_type=cache_type)
    except EntryError as error:
        return error.message


def in_python(text: bytes, cache_type: str) -> Parsed | str:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(entry_json, "take_apart", None)
        return read(text, cache_type)


def check(text: bytes, cache_type: str = "docs") -> None:
    assert read(text, cache_type) == in_python(text, cache_type), text


def changed(text: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(text) + 1)
    gone = chance.choice((0, 0, 1, 1, 1, 2, 8))
    other = chance.choice((b"", *FRAGMENTS, *FRAGMENTS))
    return text[:at] + other + text[at + gone :]


@pytest.mark.parametrize("text", BASES)
def test_what_the_rust_program_prints_is_accepted(text: bytes) -> None:
    assert take_apart(text) is not None
    check(text)


def test_all_fields_are_told() -> None:
    fields = json.loads(NESTED)
    parts = take_apart(NESTED)
    assert parts is not None
    assert parts[0] == "src/größe.rs"
    assert parts[1].hex() == fields["file_hash"]
    assert parts[2] == 1770174834878744252
    assert parts[3:7] == ("xai", "grok-beta", "b56f6b9b1ff77eac", 1)
    compact = json.dumps(fields["result"], separators=(",", ":"), ensure_ascii=False)
    assert parts[7] == compact.encode()
    assert parts[8:] == (None, fields["file_size"], fields["cache_key"], "docs")


@pytest.mark.parametrize("text", BASES)
def test_a_file_cut_off_anywhere_is_read_alike(text: bytes) -> None:
    for length in range(len(text)):
        assert take_apart(text[:length]) is None
        check(text[:length])


@pytest.mark.parametrize("text", BASES)
def test_every_byte_exchanged_is_read_alike(text: bytes) -> None:
    for position in range(len(text)):
        for byte in b'\0 "\\{}[],:09-\n\x80\xc3':
            check(text[:position] + bytes([byte]) + text[position + 1 :])


@pytest.mark.parametrize("seed", range(8))
def test_files_changed_at_random_are_read_alike(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(2_000):
        text = chance.choice(BASES)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            text = changed(text, chance)
        check(text)


@given(st.text(), st.text(), st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70))
def test_whatever_the_fields_hold_they_are_read_alike(
    path: str, provider: str, tokens: int, size: int
) -> None:
    fields = fields_of("x", provider="x", tokens_used=tokens, file_size=size)
    check(json.dumps(fields | {"file_path": path, "provider": provider}, indent=2).encode())
    text = json.dumps(fields | {"file_path": path}, indent=2, ensure_ascii=False)
    check(text.encode(errors="surrogatepass"))


@given(st.datetimes(), st.sampled_from(["", ".1", ".100", ".123", ".123000", ".123456",
       ".000000001", ".123456000", ".123456789", ".1234567891", ".000"]))  # fmt: skip
def test_times_are_read_alike(moment: Any, fraction: str) -> None:
    said = moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "+00:00"
    check(dump(fields_of(analyzed_at=said)))


@pytest.mark.parametrize(
    "day",
    ["2026-02-29", "2024-02-29", "1900-02-29", "2000-02-29", "2026-04-31", "2026-13-01",
     "2026-00-10", "1969-12-31"],
)  # fmt: skip
def test_days_are_read_alike(day: str) -> None:
    check(dump(fields_of(analyzed_at=f"{day}T23:59:59+00:00")))
    check(dump(fields_of(analyzed_at=f"{day}T23:59:60+00:00")))


@pytest.mark.parametrize("depth", [1, 50, 98, 99, 100, 101, 127, 255, 256, 300])
def test_nesting_is_read_alike(depth: int) -> None:
    result: Any = 1
    for level in range(depth):
        result = [result] if level % 2 else {"a": result}
    check(dump(fields_of(result=result)))


@pytest.mark.parametrize("value", ["0", "-0", "01", "1.", ".5", "1e5", "1E+5", "1e", "-", "+1",
                                   "1e999", "0.0", "1" * 400, "NaN", "truex", "nul"])  # fmt: skip
def test_numbers_are_read_alike(value: str) -> None:
    text = dump(fields_of(result=[12345]))
    check(text.replace(b"12345", value.encode()))
    check(PLAIN.replace(b"1234,", value.encode() + b","))


def test_a_wrong_key_or_type_is_for_the_general_reader() -> None:
    wrong = fields_of()
    wrong["cache_key"] = "0" * 32
    said = read(dump(wrong), "docs")
    assert isinstance(said, Parsed)
    assert said.entry.original == dump(wrong)
    assert said.notes
    check(dump(wrong))
    check(PLAIN, "refactor")


@pytest.mark.shared
def test_real_files_are_accepted_and_read_alike() -> None:
    files = [path for path in SHARED.rglob("*.json") if path.parent.name == "docs"]
    assert files
    for path in files:
        text = path.read_bytes()
        if isinstance(whole := in_python(text, "docs"), Parsed) and whole.entry.original is None:
            assert take_apart(text) is not None, path
        check(text)


def test_python_alone_can_be_asked_for() -> None:
    program = "from rustassistant import native; print(native.take_apart)"
    environment = {**os.environ, "RUSTASSISTANT_PURE_PYTHON": "1"}
    told = subprocess.check_output([sys.executable, "-c", program], env=environment)
    assert told == b"None\n"
