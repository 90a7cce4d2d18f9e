"""``rustassistant cache log``: the runs that a database remembers."""

from __future__ import annotations

from typing import Any

from rustassistant.cli.readable import duration
from rustassistant.cli.render import LISTED, emit, say, visible
from rustassistant.runs import list_runs, options_of, show_run, sources_of
from rustassistant.stores.sqlite.run_log import LoggedRun
from rustassistant.timestamps import format_rfc3339

_DIED = "did not finish"


def run_log(database: str, run_id: int | None, *, as_json: bool) -> int:
    """Print all runs, or one with its notes."""
    if run_id is not None:
        return _one(database, run_id, as_json=as_json)
    runs = list_runs(database)
    if as_json:
        emit("summary", runs=[_fields(run) for run in runs])
        return 0
    if not runs:
        say(f"Nothing has been written to {visible(database)} by a run yet.")
        return 0
    rows = [("ID", "when (UTC)", "command", "outcome", "new", "failed", "from"), *map(_row, runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        say("  ".join((*cells, row[-1])))
    return 0


def _row(run: LoggedRun) -> tuple[str, ...]:
    return (
        str(run.id),
        format_rfc3339(run.started_at)[:19].replace("T", " "),
        visible(run.command),
        run.outcome or _DIED,
        str(run.migrated + run.duplicate),
        str(run.failed),
        visible(", ".join(sources_of(run))),
    )


def _one(database: str, run_id: int, *, as_json: bool) -> int:
    shown = show_run(database, run_id)
    run = shown.run
    if as_json:
        names = ("kind", "path", "cache_type", "reason")
        notes = [dict(zip(names, note, strict=True)) for note in shown.notes]
        emit("summary", **_fields(run), notes=notes)
        return 0
    say(f"Run {run.id}: {run.command}, {run.outcome or _DIED}")
    say(f"  Started: {format_rfc3339(run.started_at)}, took {duration(run.seconds)}")
    say(f"  By: {visible(run.user)} on {visible(run.host)}, version {visible(run.version)}")
    for source in sources_of(run):
        say(f"  Source: {visible(source)}")
    for name, value in options_of(run).items():
        say(f"  Option: {visible(name)} = {visible(str(value))}")
    say(
        f"  Found: {run.found}, migrated {run.migrated}, unchanged {run.unchanged}, duplicates "
        f"{run.duplicate}, filtered {run.filtered}, failed {run.failed}, "
        f"conflicts {run.conflicts}"
    )
    say(f"  Read: {run.source_bytes} bytes; the database then had {run.stored_bytes} bytes")
    for kind, path, cache_type, reason in shown.notes[:LISTED]:
        mark = "✗" if kind == "failure" else "⚡"
        say(f"  {mark} {visible(path)} ({visible(cache_type) or 'no type'}): {visible(reason)}")
    if len(shown.notes) > LISTED:
        say(f"  … and {len(shown.notes) - LISTED} more; --json lists them")
    return 0


def _fields(run: LoggedRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "started_at": format_rfc3339(run.started_at),
        "seconds": round(run.seconds, 3),
        "user": run.user,
        "host": run.host,
        "version": run.version,
        "command": run.command,
        "options": options_of(run),
        "sources": list(sources_of(run)),
        "outcome": run.outcome,
        "found": run.found,
        "migrated": run.migrated,
        "unchanged": run.unchanged,
        "duplicates": run.duplicate,
        "filtered": run.filtered,
        "failed": run.failed,
        "conflicts": run.conflicts,
        "source_bytes": run.source_bytes,
        "stored_bytes": run.stored_bytes,
    }
