"""Places that hold entries. A store is named by its path; what it is shows in what is there."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from rustassistant.errors import UsageError
from rustassistant.stores.base import Destination, Source

_SOURCES: Final = {"json": "rustassistant.stores.json_tree:JsonTree"}
_DESTINATIONS: Final = {"sqlite": "rustassistant.stores.sqlite:SqliteStore"}


def open_source(location: str) -> Source:
    """The store to read from: ``json:PATH``, or a path alone. Imports only what it needs."""
    return cast("Source", _open(_SOURCES, location, "json"))


def open_destination(location: str) -> Destination:
    """The store to write to: ``sqlite:PATH``, or a path alone."""
    return cast("Destination", _open(_DESTINATIONS, location, "sqlite"))


def _open(table: dict[str, str], location: str, default: str) -> object:
    scheme, colon, path = location.partition(":")
    if not colon or scheme not in table:
        scheme, path = default, location
    if not path:
        raise UsageError("an empty path names no store", hint="Name a file or a directory.")
    module, _, name = table[scheme].partition(":")
    return getattr(import_module(module), name)(path)
