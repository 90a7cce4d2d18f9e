from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.configuration.toml_lines import lines_of_keys

KEYS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
)
SCALARS = st.sampled_from(
    ["1", "-1.5", "true", "'#]'", '"a\\"b = [\\u0041"', "1979-05-27 07:32:00", "1979-05-27", "inf",
     '"""\n[no]\nkey = 1\n"""""', "'''\na = '\n'''", '"""x\\\n   y"""', "''", '""', "0xff",
     "1_0"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


def quoted(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return key if bare else f'"{escaped}"'


class Writer:
    """Writes values as TOML in ways it draws, noting the line that each begins on."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] = {}

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def gap(self) -> None:
        self.text += self.draw(st.sampled_from(["", "", "\n", "# [x]\n", "  # a = 'b\n\n", "\r\n"]))

    def space(self) -> str:
        spaces: str = self.draw(st.sampled_from(["", " ", "\t"]))
        return spaces

    def pair(self, path: tuple[str | int, ...], keys: list[str], value: Any) -> None:
        for depth in range(len(keys)):
            self.lines.setdefault((*path, *keys[: depth + 1]), self.line)
        dot = f"{self.space()}.{self.space()}"
        self.text += dot.join(map(quoted, keys)) + self.space() + "=" + self.space()
        self.value((*path, *keys), value)

    def value(self, path: tuple[str | int, ...], value: Any) -> None:
        if isinstance(value, str):
            self.text += value
        elif isinstance(value, list):
            self.text += "["
            for index, one in enumerate(value):
                self.gap()
                self.lines[*path, index] = self.line
                self.value((*path, index), one)
                self.text += ","
            self.gap()
            self.text += "]"
        else:
            self.text += "{"
            for number, (key, one) in enumerate(value.items()):
                self.text += ", " if number else " "
                self.pair(path, [key], one)
            self.text += " }"

    def document(self, tables: dict[str, dict[str, Any]]) -> None:
        for name, table in tables.items():
            self.gap()
            path: tuple[str | int, ...] = (name,)
            kind = self.draw(st.sampled_from(["table", "array", "outer"]))
            self.lines[path] = self.line
            if kind == "array":
                path = (name, 0)
                self.lines[path] = self.line
                self.text += f"[[{quoted(name)}]]"
            elif kind == "outer":
                path = (name, "in")
                self.lines[path] = self.line
                self.text += f"[ {quoted(name)} .in ] # [x]"
            else:
                self.text += f"[{self.space()}{quoted(name)}{self.space()}]"
            self.text += "\n"
            for key, value in table.items():
                self.gap()
                dotted = [key, "dot"] if self.draw(st.booleans()) else [key]
                self.pair(path, dotted, value)
                self.text += "\n"


def places(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """The path of each thing in what the parser made of a text."""
    found = {path} if path else set()
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, one in inner:
        found |= places(one, (*path, key))
    return found


@given(st.data(), st.dictionaries(KEYS, TABLES, max_size=3))
def test_every_key_is_found_on_its_line(data: Any, tables: dict[str, dict[str, Any]]) -> None:
    writer = Writer(data.draw)
    writer.document(tables)
    text = writer.text.replace("\r\n", "\n")
    parsed = tomllib.loads(text)
    lines = lines_of_keys(text)
    assert set(lines) == places(parsed)
    assert lines == writer.lines


def test_tables_spread_over_a_file() -> None:
    text = """\
a.b.c = 1
[x]
k = 1
[[y]]
k = 1
[[y]]
k = 2
[y.z]
k = 3
[x.w]
k = 4
[ "q r" . 's' ]
k = 5
"""
    assert set(lines_of_keys(text)) == places(tomllib.loads(text))
    assert lines_of_keys(text) == {
        ("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1,
        ("x",): 2, ("x", "k"): 3,
        ("y",): 4, ("y", 0): 4, ("y", 0, "k"): 5, ("y", 1): 6, ("y", 1, "k"): 7,
        ("y", 1, "z"): 8, ("y", 1, "z", "k"): 9,
        ("x", "w"): 10, ("x", "w", "k"): 11,
        ("q r",): 12, ("q r", "s"): 12, ("q r", "s", "k"): 13,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n", "[a]", "a=1", '"\\u0061" = 1'])
def test_small_texts(text: str) -> None:
    assert set(lines_of_keys(text)) == places(tomllib.loads(text))


@given(st.text(st.sampled_from("ab=.[]{}\"'\n#, \\1"), max_size=60))
def test_any_text_comes_to_an_end(text: str) -> None:
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines_of_keys(text)) == places(parsed)
