"""Entries as rows of a database that may be damaged give them back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import apsw

from rustassistant.entry import Entry
from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.integrity.records import Value
from rustassistant.stores.sqlite.integrity.small_tables import SmallTables
from rustassistant.stores.sqlite.integrity.tables import Row, Values, rows_of
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.schema import HASH_PREFIX

_BY_ID: Final = "WHERE rowid IN (SELECT value FROM json_each(?))"
_TRIED: Final = 16
"""Entries by which one of two versions of what they refer to is chosen."""


class Answers:
    """Joins rows by hand, where a join in SQL would leave out what refers to nothing."""

    def __init__(self, connection: apsw.Connection, small: SmallTables) -> None:
        self._connection = connection
        self._reader = EntryReader(connection)
        self.small = small

    def by_id(self, name: str, ids: Sequence[Value]) -> dict[int, Row]:
        """Rows of a table by id; those that there are."""
        wanted = json.dumps(sorted({one for one in ids if isinstance(one, int)}))
        return {row.rowid: row for row in rows_of(self._connection, name, _BY_ID, (wanted,))}

    def read(
        self,
        values: Values,
        seal: Value,
        file: Row | None,
        folder: Values | None,
        owner: Row | None,
        analyzed_at: Value = None,
    ) -> Entry | str:
        """The entry that a row stands for, read as every reader does; or what is wrong."""
        producer = self.small.producers.get(values["producer_id"])
        repository = folder and self.small.repositories.get(folder["repository_id"])
        if file is None or folder is None or producer is None or repository is None:
            parts = {"file": file, "folder": folder, "producer": producer}
            missing = (name for name, part in parts.items() if part is None)
            return f"its {next(missing, 'repository')} is missing"
        if file.fault:
            return f"of its file: {file.fault}"
        holder = values
        if values["result"] is None:
            if owner is None or owner.values["result"] is None:
                return f"the entry {values['result_of']} that has its result is missing"
            holder = owner.values
        columns = (
            0, repository["path"], folder["cache_type"], file.values["path"], file.values["hash"],
            values["analyzed_at"] if analyzed_at is None else analyzed_at,
            producer["provider"], producer["model"], producer["prompt_hash"],
            producer["schema_version"], values["tokens_used"], file.values["size"],
            holder["result"], values["result_digest"], holder["dictionary_id"],
            values["original"], values["dictionary_id"], seal,
        )  # fmt: skip
        try:
            answer = self._reader.entry(columns)
        except UnicodeDecodeError:
            return "its dictionary is damaged"
        if isinstance(answer, DamagedError):
            return answer.message.removeprefix(
                f"entry 0 ({columns[2]} of {columns[3]} in {columns[1]}): "
            )
        return answer

    def elsewhere(self, row: Row, file: Row | None, folder: Values | None) -> int | None:
        """Another entry whose frame has the result of one that can't be read otherwise."""
        digest = row.values["result_digest"]
        if not isinstance(digest, bytes):
            return None
        more = f"WHERE substr(result_digest, 1, {HASH_PREFIX}) = ? AND result IS NOT NULL"
        for other in rows_of(self._connection, "entries", more, (digest[:HASH_PREFIX],)):
            if other.rowid == row.rowid or other.values["result_digest"] != digest:
                continue
            values = row.values | {"result": None}
            if isinstance(self.read(values, values["seal"], file, folder, other), Entry):
                return other.rowid
        return None

    def how_many(self, name: str, row_id: int, values: Values) -> int:
        """Of some entries that refer to a row, those that could be given back if it were so."""
        held = getattr(self.small, name)
        before, held[row_id] = held[row_id], values
        column = name.removesuffix("s") + "_id"
        condition = f"NOT INDEXED WHERE {column} = {row_id} LIMIT {_TRIED}"
        rows = list(rows_of(self._connection, "entries", condition))
        files = self.by_id("files", [row.values["file_id"] for row in rows])
        owners = self.by_id("entries", [row.values["result_of"] for row in rows])
        good = 0
        for row in rows:
            file = files.get(row.values["file_id"])
            folder = self.small.folders.get(row.values["folder_id"])
            owner = owners.get(row.values["result_of"])
            answer = self.read(row.values, row.values["seal"], file, folder, owner)
            same = file and folder and file.values["repository_id"] == folder["repository_id"]
            good += isinstance(answer, Entry) + bool(same)
        held[row_id] = before
        return good

    def about(
        self, table: str, row_id: int, values: Values, file: Row | None, folder: Values | None
    ) -> dict[str, Any]:
        """As much as can be told of whose an entry is."""
        known: Values = {} if file is None else file.values
        producer = self.small.producers.get(values.get("producer_id", 0), {})
        repository_id = (folder or known).get("repository_id", 0)
        repository = self.small.repositories.get(repository_id, {})
        return {
            "table": table,
            "row_id": row_id,
            "repository": _text(repository.get("path")),
            "cache_type": _text((folder or {}).get("cache_type")),
            "file_path": _text(known.get("path")),
            "file_hash": known.get("hash") if isinstance(known.get("hash"), bytes) else None,
            "provider": _text(producer.get("provider")),
            "model": _text(producer.get("model")),
            "tokens_used": _tokens(values.get("tokens_used")),
        }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _tokens(value: Any) -> int | None:
    """A count that can be right."""
    return value if isinstance(value, int) and 0 <= value <= 10**12 else None
