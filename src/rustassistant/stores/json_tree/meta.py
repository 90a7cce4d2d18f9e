"""Which repository a ``<hash8>`` directory belongs to, by its ``meta.json``."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Final

import msgspec

from rustassistant.errors import EntryError
from rustassistant.stores.base import Repository, printable
from rustassistant.stores.json_tree.reading import read_file
from rustassistant.stores.outcomes import Problem

META_NAME: Final = "meta.json"


class _Meta(msgspec.Struct):
    path: str | None = None
    repo_path: str | None = None


def path_in(text: bytes) -> str | None:
    """The path that the text of a ``meta.json`` names; None if it can't be told."""
    try:
        meta = msgspec.json.decode(text, type=_Meta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return meta.path or meta.repo_path or None


def read_exported(dot_directory: str) -> tuple[Repository, list[Problem]]:
    """The repository of a ``.rustassistant`` in an export of several; where it lies if its
    ``meta.json`` can't tell, and why."""
    place = os.path.join(dot_directory, META_NAME)
    own_path = printable(os.path.dirname(dot_directory))
    try:
        text = read_file(place).text
        path, reason = path_in(text), "names no path"
    except EntryError as error:
        path, reason = None, error.message
    if path is None:
        problem = Problem(printable(place), f"{reason}: its entries are kept under {own_path!r}")
        return Repository(own_path), [problem]
    return Repository(path, None, text), []


def read_repository(directory: str) -> tuple[Repository, list[Problem]]:
    """The repository of a cache directory; its own path where ``meta.json`` can't tell, and why.

    A file that names another directory's hash is believed as to the path, since nothing else knows
    it, but said to be odd: somebody copied or moved the directory.
    """
    place = os.path.join(directory, META_NAME)
    own_path = printable(directory)
    name = printable(os.path.basename(directory))
    try:
        text = read_file(place).text
    except EntryError as error:
        reason = error.message if os.path.lexists(place) else "is missing"
        problem = Problem(printable(place), f"{reason}: its entries are kept under {own_path!r}")
        return Repository(own_path, name), [problem]
    try:
        meta = msgspec.json.decode(text, type=_Meta)
        path = meta.path or meta.repo_path
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = Problem(
            printable(place), f"cannot be read ({error}): its entries are kept under {own_path!r}"
        )
        return Repository(own_path, name, text), [problem]
    if not path:
        problem = Problem(
            printable(place), f"names no path: its entries are kept under {own_path!r}"
        )
        return Repository(own_path, name, text), [problem]
    problems = []
    expected = sha256(path.encode()).hexdigest()[:8]
    if expected != name:
        text_of_problem = (
            f"names {path!r}, whose directory would be {expected}, not {name}: kept apart from it"
        )
        problems.append(Problem(printable(place), text_of_problem))
    return Repository(path, name, text), problems
