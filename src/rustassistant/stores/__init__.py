"""Places that hold entries. A store is named by its path; what it is shows in what is there."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final, cast

from rustassistant.errors import UsageError
from rustassistant.stores.base import Destination, Source
from rustassistant.stores.live import LiveStore

_SOURCES: Final = {
    "json": "rustassistant.stores.json_tree:JsonTree",
    "jsonl": "rustassistant.stores.interchange.jsonl:JsonLines",
    "sqlite": "rustassistant.stores.sqlite:SqliteStore",
    "v1": "rustassistant.stores.v1:V1Store",
}
_DESTINATIONS: Final = {
    "json": "rustassistant.stores.json_tree:JsonTreeDestination",
    "jsonl": "rustassistant.stores.interchange.jsonl:JsonLines",
    "parquet": "rustassistant.stores.interchange.parquet:ParquetFile",
    "sqlite": "rustassistant.stores.sqlite:SqliteStore",
    "v1": "rustassistant.stores.v1:V1Store",
}
_LIVE: Final = {"sqlite": "rustassistant.stores.sqlite.serving.live:SqliteLive"}


def open_source(location: str) -> Source:
    """The store to read from: a scheme and a path, as in ``v1:PATH``, or a path alone: a file is a
    database, a directory a tree. Imports only what it needs."""
    return cast("Source", _open(_SOURCES, location, _kind_of(location)))


def open_destination(location: str) -> Destination:
    """The store to write to: ``sqlite:PATH``, or a path alone."""
    return cast("Destination", _open(_DESTINATIONS, location, "sqlite"))


def open_live(location: str, *, patience: float, memory: int) -> LiveStore:
    """The store that serves programs: ``sqlite:PATH``, or a path alone.

    ``patience`` in seconds, ``memory`` in bytes; see the store.
    """
    opened = _open(_LIVE, location, "sqlite", patience=patience, memory=memory)
    return cast("LiveStore", opened)


def _kind_of(path: str) -> str:
    if not os.path.isfile(path):
        return "json"
    from rustassistant.stores.sqlite.connection import kind_of_database

    return kind_of_database(path)


def _open(table: dict[str, str], location: str, default: str, **options: Any) -> object:
    scheme, colon, path = location.partition(":")
    if not colon or scheme not in table:
        scheme, path = default, location
    if not path:
        raise UsageError("an empty path names no store", hint="Name a file or a directory.")
    module, _, name = table[scheme].partition(":")
    return getattr(import_module(module), name)(path, **options)
