"""The published API: migrate caches into a database, with a backup before and a check after.

Everything is synchronous and touches no global state, so it can be awaited from a thread::

    async def main() -> None:
        with CacheMigrator("~/.rustassistant/cache/repos", "cache.db") as migrator:
            result = await asyncio.to_thread(migrator.migrate)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from rustassistant.backups import back_up
from rustassistant.errors import ConflictError, UsageError
from rustassistant.levels import DEFAULT_LEVEL, check_level
from rustassistant.locations import Place, Unfit
from rustassistant.plans import check_unchanged, check_utf8, plan_of
from rustassistant.results import (
    MigrationConflict,
    MigrationFailure,
    MigrationProgress,
    MigrationResult,
    Rehearsal,
    Spending,
    Verification,
    published_progress,
    result_of,
    spending_of,
    verification_of,
)
from rustassistant.route import KEEPS_LESS, ONE_ROW, Route
from rustassistant.stores.base import Source, printable
from rustassistant.stores.outcomes import OnConflict, Problem, Rules
from rustassistant.timestamps import format_rfc3339
from rustassistant.transfer.digest import Digest
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.entry_log import entry_log
from rustassistant.transfer.fingerprint import fingerprint
from rustassistant.transfer.plan import Options, check_jobs, check_room
from rustassistant.transfer.plan_file import Plan, read_plan, write_plan
from rustassistant.transfer.report import Cancelled, Report
from rustassistant.transfer.selection import ALL, Selection
from rustassistant.transfer.sources import Only
from rustassistant.transfer.verify import compare
from rustassistant.transfer.walking import ReportCopied

__all__ = [
    "CacheMigrator",
    "MigrationConflict",
    "MigrationFailure",
    "MigrationProgress",
    "MigrationResult",
    "OnConflict",
    "Rehearsal",
    "Selection",
    "Spending",
    "Verification",
]

Told = Callable[[MigrationProgress], None]

_NO_DATABASE: Final = "a migration makes a database"
_NO_DESTINATIONS: Final = {
    scheme: Unfit(_NO_DATABASE, f"{instead}, of JSON caches as of databases.")
    for scheme, instead in (
        ("json", "`cache export` writes JSON files"),
        ("jsonl", "`cache export --format jsonl` writes JSON Lines"),
        ("parquet", "`cache export --format parquet` writes Parquet"),
    )
}
_SPELLED_OUT: Final = 20
"""Conflicts that an error's message names; it carries them all."""


