"""What runs did to a database: the audit that each leaves there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rustassistant.errors import DamagedError, NotFoundError, UsageError
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.connection import open_for_reading
from rustassistant.stores.sqlite.naming import errors_named
from rustassistant.stores.sqlite.run_log import LoggedRun, notes_of, runs

_FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class RunNotes:
    """A run, and what it had to note: (kind, path, cache type, reason); kind is ``failure`` or
    ``conflict``."""

    run: LoggedRun
    notes: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, slots=True)
class FailedEntries:
    """What one run could not move, and the sources it was from."""

    sources: tuple[str, ...]
    paths: frozenset[str]


def list_runs(database: str | os.PathLike[str]) -> list[LoggedRun]:
    """All runs that changed a database or found something amiss, the newest first.

    Raises NotFoundError, ForeignFileError and the like for what is no cache database.
    """
    path = _absolute(database)
    connection = open_for_reading(path)
    try:
        with errors_named(path):
            return runs(connection)
    finally:
        connection.close()


def show_run(database: str | os.PathLike[str], run_id: int) -> RunNotes:
    """One run with all that it had to note. Raises NotFoundError if there is no such run."""
    path = _absolute(database)
    connection = open_for_reading(path)
    try:
        with errors_named(path):
            # An integer of more than 64 bits is no id either.
            found = runs(connection, run_id) if run_id.bit_length() < 64 else []
            if not found:
                raise NotFoundError(
                    f"{printable(path)} knows of no run {run_id}",
                    hint="`rustassistant cache log` lists them.",
                )
            return RunNotes(found[0], tuple(map(tuple, notes_of(connection, run_id))))  # type: ignore[arg-type]
    finally:
        connection.close()


def failed_in(database: str | os.PathLike[str], run_id: int) -> FailedEntries:
    """What failed in a run. Raises NotFoundError, or UsageError if nothing did."""
    found = show_run(database, run_id)
    paths = frozenset(path for kind, path, _, _ in found.notes if kind == _FAILURE)
    if not paths:
        raise UsageError(f"nothing failed in run {run_id}", hint="There is nothing to retry.")
    return FailedEntries(sources_of(found.run), paths)


def sources_of(run: LoggedRun) -> tuple[str, ...]:
    """The places that a run read from."""
    return tuple(map(str, _decoded(run.sources, list)))


def options_of(run: LoggedRun) -> dict[str, Any]:
    """The options that a run was given."""
    return dict(_decoded(run.options, dict))


def _decoded(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise DamagedError(f"the log of runs is damaged: {text[:80]!r}")
    return value


def _absolute(database: str | os.PathLike[str]) -> str:
    if not os.fspath(database):
        raise UsageError("an empty path names no database", hint="Name a file.")
    return os.path.realpath(Path(database).expanduser())
