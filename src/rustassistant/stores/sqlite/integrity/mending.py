"""Doing what each problem's remedy says, within one transaction: sound rows stay, others go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

import apsw

from rustassistant.codec import Encoder
from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.integrity.problems import Kind, Problem, Remedy
from rustassistant.stores.sqlite.integrity.quarantine import LOST, MENDED, keep
from rustassistant.stores.sqlite.integrity.structure import same_definition
from rustassistant.stores.sqlite.integrity.tables import (
    Row,
    objects_of,
    our_objects,
    our_tables,
    rows_of,
)
from rustassistant.stores.sqlite.rows import USES_OF_FILE, EntryReader, entry_sql
from rustassistant.stores.sqlite.totals import Group, Sums
from rustassistant.stores.sqlite.trash import inherit

_PROMOTE: Final = """
INSERT INTO entries (file_id, folder_id, producer_id, analyzed_at, tokens_used, result_of,
                     result_digest, dictionary_id, original, source_name, source_stamp, seal)
SELECT ifnull(c.file_id, e.file_id), c.folder_id, e.producer_id,
       ifnull(c.analyzed_at, e.analyzed_at), e.tokens_used, ifnull(e.result_of, e.id),
       e.result_digest, e.dictionary_id, e.original, c.source_name, c.source_stamp, c.seal
