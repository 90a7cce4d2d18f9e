"""The line of every key in a TOML text, which the standard library's parser does not tell.

Read is the grammar of TOML 1.0 and, in inline tables, the looser one of 1.1; the text must be one
that ``tomllib`` accepts, so what follows a key need only be told apart, not understood.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Final, NamedTuple

Path = tuple[str | int, ...]
"""Names of tables and keys from the top down; an integer counts in an array."""

_TOKEN: Final = re.compile(
    r'''(?P<string>"""(?:[^\\]|\\.)*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:'{0,2})'''
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
    r"|(?P<newline>\n)|(?P<blank>[ \t\r]+|\#[^\n]*)"
    r"""|(?P<mark>[\[\]{}=,.])|(?P<bare>[^\s\[\]{}=,."'\#]+)""",
    re.DOTALL,
)
_END: Final = "\0"


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def lines_of_keys(text: str) -> dict[Path, int]:
    """The line, from 1 on, on which each table, key and array element of a TOML text begins.

    A table that is spread over several places has the line of the first.
    """
    return _Scanner(text).scan()


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "blank":
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")
    yield _Token("newline", "\n", line)
    yield _Token("end", _END, line)


class _Scanner:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._token = next(self._tokens)
        self._lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        """Where ``[[name]]`` stands, and how often so far."""

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self._token.kind != "end":
            if self._token.kind == "newline":
                self._advance()
            elif self._token.text == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self._lines

    def _advance(self) -> _Token:
        passed = self._token
        if passed.kind != "end":
            self._token = next(self._tokens)
        return passed

    def _header(self) -> Path:
        line = self._advance().line
        of_array = self._token.text == "["
        if of_array:
            self._advance()
        *outer, name = self._key("]")
        table: Path = ()
        for part in outer:
            table = self._latest((*table, part))
            self._lines.setdefault(table, line)
        table = (*table, name)
        self._lines.setdefault(table, line)
        if of_array:
            self._advance()
            self._arrays[table] = self._arrays.get(table, 0) + 1
            table = self._latest(table)
            self._lines[table] = line
        return table

    def _latest(self, table: Path) -> Path:
        """A table, or if that is an array of tables the one of them that was begun last."""
        count = self._arrays.get(table)
        return table if count is None else (*table, count - 1)

    def _key(self, end: str) -> list[str]:
        parts = []
        while self._token.text != end and self._token.kind != "end":
            token = self._advance()
            if token.kind == "bare":
                parts.append(token.text)
            elif token.kind == "string":
                parts.append(_unquoted(token.text))
        self._advance()
        return parts

    def _assignment(self, table: Path) -> None:
        line = self._token.line
        for part in self._key("="):
            table = (*table, part)
            self._lines.setdefault(table, line)
        self._value(table)

    def _value(self, path: Path) -> None:
        if self._token.text == "[":
            self._array(path)
        elif self._token.text == "{":
            self._inline_table(path)
        else:
            while self._token.kind != "newline" and self._token.text not in (",", "]", "}", _END):
                self._advance()

    def _array(self, path: Path) -> None:
        self._advance()
        index = 0
        while self._token.text not in ("]", _END):
            if self._token.kind == "newline" or self._token.text == ",":
                self._advance()
                continue
            self._lines[*path, index] = self._token.line
            self._value((*path, index))
            index += 1
        self._advance()

    def _inline_table(self, path: Path) -> None:
        self._advance()
        while self._token.text not in ("}", _END):
            if self._token.kind == "newline" or self._token.text == ",":
                self._advance()
            else:
                self._assignment(path)
        self._advance()


def _unquoted(text: str) -> str:
    """The name that a quoted key spells, by the parser itself: escapes are its business."""
    return next(iter(tomllib.loads(f"{text} = 0")))
