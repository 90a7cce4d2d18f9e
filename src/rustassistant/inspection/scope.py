"""From the filters that people give to the rows that they mean."""

from __future__ import annotations

from typing import NamedTuple

import apsw

from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.sqlite.rows import checked
from rustassistant.stores.sqlite.views.summary import Scope
from rustassistant.transfer.selection import Selection

_FOLDERS = """
SELECT d.id, r.path, r.directory, d.cache_type, d.layout, d.subfolder
FROM folders d JOIN repositories r ON r.id = d.repository_id
"""
_PRODUCERS = "SELECT id, provider, model FROM producers"


class _FolderRow(NamedTuple):
    id: int
    path: str
    directory: str | None
    cache_type: str
    layout: str
    subfolder: str


class _ProducerRow(NamedTuple):
    id: int
    provider: str
    model: str


def scope_of(connection: apsw.Connection, selection: Selection) -> Scope:
    """What of a database is meant: globs and names are looked up in its small tables."""
    by_path = selection.include or selection.exclude
    return Scope(
        folder_ids=_folder_ids(connection, selection),
        producer_ids=_producer_ids(connection, selection),
        since=selection.since,
        until=selection.until,
        min_tokens=selection.min_tokens,
        admits_path=selection.admits_path if by_path else None,
    )


def repositories_of(connection: apsw.Connection, selection: Selection) -> frozenset[str]:
    """Paths of the repositories that are meant."""
    return frozenset(
        folder.repository.path
        for _, folder in _folders(connection)
        if selection.admits_repository(folder.repository)
    )


def _folder_ids(connection: apsw.Connection, selection: Selection) -> list[int] | None:
    if not selection.types and not selection.repositories:
        return None
    return [
        folder_id for folder_id, folder in _folders(connection) if selection.admits_folder(folder)
    ]


def _folders(connection: apsw.Connection) -> list[tuple[int, Folder]]:
    found = []
    for row in connection.execute(_FOLDERS):
        one = checked(row, _FolderRow)
        repository = Repository(one.path, one.directory)
        found.append((one.id, Folder(repository, one.cache_type, one.layout, one.subfolder)))
    return found


def _producer_ids(connection: apsw.Connection, selection: Selection) -> list[int] | None:
    if not selection.providers and not selection.models:
        return None
    rows = (checked(row, _ProducerRow) for row in connection.execute(_PRODUCERS))
    return [one.id for one in rows if selection.admits_producer(one.provider, one.model)]
