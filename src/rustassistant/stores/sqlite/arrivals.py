"""What becomes of entries that come in: new, there already, like another, or in conflict."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from rustassistant.native import Arriving
from rustassistant.records import PackedRecords, Record, pack
from rustassistant.stores.base import Folder
from rustassistant.stores.outcomes import Conflict, OnConflict, Outcome, Outcomes, Put, Rules
from rustassistant.stores.sqlite.identifiers import FolderIds, Identifiers
from rustassistant.stores.sqlite.inserting import Inserts
from rustassistant.stores.sqlite.owners import Owners
from rustassistant.stores.sqlite.rivals import (
    Likeness,
    Rival,
    alike,
    find_copy,
    is_equal,
    rivals_of,
)
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.stores.sqlite.totals import Totals, month_of, sums_of
from rustassistant.stores.sqlite.trash import EVICTED, SUPERSEDED, promote, take_back, throw_away
from rustassistant.usage import MAX_TOKENS

if TYPE_CHECKING:
    from rustassistant.native.arrivals import Arriving as NativeArriving

_ENTRY_COLUMNS: Final = ("id", "file_id", "folder_id", "producer_id", "analyzed_at", "tokens_used",
                         "result", "result_of", "result_digest", "dictionary_id", "original",
                         "source_name", "source_stamp", "seal")  # fmt: skip
_ADD_COPY: Final = """
INSERT INTO copies (entry_id, folder_id, file_id, analyzed_at, source_name, source_stamp, seal)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_STAY_REMOVED: Final = (None, SUPERSEDED, EVICTED)
"""Reasons for being in the trash, or none, that hold when the entry is migrated again: what was
removed by hand comes back, but what made room would have to go again after each run."""

_SHARED_ROW_SAVES: Final = 44
"""Bytes that a row of ``copies`` takes less than one of ``entries``: the digest, its prefix in
the index, and the columns that it does not repeat."""


class _Arrival(NamedTuple):
    """A record with the row ids of what it refers to. ``alike`` are all rows of its file's path and
    content, its own included: they differ in size, and their entries have the same identity."""

    record: Record
    folder: Folder
    folder_id: int
    file_id: int
    alike: Sequence[int]
    producer_id: int