class CacheMigrator:
    """Moves the entries of ``source`` into ``destination``. The source is never written to.

    ``source`` is a JSON cache in any layout (its central root, one ``<hash8>`` directory, a
    repository or its ``.rustassistant``), a database, or several of these; ``jsonl:PATH`` is what
    an export made, and ``v1:PATH`` and the like say outright what is there. ``destination`` is a
    database, which is made if need be; as ``v1:PATH`` the Rust program's own, which keeps less.

    ``selection`` says which entries are meant. ``on_conflict`` says which of two results under one
    identity answers: ``newest``, ``oldest``, ``keep-both``, or ``fail`` to move nothing then. With
    ``dedup``, entries with equal key, type and result share a row. ``checksum`` reads again what by
    its stamp has not changed. ``only`` are paths of entries, as failures name them: no others are
    looked at. ``jobs`` worker processes (None chooses; 1 stays in this process); ``level`` is
    zstd's, 1 to 22; ``log`` is a file to append a JSON line to for each entry.
    """

    def __init__(
        self,
        source: Place | Sequence[Place],
        destination: Place,
        *,
        selection: Selection = ALL,
        on_conflict: OnConflict | str = OnConflict.NEWEST,
        dedup: bool = False,
        checksum: bool = False,
        only: Iterable[str] | None = None,
        jobs: int | None = None,
        level: int = DEFAULT_LEVEL,
        dictionaries: bool = True,
        log: Place | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        route = Route(source, destination, unfit=_NO_DESTINATIONS)
        self.sources, self.destination = route.source_paths, route.destination_path
        if self.destination in self.sources:
            raise UsageError(
                f"{printable(self.destination)} is both source and destination",
                hint="Name another destination.",
            )
        policy = _policy(on_conflict)
        if policy is OnConflict.KEEP_BOTH and not route.keeps_all:
            raise UsageError(f"on conflict {policy}: {ONE_ROW.why}", hint=ONE_ROW.instead)
        self._rules = Rules(policy, dedup, restamp=len(self.sources) == 1)
        self._log = None if log is None else _file(log)
        self._check_log()
        self._options = Options(
            jobs=check_jobs(jobs),
            level=check_level(level) if route.keeps_all else 1,  # else it is unpacked right away
            dictionaries=dictionaries and route.keeps_all,
            checksum=checksum,
            selection=selection,
            rules=self._rules,
            sources=tuple(map(printable, route.names)),
        )
        self._options = dataclasses.replace(self._options, said=self._said())
        self._cancelled = cancelled
        self._route, self._to = route, route.destination
        self._from: Source = route.source if only is None else Only(route.source, frozenset(only))

    def __enter__(self) -> CacheMigrator:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        """Nothing stays open between calls."""

    def _check_log(self) -> None:
        """In a tree it could be taken for an entry, and in the database it would do damage."""
        if self._log is None:
            return
        place = os.path.realpath(self._log)
        files = {os.path.realpath(f"{self.destination}{end}") for end in ("", "-wal", "-shm")}
        trees = {os.path.realpath(source) for source in self.sources}
        if place in files or any(f"{place}/".startswith(f"{tree}/") for tree in trees):
            raise UsageError(
                f"the log {printable(self._log)} would lie in the cache itself",
                hint="Name a file elsewhere.",
            )

    @property
    def source(self) -> Path:
        """The first source, which most have only one of."""
        return self.sources[0]

    @property
    def refuses_conflicts(self) -> bool:
        """Whether `migrate` moves nothing at all if there are conflicts."""
        return self._rules.on_conflict is OnConflict.FAIL

    def check(self, *, backup: bool = False) -> None:
        """Raise now what would stop `migrate` later: a destination that can't be written, or too
        little room for it and, with ``backup``, for copies of the sources beside them."""
        survey = self._from.survey()
        self._to.check_writable()
        besides = 0
        for place, store in self._route.stores.items():
            if backup and _device(self.backup_path_of(place)) == _device(self.destination):
                own = store.survey()
                besides += int(own.total * own.mean_size)
        check_room(survey, self._to, besides=besides)

    def check_verifiable(self) -> None:
        """Raise UsageError if the destination keeps too little for `verify` to make sense."""
        self._route.to.check_fit({"v1": KEEPS_LESS})

    def backup(
        self,
        path: Place | None = None,
        progress: ReportCopied | None = None,
        *,
        source: Path | None = None,
    ) -> Path:
        """Copy a source (the first, unless one is named) to ``path`` or ``<source>.backup``, check
        the copy, return where it is.

        What exists is never overwritten: the copy then gets a dated name beside it. Of a
        repository, its ``.rustassistant`` is copied. ``progress`` gets bytes done and in all.
        Raises BackupError, OutOfSpaceError, NotFoundError.
        """
        place = self.source if source is None else source
        return Path(back_up(place, path, progress=progress).path)

    @property
    def backup_path(self) -> Path:
        """Where `backup` puts its copy unless told otherwise, if that is free."""
        return self.backup_path_of(self.source)

    def backup_path_of(self, source: Path) -> Path:
        """The same for one of several sources."""
        return Path(f"{source}.backup")

    def migrate(self, progress: Told | None = None) -> MigrationResult:
        """Move what the destination does not hold yet. May be run again at any time.

        What is wrong with single files is in the result; what stops the whole raises a
        RustAssistantError, and what was committed before stays. Raises ConflictError, before
        anything is changed, if conflicts are to ``fail`` and there are any.
        """
        if self.refuses_conflicts:
            self._refuse_conflicts(progress)
        with entry_log(self._log) as log:
            report = transfer(
                self._from,
                self._to,
                options=self._options,
                progress=published_progress(progress),
                entry_told=None if log is None else log.write,
                cancelled=self._cancelled,
            )
        if log is not None and log.failure is not None:
            report.add_problem(Problem(printable(log.path), log.failure))
        return result_of(report)

    def rehearse(self, progress: Told | None = None) -> Rehearsal:
        """Find out what `migrate` would do, and change nothing.

        Everything is read, encoded and put into a private copy of the destination, which is gone
        afterwards, so that the outcomes are what they would be.
        """
        before = self._to.info().size
        report = self._rehearse(progress)
        result = result_of(report)
        return Rehearsal(result, result.destination_size - before, spending_of(report))

    def _rehearse(self, progress: Told | None) -> Report:
        check_room(self._from.survey(), self._to)
        with self._to.rehearsal() as rehearsal:
            return transfer(
                self._from,
                rehearsal,
                options=dataclasses.replace(self._options, counts_spending=True),
                progress=published_progress(progress),
                cancelled=self._cancelled,
            )

    def _refuse_conflicts(self, progress: Told | None) -> None:
        conflicts = result_of(self._rehearse(progress)).conflicts
        if conflicts:
            count = len(conflicts)
            noun = "entry conflicts" if count == 1 else "entries conflict"
            raise ConflictError(
                f"{count} {noun} with another of the same identity: "
                + "; ".join(
                    f"{one.cache_type} of {one.file_path} in {one.repository}, "
                    f"{format_rfc3339(one.answers)} and {format_rfc3339(one.other)}"
                    for one in conflicts[:_SPELLED_OUT]
                )
                + ("; …" if count > _SPELLED_OUT else ""),
                conflicts=conflicts,
            )

    def plan(self, path: Place, progress: Told | None = None) -> Rehearsal:
        """Rehearse, and write a plan that `apply` carries out later."""
        check_utf8((*self._route.names, str(self._route.to)))
        digest = self._fingerprint(None)
        rehearsal = self.rehearse(progress)
        plan = plan_of(
            rehearsal,
            digest,
            sources=self._route.names,
            destination=str(self._route.to),
            options=self._options,
        )
        write_plan(plan, _file(path))
        return rehearsal

    @classmethod
    def of_plan(
        cls,
        path: Place,
        *,
        jobs: int | None = None,
        log: Place | None = None,
        cancelled: Cancelled | None = None,
    ) -> PlannedMigrator:
        """What carries out a plan that `plan` wrote. Raises NotFoundError or UsageError."""
        return PlannedMigrator(read_plan(_file(path)), jobs=jobs, log=log, cancelled=cancelled)

    def _fingerprint(self, progress: Told | None) -> Digest:
        return fingerprint(
            self._from,
            options=self._options,
            progress=published_progress(progress),
            cancelled=self._cancelled,
        )

    def verify(self, progress: Told | None = None) -> Verification:
        """Compare every entry of the source, in all fields, with what the destination gives back.

        The answer is true if nothing differs.
        """
        self.check_verifiable()
        comparison = compare(
            self._from,
            self._to,
            options=self._options,
            progress=published_progress(progress),
            cancelled=self._cancelled,
        )
        return verification_of(comparison)

    def _said(self) -> str:
        """The options that are not the usual ones, for the audit."""
        options = self._options
        said: dict[str, object] = {"on_conflict": self._rules.on_conflict, "level": options.level}
        if self._rules.dedup:
            said["dedup"] = True
        if options.checksum:
            said["checksum"] = True
        if not options.dictionaries:
            said["dictionaries"] = False
        if options.selection != ALL:
            chosen = msgspec.to_builtins(options.selection)
            said["selection"] = {
                name: value for name, value in chosen.items() if value not in ([], None)
            }
        return msgspec.json.encode(said).decode()


class PlannedMigrator(CacheMigrator):
    """Carries out a plan, if its sources still are what they were."""

    def __init__(
        self,
        plan: Plan,
        *,
        jobs: int | None = None,
        log: Place | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        super().__init__(
            plan.sources,
            plan.destination,
            selection=plan.selection,
            on_conflict=plan.on_conflict,
            dedup=plan.dedup,
            level=plan.level,
            dictionaries=plan.dictionaries,
            jobs=jobs,
            log=log,
            cancelled=cancelled,
        )
        self._plan = plan

    def migrate(self, progress: Told | None = None) -> MigrationResult:
        """Read the sources to see that nothing has changed since the plan was made, then migrate.

        Raises ChangedSourceError, before anything is written, if something has.
        """
        check_unchanged(self._plan, self._fingerprint(None))
        return super().migrate(progress)


def _policy(given: OnConflict | str) -> OnConflict:
    try:
        return OnConflict(given)
    except ValueError:
        raise UsageError(
            f"{given!r} is no way to resolve conflicts",
            hint="Choose newest, oldest, keep-both or fail.",
        ) from None


def _file(path: Place) -> str:
    """Where a file is that is no cache, whatever the working directory may be later on."""
    if not os.fspath(path):
        raise UsageError("an empty path names no file", hint="Name one.")
    return os.path.abspath(os.path.expanduser(path))


def _device(path: Path) -> int:
    """The disk that a file is on, or would be."""
    while not os.path.exists(path):  # false, too, for a name that is too long to be one
        path = path.parent
    return path.stat().st_dev
