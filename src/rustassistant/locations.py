"""How places are named: by a path, or by the kind of store and a path, as in ``v1:PATH``.

A file whose own name begins so is named by ``./v1:PATH``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from rustassistant.errors import UsageError

SCHEMES: Final = ("json", "jsonl", "parquet", "sqlite", "v1")
"""A JSON tree, a file of JSON Lines, a Parquet file, a database, the Rust program's database."""

Place = str | os.PathLike[str]


class Unfit(NamedTuple):
    """Why a command can't use a kind of store, and what to do instead."""

    why: str
    instead: str


NO_UNFIT: Final[Mapping[str, Unfit]] = {}


class Location(NamedTuple):
    """A place as it was named: the scheme, empty if none was, and the path."""

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}" if self.scheme else self.path

    def check_fit(self, unfit: Mapping[str, Unfit]) -> None:
        """Raise UsageError if it is named as a kind of store that a command can't use."""
        if self.scheme in unfit:
            why, instead = unfit[self.scheme]
            shown = os.fsencode(self.path).decode("utf-8", "backslashreplace")
            raise UsageError(f"{shown}: {why}", hint=instead)


def parted(place: Place) -> Location:
    """The scheme and the path of a place, which stays as it was written.

    Raises UsageError for an empty path, which would else be the directory that is the current one.
    """
    text = os.fspath(place)
    scheme, colon, path = text.partition(":")
    if not colon or scheme not in SCHEMES:
        scheme, path = "", text
    if not path:
        raise UsageError("an empty path names no cache", hint="Name a directory or a file.")
    return Location(scheme, path)


def located(place: Place) -> Location:
    """The same, with the path where it is, whatever the working directory may be later on."""
    scheme, path = parted(place)
    return Location(scheme, os.path.abspath(os.path.expanduser(path)))


def listed(text: str) -> list[str]:
    """The places in an environment variable, which ``:`` stands between, as after a scheme."""
    places: list[str] = []
    scheme = ""
    for part in text.split(os.pathsep):
        if not scheme and part in SCHEMES:
            scheme = part
            continue
        places.append(f"{scheme}:{part}" if scheme else part)
        scheme = ""
    if scheme:
        places.append(scheme)
    return places