class Arrivals:
    """Puts records into the tables, in the transaction at hand.

    Rows are gathered and inserted many at a time, which costs half of one at a time. It remembers
    much of the tables: to be made anew when another connection may have written.
    """

    def __init__(self, reader: EntryReader, totals: Totals, rules: Rules) -> None:
        self._connection = reader.connection
        self._execute = reader.connection.execute
        self._reader = reader
        self._totals = totals
        self._rules = rules
        self.ids = Identifiers(reader.connection, keeps_meta=not rules.restamp)
        self._first_own = self._next_entry = self._next_id()
        self._rows = Inserts(reader.connection, "entries", _ENTRY_COLUMNS)
        self._files_of_rows: set[int] = set()
        self._owners = Owners(reader)
        self._shared: dict[Likeness, int] = {}

    def _next_id(self) -> int:
        following: int = self._execute("SELECT ifnull(max(id), 0) + 1 FROM entries").get
        return following

    def put(self, folder: Folder, records: Sequence[Record]) -> Put:
        """Add what is not there yet of one folder."""
        outcomes, conflicts = Outcomes(), list[Conflict]()
        ids = self.ids.folder(folder)
        self.ids.turn_to(ids.repository)
        self._owners.make_room()
        self._shared.clear()
        arriving = self._arriving(records, ids, folder.cache_type)
        digests = None if arriving is None else arriving.may_be_held()
        if digests is None:
            digests = [record.result_digest for record in records]
        self._owners.find(digests)
        each, count = list[Outcome](), len(records)
        while len(each) < count:
            if arriving is not None:
                self._add_first(arriving)
                each += [Outcome.MIGRATED] * (arriving.position - len(each))
                if len(each) == count:
                    break
                arriving.pass_over()
            each.append(self._put_one(records[len(each)], folder, ids, outcomes, conflicts))
        self._flush()
        outcomes.migrated = each.count(Outcome.MIGRATED)
        outcomes.unchanged = each.count(Outcome.UNCHANGED)
        outcomes.duplicate = each.count(Outcome.DUPLICATE)
        return Put(outcomes, each, conflicts)

    def _arriving(
        self, records: Sequence[Record], ids: FolderIds, cache_type: str
    ) -> NativeArriving | None:
        """What takes in those that are sure to be the first of their identity, by compiled code,
        if there is any."""
        if Arriving is None or self._rules.dedup or not self.ids.all_known:
            return None
        return Arriving(
            records.packed if isinstance(records, PackedRecords) else pack([*records]),
            ids=self.ids,
            owners=self._owners.known,
            prefixes=self._owners.prefixes,
            add_sums=self._totals.add,
            most_tokens=MAX_TOKENS,
            crc32=crc32,
            cache_type=cache_type,
            folder_id=ids.folder,
            repository_id=ids.repository,
        )

    def _add_first(self, arriving: NativeArriving) -> None:
        self._next_entry = arriving.add_first(
            self._rows.values, self._files_of_rows, self._next_entry
        )

    def _put_one(
        self,
        record: Record,
        folder: Folder,
        ids: FolderIds,
        outcomes: Outcomes,
        conflicts: list[Conflict],
    ) -> Outcome:
        file_id, others = self.ids.file(ids.repository, record)
        producer_id = self.ids.producer(record)
        # Most are the first of their identity, and cost no query at all.
        if not self._rules.dedup and self.ids.is_first(
            file_id, others, folder.cache_type, producer_id
        ):
            self._add(record, file_id, ids.folder, producer_id)
            return Outcome.MIGRATED
        alike = [file_id] if others is None else [row_id for _, row_id in others]
        arrival = _Arrival(record, folder, ids.folder, file_id, alike, producer_id)
        return self._compare(arrival, outcomes, conflicts)

    def _compare(self, arrival: _Arrival, outcomes: Outcomes, conflicts: list[Conflict]) -> Outcome:
        """Put an entry that may be there already, or share a row with another."""
        rivals = self._rivals(arrival)
        outcome = self._already_there(arrival, rivals, conflicts)
        if outcome is not None:
            return outcome
        answers = self._resolve(arrival, rivals, conflicts)
        if answers and self._rules.dedup and self._share(arrival):
            outcomes.shared += 1
            outcomes.saved_bytes += _SHARED_ROW_SAVES
            return Outcome.DUPLICATE
        record, folder_id = arrival.record, arrival.folder_id
        entry_id = self._add(record, arrival.file_id, folder_id, arrival.producer_id)
        if not answers:
            self._flush()
            throw_away(self._totals, entry_id, reason=SUPERSEDED, now=time.time_ns())
        return Outcome.MIGRATED

    def _rivals(self, arrival: _Arrival) -> list[Rival]:
        if not self._files_of_rows.isdisjoint(arrival.alike):
            self._flush()  # some may be among the rows that come in with it
        return rivals_of(
            self._reader, self.ids, arrival.alike, arrival.folder.cache_type, arrival.producer_id
        )

    def _already_there(
        self, arrival: _Arrival, rivals: Sequence[Rival], conflicts: list[Conflict]
    ) -> Outcome | None:
        """The outcome if one of these is that very entry; if it lay elsewhere, note this place.

        One whose result is damaged is none: the good bytes that come in are kept.
        """
        record, folder_id = arrival.record, arrival.folder_id
        equal = [
            rival
            for rival in rivals
            if (self._owners.is_sound(rival.owner_id) or rival.owner_id >= self._first_own)
            and is_equal(self._reader, rival, record, arrival.file_id, arrival.producer_id)
        ]
        if not equal:
            return None
        removed = {rival.entry_id for rival in equal if rival.removed not in _STAY_REMOVED}
        if removed:
            self._bring_back(arrival, removed, rivals, conflicts)
        outcome = Outcome.MIGRATED if removed else Outcome.UNCHANGED
        for rival in equal:
            if (rival.folder_id, rival.name) == (folder_id, record.name):
                table, row_id = rival.row
                self._restamp(table, row_id, rival.stamp, record.stamp)
                return outcome
        copy = find_copy(self._reader, equal, folder_id, record.name)
        if copy is not None:
            self._restamp("copies", *copy, record.stamp)
            return outcome
        self._add_copy(arrival, equal[0].entry_id, foreign=equal[0].copy_id is not None)
        return Outcome.MIGRATED if removed else Outcome.DUPLICATE

    def _bring_back(
        self,
        arrival: _Arrival,
        removed: Collection[int],
        rivals: Iterable[Rival],
        conflicts: list[Conflict],
    ) -> None:
        """Whoever migrates an entry again wants it back; whether it answers is for the policy."""
        others = [rival for rival in rivals if rival.entry_id not in removed]
        answers = self._resolve(arrival, others, conflicts)
        for entry_id in removed:
            take_back(self._totals, entry_id)
            if not answers:
                throw_away(self._totals, entry_id, reason=SUPERSEDED, now=time.time_ns())

    def _restamp(self, table: str, row_id: int, stamp: int | None, new: int | None) -> None:
        """A file was touched, or copied back: remember its new times, to read it no more."""
        if self._rules.restamp and stamp is not None and new is not None and stamp != new:
            self._execute(f"UPDATE {table} SET source_stamp = ? WHERE id = ?", (new, row_id))

    def _resolve(
        self, arrival: _Arrival, rivals: Iterable[Rival], conflicts: list[Conflict]
    ) -> bool:
        """Whether an entry is to answer. Of all with its identity, those do that have the same
        result as the one that the policy prefers, whatever the order in which they come."""
        record, policy = arrival.record, self._rules.on_conflict
        own = (record.analyzed_at, record.result_digest)
        eligible = [rival for rival in rivals if rival.removed in (None, SUPERSEDED)]
        preferred = policy.best([own, *(rival.standing for rival in eligible)])
        live = sorted(
            (
                rival
                for rival in eligible
                if rival.removed is None and rival.result_digest != record.result_digest
            ),
            key=lambda rival: rival.standing,
        )
        for rival in {rival.result_digest: rival for rival in live}.values():
            is_preferred = policy.best([own, rival.standing]) == own
            conflicts.append(rival.conflict(arrival.folder, record, incoming_answers=is_preferred))
        if policy is OnConflict.KEEP_BOTH:
            return True
        self._reconsider(eligible, preferred[1])
        return record.result_digest == preferred[1]

    def _reconsider(self, rivals: Iterable[Rival], preferred: bytes) -> None:
        """Let those answer that have the preferred result, and no others."""
        # What shares a row first: it gets one of its own when the entry goes whose row it is.
        for rival in sorted(rivals, key=lambda rival: rival.copy_id is None):
            is_to_answer = rival.result_digest == preferred
            if is_to_answer == (rival.removed is None):
                continue
            self._flush()
            self._shared.clear()
            if is_to_answer:
                take_back(self._totals, rival.entry_id)
                continue
            entry_id = rival.entry_id
            if rival.copy_id is not None:
                entry_id = promote(self._totals, rival.copy_id)
            throw_away(self._totals, entry_id, reason=SUPERSEDED, now=time.time_ns())
            self._next_entry = self._next_id()

    def _share(self, arrival: _Arrival) -> bool:
        """Note an entry as a further place of an equal one elsewhere, if there is one."""
        record = arrival.record
        owner = self._owners.get(record.result_digest)
        if owner is None or record.original is not None:
            return False
        self._flush()  # the one it is like may be among the rows that come in with it
        likeness = (owner, record.file_hash, record.file_size, arrival.folder.cache_type,
                    arrival.producer_id, record.tokens_used)  # fmt: skip
        entry_id = self._shared.get(likeness)
        if entry_id is None:
            entry_id = alike(self._reader, likeness)
        if entry_id is None:
            return False
        self._shared[likeness] = entry_id
        self._add_copy(arrival, entry_id, foreign=True)
        return True

    def _add_copy(self, arrival: _Arrival, entry_id: int, *, foreign: bool) -> None:
        record = arrival.record
        file_id, analyzed_at = None, None
        if foreign:
            file_id, analyzed_at = arrival.file_id, record.analyzed_at
        place = (record.name, record.stamp, record.seal)
        self._execute(_ADD_COPY, (entry_id, arrival.folder_id, file_id, analyzed_at, *place))

    def _add(self, record: Record, file_id: int, folder_id: int, producer_id: int) -> int:
        """Note a new row, to be inserted with others; return its id."""
        entry_id = self._next_entry
        self._next_entry = entry_id + 1
        digest = record.result_digest
        owner = self._owners.add(digest, entry_id)
        shared = owner != entry_id
        result = None if shared else record.result
        original, analyzed_at = record.original, record.analyzed_at
        self._files_of_rows.add(file_id)
        self._rows.values += (
            entry_id,
            file_id,
            folder_id,
            producer_id,
            analyzed_at,
            record.tokens_used,
            result,
            owner if shared else None,
            digest,
            record.dictionary_id,
            original,
            record.name,
            record.stamp,
            record.seal,
        )
        stored_bytes = (len(result) if result else 0) + (len(original) if original else 0)
        self._totals.add(
            (folder_id, producer_id, month_of(analyzed_at)),
            sums_of(record.tokens_used, record.usage, record.result_size, stored_bytes),
        )
        return entry_id

    def _flush(self) -> None:
        """Insert what has come together."""
        self.ids.new_files.write()
        self._rows.write()
        self._files_of_rows.clear()
