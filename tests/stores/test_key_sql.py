"""SHA-256 written in SQL is SHA-256, in the SQLite we bundle and in the one Python brings."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Final

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rustassistant.stores.sqlite.key_sql import sha256_sql

_SQL: Final = "SELECT " + sha256_sql("?1")

needs_recursion = pytest.mark.skipif(
    sqlite3.sqlite_version_info < (3, 34),
    reason="this Python's SQLite knows no two recursive terms in one table",
)


def by_apsw(text: str) -> str:
    with closing(apsw.Connection(":memory:")) as database:
        return str(database.execute(_SQL, (text,)).get)


def by_standard_library(text: str) -> str:
    with closing(sqlite3.connect(":memory:")) as database:
        return str(database.execute(_SQL, (text,)).fetchone()[0])


both = pytest.mark.parametrize(
    "digest", [by_apsw, pytest.param(by_standard_library, marks=needs_recursion)]
)


@both
# Where padding fits its block exactly, and where it needs one more; and on both sides of these.
@pytest.mark.parametrize(
    "length", [0, 1, 3, 4, 54, 55, 56, 57, 63, 64, 65, 111, 118, 119, 120, 127, 128, 129, 183, 184]
)
def test_every_length_around_a_block_is_padded_right(
    digest: Callable[[str], str], length: int
) -> None:
    text = "".join(chr(33 + number % 90) for number in range(length))
    assert digest(text) == hashlib.sha256(text.encode()).hexdigest()


@both
@given(text=st.text(max_size=200))
@example(text="abc")
@example(text="größe:日本:😀")
@example(text="nul\0inside")
@example(text="\0" * 64)
@example(text="\U0010ffff" * 40)
@settings(max_examples=50, deadline=None)
def test_any_text_has_its_sha256(digest: Callable[[str], str], text: str) -> None:
    assert digest(text) == hashlib.sha256(text.encode()).hexdigest()


@both
def test_digest_keeps_its_leading_zeros(digest: Callable[[str], str]) -> None:
    text = next(
        str(number)
        for number in range(10**6)
        if hashlib.sha256(str(number).encode()).digest()[0] == 0
    )
    assert digest(text) == hashlib.sha256(text.encode()).hexdigest()


def test_expression_serves_each_row_of_a_query() -> None:
    texts = [f"row {number}" for number in range(5)]
    with closing(apsw.Connection(":memory:")) as database:
        database.execute("CREATE TABLE t (text TEXT)")
        database.executemany("INSERT INTO t VALUES (?)", [(text,) for text in texts])
        rows = database.execute(f"SELECT text, {sha256_sql('t.text')} FROM t").fetchall()  # noqa: S608
    assert rows == [(text, hashlib.sha256(text.encode()).hexdigest()) for text in texts]
