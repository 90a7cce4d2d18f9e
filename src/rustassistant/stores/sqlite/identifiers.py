"""Row ids of what entries refer to, remembered for as long as nobody else writes."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import apsw

from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Producer
from rustassistant.records import Record
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.sqlite.inserting import Inserts
from rustassistant.stores.sqlite.schema import HASH_PREFIX, place_of

_FIND_FILES: Final = f"""
SELECT size, id FROM files
WHERE substr(hash, 1, {HASH_PREFIX}) = ? AND place = ?
  AND repository_id = ? AND path = ? AND hash = ? ORDER BY id
"""


_FILE_COLUMNS: Final = ("id", "repository_id", "path", "hash", "size", "place")

_FileRows = list[tuple[int | None, int]]
"""Size and id of rows of ``files``."""

_Parts = tuple[str, str, str | None, int | None]
"""As in `Producer`, without the cost of making one."""


class FolderIds(NamedTuple):
    """A folder and the repository it belongs to."""

    folder: int
    repository: int


class Identifiers:
    """Finds ids, and makes rows for what is new.

    Rows of ``files`` are written by the caller, many at a time: ``new_files``. To be forgotten
    as a whole when another connection may have written.
    """

    def __init__(self, connection: apsw.Connection, *, keeps_meta: bool = False) -> None:
        self._connection = connection
        self._keeps_meta = keeps_meta
        self._execute = connection.execute
        self._folders: dict[Folder, FolderIds] = {}
        self.producers: dict[_Parts, int] = {}
        self._keys: dict[tuple[str, str, int], int] = {}
        self.key_of: dict[int, int] = {}
        rows = self._execute(
            "SELECT provider, model, prompt_hash, schema_version, id FROM producers"
        )
        for *parts, row_id in rows:
            self._remember(Producer(*parts), row_id)
        self.next_file: int = self._execute("SELECT ifnull(max(id), 0) + 1 FROM files").get
        self._made_repositories: set[int] = set()
        self.files: dict[tuple[str, bytes], _FileRows] = {}
        self._files_of: int | None = None
        self.all_known = False
        self.seen: set[tuple[int, str, int]] = set()
        self.new_files = Inserts(connection, "files", _FILE_COLUMNS)

    def _remember(self, parts: _Parts, row_id: int) -> None:
        """Note a producer, and which others make the same keys: those of another provider."""
        _, model, prompt_hash, version = parts
        key = (model, prompt_hash or "", DEFAULT_SCHEMA_VERSION if version is None else version)
        self.producers[parts] = row_id
        self.key_of[row_id] = self._keys.setdefault(key, len(self._keys))

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
        is_new_meta = repository.meta is not None and row[1] != repository.meta
        if is_new_meta and (row[1] is None or not self._keeps_meta):
            self._execute(
                "UPDATE repositories SET meta = ? WHERE id = ?", (repository.meta, row[0])
            )
        return int(row[0])

    def producer(self, record: Record) -> int:
        """Id of what made a record's result."""
        parts = (record.provider, record.model, record.prompt_hash, record.schema_version)
        found = self.producers.get(parts)
        if found is None:
            self._execute(
                "INSERT INTO producers (provider, model, prompt_hash, schema_version)"
                " VALUES (?, ?, ?, ?)",
                parts,
            )
            found = self._connection.last_insert_rowid()
            self._remember(parts, found)
        return found

    def turn_to(self, repository: int) -> None:
        """Remember the files of one repository, and forget those of another.

        Entries come repository by repository, and what is remembered is all there is if the
        repository was made in this run.
        """
        if repository != self._files_of:
            self._files_of = repository
            self.files = {}
            self.seen = set()
            self.all_known = repository in self._made_repositories
            self._made_repositories.discard(repository)

    def file(self, repository: int, record: Record) -> tuple[int, _FileRows | None]:
        """Id of the file content that a record is about, whose row is made if need be; and the rows
        of that path and content, this one included, or None if there were none.

        The repository is the one that was turned to last.
        """
        path, content, size = record.file_path, record.file_hash, record.file_size
        rows = self.files.get((path, content))
        if rows is None:
            rows = self.files[path, content] = []
            if not self.all_known:
                wanted = (
                    content[:HASH_PREFIX],
                    place_of(repository, path),
                    repository,
                    path,
                    content,
                )
                found: Any = self._execute(_FIND_FILES, wanted).fetchall()
                rows += found
        for known_size, row_id in rows:
            if known_size == size:
                return row_id, rows
        made = self.next_file
        self.next_file = made + 1
        others = rows if rows else None
        rows.append((size, made))
        place = place_of(repository, path)
        self.new_files.values += (made, repository, path, content, size, place)
        return made, others

    def is_first(
        self, file_id: int, others: _FileRows | None, cache_type: str, producer_id: int
    ) -> bool:
        """Whether no entry with this identity can be there yet, which is remembered."""
        if not self.all_known:
            return others is None
        first = file_id if others is None else others[0][1]
        identity = (first, cache_type, self.key_of[producer_id])
        if identity in self.seen:
            return False
        self.seen.add(identity)
        return True
