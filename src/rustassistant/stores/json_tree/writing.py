"""A JSON cache tree as a destination of entries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from rustassistant.entry import DEFAULT_SCHEMA_VERSION, Entry
from rustassistant.entry_json import parse, render
from rustassistant.errors import DamagedError, DestinationError, EntryError
from rustassistant.records import Record
from rustassistant.stores.base import Folder, printable
from rustassistant.stores.json_tree.files import Looked, Root, directory_below, present
from rustassistant.stores.json_tree.meta import META_NAME, path_in
from rustassistant.stores.json_tree.naming import Naming, Step, Tally
from rustassistant.stores.json_tree.places import Place, Placement, name_for, suffixed
from rustassistant.stores.json_tree.rivalry import Candidate, Present, judge
from rustassistant.stores.outcomes import Failure, Outcome, Outcomes, Problem, Put, Rules
from rustassistant.stores.plain_writer import PlainWriter

_IMPLIED_VERSIONS: Final = (None, DEFAULT_SCHEMA_VERSION)
"""What a file without a prompt hash need not say, since it has no version, which means 1."""

_META: Final = META_NAME.encode()
MAX_LISTED: Final = 1_000
"""Conflicts and notes beyond these are counted only."""


class _Open(NamedTuple):
    """The folder at hand: where it lies, and who wants which name there."""

    folder: Folder
    place: Place
    directory: int | None
    names: dict[bytes, list[Candidate]]
    rivals: dict[bytes, Present]
    ready: dict[bytes, Step]


class TreeWriter(PlainWriter):
    """Holds the lock on the tree's root from entering to leaving.

    Names that several entries want are given when their folder is done; all others with the next
    commit. Memory grows with the names of one folder.
    """

    def __init__(
        self, root: Root | Looked, path: str, placement: Placement, rules: Rules, *, every: bool
    ) -> None:
        super().__init__()
        self.tally = Tally()
        self._root = root
        self._naming = Naming(root, self.tally) if isinstance(root, Root) else None
        self._path = path
        self._placement = placement
        self._rules = rules
        self._every = every
        self._open: _Open | EntryError | None = None
        self._folder: Folder | None = None
        self._owners: dict[bytes, EntryError | None] = {}
        self._metas: list[Step] = []
        self._steps: list[Step] = []
        self._numbers = 0

    # Taking entries in.

    def put(self, folder: Folder, records: Sequence[Record]) -> Put:
        """Write the files that are not there yet, and compare those that are."""
        if folder != self._folder:
            self._settle()
            self._folder = folder
            self._open = self._opened(folder)
        each = [self._take(folder, record) for record in records]
        outcomes = Outcomes(
            migrated=each.count(Outcome.MIGRATED), unchanged=each.count(Outcome.UNCHANGED)
        )
        return Put(outcomes, each)

    def _opened(self, folder: Folder) -> _Open | EntryError:
        try:
            place = self._placement.place(folder)
            if place.owner:
                self._claim(place.parts[: place.owner], place.meta, folder)
            directory = directory_below(self._root.descriptor, place.parts)
        except EntryError as error:
            return error
        return _Open(folder, place, directory, {}, {}, {})

    def _claim(self, parts: tuple[bytes, ...], meta: bytes | None, folder: Folder) -> None:
        """See to a repository's ``meta.json``. Raises EntryError if the directory is another's."""
        key = b"/".join(parts)
        if key not in self._owners:
            try:
                self._check_meta(parts, meta, folder)
                self._owners[key] = None
            except EntryError as error:
                self._owners[key] = error
        error_of_owner = self._owners[key]
        if error_of_owner is not None:
            raise error_of_owner

    def _check_meta(self, parts: tuple[bytes, ...], meta: bytes | None, folder: Folder) -> None:
        place = printable(b"/".join((*parts, _META)))
        directory = directory_below(self._root.descriptor, parts)
        try:
            there = None if directory is None else present(directory, _META)
        except EntryError as error:
            raise EntryError(f"{place}: {error.message}") from None
        finally:
            if directory is not None:
                os.close(directory)
        if there is None:
            if meta is not None:
                number = self._stage(meta)
                self._metas.append(Step(parts, _META, number, "", is_meta=True))
            return
        if there == meta:
            return
        repository = folder.repository.path
        theirs = path_in(there)
        if theirs != repository:
            whose = "another repository" if theirs is None else repr(theirs)
            raise EntryError(f"{place} says that the directory belongs to {whose}")
        if meta is not None and folder.repository.meta is not None:
            self._note(place, "says the same repository in other words: left as it is")

    def _take(self, folder: Folder, record: Record) -> Outcome:
        where = self._open
        shown = printable(record.file_path)
        try:
            if not isinstance(where, _Open):
                assert where is not None  # noqa: S101 - put has opened it
                raise where
            text = file_of(self.entry(folder, record))
            digest = sha256(text).digest()
            name = name_for(record.file_path, record.name, digest)
            shown = printable(name)
            return self._offer(where, name, record, text, digest)
        except (EntryError, DamagedError) as error:
            self.tally.failures.append(
                Failure(self._shown(where, shown), folder.cache_type, error.message)
            )
            return Outcome.FAILED

    def _offer(
        self, where: _Open, name: bytes, record: Record, text: bytes, digest: bytes
    ) -> Outcome:
        """Let an entry want a name: alone it gets it, with others it waits for `_settle`."""
        wanting = where.names.get(name)
        if wanting is None:
            there = None if where.directory is None else present(where.directory, name)
            if there is not None and there != text:
                where.rivals[name] = self._rival(there, where.folder)
        elif any(one.digest == digest for one in wanting):
            self.tally.unchanged += 1
            return Outcome.UNCHANGED
        else:
            rival = where.rivals.get(name)
            there = text if rival is not None and rival.digest == digest else None
            if there is not None:
                del where.rivals[name]  # it is an entry of ours, so nobody else's
        candidate = Candidate(record.analyzed_at, digest, record.file_path, None, fresh=False)
        if there == text:
            where.names.setdefault(name, []).append(candidate)
            self.tally.unchanged += 1
            return Outcome.UNCHANGED
        contested = wanting is not None or name in where.rivals
        if contested and self._has_own_name(where, name, text, digest):
            where.names.setdefault(name, [])
            self.tally.unchanged += 1
            self.tally.renamed += 1
            return Outcome.UNCHANGED
        number = self._stage(text)
        candidate = candidate._replace(number=number, fresh=True)
        if not contested:
            where.ready[name] = Step(where.place.parts, name, number, where.folder.cache_type)
        else:
            where.ready.pop(name, None)
        where.names.setdefault(name, []).append(candidate)
        self.tally.written += 1
        return Outcome.MIGRATED

    def _has_own_name(self, where: _Open, name: bytes, text: bytes, digest: bytes) -> bool:
        """Whether an entry lies there already under the name that it gets besides others."""
        if where.directory is None:
            return False
        return present(where.directory, suffixed(name, digest)) == text

    def _stage(self, text: bytes) -> int:
        self._numbers += 1
        self._root.write(self._numbers, text)
        return self._numbers

    def _rival(self, text: bytes, folder: Folder) -> Present:
        digest = sha256(text).digest()
        try:
            entry = parse(
                text, repository=folder.repository.path, cache_type=folder.cache_type
            ).entry
        except EntryError:
            return Present(None, None, digest)
        return Present(entry.analyzed_at, entry.file_path, digest)

    # Deciding who gets a name.

    def _settle(self) -> None:
        """Be done with the folder at hand: give the names that several entries want."""
        where, self._open, self._folder = self._open, None, None
        if not isinstance(where, _Open):
            return
        try:
            for name, wanting in where.names.items():
                if len(wanting) > 1 or (wanting and name in where.rivals):
                    self._judge(where, name, wanting)
        finally:
            if where.directory is not None:
                os.close(where.directory)
        self._steps.extend(where.ready.values())

    def _judge(self, where: _Open, name: bytes, wanting: list[Candidate]) -> None:
        rival = where.rivals.get(name)
        verdict = judge(wanting, rival, on_conflict=self._rules.on_conflict, every=self._every)
        if verdict.conflict:
            self.tally.conflict_count += 1
            if len(self.tally.conflicts) < MAX_LISTED:
                place = self._shown(where, printable(name))
                self.tally.conflicts.append(Problem(place, verdict.conflict))
        there = next((one for one in wanting if one.number is None), None)
        for one in verdict.elsewhere:
            self._name_otherwise(where, name, one)
        for one in verdict.older:
            self._leave_out(one)
            self.tally.superseded += 1
        for one in verdict.refused:
            self._leave_out(one)
            self.tally.unresolved += 1
        first = verdict.named
        if first is None or first.number is None:
            return
        replaces = rival.digest if rival is not None else there.digest if there else None
        beside = suffixed(name, rival.digest) if verdict.beside and rival is not None else None
        where.ready[name] = Step(
            where.place.parts,
            name,
            first.number,
            where.folder.cache_type,
            replaces,
            verdict.aside,
            beside,
        )

    def _leave_out(self, one: Candidate) -> None:
        if one.fresh:
            self.tally.written -= 1
        else:
            self.tally.unchanged -= 1
        if one.number is not None:
            self._root.drop(one.number)

    def _name_otherwise(self, where: _Open, name: bytes, one: Candidate) -> None:
        """Give an entry a name of its own, which is the same in every run."""
        own = suffixed(name, one.digest)
        number, directory = one.number, where.directory
        try:
            there = None if directory is None else present(directory, own)
            if there is None and number is None and directory is not None:
                number = self._stage(present(directory, name) or b"")
            reason = ""
        except EntryError as error:
            there, reason = None, error.message
        if there is not None and sha256(there).digest() != one.digest:
            reason = "another file has the name that is meant for it"
        if reason:
            self._leave_out(one)
            place, cache_type = where.place.parts, where.folder.cache_type
            self.tally.fail(self._path, place, own, cache_type, reason)
            return
        self.tally.renamed += 1
        if there is not None:
            self._leave_out(one)
            self.tally.unchanged += 1
        elif number is not None:
            where.ready[own] = Step(where.place.parts, own, number, where.folder.cache_type)
            if not one.fresh:
                self._leave_out(one._replace(number=None))
                self.tally.written += 1

    # Making it last.

    def commit(self) -> None:
        """Give all names that are decided; what they name is on the disk before."""
        steps = self._metas + self._steps
        self._metas, self._steps = [], []
        where = self._open
        if isinstance(where, _Open) and where.ready:
            steps.extend(where.ready.values())
            for name in where.ready:
                # From now on these are files in their places, which a newer one may replace.
                if name in where.names:
                    where.names[name] = [one._replace(number=None) for one in where.names[name]]
            where.ready.clear()
        if self._naming is None or not steps:
            return
        self._naming.give(steps)
        if isinstance(where, _Open) and where.directory is None:
            try:
                directory = directory_below(self._root.descriptor, where.place.parts)
            except EntryError as error:  # it was written to a moment ago
                raise DestinationError(f"{printable(self._path)}: {error.message}") from None
            self._open = where._replace(directory=directory)

    def finish(self) -> None:
        """Commit everything, names that several wanted included."""
        self._settle()
        self.commit()

    def close(self) -> None:
        """Leave the folder at hand as it is."""
        if isinstance(self._open, _Open) and self._open.directory is not None:
            os.close(self._open.directory)
        self._open = None

    # Telling of it.

    def _note(self, place: str, text: str) -> None:
        if len(self.tally.notes) < MAX_LISTED:
            self.tally.notes.append(Problem(f"{printable(self._path)}/{place}", text))

    def _shown(self, where: Any, name: str) -> str:
        if isinstance(where, _Open):
            return printable(os.path.join(os.fsencode(self._path), *where.place.parts)) + f"/{name}"
        return f"{printable(self._path)}/{name}"


def file_of(entry: Entry) -> bytes:
    """The file for an entry. Raises EntryError if reading that would give another entry.

    Entries need not come from files: their columns may say what no file of the Rust program says.
    """
    text = render(entry)
    version = entry.schema_version
    if entry.original is None and entry.prompt_hash is None and version not in _IMPLIED_VERSIONS:
        head, mark, tail = text.partition(b'\n  "result": ')
        text = head + b'\n  "schema_version": %d,' % version + mark + tail
    parsed = parse(text, repository=entry.repository, cache_type=entry.cache_type).entry
    if parsed.identity != entry.identity or parsed.result != entry.result:
        raise EntryError("a file can't say what its columns and its result say")
    return text