FROM copies c JOIN entries e ON e.id = c.entry_id WHERE c.id = ?
"""
_ORDER: Final = ("copies", "entries", "dictionaries")
"""Places before their entries, entries before what they refer to; then all else, files last."""


class Mender:
    """Carries out remedies over one connection, in a transaction that is open already."""

    def __init__(self, connection: apsw.Connection, problems: Iterable[Problem]) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._reader = EntryReader(connection)
        self._problems = list(problems)
        self._damaged = {
            name: {
                problem.row_id
                for problem in self._problems
                if problem.table == name and problem.remedy is Remedy.SET_ASIDE
            }
            for name in ("entries", "copies")
        }
        self._unread_with: Counter[Any] = Counter()

    def carry_out(self, sums: Mapping[Group, Sums]) -> None:
        """Remedy all that can be in one go; what hangs on something else waits for the next.

        ``sums`` are what the totals should be. Raises apsw.Error where the file does not let us.
        """
        self._drop_triggers()
        self._recreate("index", "view")
        self._reindex()
        mended = self._mend("dictionaries")
        if not mended:  # what can be read is known only when the dictionaries are right
            self._mend()
            self._set_all_aside()
            if any(problem.remedy is Remedy.RECOUNT for problem in self._problems):
                self._recount(sums)
        self._recreate("trigger")

    # The schema.

    def _drop_triggers(self) -> None:
        """All of them: some forbid what has to be done, and none is to act on it."""
        found = [one for one in objects_of(self._connection).values() if one.kind == "trigger"]
        for one in found:
            self._execute(f"DROP TRIGGER {_quoted(one.name)}")
        for one in found:  # not before: it might act on what is kept
            ours = our_objects().get((one.kind, one.name))
            if ours is None or not same_definition(ours.sql, one.sql):
                self._keep_definition(one)

    def _recreate(self, *kinds: str) -> None:
        """Make what is missing, and put aside what is none of ours or not as it was made."""
        wrong = {problem.table for problem in self._problems if problem.remedy is Remedy.RECREATE}
        found = objects_of(self._connection)
        for (kind, name), one in found.items():
            if kind in kinds and name in wrong:
                self._keep_definition(one)
                self._execute(f"DROP {kind.upper()} {_quoted(name)}")
        left = objects_of(self._connection)
        for key, ours in our_objects().items():
            if key[0] in kinds and key not in left and ours.sql is not None:
                self._execute(ours.sql)

    def _keep_definition(self, one: Any) -> None:
        problem = Problem(
            kind=Kind.SCHEMA,
            remedy=Remedy.RECREATE,
            what=f"the {one.kind} {one.name} is none of ours, or not as it was made",
        )
        keep(self._connection, problem, one._asdict(), outcome=LOST, table="sqlite_schema")

    def _reindex(self) -> None:
        there = {name for kind, name in objects_of(self._connection) if kind == "index"}
        for problem in self._problems:
            if problem.remedy is Remedy.REINDEX and problem.table in there:
                self._execute(f"REINDEX {_quoted(problem.table)}")

    # Rows.

    def _row(self, problem: Problem) -> Row | None:
        rows = rows_of(self._connection, problem.table, "WHERE rowid = ?", (problem.row_id,))
        return next(rows, None)

    def _mend(self, only: str = "") -> int:
        count = 0
        for problem in self._problems:
            wanted = problem.remedy is Remedy.MEND and problem.change
            if not wanted or (only and problem.table != only):
                continue
            row = self._row(problem)
            if row is None:
                continue
            keep(self._connection, problem, row.values, outcome=MENDED)
            columns = ", ".join(f"{name} = ?" for name in problem.change)
            self._execute(
                f"UPDATE {problem.table} SET {columns} WHERE rowid = ?",
                (*problem.change.values(), problem.row_id),
            )
            count += 1
        return count

    def _set_all_aside(self) -> None:
        for name in _ORDER:
            self._of_table(name, getattr(self, f"_set_{name}_aside", self._set_row_aside))
        for name in our_tables().keys() - {*_ORDER, "files"}:
            self._of_table(name, self._set_row_aside)
        self._of_table("files", self._set_file_aside)

    def _of_table(self, name: str, action: Callable[[Problem, Row], None]) -> None:
        for problem in self._problems:
            if problem.table == name and problem.remedy is Remedy.SET_ASIDE:
                row = self._row(problem)
                if row is not None:
                    action(problem, row)

    def _set_row_aside(self, problem: Problem, row: Row) -> None:
        keep(self._connection, problem, row.values, outcome=LOST)
        self._execute(f"DELETE FROM {problem.table} WHERE rowid = ?", (row.rowid,))

    def _set_copies_aside(self, problem: Problem, row: Row) -> None:
        """A further place; with the digest that its entry has, by which it may be known again."""
        digest: Any = self._execute(
            "SELECT result_digest FROM entries WHERE id = ?", (row.values["entry_id"],)
        ).get
        keep(self._connection, problem, row.values | {"result_digest": digest}, outcome=LOST)
        self._execute("DELETE FROM copies WHERE id = ?", (row.rowid,))

    def _set_file_aside(self, problem: Problem, row: Row) -> None:
        """A file's row, unless something needs it: then its turn comes when that is gone."""
        used = self._execute(USES_OF_FILE, (row.rowid,)).get
        if used is None:
            self._set_row_aside(problem, row)

    def _set_entries_aside(self, problem: Problem, row: Row) -> None:
        """An entry, with what is only its own. Who shares its result inherits that."""
        self._promote_copies(row.rowid)
        if row.values["result"] is not None:
            self._bequeath(row)
        for name, table in our_tables().items():
            if name != "copies" and "entry_id" in table.names:
                of_it = Problem(
                    kind=Kind.ROW, remedy=Remedy.SET_ASIDE, what="its entry was set aside",
                    table=name, row_id=row.rowid,
                )  # fmt: skip
                more = list(rows_of(self._connection, name, "WHERE entry_id = ?", (row.rowid,)))
                for one in more:
                    self._set_row_aside(of_it, one)
        self._unread_with[row.values["dictionary_id"]] += 1
        self._set_row_aside(problem, row)

    def _promote_copies(self, entry_id: int) -> None:
        """Places of a damaged entry that are sound in themselves become entries."""
        trashed = self._execute(
            "SELECT reason, removed_at FROM trash WHERE entry_id = ?", (entry_id,)
        ).fetchone()
        copies: list[Any] = self._execute(
            "SELECT id FROM copies WHERE entry_id = ?", (entry_id,)
        ).fetchall()
        for (copy_id,) in copies:
            if copy_id in self._damaged["copies"]:
                continue
            self._execute(_PROMOTE, (copy_id,))
            made = self._connection.last_insert_rowid()
            inherit(self._connection, made, copy_id)
            if trashed is not None:
                self._execute(
                    "INSERT INTO trash (entry_id, reason, removed_at) VALUES (?, ?, ?)",
                    (made, *trashed),
                )
            self._execute("DELETE FROM copies WHERE id = ?", (copy_id,))

    def _bequeath(self, row: Row) -> None:
        """Give a damaged entry's result to the sound ones that share it."""
        heirs = [
            (heir, original is None or dictionary_id == row.values["dictionary_id"])
            for heir, original, dictionary_id in self._execute(
                "SELECT id, original, dictionary_id FROM entries WHERE result_of = ?", (row.rowid,)
            ).fetchall()
            if heir not in self._damaged["entries"]
        ]
        if not heirs:
            return
        heir, takes_frame = max(heirs, key=lambda one: one[1])
        if takes_frame:
            self._execute(
                "UPDATE entries SET result = ?, result_of = NULL, dictionary_id = ? WHERE id = ?",
                (row.values["result"], row.values["dictionary_id"], heir),
            )
        else:
            self._encode_anew(heir)
        self._execute("UPDATE entries SET result_of = ? WHERE result_of = ?", (heir, row.rowid))

    def _encode_anew(self, entry_id: Any) -> None:
        """Compress an entry's texts again, without a dictionary."""
        entry = next(self._reader.select(entry_sql() + "WHERE e.id = ?", (entry_id,)))
        if isinstance(entry, DamagedError):
            raise entry
        record = Encoder().encode(entry, name=None, stamp=None)
        self._execute(
            "UPDATE entries SET result = ?, result_of = NULL, original = ?, dictionary_id = NULL"
            " WHERE id = ?",
            (record.result, record.original, entry_id),
        )

    def _set_dictionaries_aside(self, problem: Problem, row: Row) -> None:
        """A dictionary whose bytes are not those it is named for.

        If everything compressed with it can be read, it is the name that is wrong.
        """
        data, users = row.values["data"], self._users(row.rowid)
        if users and isinstance(data, bytes) and not self._unread_with[row.rowid]:
            keep(self._connection, problem, row.values, outcome=MENDED)
            cache_type = row.values["cache_type"]
            self._execute(
                "UPDATE dictionaries SET sha256 = ?, cache_type = ? WHERE id = ?",
                (
                    sha256(data).digest(),
                    cache_type if isinstance(cache_type, str) else f"damaged {row.rowid}",
                    row.rowid,
                ),
            )
            return
        for entry_id, has_frames in users:
            if has_frames:
                self._release(entry_id)
        self._execute(
            "UPDATE entries SET dictionary_id = NULL WHERE dictionary_id = ?", (row.rowid,)
        )
        self._set_row_aside(problem, row)

    def _users(self, dictionary_id: int) -> list[tuple[Any, ...]]:
        return self._execute(
            "SELECT id, result IS NOT NULL OR original IS NOT NULL FROM entries"
            " WHERE dictionary_id = ?",
            (dictionary_id,),
        ).fetchall()

    def _release(self, entry_id: Any) -> None:
        """Compress an entry that can be read with a damaged dictionary so that it needs none."""
        owner = self._execute("SELECT result_of FROM entries WHERE id = ?", (entry_id,)).get
        self._encode_anew(entry_id)
        if owner is not None:
            self._execute(
                "UPDATE entries SET result = NULL, result_of = ? WHERE id = ?", (owner, entry_id)
            )

    def _recount(self, sums: Mapping[Group, Sums]) -> None:
        self._execute("DELETE FROM totals")
        names = (*Group._fields, *Sums._fields)
        self._connection.executemany(
            f"INSERT INTO totals ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})",
            [(*group, *values) for group, values in sums.items()],
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
