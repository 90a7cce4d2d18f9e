"""What has to be true before a sync changes anything.

The dangerous faults of two-way sync look like wishes: a disk that is not mounted looks like a cache
that was emptied, a listing that stops half-way like a thousand deletions. See what rclone's bisync
lists: https://rclone.org/bisync/#safety-measures
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rustassistant.errors import UnsafeSyncError
from rustassistant.sync.decide import A, B
from rustassistant.sync.options import MaxDelete
from rustassistant.sync.places import check_there
from rustassistant.sync.side import Listed, Side
from rustassistant.sync.state import State

_FORGET: Final = "--forget forgets the last sync, and then fills it again from the other side"


def check_present(sides: tuple[Side, Side], state: State) -> None:
    """A side that was there at the last sync has to be there still."""
    check_there(*sides)
    for number, side in enumerate(sides):
        held = state.held(number)
        fact = f"kind {state.number(number)}"
        kind = state.fact(fact)
        if side.exists() and kind not in (None, side.kind):
            raise UnsafeSyncError(
                f"{side.location} is a {side.kind}; at the last sync it was a {kind}",
                hint="Nothing was done. Name another place for one of the two.",
            )
        state.note(fact, kind or side.kind)
        if held and not side.exists():
            raise UnsafeSyncError(
                f"{side.location} is gone; it held {held} results at the last sync",
                hint=f"Nothing was done. Is its disk mounted? If it is gone for good, {_FORGET}.",
            )
        mark = state.fact(_mark(state, number))
        if held and mark and side.is_older(mark):
            raise UnsafeSyncError(
                f"{side.location} holds an older state of this database than at the last sync, or "
                "is another one",
                hint="Nothing was done: what it does not hold yet would count as deleted. Put the "
                f"newer one back; or {_FORGET}.",
            )


def note_state(sides: tuple[Side, Side], state: State) -> None:
    """Note what each side is like at the end, so that an older state of it is known as one."""
    for number, side in enumerate(sides):
        state.note(_mark(state, number), side.mark())


def _mark(state: State, number: int) -> str:
    return f"mark at the end {state.number(number)}"


def check_listed(sides: tuple[Side, Side], state: State, listed: Sequence[Listed]) -> None:
    """Both sides have to be listed whole, and not to have become empty."""
    for number in (A, B):
        side, unlisted = sides[number], listed[number].unlisted
        if unlisted:
            first = unlisted[0]
            more = f" (and {len(unlisted) - 1} more)" if len(unlisted) > 1 else ""
            raise UnsafeSyncError(
                f"what {side.location} holds can't be told: {first.path}: {first.reason}{more}",
                hint="Nothing was done. Make it readable, then sync again.",
            )
        held = state.held(number)
        if held and not state.count(number):
            raise UnsafeSyncError(
                f"{side.location} is empty; it held {held} results at the last sync",
                hint="Nothing was done: an empty side never empties the other. If it was emptied "
                f"on purpose, empty the other too; else {_FORGET}.",
            )


def check_vanished(
    sides: tuple[Side, Side], state: State, vanished: Sequence[int], limit: MaxDelete
) -> None:
    """No more than a part of what a side held may have vanished from it."""
    for number in (A, B):
        held = state.held(number)
        if not limit.allows(vanished[number], held):
            raise UnsafeSyncError(
                f"{vanished[number]} of {held} results have vanished from "
                f"{sides[number].location}, more than --max-delete {limit}",
                hint="Nothing was done. If they were deleted on purpose, raise --max-delete (100% "
                "for no limit); else put them back, or use --forget: it forgets the last sync, and "
                "what is missing is copied back.",
            )
