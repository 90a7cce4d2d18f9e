from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustassistant.entry import differing_fields, full_key
from rustassistant.entry_json import MAX_NESTING, Parsed, compact, file_name, parse, render
from rustassistant.errors import EntryError
from rustassistant.native import take_apart
from rustassistant.timestamps import format_rfc3339, parse_rfc3339
from support import SHARED, dump, fields_of, sample_entry

INT64 = st.integers(-(2**63), 2**63 - 1)
SIZES = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
RESULTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.fixture(autouse=True, params=["compiled", "Python alone"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python alone":
        monkeypatch.setattr("rustassistant.entry_json.take_apart", None)
    elif take_apart is None:
        pytest.skip("there was no C compiler when this was installed")


@st.composite
def written_fields(draw: st.DrawFn) -> dict[str, Any]:
    """What the Rust program could write, from before keys or after."""
    return fields_of(
        draw(TEXTS),
        content=draw(st.binary(max_size=20)),
        old=draw(st.booleans()),
        analyzed_at=format_rfc3339(draw(INT64)),
        provider=draw(TEXTS),
        model=draw(TEXTS),
        result=draw(RESULTS),
        tokens_used=draw(st.none() | INT64),
        file_size=draw(SIZES),
    )


def read(text: bytes, cache_type: str = "docs") -> Parsed:
    return parse(text, repository="/home/dev/project", cache_type=cache_type)


def with_result(result: str) -> bytes:
    """A file of the Rust program's, but for the text of its result."""
    return dump(fields_of(result="RESULT")).replace(b'"RESULT"', result.encode())


# --- What the Rust program wrote comes back as it was, from its fields alone.


@settings(deadline=None)
@given(written_fields())
def test_what_the_rust_program_writes_is_rendered_again_from_its_fields(
    fields: dict[str, Any],
) -> None:
    text = dump(fields)
    entry, notes = read(text)
    assert entry.original is None
    assert render(entry) == text
    assert notes == ()


@settings(deadline=None)
@given(written_fields())
def test_every_field_is_read_as_it_stands(fields: dict[str, Any]) -> None:
    entry = read(dump(fields)).entry
    assert entry.repository == "/home/dev/project"
    assert entry.cache_type == "docs"
    assert entry.file_path == fields["file_path"]
    assert entry.file_hash.hex() == fields["file_hash"]
    assert entry.analyzed_at == parse_rfc3339(fields["analyzed_at"])
    assert entry.provider == fields["provider"]
    assert entry.model == fields["model"]
    assert entry.prompt_hash == fields.get("prompt_hash")
    assert entry.schema_version == fields.get("schema_version")
    assert json.loads(entry.result) == fields["result"]
    assert entry.tokens_used == fields["tokens_used"]
    assert entry.file_size == fields["file_size"]


@pytest.mark.parametrize(
    "path", ["a\0b", "\x01\x1f\x7f", 'say "hi"\\', "\b\f\n\r\t/", "日本\U0001f980"]
)
def test_escapes_in_strings_are_those_of_the_rust_program(path: str) -> None:
    text = dump(fields_of(path, model=path))
    assert read(text).entry.original is None
    assert render(read(text).entry) == text


@pytest.mark.shared
def test_real_files_are_rendered_again_from_their_fields() -> None:
    files = sorted((SHARED / "real-2026-02" / "repo" / ".rustassistant").rglob("*.json"))
    assert len(files) == 3
    for file in files:
        text = file.read_bytes()
        entry, notes = read(text, file.parent.name)
        assert entry.original is None, file
        assert render(entry) == text
        assert notes == ()
        assert file_name(entry.file_path) == file.name


def test_a_made_entry_is_printed_as_the_rust_program_would() -> None:
    entry = sample_entry(tokens_used=None)
    fields = json.loads(render(entry))
    assert list(fields) == list(fields_of())
    assert fields["cache_key"] == entry.key[:32]
    assert fields["tokens_used"] is None
    assert read(render(entry)).entry == entry


def test_an_old_entry_is_printed_without_what_it_never_had() -> None:
    entry = sample_entry(prompt_hash=None, schema_version=None)
    assert list(json.loads(render(entry))) == list(fields_of(old=True))
    assert read(render(entry)).entry == entry


# --- Any other spelling is kept to the byte.

ODD_TEXT = "src/ünï_\U0001f980.rs"
Spelling = Callable[[dict[str, Any]], bytes]


def _changed(**changes: Any) -> Spelling:
    return lambda fields: dump(fields | changes)


def _without(*names: str) -> Spelling:
    return lambda fields: dump({n: value for n, value in fields.items() if n not in names})


def _shifted(fields: dict[str, Any]) -> bytes:
    assert fields["analyzed_at"] == "2026-02-04T03:13:54.878744252+00:00"
    return dump(fields | {"analyzed_at": "2026-02-04T05:13:54.878744252+02:00"})


SPELLINGS: dict[str, Spelling] = {
    "four spaces": lambda fields: json.dumps(fields, indent=4, ensure_ascii=False).encode(),
    "tabs": lambda fields: json.dumps(fields, indent="\t", ensure_ascii=False).encode(),
    "one line": lambda fields: json.dumps(fields, ensure_ascii=False).encode(),
    "compact": lambda fields: json.dumps(
        fields, ensure_ascii=False, separators=(",", ":")
    ).encode(),
    "sorted fields": lambda fields: dump(dict(sorted(fields.items()))),
    "reversed fields": lambda fields: dump(dict(reversed(fields.items()))),
    "an unknown field": lambda fields: dump(fields | {"confidence": 0.25}),
    "an unknown field first": lambda fields: dump({"$schema": {"v": [1, None]}} | fields),
    "CRLF": lambda fields: dump(fields).replace(b"\n", b"\r\n"),
    "a final newline": lambda fields: dump(fields) + b"\n",
    "space around it": lambda fields: b" \n" + dump(fields) + b" \t",
    "escaped text": lambda fields: json.dumps(fields, indent=2).encode(),
    "an escaped slash": lambda fields: dump(fields).replace(b"src/", b"src\\/", 1),
    "a byte order mark": lambda fields: b"\xef\xbb\xbf" + dump(fields),
    "an upper-case hash": lambda fields: dump(fields | {"file_hash": fields["file_hash"].upper()}),
    "Z": _changed(analyzed_at="2026-02-04T03:13:54.878744252Z"),
    "another time zone": _shifted,
    "ten digits": _changed(analyzed_at="2026-02-04T03:13:54.8787442520+00:00"),
    "no schema version": _without("schema_version"),
    "no tokens": _without("tokens_used"),
    "no size": _without("file_size"),
    "no type": _without("cache_type"),
    "no key": _without("cache_key"),
    "minus zero tokens": lambda fields: dump(fields | {"tokens_used": 0}).replace(
        b'"tokens_used": 0', b'"tokens_used": -0'
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_is_kept_to_the_byte(spelling: str) -> None:
    fields = fields_of(ODD_TEXT, result={"ok": True})
    text = SPELLINGS[spelling](fields)
    assert text != dump(fields), "the test itself must change something"
    entry, notes = read(text)
    assert entry.original == text
    assert render(entry) == text
    assert notes == ()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_means_the_same(spelling: str) -> None:
    fields = fields_of(ODD_TEXT, result={"ok": True})
    usual, odd = read(dump(fields)).entry, read(SPELLINGS[spelling](fields)).entry
    assert odd.key == usual.key
    assert json.loads(odd.result) == {"ok": True}
    differing = {
        "no tokens": ["tokens_used"],
        "minus zero tokens": ["tokens_used"],
        "no size": ["file_size"],
        "no schema version": ["schema_version"],
    }
    same = msgspec.structs.replace(odd, original=None, result=usual.result)
    assert differing_fields(usual, same) == differing.get(spelling, [])


@settings(deadline=None)
@given(
    written_fields(),
    st.sampled_from([0, 1, 3, 4, "\t", " ", None]),
    st.booleans(),
    st.sampled_from([b"", b"\n", b"\r\n", b" "]),
    st.dictionaries(st.from_regex(r"x_[a-z]{1,5}", fullmatch=True), RESULTS, max_size=2),
    st.randoms(use_true_random=False),
)
def test_whatever_the_spelling_the_bytes_come_back(
    fields: dict[str, Any],
    indent: int | str | None,
    ascii_only: bool,
    ending: bytes,
    extra: dict[str, Any],
    random: Any,
) -> None:
    items = list((fields | extra).items())
    random.shuffle(items)
    text = json.dumps(dict(items), indent=indent, ensure_ascii=ascii_only).encode() + ending
    entry = read(text).entry
    assert render(entry) == text
    assert json.loads(entry.result) == fields["result"]
    assert entry.file_path == fields["file_path"]


# --- The result is kept token for token.


@pytest.mark.parametrize(
    "result",
    [
        "50.0",
        "5e1",
        "1E+05",
        "-0",
        "-0.0",
        "0.1000000000000000055511151231257827",
        "1e999",
        "123456789012345678901234567890",
        "9" * 5000,
        '{"b": 1, "a": 2}',
        '{"a": 1, "a": 2}',
        '{"": null}',
        '["\\u00e9", "é", "\\/", "/", "\\ud83e\\udd80", "\\u0000"]',
        '{ "spaced" :[ 1 ,2 ] }',
        "[\n\t1\r\n]",
        '"just text"',
        "null",
        "true",
        "[]",
        "{}",
    ],
)
def test_the_result_is_kept_token_for_token(result: str) -> None:
    text = with_result(result)
    entry = read(text).entry
    assert entry.result.translate(None, b" \n\r\t") == result.encode().translate(None, b" \n\r\t")
    assert entry.result == compact(entry.result), "white space between tokens is not"
    assert render(entry) == text


@pytest.mark.parametrize(
    "result", ['{"b": 1, "a": [1, {"": null}, [], {}]}', "1E+05", '"\\u00e9 é"']
)
def test_nothing_but_the_result_is_kept_of_what_the_rust_program_prints(result: str) -> None:
    printed = msgspec.json.format(result, indent=2).replace("\n", "\n  ")
    assert read(with_result(printed)).entry.original is None


@pytest.mark.parametrize("result", ["9" * 5_000, "-1" + "0" * 5_000, "1e400", '{"a": 1, "a": 2}'])
def test_no_result_is_too_odd_for_a_file_in_another_style(result: str) -> None:
    text = with_result(result) + b"\n"
    entry = read(text).entry
    assert entry.result == compact(result.encode())
    assert render(entry) == text


def test_white_space_around_the_result_is_kept_with_the_file() -> None:
    text = with_result(" \n 1 ")
    entry = read(text).entry
    assert entry.result == b"1"
    assert render(entry) == text


# --- What is no entry is refused, and the reason tells which of many it is.


def _cut(fields: dict[str, Any]) -> bytes:
    return dump(fields)[:-40]


BAD_FILES: dict[str, tuple[Spelling, str]] = {
    "empty": (lambda _: b"", "the file is empty"),
    "white space": (lambda _: b" \r\n\t", "only white space"),
    "NULs": (lambda _: bytes(4096), "NUL bytes, as after a power cut"),
    "NUL tail": (lambda fields: dump(fields) + bytes(100), "not valid JSON.*trailing characters"),
    "cut off": (_cut, "not valid JSON.*truncated"),
    "Latin-1": (
        lambda fields: dump(fields | {"model": "é"}).decode().encode("latin-1"),
        r"not valid UTF-8: .* at byte \d+",
    ),
    "UTF-16": (lambda fields: dump(fields).decode().encode("utf-16"), "not valid UTF-8"),
    "a surrogate in UTF-8": (
        lambda fields: dump(fields | {"model": "X"}).replace(b'"X"', b'"\xed\xa0\x80"'),
        "not valid UTF-8",
    ),
    "half a surrogate pair": (
        lambda fields: dump(fields | {"file_path": "X"}).replace(b'"X"', b'"\\ud800"'),
        "not valid JSON.*surrogate",
    ),
    "two documents": (lambda fields: dump(fields) * 2, "trailing characters"),
    "an array": (lambda fields: b"[" + dump(fields) + b"]", "not an entry: .*got `array`"),
    "a string": (lambda _: b'"entry"', "not an entry: .*got `str`"),
    "a number": (lambda _: b"42", "not an entry: .*got `int`"),
    "null": (lambda _: b"null", "not an entry: .*got `null`"),
    "meta.json": (lambda _: b'{"path": "/x", "hash": "01234567"}', "missing required field"),
    "HTML": (lambda _: b"<html>", "not valid JSON"),
    "NaN": (lambda _: with_result("NaN"), "not valid JSON"),
    "a trailing comma": (lambda _: with_result("[1,]"), "trailing comma"),
    "a bare control character": (lambda _: with_result('"a\tb"'), "not valid JSON"),
    "a bad escape": (lambda _: with_result('"\\x41"'), "escaped character"),
    "a leading zero": (lambda _: with_result("01"), "invalid number"),
    "no result": (_without("result"), "missing required field `result`"),
    "no path": (_without("file_path"), "missing required field `file_path`"),
    "no hash": (_without("file_hash"), "missing required field `file_hash`"),
    "no time": (_without("analyzed_at"), "missing required field `analyzed_at`"),
    "no provider": (_without("provider"), "missing required field `provider`"),
    "no model": (_without("model"), "missing required field `model`"),
    "a number as path": (_changed(file_path=5), r"got `int` - at `\$.file_path`"),
    "null as model": (_changed(model=None), r"got `null` - at `\$.model`"),
    "text as tokens": (_changed(tokens_used="12"), r"got `str` - at `\$.tokens_used`"),
    "true as tokens": (_changed(tokens_used=True), r"got `bool` - at `\$.tokens_used`"),
    "half a token": (_changed(tokens_used=1.5), r"got `float` - at `\$.tokens_used`"),
    "too many tokens": (_changed(tokens_used=2**63), r"9223372036854775807 - at `\$.tokens_used`"),
    "a negative size": (_changed(file_size=-1), r">= 0 - at `\$.file_size`"),
    "text as version": (_changed(schema_version="1"), r"at `\$.schema_version`"),
    "no hash digits": (_changed(file_hash=""), "file_hash '' is not 64 hex digits"),
    "63 hash digits": (_changed(file_hash="a" * 63), "is not 64 hex digits"),
    "66 hash digits": (_changed(file_hash="a" * 66), "is not 64 hex digits"),
    "spaced hash digits": (_changed(file_hash="ab " * 32), "is not 64 hex digits"),
    "64 with spaces": (_changed(file_hash="a" * 62 + "  "), "is not 64 hex digits"),
    "a hash of g": (_changed(file_hash="g" * 64), "is not 64 hex digits"),
    "other digits": (_changed(file_hash="\u0661" * 64), "is not 64 hex digits"),
    "a vague time": (_changed(analyzed_at="yesterday"), "analyzed_at: 'yesterday' is not an RFC"),
    "no such day": (_changed(analyzed_at="2026-02-30T00:00:00Z"), "analyzed_at: day"),
    "a far time": (_changed(analyzed_at="9999-01-01T00:00:00Z"), "analyzed_at: .*can be kept"),
    "a field twice": (
        lambda fields: dump(fields).replace(b'  "model"', b'  "model": "x",\n  "model"'),
        "the field 'model' is given twice",
    ),
    "an unknown field twice": (
        lambda fields: dump(fields).replace(b"{", b'{"x": 1, "x": 1,', 1),
        "the field 'x' is given twice",
    ),
    "a field twice, once escaped": (
        lambda fields: dump(fields).replace(b"{", b'{"resul\\u0074": 1,', 1),
        "the field 'result' is given twice",
    ),
    "the result twice, equal": (
        lambda fields: dump(fields).replace(b"{", b'{"tokens_used": 1234,', 1),
        "the field 'tokens_used' is given twice",
    ),
    "deep nesting": (
        lambda _: with_result("[" * 100_000 + "]" * 100_000),
        "nested too deeply",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_what_is_no_entry_is_refused_with_its_reason(kind: str) -> None:
    make, reason = BAD_FILES[kind]
    with pytest.raises(EntryError, match=reason):
        read(make(fields_of()))


def test_a_long_bad_hash_does_not_fill_the_message() -> None:
    with pytest.raises(EntryError) as caught:
        read(dump(fields_of(file_hash="z" * 10_000)))
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("spelling", ["four spaces", "an unknown field", "sorted fields"])
def test_nesting_near_the_limit_is_read_or_refused_but_never_crashes(spelling: str) -> None:
    # The two JSON readers involved may differ in how deep they go.
    for depth in range(MAX_NESTING - 10, MAX_NESTING + 10):
        result = b"[" * depth + b"]" * depth
        text = SPELLINGS[spelling](fields_of(result="RESULT")).replace(b'"RESULT"', result)
        try:
            entry = read(text).entry
        except EntryError as error:
            assert "nested too deeply" in error.message  # noqa: PT017 - right from here on
            assert depth >= MAX_NESTING, "the entry itself is one level"
        else:
            assert render(entry) == text
            assert depth < MAX_NESTING


def _as_printed(depth: int) -> bytes:
    """An entry's file as the Rust program prints it, its result as many levels deep."""
    deep = b"[" * depth + b"]" * depth
    one_line = json.dumps(fields_of(result="RESULT")).encode().replace(b'"RESULT"', deep)
    return msgspec.json.format(one_line, indent=2)


def test_nesting_as_it_is_printed_is_read_up_to_the_limit() -> None:
    entry = read(_as_printed(MAX_NESTING - 1)).entry
    assert entry.original is None
    assert render(entry) == _as_printed(MAX_NESTING - 1)
    for depth in (MAX_NESTING, MAX_NESTING + 1, 2 * MAX_NESTING):
        with pytest.raises(EntryError, match="nested too deeply"):
            read(_as_printed(depth))


def test_much_space_in_a_text_is_no_nesting() -> None:
    entry = read(dump(fields_of(result={"summary": " " * 2 * MAX_NESTING}))).entry
    assert entry.original is None


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_and_nothing_worse(text: bytes) -> None:
    with pytest.raises(EntryError):
        read(text)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_kept_to_the_byte(data: st.DataObject) -> None:
    text = bytearray(dump(fields_of(ODD_TEXT)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] = data.draw(st.integers(0, 255))
    try:
        entry = read(bytes(text)).entry
    except EntryError as error:
        assert error.message  # noqa: PT017 - either is right
    else:
        assert render(entry) == bytes(text)


# --- What lies is kept, and told.


def test_a_file_under_another_type_is_kept_under_its_directorys() -> None:
    text = dump(fields_of(cache_type="todos"))
    entry, notes = read(text, "docs")
    assert entry.cache_type == "docs"
    assert render(entry) == text
    assert len(notes) == 1
    assert "'todos'" in notes[0]
    assert "'docs'" in notes[0]


@pytest.mark.parametrize("key", ["", "0" * 32, "x", "default"])
def test_a_key_that_does_not_follow_from_the_fields_is_kept_and_told(key: str) -> None:
    fields = fields_of(cache_key=key)
    entry, notes = read(dump(fields))
    assert render(entry) == dump(fields)
    assert entry.key == full_key(fields["file_hash"], "grok-beta", "b56f6b9b1ff77eac", 1)
    assert len(notes) == 1
    assert repr(key) in notes[0]
    assert entry.key[:32] in notes[0]


def test_the_full_key_in_a_file_is_no_lie() -> None:
    fields = fields_of()
    whole = full_key(fields["file_hash"], "grok-beta", "b56f6b9b1ff77eac", 1)
    entry, notes = read(dump(fields | {"cache_key": whole}))
    assert notes == ()
    assert json.loads(render(entry))["cache_key"] == whole


def test_a_key_is_judged_by_the_hash_in_lower_case() -> None:
    fields = fields_of()
    _, notes = read(dump(fields | {"file_hash": fields["file_hash"].upper()}))
    assert notes == ()


def test_two_lies_are_both_told() -> None:
    _, notes = read(dump(fields_of(cache_type="todos", cache_key="0" * 32)))
    assert len(notes) == 2


def test_an_empty_prompt_hash_is_read_as_none_and_kept_as_it_was() -> None:
    file_hash = hashlib.sha256(b"fn main() {}\n").hexdigest()
    key = full_key(file_hash, "grok-beta", None, 1)[:32]
    text = dump(fields_of(prompt_hash="", cache_key=key))
    entry, notes = read(text)
    assert entry.prompt_hash is None
    assert render(entry) == text
    assert notes == ()


# --- File names.


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("src/lib.rs", "src_lib_rs.json"),
        ("src\\win.rs", "src_win_rs.json"),
        ("C:/a.rs", "C__a_rs.json"),
        ("src/a_b.rs", "src_a_b_rs.json"),
        ("src/a/b.rs", "src_a_b_rs.json"),
        ("Makefile", "Makefile.json"),
        ("日本 語.py", "日本 語_py.json"),
        ("", ".json"),
    ],
)
def test_a_files_name_is_the_one_the_rust_program_gives(path: str, name: str) -> None:
    assert file_name(path) == name


@given(TEXTS)
def test_a_files_name_never_leads_out_of_its_directory(path: str) -> None:
    name = file_name(path)
    assert "/" not in name
    assert "\\" not in name
    assert name not in (".json.json", "..")
    assert len(name) == len(path) + len(".json")
