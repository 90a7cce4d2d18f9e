"""Row ids of what entries refer to, remembered for as long as nobody else writes."""

from __future__ import annotations

from typing import Final, NamedTuple

import apsw

from rustassistant.codec import Record
from rustassistant.entry import Producer
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.sqlite.schema import HASH_PREFIX, place_of

_FIND_FILE: Final = f"""
SELECT id FROM files
WHERE substr(hash, 1, {HASH_PREFIX}) = ? AND place = ?
  AND repository_id = ? AND path = ? AND hash = ? AND size IS ?
"""


class FolderIds(NamedTuple):
    """A folder and the repository it belongs to."""

    folder: int
    repository: int


class Identifiers:
    """Finds ids, and makes rows for what is new.

    Rows of ``files`` are made by the caller, many at a time, from ``new_files``. To be forgotten
    as a whole when another connection may have written.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._folders: dict[Folder, FolderIds] = {}
        rows = self._execute(
            "SELECT provider, model, prompt_hash, schema_version, id FROM producers"
        )
        self._producers = {Producer(*parts): row_id for *parts, row_id in rows}
        self._next_file: int = self._execute("SELECT ifnull(max(id), 0) + 1 FROM files").get
        self._made_repositories: set[int] = set()
        self._files: dict[tuple[str, bytes, int | None], int] = {}
        self._files_of: int | None = None
        self._files_complete = False
        self.new_files: list[tuple[int, int, str, bytes, int | None, int]] = []

    def existing(self, folder: Folder) -> FolderIds | None:
        """Ids of a folder and its repository, or None if it is not there."""
        ids = self._folders.get(folder)
        if ids is None:
            row = self._execute(
                "SELECT d.id, r.id FROM repositories r JOIN folders d ON d.repository_id = r.id"
                " WHERE r.path = ? AND ifnull(r.directory, '') = ?"
                " AND d.cache_type = ? AND d.layout = ? AND d.subfolder = ?",
                (
                    folder.repository.path,
                    folder.repository.directory or "",
                    folder.cache_type,
                    folder.layout,
                    folder.subfolder,
                ),
            ).fetchone()
            ids = None if row is None else FolderIds(*row)
        return ids

    def folder(self, folder: Folder) -> FolderIds:
        """The same, made if it is not there."""
        ids = self._folders.get(folder)
        if ids is None:
            repository = self._repository(folder.repository)
            ids = self.existing(folder)
            if ids is None:
                self._execute(
                    "INSERT INTO folders (repository_id, cache_type, layout, subfolder)"
                    " VALUES (?, ?, ?, ?)",
                    (repository, folder.cache_type, folder.layout, folder.subfolder),
                )
                ids = FolderIds(self._connection.last_insert_rowid(), repository)
            self._folders[folder] = ids
        return ids

    def _repository(self, repository: Repository) -> int:
        row = self._execute(
            "SELECT id, meta FROM repositories WHERE path = ? AND ifnull(directory, '') = ?",
            (repository.path, repository.directory or ""),
        ).fetchone()
        if row is None:
            self._execute(
                "INSERT INTO repositories (path, directory, meta) VALUES (?, ?, ?)",
                (repository.path, repository.directory, repository.meta),
            )
            made = self._connection.last_insert_rowid()
            self._made_repositories.add(made)
            return made
        if repository.meta is not None and row[1] != repository.meta:
            self._execute(
                "UPDATE repositories SET meta = ? WHERE id = ?", (repository.meta, row[0])
            )
        return int(row[0])

    def producer(self, record: Record) -> int:
        """Id of what made a record's result."""
        producer = Producer(
            record.provider, record.model, record.prompt_hash, record.schema_version
        )
        found = self._producers.get(producer)
        if found is None:
            self._execute(
                "INSERT INTO producers (provider, model, prompt_hash, schema_version)"
                " VALUES (?, ?, ?, ?)",
                producer,
            )
            found = self._producers[producer] = self._connection.last_insert_rowid()
        return found

    def file(self, repository: int, record: Record) -> tuple[int, bool]:
        """Id of the file content that a record is about, and whether it is new.

        Remembers the files of one repository at a time: entries come repository by repository,
        and what it remembers is all there is if the repository was made in this run.
        """
        if repository != self._files_of:
            self._files_of = repository
            self._files = {}
            self._files_complete = repository in self._made_repositories
            self._made_repositories.discard(repository)
        parts = (record.file_path, record.file_hash, record.file_size)
        found = self._files.get(parts)
        if found is not None:
            return found, False
        place = place_of(repository, record.file_path)
        if not self._files_complete:
            prefix = record.file_hash[:HASH_PREFIX]
            found = self._execute(_FIND_FILE, (prefix, place, repository, *parts)).get
            if found is not None:
                self._files[parts] = found
                return found, False
        made = self._files[parts] = self._next_file
        self._next_file += 1
        self.new_files.append((made, repository, *parts, place))
        return made, True
