"""``rustassistant cache stale``: entries about files as they are now, and about what is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rustassistant.cli.audience import Audience
from rustassistant.cli.entries import UNKNOWN
from rustassistant.cli.exits import EXIT_FAILURES
from rustassistant.cli.readable import counted, dollars, size
from rustassistant.cli.render import LISTED, emit, meter, say, visible, warn
from rustassistant.cli.stopping import cut_short
from rustassistant.cli.tables import Column, Gives, say_table
from rustassistant.configuration import load
from rustassistant.inspection import FileState, Staleness, look_for_stale
from rustassistant.inspection.stale import RepositoryStaleness, Unused
from rustassistant.pricing import Split
from rustassistant.transfer.selection import Selection

_SHOWN: Final = 20
_MEANING: Final = {
    FileState.CURRENT: "the file is as it was analysed",
    FileState.CHANGED: "the file has other content now",
    FileState.DELETED: "there is no such file any more",
    FileState.UNREADABLE: "the file can't be read, see above",
    FileState.NOT_HERE: "the repository is not on this machine",
}


@dataclass(frozen=True, slots=True)
class StaleOptions(Audience):
    """What the command line asked for."""

    database: str
    selection: Selection
    at: str | None


def run_stale(options: StaleOptions) -> int:
    """Look and tell; return 3 if files or entries could not be read."""
    with (
        cut_short("interrupted; nothing was changed", hint="--repo looks at one repository alone."),
        meter("stale", as_json=options.as_json, quiet=options.quiet) as shown,
    ):
        found = look_for_stale(
            options.database,
            load(),
            selection=options.selection,
            at=options.at,
            progress=shown.update,
        )
    _warn(found)
    if options.as_json:
        emit("summary", **_fields(found))
    elif not options.quiet:
        _say(found)
    unreadable = found.damaged or any(one.unreadable for one in found.repositories)
    return EXIT_FAILURES if unreadable else 0


def _warn(found: Staleness) -> None:
    for repository in found.repositories:
        for path, why in repository.unreadable:
            warn(f"✗ {visible(path)} in {visible(repository.path)}: {visible(why)}")
        if repository.all_gone:
            warn(
                f"✗ None of the files of {visible(repository.path)} is in "
                f"{visible(repository.root)}: is it the right directory?"
            )
    for text in found.damaged[:LISTED]:
        warn(f"✗ {visible(text)}")


def _say(found: Staleness) -> None:
    if not found.entries:
        say("No such entries.")
        return
    say_table(
        (
            Column("State"),
            Column("entries", is_number=True),
            Column("stored", is_number=True),
            Column("cost about", is_number=True),
            Column("", gives=Gives.END),
        ),
        [
            (
                str(state),
                f"{tally.entries:,}",
                size(tally.stored_bytes),
                UNKNOWN if tally.bill.cost.split is Split.NONE else dollars(tally.bill.cost.usd),
                _MEANING[state],
            )
            for state, tally in found.states.items()
        ],
    )
    _say_repositories(found.repositories)
    _say_unused("model", found.unused_models)
    _say_unused("prompt", found.unused_prompts)
    if FileState.CHANGED in found.states or FileState.DELETED in found.states:
        say("\nNothing was changed. What is stale still answers, should the content come back.")


def _say_repositories(repositories: Sequence[RepositoryStaleness]) -> None:
    states = (FileState.CURRENT, FileState.CHANGED, FileState.DELETED)
    rows = []
    for one in repositories:
        if one.is_here and one.entries:
            counts = [f"{one.entries.get(state, 0):,}" for state in states]
            place = one.path if one.path == one.root else f"{one.path} at {one.root}"
            rows.append((place, *counts))
    if rows:
        say()
        say_table(
            (
                Column("Repository", gives=Gives.START),
                *(Column(str(state), is_number=True) for state in states),
            ),
            rows[:_SHOWN],
        )
    if len(rows) > _SHOWN:
        say(f"… and {len(rows) - _SHOWN} more; --json lists them")
    absent = [one.path for one in repositories if not one.is_here and one.entries]
    if absent:
        say()
        say(
            f"Not on this machine: {', '.join(map(visible, absent[:3]))}"
            + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
        )
        say("  (--repo PATH --at DIRECTORY says where one lies here)")


def _say_unused(kind: str, unused: Sequence[Unused]) -> None:
    if not unused:
        return
    say()
    say(f"No longer used, since every file has a newer entry by another {kind}:")
    for one in unused[:_SHOWN]:
        name = "entries from before prompts were recorded" if one.name is None else one.name
        of = f" for {one.cache_type}" if one.cache_type else ""
        say(f"  {kind} {visible(name)}{visible(of)}: {counted(one.entries, 'entry')}")
    if len(unused) > _SHOWN:
        say(f"  … and {len(unused) - _SHOWN} more; --json lists them")


def _fields(found: Staleness) -> dict[str, Any]:
    return {
        "entries": found.entries,
        "states": {
            str(state): {
                "entries": tally.entries,
                "stored_bytes": tally.stored_bytes,
                "usd": float(tally.bill.cost.usd),
                "entries_without_tokens": tally.bill.without_tokens,
            }
            for state, tally in found.states.items()
        },
        "repositories": [
            {
                "repository": one.path,
                "looked_at": one.root,
                "is_here": one.is_here,
                "entries": {str(state): number for state, number in one.entries.items()},
                "unreadable": [{"file": path, "reason": why} for path, why in one.unreadable],
            }
            for one in found.repositories
        ],
        "unused_models": [
            {"model": one.name, "entries": one.entries} for one in found.unused_models
        ],
        "unused_prompts": [
            {"cache_type": one.cache_type, "prompt_hash": one.name, "entries": one.entries}
            for one in found.unused_prompts
        ],
        "damaged": list(found.damaged),
    }
