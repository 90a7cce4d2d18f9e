"""What entries refer to, small enough to be held: repositories, folders, producers, dictionaries.

A wrong bit in one of these rows would cost every entry that refers to it. Their unique indices
hold the same values a second time: where the two disagree, whichever makes sense is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import apsw
import msgspec

from rustassistant.stores.sqlite.integrity.problems import Kind, Problem, Remedy
from rustassistant.stores.sqlite.integrity.tables import Row, Values, our_tables, rows_of

MISMARKED: Final = "a column is not as it was stored, and follows from what is there"
_LAYOUTS: Final = ("centralized", "flat", "local")

_DISPENSABLE: Final = frozenset(
    (("entries", "source_name"), ("entries", "source_stamp"), ("copies", "source_name"),
     ("copies", "source_stamp"), ("repositories", "meta"), ("repositories", "directory"))
)  # fmt: skip
"""Columns that an entry can be given back without."""

SECOND_HOLDINGS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "repositories": ("repositories_by_path", ("path", "ifnull(directory, '')")),
    "folders": (
        "sqlite_autoindex_folders_1",
        ("repository_id", "cache_type", "layout", "subfolder"),
    ),
    "producers": (
        "producers_by_parts",
        ("model", "provider", "ifnull(prompt_hash, x'')", "ifnull(schema_version, x'')"),
    ),
}
"""By table, the unique index that holds its columns too, and these as the index has them."""

Indexed = Mapping[str, Mapping[int, Values]]
"""What the indices say, by table and row."""

HowMany = Callable[[str, int, Values], int]
"""How many of some entries that refer to a row of a table could be given back if it were so."""


def held_in_indices(connection: apsw.Connection) -> Indexed:
    """What the unique indices hold, as far as they can be read."""
    held: dict[str, dict[int, Values]] = {}
    for name, (index, columns) in SECOND_HOLDINGS.items():
        rows = held[name] = {}
        sql = f"SELECT id, {', '.join(columns)} FROM {name} INDEXED BY {index}"
        with suppress(apsw.CorruptError, apsw.SQLError, UnicodeDecodeError):
            for row_id, *values in connection.execute(sql):
                rows[row_id] = as_columns(name, values)
    return held


def as_columns(name: str, values: list[Any]) -> Values:
    """Columns of a table from the values of its index, where an empty one stands for null."""
    names = [column.split("(")[-1].split(",")[0] for column in SECOND_HOLDINGS[name][1]]
    nullable = {column.name for column in our_tables()[name].columns if column.nullable}
    return {
        column: None if column in nullable and value in ("", b"") else value
        for column, value in zip(names, values, strict=True)
    }


class SmallTables:
    """Rows by table and id, as they should be. Those that make no sense are left out."""

    def __init__(self, connection: apsw.Connection, indexed: Indexed) -> None:
        self._connection = connection
        self._indexed = indexed
        self.repositories: dict[int, Values] = {}
        self.folders: dict[int, Values] = {}
        self.producers: dict[int, Values] = {}
        self.dictionaries: set[int] = set()

    def load(self, how_many: HowMany) -> Iterator[Problem]:
        """Read them all; ``how_many`` decides between a row and what its index says."""
        disputed = []
        tables = {
            "repositories": self.repositories,
            "folders": self.folders,
            "producers": self.producers,
        }
        for name, rows in tables.items():
            for row in rows_of(self._connection, name):
                held = self._indexed.get(name, {}).get(row.rowid, {})
                rows[row.rowid] = row.values
                if any(row.values[column] != value for column, value in held.items()):
                    disputed.append((name, rows, row, held))
                elif row.change:
                    yield mend(name, row.rowid, MISMARKED, row.change)
                elif spared := without(name, row.fault):
                    row.values.update(spared)
                    yield mend(name, row.rowid, row.fault, spared)
                elif row.fault:
                    del rows[row.rowid]
                    yield row_problem(name, row, row.fault)
        yield from self._dictionaries()
        yield from self._paths()
        for name, rows, row, held in disputed:
            yield from self._decide(name, rows, row, held, how_many)
        yield from self._folders()

    def _paths(self) -> Iterator[Problem]:
        """A repository's path, where its directory's name proves that of its meta.json instead."""
        for row_id, values in self.repositories.items():
            path = _path_in(values["meta"])
            if not path or not _is_named_for(path, values):
                path = _with_one_bit_right(values)
            if path and path != values["path"]:
                what = f"its path {values['path']!r} should be {path!r}, by its directory's name"
                values["path"] = path
                yield mend("repositories", row_id, what, {"path": path})

    def _decide(
        self, name: str, rows: dict[int, Values], row: Row, held: Values, how_many: HowMany
    ) -> Iterator[Problem]:
        change = {key: value for key, value in held.items() if row.values[key] != value}
        if name == "repositories":
            better = _is_confirmed(row.values | change) and not _is_confirmed(row.values)
        else:
            better = how_many(name, row.rowid, row.values | change) > (
                0 if row.fault else how_many(name, row.rowid, row.values)
            )
        if name == "folders" and row.values["layout"] not in _LAYOUTS:
            better = True
        if better:
            rows[row.rowid] = row.values | change
            what = ", ".join(
                f"its {key} {row.values[key]!r} should be {value!r}"
                for key, value in change.items()
            )
            yield mend(name, row.rowid, what, change)
        elif row.fault:
            del rows[row.rowid]
            yield row_problem(name, row, row.fault)

    def _folders(self) -> Iterator[Problem]:
        for folder_id, values in list(self.folders.items()):
            what = ""
            if values["repository_id"] not in self.repositories:
                what = f"its repository {values['repository_id']} is missing"
                del self.folders[folder_id]
                yield row_problem("folders", Row(folder_id, values, "", {}), what)
            elif values["layout"] not in _LAYOUTS:
                repository = self.repositories[values["repository_id"]]
                layout = "local" if repository["directory"] is None else "centralized"
                what = f"its layout {values['layout']!r} is none that there is"
                yield mend("folders", folder_id, what, {"layout": layout})

    def _dictionaries(self) -> Iterator[Problem]:
        for row in rows_of(self._connection, "dictionaries"):
            self.dictionaries.add(row.rowid)
            data = row.values["data"]
            if row.change:
                yield mend("dictionaries", row.rowid, MISMARKED, row.change)
            elif row.fault:
                yield row_problem("dictionaries", row, row.fault)
            elif sha256(data).digest() != row.values["sha256"]:
                yield row_problem("dictionaries", row, "its bytes differ from its SHA-256")


def without(name: str, fault: str) -> Values | None:
    """The change that does without a faulty column, if entries can be given back without it."""
    column = fault.removeprefix("its ").split(" ")[0]
    return {column: None} if (name, column) in _DISPENSABLE else None


def _is_confirmed(values: Values) -> bool:
    """Whether a repository's path is the one that its directory is named for, or its meta tells."""
    path = values["path"]
    if not isinstance(path, str):
        return False
    return _is_named_for(path, values) or path == _path_in(values["meta"])


