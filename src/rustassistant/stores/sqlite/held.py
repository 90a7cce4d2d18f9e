"""What a database holds of one entry, with every place where it lay, for comparing all of them.

Of most entries one query, for many at once, finds all that there is. The others are looked up one
after the other, each query over one table. What many rows refer to is remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry
from rustassistant.errors import DamagedError
from rustassistant.stores.base import Folder, Held, Repository
from rustassistant.stores.sqlite.rows import FILES_FIRST, EntryReader, checked
from rustassistant.stores.sqlite.schema import HASH_PREFIX, place_of

_FILES: Final = (
    f"SELECT id, size FROM files WHERE substr(hash, 1, {HASH_PREFIX}) = ? AND place = ?"
    " AND hash = ? AND repository_id = ? AND path = ?"
)
_ROWS_OF_FILE: Final = (
    f"SELECT e.id, e.folder_id, e.producer_id FROM {FILES_FIRST} WHERE f.id = ? ORDER BY e.id"
)
_AT_ONCE: Final = 32
_ROWS_HERE: Final = f"""
WITH wanted (prefix, place, hash, path) AS (VALUES {",".join(["(?,?,?,?)"] * _AT_ONCE)})
SELECT f.path, f.hash, e.analyzed_at, e.producer_id, e.tokens_used, f.size,
       ifnull(e.result, o.result), e.result_digest,
       iif(e.result IS NULL, o.dictionary_id, e.dictionary_id),
       e.original, e.dictionary_id, e.seal, e.id, e.source_name,
       (SELECT reason FROM trash WHERE entry_id = e.id)
FROM wanted
CROSS JOIN files f ON substr(f.hash, 1, {HASH_PREFIX}) = prefix AND f.place = wanted.place
     AND f.hash = wanted.hash AND f.repository_id = ? AND f.path = wanted.path
CROSS JOIN entries e ON e.folder_id = ? AND e.file_id = f.id
LEFT JOIN entries o ON o.id = e.result_of
"""
_ROW: Final = """
SELECT analyzed_at, tokens_used, result, result_of, result_digest, dictionary_id, original,
       source_name, seal, (SELECT reason FROM trash WHERE entry_id = id)
