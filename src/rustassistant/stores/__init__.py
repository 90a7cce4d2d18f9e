"""Places that hold entries, named as `rustassistant.locations` says. Without a scheme, what a store
is shows in what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, cast

from rustassistant.locations import NO_UNFIT, Place, Unfit, parted
from rustassistant.stores.base import Destination, Source
from rustassistant.stores.live import LiveStore

_SOURCES: Final = {
    "json": "rustassistant.stores.json_tree:JsonTree",
    "jsonl": "rustassistant.stores.interchange.jsonl:JsonLines",
    "sqlite": "rustassistant.stores.sqlite.serving.waiting:SqliteWithWaiting",
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

_LINES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst")

NO_SOURCES: Final = {
    "parquet": Unfit("a Parquet file can't be read back", "Name what it was exported from."),
}
_SERVE_NO_PROGRAMS: Final = {
    scheme: Unfit("programs are served from a database", "Move it into one: `cache migrate`.")
    for scheme in _DESTINATIONS
    if scheme not in _LIVE
}


def open_source(location: Place) -> Source:
    """The store to read from. Of a path alone, a directory is a tree, and a file a database or, by
    its name, JSON Lines.

    Imports only what it needs. Raises UsageError for what can't be read.
    """
    return cast("Source", _open(_SOURCES, location, unfit=NO_SOURCES))


def open_destination(location: Place) -> Destination:
    """The store to write to; a path alone is a database."""
    return cast("Destination", _open(_DESTINATIONS, location, "sqlite"))


def open_live(location: Place, *, patience: float, memory: int) -> LiveStore:
    """The store that serves programs: ``sqlite:PATH``, or a path alone.

    ``patience`` in seconds, ``memory`` in bytes; see the store.
    """
    opened = _open(
        _LIVE, location, "sqlite", unfit=_SERVE_NO_PROGRAMS, patience=patience, memory=memory
    )
    return cast("LiveStore", opened)


def _kind_of(path: str) -> str:
    if not os.path.isfile(path):
        return "json"
    from rustassistant.stores.sqlite.connection import kind_of_database

    kind = kind_of_database(path)
    return "jsonl" if kind == "json" and path.endswith(_LINES) else kind


def _open(
    table: Mapping[str, str],
    location: Place,
    default: str = "",
    *,
    unfit: Mapping[str, Unfit] = NO_UNFIT,
    **options: Any,
) -> object:
    place = parted(location)
    place.check_fit(unfit)
    scheme = place.scheme or default or _kind_of(place.path)
    module, _, name = table[scheme].partition(":")
    return getattr(import_module(module), name)(place.path, **options)
