"""The rows that runs leave behind."""

from __future__ import annotations

import getpass
import platform
from collections.abc import Sequence
from typing import Final

import apsw
import msgspec

from rustassistant.stores.base import printable
from rustassistant.stores.outcomes import Run, RunNote
from rustassistant.stores.sqlite.rows import checked
from rustassistant.version import __version__

_COUNTS: Final = (
    "outcome", "found", "migrated", "unchanged", "duplicate", "filtered", "failed", "conflicts",
    "source_bytes", "stored_bytes", "seconds",
)  # fmt: skip
_SET: Final = ", ".join(f"{name} = :{name}" for name in _COUNTS)
_ADD: Final = f"""
INSERT INTO runs (started_at, user, host, version, command, options, sources, {", ".join(_COUNTS)})
VALUES (:started_at, :user, :host, :version, :command, :options, :sources,
        {", ".join(f":{name}" for name in _COUNTS)})
"""
_RUNS: Final = f"""
SELECT id, user, host, version, command, options, sources, started_at, {", ".join(_COUNTS)}
FROM runs
"""


class LoggedRun(Run, kw_only=True):
    """A run as the database remembers it."""

    id: int
    user: str
    host: str
    version: str


class RunLog:
    """Writes the row of one run, and rewrites it as the run goes on."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._id: int | None = None

    def write(self, run: Run, notes: Sequence[RunNote]) -> None:
        """The row as it is now, and notes that are new."""
        if self._id is None:
            who = {"user": _user(), "host": platform.node(), "version": __version__}
            self._connection.execute(_ADD, msgspec.structs.asdict(run) | who)
            self._id = self._connection.last_insert_rowid()
        else:
            counts = {name: getattr(run, name) for name in _COUNTS}
            self._connection.execute(
                f"UPDATE runs SET {_SET} WHERE id = :id", counts | {"id": self._id}
            )
        self._connection.executemany(
            "INSERT INTO run_failures (run_id, kind, path, cache_type, reason)"
            " VALUES (?, ?, ?, ?, ?)",
            [(self._id, *note) for note in notes],
        )


def _user() -> str:
    try:
        return printable(getpass.getuser())
    except (OSError, KeyError):  # a user id without a name, as in containers
        return "unknown"


def runs(connection: apsw.Connection, run_id: int | None = None) -> list[LoggedRun]:
    """All runs, the newest first, or the one with an id, if there is it."""
    condition, values = ("", ()) if run_id is None else ("WHERE id = ?", (run_id,))
    names = ("id", "user", "host", "version", "command", "options", "sources", "started_at")
    return [
        checked(dict(zip((*names, *_COUNTS), row, strict=True)), LoggedRun)
        for row in connection.execute(f"{_RUNS}{condition} ORDER BY id DESC", values)
    ]


def notes_of(connection: apsw.Connection, run_id: int) -> list[RunNote]:
    """What a run had to note, in its order."""
    rows = connection.execute(
        "SELECT kind, path, cache_type, reason FROM run_failures WHERE run_id = ? ORDER BY rowid",
        (run_id,),
    )
    return [checked(row, RunNote) for row in rows]


def last_notes(connection: apsw.Connection, sources: str) -> list[RunNote]:
    """What the latest run over these sources had to note."""
    last = connection.execute("SELECT max(id) FROM runs WHERE sources = ?", (sources,)).get
    return [] if last is None else notes_of(connection, last)
