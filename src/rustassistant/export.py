"""The published API for leaving a database again: as a tree of JSON files, JSON Lines or Parquet.

    result = CacheExporter("cache.db", "repos").export()
    assert not result.failures

What came from files comes out as the same files, to the last byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from rustassistant.errors import (
    ConflictError,
    EntryError,
    InterruptedRunError,
    NotFoundError,
    UsageError,
)
from rustassistant.export_report import (
    ExportResult,
    ImportResult,
    of_file,
    of_import,
    of_tree,
    of_v1,
)
from rustassistant.locations import Location, Place, Unfit, located
from rustassistant.results import MigrationProgress, published_progress
from rustassistant.route import ONE_ROW
from rustassistant.stores import open_destination, open_source
from rustassistant.stores.base import Destination, Folder, Source, printable
from rustassistant.stores.interchange.jsonl import JsonLines
from rustassistant.stores.interchange.single_file import SingleFile
from rustassistant.stores.json_tree import JsonTree, JsonTreeDestination, Layout
from rustassistant.stores.json_tree.places import Placement
from rustassistant.stores.json_tree.store import JsonPartition
from rustassistant.stores.outcomes import Failure, OnConflict, Problem, Rules
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.sqlite.serving.waiting import SqliteWithWaiting
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.plan import Options, check_jobs
from rustassistant.transfer.report import Cancelled
from rustassistant.transfer.selection import ALL, Selection

__all__ = ["CacheExporter", "CacheImporter", "ExportResult", "Format", "ImportResult"]

_NO_EXPORTS: Final = {
    "sqlite": Unfit(
        "an export is for other programs, and this names a database of ours",
        "`cache migrate --source` moves a database, or several, into another.",
    )
}
_NO_IMPORTS: Final = {
    scheme: Unfit("only JSON Lines are imported", instead)
    for scheme, instead in (
        ("json", "A JSON cache is migrated: `cache migrate --source PATH`."),
        ("parquet", "A Parquet file can't be read back; name what it was exported from."),
        ("sqlite", "A database is merged into another: `cache migrate --source PATH`."),
        ("v1", "The Rust program's own database is migrated: `cache migrate --source PATH`."),
    )
}
_IMPORTS_INTO_NONE: Final = {
    scheme: Unfit("lines are read into a database of ours", "`cache export` leaves it again.")
    for scheme in ("json", "jsonl", "parquet", "v1")
}


_WHOLE: Final = Unfit(
    "the file is replaced as a whole, so neither the older nor both can be kept in it",
    "Choose newest, which keeps the file that is there under a dated name, or fail.",
)
_POLICIES_NOT_KEPT: Final = {
    "v1": {OnConflict.KEEP_BOTH: ONE_ROW},
    "jsonl": {OnConflict.KEEP_BOTH: _WHOLE, OnConflict.OLDEST: _WHOLE},
    "parquet": {OnConflict.KEEP_BOTH: _WHOLE, OnConflict.OLDEST: _WHOLE},
}


class Format(StrEnum):
    """What an export is; ``v1`` is the Rust program's own database. Only Parquet can't be read
    back."""

    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    V1 = "v1"


class CacheExporter:
    """Writes the entries of ``source``, a database or a JSON cache, to ``destination``.

    ``layout`` (``centralized``, ``flat``, ``local``) puts everything into one; None puts each entry
    where it came from. ``every`` keeps older results of a path too, under names of their own.
    ``on_conflict`` (``newest``, ``oldest``, ``keep-both``, ``fail``) decides about files that are
    there and differ; whatever it says, none is lost. A v1 file can't keep both, and a single file
    is replaced as a whole or not at all: UsageError. Nothing is ever written to the source.
    """

    def __init__(
        self,
        source: Place,
        destination: Place,
        *,
        format: str = Format.JSON,  # noqa: A002 - what it is called on the command line
        layout: str | None = None,
        every: bool = False,
        on_conflict: str = OnConflict.NEWEST,
        selection: Selection = ALL,
        jobs: int | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        origin, target = located(source), located(destination)
        self.source, self.destination = Path(origin.path), Path(target.path)
        self.format = _format(format, target)
        if self.format is not Format.JSON and (layout or every):
            raise UsageError(
                f"the {self.format} format has no layout",
                hint="Leave out --layout and --all.",
            )
        policy = OnConflict(on_conflict)
        _check_policy(self.format, policy)
        self._layout = None if layout is None else Layout(layout)
        self._every = every
        self._cancelled = cancelled
        self._selection = selection
        self._options = Options(
            jobs=check_jobs(jobs),
            level=1,  # what is compressed is unpacked right away
            dictionaries=False,
            selection=selection,
            rules=Rules(on_conflict=policy),
            command="export",
        )
        self._from = _open(
            origin, superseded=self.format in (Format.JSON, Format.JSONL), cancelled=cancelled
        )

    def export(
        self,
        progress: Callable[[MigrationProgress], None] | None = None,
        *,
        dry_run: bool = False,
    ) -> ExportResult:
        """Write what is not there yet. May be run again at any time: what is equal is not touched.

        ``dry_run`` only compares. What is wrong with single entries is in the result; what stops
        the whole raises a RustAssistantError: ConflictError before anything is changed, if files
        of one piece or rows of a v1 file differ and conflicts are to fail.
        """
        self._check_source()
        destination = self._destination()
        refuses = self.format is Format.V1 and self._options.rules.on_conflict is OnConflict.FAIL
        if dry_run or refuses:
            destination.check_writable()
            with destination.rehearsal() as rehearsal:
                rehearsed = self._export(rehearsal, progress, rehearsed=True)
            if refuses and rehearsed.conflicts:
                raise self._conflict(rehearsed)
            if dry_run:
                return rehearsed
        return self._export(destination, progress)

    def _export(
        self,
        destination: Destination,
        progress: Callable[[MigrationProgress], None] | None,
        *,
        rehearsed: bool = False,
    ) -> ExportResult:
        report = transfer(
            self._from,
            destination,
            options=self._options,
            progress=published_progress(progress),
            cancelled=self._give_up if isinstance(destination, SingleFile) else self._cancelled,
        )
        if isinstance(destination, JsonTreeDestination):
            return of_tree(report, destination)
        if isinstance(destination, SingleFile):
            return of_file(report, destination)
        return of_v1(report, os.path.realpath(self.destination), rehearsed=rehearsed)

    def _conflict(self, rehearsed: ExportResult) -> ConflictError:
        first, _ = rehearsed.conflicts[0]
        rows = "1 row" if rehearsed.total_conflicts == 1 else f"{rehearsed.total_conflicts} rows"
        return ConflictError(
            f"{rows} of {printable(self.destination)} would be replaced by results under the same "
            f"key, the first for {first}",
            hint="Nothing was changed. With --on-conflict newest or oldest, a row that makes room "
            "is kept in the table cache_entries_replaced.",
            conflicts=rehearsed.conflicts,
        )

    def _check_source(self) -> None:
        """Refuse what is not there, and a destination that would make another of the source."""
        if isinstance(self._from, SqliteWithWaiting) and not self._from.exists:
            raise NotFoundError(
                f"the database {printable(self.source)} does not exist",
                hint="Name the database, or a JSON cache, with --source; `cache migrate` makes one "
                "from a cache.",
            )
        if isinstance(self._from, JsonTree):
            self._check_apart(self._from)

    def _check_apart(self, source: JsonTree) -> None:
        tree = source.tree()
        own = os.path.realpath(os.path.join(tree.path, tree.part or ""))
        place = os.path.realpath(self.destination)
        is_within = _lies_in(place, own) and place != own
        is_file = self.format is not Format.JSON
        if is_within or (not is_file and _lies_in(own, place) and not self._stays(place)):
            inner, outer = (place, own) if is_within else (own, place)
            what = "is" if inner == outer else "lies in"
            raise UsageError(
                f"{printable(inner)} {what} {printable(outer)}: the cache would be mixed with its "
                "own export",
                hint="Name a destination apart from the source.",
            )

    def _stays(self, root: str) -> bool:
        """Whether each file would go where it lies."""
        placement = Placement(self._layout, self._folders())
        for item in self._from.partitions():
            if not isinstance(item, JsonPartition):
                continue
            if not self._selection.admits_folder(item.folder):
                continue
            try:
                parts = placement.place(item.folder).parts
            except EntryError:
                continue  # it would go nowhere
            if os.path.join(os.fsencode(root), *parts) != os.fsencode(os.path.realpath(item.path)):
                return False
        return True

    def _give_up(self) -> bool:
        """Stop without finishing: half an export under the name of a whole one would be wrong."""
        if self._cancelled is not None and self._cancelled():
            raise InterruptedRunError("stopped; no file was made")
        return False

    def _destination(self) -> Destination:
        if self.format is Format.JSON:
            return JsonTreeDestination(
                self.destination, layout=self._layout, folders=self._folders(), every=self._every
            )
        if os.path.realpath(self.source) == os.path.realpath(self.destination):
            raise UsageError("the source can't be the destination too", hint="Name another file.")
        return open_destination(f"{self.format}:{self.destination}")

    def _folders(self) -> set[Folder]:
        """All that will come: what goes where must not depend on the order."""
        return {
            item.folder
            for item in self._from.partitions()
            if not isinstance(item, Failure | Problem)
            and self._selection.admits_folder(item.folder)
        }


class CacheImporter:
    """Reads a JSON Lines export into a database. Lines that are no entries are failures."""

    def __init__(
        self,
        source: Place,
        destination: Place,
        *,
        on_conflict: str = OnConflict.NEWEST,
        selection: Selection = ALL,
        jobs: int | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        origin, target = located(source), located(destination)
        origin.check_fit(_NO_IMPORTS)
        target.check_fit(_IMPORTS_INTO_NONE)
        self.source, self.destination = Path(origin.path), Path(target.path)
        self._cancelled = cancelled
        self._options = Options(
            jobs=check_jobs(jobs),
            selection=selection,
            rules=Rules(on_conflict=OnConflict(on_conflict)),
            command="import",
        )

    @property
    def refuses_conflicts(self) -> bool:
        """Whether nothing at all is imported if there are conflicts."""
        return self._options.rules.on_conflict is OnConflict.FAIL

    def run(
        self,
        progress: Callable[[MigrationProgress], None] | None = None,
        *,
        dry_run: bool = False,
    ) -> ImportResult:
        """Move what the database does not hold yet. May be run again at any time.

        Raises ConflictError, before anything is changed, if conflicts are to fail and there are
        any.
        """
        destination = open_destination(f"sqlite:{self.destination}")
        if dry_run or self.refuses_conflicts:
            with destination.rehearsal() as rehearsal:
                rehearsed = self._run(rehearsal, progress)
            if dry_run:
                return rehearsed
            if rehearsed.total_conflicts:
                raise ConflictError(
                    f"{rehearsed.total_conflicts} results differ from others under the same "
                    "identity"
                )
        return self._run(destination, progress)

    def _run(
        self, destination: Destination, progress: Callable[[MigrationProgress], None] | None
    ) -> ImportResult:
        report = transfer(
            JsonLines(self.source, cancelled=self._cancelled),
            destination,
            options=replace(self._options, sources=(str(self.source),)),
            progress=published_progress(progress),
            cancelled=self._cancelled,
        )
        return of_import(report)


def _format(asked: str, destination: Location) -> Format:
    """What an export is: what was asked for, or what the destination is named as."""
    destination.check_fit(_NO_EXPORTS)
    chosen = Format(asked)
    if destination.scheme in ("", chosen):
        return chosen
    if chosen is not Format.JSON:
        raise UsageError(
            f"{printable(destination.path)} is named as {destination.scheme}, and the format as "
            f"{chosen}",
            hint="Leave out the one or the other.",
        )
    return Format(destination.scheme)


def _check_policy(wanted: Format, policy: OnConflict) -> None:
    if policy in _POLICIES_NOT_KEPT.get(wanted, {}):
        why, hint = _POLICIES_NOT_KEPT[wanted][policy]
        raise UsageError(f"on conflict {policy}: {why}", hint=hint)


def _lies_in(inner: str, outer: str) -> bool:
    return f"{inner}/".startswith(f"{outer.rstrip('/')}/")


def _open(source: Location, *, superseded: bool, cancelled: Cancelled | None) -> Source:
    """A JSON cache, whose layout may be changed so, or a database; one that is missing would be.

    Entries of which another result is preferred came from files too, and are ``superseded``.
    """
    if not source.scheme and not os.path.exists(source.path):
        source = source._replace(scheme="sqlite")
    opened = open_source(str(source))
    if isinstance(opened, SqliteStore):
        return SqliteWithWaiting(opened.path, superseded=superseded)
    if isinstance(opened, JsonLines):
        return JsonLines(opened.path, cancelled=cancelled)
    return opened
