"""Rows that come together, inserted many with each statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw

_ROWS_A_STATEMENT: Final = 32
"""Each step of a statement costs as much as a row of it: more rows in one save little more."""


class Inserts:
    """Gathers rows of one table: ``values`` are those of all columns, row after row."""

    def __init__(self, connection: apsw.Connection, table: str, columns: Sequence[str]) -> None:
        self._connection = connection
        self._width = len(columns)
        row = f"({','.join('?' * self._width)})"
        self._one = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {row}"
        self._many = f"{self._one}{f',{row}' * (_ROWS_A_STATEMENT - 1)}"
        self.values: list[Any] = []

    def write(self) -> None:
        """Insert what has come together."""
        values, step = self.values, self._width * _ROWS_A_STATEMENT
        whole = len(values) - len(values) % step
        for sql, start, stop, size in (
            (self._many, 0, whole, step),
            (self._one, whole, len(values), self._width),
        ):
            if start < stop:
                bindings = (values[at : at + size] for at in range(start, stop, size))
                self._connection.executemany(sql, bindings)
        values.clear()
