"""The published API: two places, kept in step."""

from __future__ import annotations

import os

from rustassistant.errors import UsageError
from rustassistant.sync.memory import opened
from rustassistant.sync.options import HALF, MaxDelete, Resolve, SyncOptions, parse_max_delete
from rustassistant.sync.places import check_there, located, pair_of, side_at
from rustassistant.sync.report import Ask, SyncResult, Told
from rustassistant.sync.run import Run
from rustassistant.sync.side import Side
from rustassistant.transfer.report import Cancelled
from rustassistant.transfer.selection import ALL, Selection

Place = str | os.PathLike[str]


class CacheSync:
    """Keeps ``a`` and ``b`` in step: JSON trees or databases, of which one may not exist yet.

    What each held at the last sync is remembered, so that a change, an addition and a deletion are
    told apart. ``resolve`` (``newest``, ``a``, ``b``, ``keep-both``, ``ask``, ``fail``) decides
    what changed on both sides. With ``delete``, what was deleted on one side goes to the other's
    trash, unless more than ``max_delete`` (``50%``, or a number) are gone. Raises UsageError.
    """

    def __init__(
        self,
        a: Place,
        b: Place,
        *,
        resolve: str = Resolve.NEWEST,
        delete: bool = False,
        max_delete: str | MaxDelete = HALF,
        selection: Selection = ALL,
        ask: Ask | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        try:
            policy = Resolve(resolve)
        except ValueError:
            raise UsageError(
                f"{resolve!r} is no way to resolve conflicts",
                hint="Choose newest, a, b, keep-both, ask or fail.",
            ) from None
        if isinstance(max_delete, str):
            max_delete = parse_max_delete(max_delete)
        self._options = SyncOptions(policy, delete, max_delete, selection, ask, cancelled)
        self._named = (located(os.fspath(a)), located(os.fspath(b)))
        self._sides = self._opened()

    @property
    def sides(self) -> tuple[Side, Side]:
        """What the two places are."""
        return self._sides

    def run(
        self, told: Told | None = None, *, dry_run: bool = False, forget: bool = False
    ) -> SyncResult:
        """Bring both sides in step. May be interrupted and run again at any time.

        ``told`` hears of each step; ``dry_run`` writes nothing at all; ``forget`` makes it a first
        sync, which copies and never deletes. Raises UnsafeSyncError, before anything is changed,
        where a side looks as if it had lost what it held; LockedError.
        """
        self._sides = self._opened()  # what a place is may have changed since
        check_there(*self._sides)
        pairing = pair_of(*self._sides)
        with opened((self._sides[0].place, self._sides[1].place), keep=not dry_run) as state:
            with state.transaction():
                if state.fact("pairing") != pairing:
                    state.forget(listings=True)
                    state.note("pairing", pairing)
                elif forget:
                    state.forget()
            return Run(self._sides, state, self._options, told, dry_run=dry_run).run()

    def _opened(self) -> tuple[Side, Side]:
        return side_at(self._named[0]), side_at(self._named[1])