FROM entries WHERE id = ?
"""
_COPIES: Final = "SELECT folder_id, analyzed_at, source_name, seal{more} FROM copies WHERE "
_FURTHER_PLACES: Final = _COPIES.format(more="") + "entry_id = ? AND file_id IS NULL"
_SHARING: Final = _COPIES.format(more=", entry_id") + "file_id = ?"
_PRODUCER_OF_ROW: Final = "SELECT producer_id FROM entries WHERE id = ?"
_RESULT: Final = "SELECT result, dictionary_id FROM entries WHERE id = ?"
_FOLDER: Final = "SELECT repository_id, cache_type, layout, subfolder FROM folders WHERE id = ?"
_PRODUCER: Final = "SELECT provider, model, prompt_hash, schema_version FROM producers WHERE id = ?"
_FOLDER_ID: Final = (
    "SELECT id FROM folders"
    " WHERE repository_id = ? AND cache_type = ? AND layout = ? AND subfolder = ?"
)
_REPOSITORY: Final = (
    "SELECT id, path, directory, meta FROM repositories"
    " WHERE path = ? AND ifnull(directory, '') = ?"
)


class _Row(NamedTuple):
    """What `_ROW` selects: unchecked, as all that comes from a file that may be damaged."""

    analyzed_at: Any
    tokens_used: Any
    result: Any
    result_of: Any
    result_digest: Any
    dictionary_id: Any
    original: Any
    name: Any
    seal: Any
    removed: Any


class _Place(NamedTuple):
    """A row of ``entries`` at one of its places: ``own`` is what a row of ``copies`` says instead
    of it (``analyzed_at``, ``source_name``, ``seal``), None for the place of its own."""

    file_id: Any
    file_size: Any
    row_id: Any
    folder_id: Any
    producer_id: Any
    own: Sequence[Any] | None = None


class HeldReader:
    """Finds entries over one connection, within one read transaction at a time."""

    def __init__(self, reader: EntryReader) -> None:
        self._reader = reader
        self._execute = reader.connection.execute
        self.forget()

    def forget(self) -> None:
        """Another moment begins, and ids may stand for something else."""
        self._folders: dict[Any, Any] = {}
        self._producers: dict[Any, Any] = {}
        self._repository: tuple[Repository, tuple[Any, ...] | None] | None = None

    def repository(self, repository: Repository) -> Repository | None:
        """What is held under that path and directory, with its own ``meta``."""
        row = self._repository_row(repository)
        return None if row is None else checked(row[1:], _RepositoryRow).made()

    def held_here(self, folder: Folder, entries: Sequence[Entry]) -> list[list[Held]]:
        """For each entry, what is held of the same file in that very folder, if all of it is sound;
        whatever else there is, `held` tells.

        Many are asked for at once: three queries for each would take longer than all else.
        """
        repository = self._repository_row(folder.repository)
        if repository is None:
            return [[] for _ in entries]
        where = (repository[0], folder.cache_type, folder.layout, folder.subfolder)
        folder_id = self._reader.value(_FOLDER_ID, where)
        if self._known_folder(folder_id) != where:  # an index alone says so
            return [[] for _ in entries]
        found: dict[tuple[Any, Any], list[Held]] = {}
        unclear: set[tuple[Any, Any]] = set()
        files = [(entry.file_path, entry.file_hash) for entry in entries]
        wanted = [*dict.fromkeys(files)]
        for start in range(0, len(wanted), _AT_ONCE):
            values = list[Any]()
            for path, content in wanted[start : start + _AT_ONCE]:
                values += (content[:HASH_PREFIX], place_of(repository[0], path), content, path)
            values += [None] * (4 * _AT_ONCE - len(values))
            rows: list[Any] = self._execute(
                _ROWS_HERE, (*values, repository[0], folder_id)
            ).fetchall()
            for row in rows:
                held, file = self._here(row, folder), row[:2]
                if held is None:
                    unclear.add(file)
                else:
                    found.setdefault(file, []).append(held)
        return [[] if file in unclear else found.get(file, []) for file in files]

    def _here(self, row: tuple[Any, ...], folder: Folder) -> Held | None:
        """What a row of `_ROWS_HERE` says, None if it is not sound."""
        path, content, analyzed_at, producer_id, *columns, row_id, name, removed = row
        producer = self._known_producer(producer_id)
        if producer is None:
            return None
        read = self._reader.entry(
            (row_id, folder.repository.path, folder.cache_type, path, content, analyzed_at,
             *producer, *columns)
        )  # fmt: skip
        if isinstance(read, DamagedError):
            return None
        return Held(read, folder.layout, folder.subfolder, name, removed)

    def held(self, folder: Folder, entry: Entry) -> Iterator[Held | DamagedError]:
        """Every entry of that one's identity at each of its places, or why it can't be read.

        Lazily, and further places last: who finds what they look for need not go on.
        """
        repository = self._repository_row(folder.repository)
        if repository is None:
            return
        content, path = entry.file_hash, entry.file_path
        where = place_of(repository[0], path)
        files: list[Any] = self._execute(
            _FILES, (content[:HASH_PREFIX], where, content, repository[0], path)
        ).fetchall()
        wanted = (repository[0], folder.cache_type)
        for place in self._places(files, entry):
            known = self._known_folder(place.folder_id)
            if known is not None and known[:2] == wanted:
                yield self._held(place, folder, entry)

    def _places(self, files: Sequence[Any], entry: Entry) -> Iterator[_Place]:
        """Rows of these files that such a request made: own places, copies of these, then rows
        that they share with entries elsewhere."""
        kin = []
        for file in files:
            for row_id, folder_id, producer_id in self._execute(_ROWS_OF_FILE, file[:1]).fetchall():
                if self._is_of_kind(producer_id, entry):
                    kin.append(_Place(file[0], file[1], row_id, folder_id, producer_id))
                    yield kin[-1]
        for place in kin:
            for folder_id, *own in self._execute(_FURTHER_PLACES, (place.row_id,)).fetchall():
                yield place._replace(folder_id=folder_id, own=own)
        for file in files:
            for folder_id, *own, row_id in self._execute(_SHARING, file[:1]).fetchall():
                producer_id = self._reader.value(_PRODUCER_OF_ROW, (row_id,))
                if self._is_of_kind(producer_id, entry):
                    yield _Place(file[0], file[1], row_id, folder_id, producer_id, own)

    def _held(self, place: _Place, folder: Folder, entry: Entry) -> Held | DamagedError:
        columns = self._execute(_ROW, (place.row_id,)).fetchone()
        if columns is None:
            return DamagedError(f"entry {place.row_id} is in an index only")
        row = _Row(*columns)
        if place.own is not None:
            analyzed_at, name, seal = place.own
            row = row._replace(name=name, seal=seal)
            if analyzed_at is not None:
                row = row._replace(analyzed_at=analyzed_at)
        result, dictionary_id = row.result, row.dictionary_id
        if result is None:
            owner = self._execute(_RESULT, (row.result_of,)).fetchone()
            result, dictionary_id = owner or (None, None)
        read = self._reader.entry(
            (place.row_id, folder.repository.path, folder.cache_type, entry.file_path,
             entry.file_hash, row.analyzed_at, *self._known_producer(place.producer_id),
             row.tokens_used, place.file_size, result, row.result_digest, dictionary_id,
             row.original, row.dictionary_id, row.seal)
        )  # fmt: skip
        if isinstance(read, DamagedError):
            return read
        _, _, layout, subfolder = self._known_folder(place.folder_id)
        return Held(read, layout, subfolder, row.name, row.removed)

    def _is_of_kind(self, producer_id: Any, entry: Entry) -> bool:
        """Whether a producer's part of the identity is this entry's."""
        producer = self._known_producer(producer_id)
        if producer is None:
            return False
        _, model, prompt_hash, version = producer
        own_version = entry.schema_version
        return (
            model == entry.model
            and (prompt_hash or "") == (entry.prompt_hash or "")
            and (DEFAULT_SCHEMA_VERSION if version is None else version)
            == (DEFAULT_SCHEMA_VERSION if own_version is None else own_version)
        )

    def _known_folder(self, folder_id: Any) -> Any:
        if folder_id not in self._folders:
            self._folders[folder_id] = self._execute(_FOLDER, (folder_id,)).fetchone()
        return self._folders[folder_id]

    def _known_producer(self, producer_id: Any) -> Any:
        if producer_id not in self._producers:
            self._producers[producer_id] = self._execute(_PRODUCER, (producer_id,)).fetchone()
        return self._producers[producer_id]

    def _repository_row(self, repository: Repository) -> tuple[Any, ...] | None:
        if self._repository is None or self._repository[0] != repository:
            row = self._execute(_REPOSITORY, (repository.path, repository.directory or ""))
            self._repository = (repository, row.fetchone())
        return self._repository[1]


class _RepositoryRow(NamedTuple):
    path: str
    directory: str | None
    meta: bytes | None

    def made(self) -> Repository:
        return Repository(*self)