def _is_named_for(path: str, values: Values) -> bool:
    """Whether a repository's directory is called what the Rust program calls it for this path."""
    return bool(sha256(path.encode()).hexdigest()[:8] == values["directory"])


def _with_one_bit_right(values: Values) -> str | None:
    """A repository's path with the one bit turned back that makes its directory's name right.

    None where nothing is wrong, or nothing can be told: it may have been copied from elsewhere, or
    be called after its own place because its meta.json names none.
    """
    path, directory = values["path"], values["directory"]
    if values["meta"] is None or directory is None or not isinstance(path, str):
        return None
    if _is_confirmed(values) or path.endswith(f"/{directory}"):
        return None
    text = path.encode()
    for position in range(len(text)):
        for bit in range(8):
            other = bytes((*text[:position], text[position] ^ 1 << bit, *text[position + 1 :]))
            if sha256(other).hexdigest()[:8] == directory:
                with suppress(UnicodeDecodeError):
                    return other.decode()
    return None


def _path_in(meta: Any) -> str | None:
    """The path that the text of a ``meta.json`` names; None if it can't be told."""
    with suppress(msgspec.DecodeError, TypeError, UnicodeDecodeError, RecursionError):
        found = msgspec.json.decode(meta)
        path = (found.get("path") or found.get("repo_path")) if isinstance(found, dict) else None
        return path if isinstance(path, str) else None
    return None


def row_problem(name: str, row: Row, what: str) -> Problem:
    """A row that can't stay."""
    return Problem(kind=Kind.ROW, remedy=Remedy.SET_ASIDE, what=what, table=name, row_id=row.rowid)


def mend(name: str, row_id: int, what: str, change: Values) -> Problem:
    """A row of which it is known what it should be."""
    return Problem(
        kind=Kind.ROW, remedy=Remedy.MEND, what=what, table=name, row_id=row_id, change=change
    )
