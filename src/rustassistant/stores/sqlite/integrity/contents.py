"""Every row of a database whose pages are sound: given back, and held against all that is known.

What a digest or a seal covers is proved; for what none covers (the path of a repository, the
layout of a folder) stand the unique indices, which hold it a second time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import apsw

from rustassistant.entry import Entry
from rustassistant.stores.sqlite.integrity.answers import Answers
from rustassistant.stores.sqlite.integrity.problems import Kind, Looked, Problem, Remedy
from rustassistant.stores.sqlite.integrity.small_tables import (
    MISMARKED,
    Indexed,
    SmallTables,
    held_in_indices,
    mend,
    row_problem,
    without,
)
from rustassistant.stores.sqlite.integrity.tables import Row, Values, our_tables, rows_of
from rustassistant.stores.sqlite.rows import USES_OF_FILE
from rustassistant.stores.sqlite.schema import place_of
from rustassistant.stores.sqlite.totals import Group, Sums, month_of, sums_of
from rustassistant.usage import stated_usage

_CHUNK: Final = 512

_KNOWN_BETTER: Final = frozenset(
    ("repositories", "folders", "producers", "dictionaries", "files", "entries", "copies", "trash",
     "totals")
)  # fmt: skip
"""Tables of whose rows more can be said than their types."""


class Contents:
    """One pass over all rows. ``sums`` are afterwards what the totals should be."""

    def __init__(
        self,
        connection: apsw.Connection,
        looked: Looked | None = None,
        indexed: Indexed | None = None,
    ) -> None:
        self._connection = connection
        self._looked = looked
        self._small = SmallTables(
            connection, held_in_indices(connection) if indexed is None else indexed
        )
        self._answers = Answers(connection, self._small)
        self._mended: set[int] = set()
        self._files_of_damaged: set[int] = set()
        self._trashed: set[int] = set()
        self._lost = 0
        self._found = 0
        self._change: defaultdict[Group, list[int]] = defaultdict(lambda: [0] * len(Sums._fields))

    @property
    def sums(self) -> dict[Group, Sums]:
        """What the live entries add up to."""
        return {group: Sums(*sums) for group, sums in self._change.items()}

    def problems(self) -> Iterator[Problem]:
        """All that is wrong. Raises what SQLite does if a page can't be walked after all."""
        for problem in self._passes():
            self._found += 1
            yield problem

    def _passes(self) -> Iterator[Problem]:
        yield from self._small.load(self._answers.how_many)
        yield from self._plain("trash")  # first: totals leave out what is in it
        yield from self._entries()
        yield from self._copies()
        yield from self._files()
        for name in our_tables().keys() - _KNOWN_BETTER:
            yield from self._plain(name)
        yield from self._totals()

    def _plain(self, name: str) -> Iterator[Problem]:
        """Rows of which nothing is known but their types, and what they refer to."""
        dangling = {
            rowid: parent
            for _, rowid, parent, _ in self._connection.execute(f"PRAGMA foreign_key_check({name})")
        }
        keyed = our_tables()[name].keyed
        for row in rows_of(self._connection, name):
            what = row.fault or (MISMARKED if row.change else "")
            if row.rowid in dangling:
                what = f"what it belongs to, a row of {dangling[row.rowid]}, is missing"
            if not what:
                pass
            elif not keyed:
                yield Problem(kind=Kind.ROW, remedy=Remedy.REBUILD, what=what, table=name)
            elif row.change and not row.fault and row.rowid not in dangling:
                yield mend(name, row.rowid, what, row.change)
            else:
                yield row_problem(name, row, what)
            if name == "trash":
                self._trashed.add(row.rowid)

    # Entries, and the further places where they lay.

    def _entries(self) -> Iterator[Problem]:
        total: int = self._connection.execute("SELECT count(*) FROM entries").get
        last, done = -(2**63), 0
        while rows := self._chunk("entries", last):
            last = rows[-1].rowid
            entries = {row.rowid: row for row in rows}
            owners = entries | self._answers.by_id(
                "entries", [row.values["result_of"] for row in rows]
            )
            files = self._answers.by_id("files", [row.values["file_id"] for row in rows])
            for row in rows:
                yield from self._entry(row, owners, files)
            done += len(rows)
            if self._looked is not None:
                self._looked(done, total, self._found)

    def _chunk(self, name: str, after: int) -> list[Row]:
        more = f"WHERE id > ? ORDER BY id LIMIT {_CHUNK}"
        return list(rows_of(self._connection, name, more, (after,)))

    def _entry(self, row: Row, owners: dict[int, Row], files: dict[int, Row]) -> Iterator[Problem]:
        values = row.values
        file = files.get(values["file_id"])
        owner = owners.get(values["result_of"])
        folder = self._small.folders.get(values["folder_id"])
        about = self._answers.about("entries", row.rowid, values, file, folder)
        change = dict(row.change)
        fault = row.fault
        if fault:
            spared = without("entries", fault)
            if spared is None:
                yield self._damaged(about, fault)
                return
            change |= spared
        answer = self._answers.read(values, values["seal"], file, folder, owner)
        if isinstance(answer, str):
            frame = self._answers.elsewhere(row, file, folder)
            if frame is None:
                self._files_of_damaged.add(values["file_id"])
                yield self._damaged(about, answer)
                return
            change |= {"result": None, "result_of": frame}
            self._mended.add(row.rowid)
            fault = f"{answer}; the same result is with entry {frame}"
        elif row.rowid not in self._trashed:
            self._count(values, answer)
        if fault or change:
            what = fault or MISMARKED
            yield Problem(kind=Kind.ENTRY, remedy=Remedy.MEND, what=what, change=change, **about)
        elif isinstance(answer, Entry):
            yield from self._relations(row, about, file, folder)

    def _damaged(self, about: dict[str, Any], what: str) -> Problem:
        self._lost += 1
        return Problem(kind=Kind.ENTRY, remedy=Remedy.SET_ASIDE, what=what, paid=True, **about)

    def _relations(
        self, row: Row, about: dict[str, Any], file: Row | None, folder: Values | None
    ) -> Iterator[Problem]:
        """What an entry that can be given back refers to, and should not, or not so."""
        dictionary_id = row.values["dictionary_id"]
        if dictionary_id not in (None, *self._small.dictionaries):
            what = f"its dictionary {dictionary_id} is missing, though it needs none"
            change: Values = {"dictionary_id": None}
            yield Problem(kind=Kind.ENTRY, remedy=Remedy.MEND, what=what, change=change, **about)
        if file is not None and folder is not None:
            yield from self._repository(about, file, folder)

    def _repository(self, about: dict[str, Any], file: Row, folder: Values) -> Iterator[Problem]:
        """File and folder must be of one repository; the file's place tells which is right."""
        theirs, ours = file.values["repository_id"], folder["repository_id"]
        if theirs == ours:
            return
        what = f"its file is of repository {theirs}, its folder of {ours}"
        if file.values["place"] == place_of(ours, str(file.values["path"])):
            yield mend("files", file.rowid, what, {"repository_id": ours})
            return
        right = [
            folder_id
            for folder_id, one in self._small.folders.items()
            if (one["repository_id"], one["cache_type"]) == (theirs, folder["cache_type"])
        ]
        if right:
            yield Problem(
                kind=Kind.ENTRY, remedy=Remedy.MEND, what=what, change={"folder_id": right[0]},
                **about,
            )  # fmt: skip
        else:
            yield self._damaged(about, what)

    def _copies(self) -> Iterator[Problem]:
        last = -(2**63)
        while rows := self._chunk("copies", last):
            last = rows[-1].rowid
            entries = self._answers.by_id("entries", [row.values["entry_id"] for row in rows])
            owners = self._answers.by_id(
                "entries", [row.values["result_of"] for row in entries.values()]
            )
            own = [row.values["file_id"] for row in rows]
            files = self._answers.by_id(
                "files", own + [row.values["file_id"] for row in entries.values()]
            )
            for row in rows:
                yield from self._copy(row, entries, owners, files)

    def _copy(
        self, row: Row, entries: dict[int, Row], owners: dict[int, Row], files: dict[int, Row]
    ) -> Iterator[Problem]:
        values, change = row.values, dict(row.change)
        entry = entries.get(values["entry_id"])
        if entry is not None and entry.rowid in self._mended:
            return  # what is wrong with it is wrong with its entry, and can be mended
        of_its_own = values["file_id"] is not None
        file_id = values["file_id"] if of_its_own or entry is None else entry.values["file_id"]
        file = files.get(file_id)
        folder = self._small.folders.get(values["folder_id"])
        known = {} if entry is None else entry.values
        about = self._answers.about("copies", row.rowid, known, file, folder)
        fault = row.fault
        spared = without("copies", fault)
        if spared is not None:
            change |= spared
            fault = ""
        elif not fault and entry is None:
            fault = f"its entry {values['entry_id']} is missing"
        elif not fault and entry is not None:
            owner = owners.get(entry.values["result_of"])
            answer = self._answers.read(
                known, values["seal"], file, folder, owner, values["analyzed_at"]
            )
            fault = answer if isinstance(answer, str) else ""
        if fault:
            self._lost += of_its_own
            yield Problem(
                kind=Kind.PLACE, remedy=Remedy.SET_ASIDE, what=fault, paid=of_its_own, **about
            )
        elif change:
            what = "a value is not as it was stored"
            yield Problem(kind=Kind.PLACE, remedy=Remedy.MEND, what=what, change=change, **about)
        elif file is not None and folder is not None:
            yield from self._repository(about, file, folder)

    def _files(self) -> Iterator[Problem]:
        last = -(2**63)
        while rows := self._chunk("files", last):
            last = rows[-1].rowid
            for row in rows:
                yield from self._file(row)

    def _file(self, row: Row) -> Iterator[Problem]:
        values = row.values
        fault = row.fault
        if not fault and values["repository_id"] not in self._small.repositories:
            fault = f"its repository {values['repository_id']} is missing"
        if fault:
            yield row_problem("files", row, fault)
            return
        if row.change:
            what = MISMARKED
            yield mend("files", row.rowid, what, row.change)
        path = str(values["path"])
        right = place_of(values["repository_id"], path)
        if values["place"] == right or self._belongs_elsewhere(row, path):
            return
        what = "its place does not follow from its path"
        used = self._connection.execute(USES_OF_FILE, (row.rowid,)).get
        if used is None or row.rowid in self._files_of_damaged:
            yield row_problem("files", row, what)
        else:
            yield mend("files", row.rowid, what, {"place": right})

    def _belongs_elsewhere(self, row: Row, path: str) -> bool:
        """Whether the place is right for the repository of an entry's folder: told there."""
        owners = self._connection.execute(
            "SELECT DISTINCT d.repository_id FROM folders d"
            " CROSS JOIN entries e ON e.folder_id = d.id AND e.file_id = ?",
            (row.rowid,),
        )
        return any(
            isinstance(one, int) and row.values["place"] == place_of(one, path) for (one,) in owners
        )

    # Totals.

    def _count(self, values: Values, entry: Entry) -> None:
        stored = len(values["result"] or b"") + len(values["original"] or b"")
        usage = stated_usage(entry.result)
        sums = sums_of(entry.tokens_used, usage, len(entry.result), stored)
        month = month_of(entry.analyzed_at)
        group = Group(values["folder_id"], values["producer_id"], month)
        change = self._change[group]
        for position, value in enumerate(sums):
            change[position] += value

    def _totals(self) -> Iterator[Problem]:
        """The sums must be those of the entries, unless some of these can't be read."""
        if self._lost or self._mended:
            return
        kept = {
            Group(*(row.values[name] for name in Group._fields)): sums
            for row in rows_of(self._connection, "totals")
            if any(sums := Sums(*(row.values[name] for name in Sums._fields)))
        }
        wrong = {group for group in kept.keys() | self.sums.keys()
                 if kept.get(group) != self.sums.get(group)}  # fmt: skip
        if wrong:
            what = f"{len(wrong)} of {len(kept)} sums are not those of the entries"
            yield Problem(kind=Kind.TOTALS, remedy=Remedy.RECOUNT, what=what, table="totals")
