"""The published API: two places, kept in step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rustassistant.errors import UsageError
from rustassistant.locations import Place, located
from rustassistant.sync.memory import opened
from rustassistant.sync.news import News, Recollection
from rustassistant.sync.options import HALF, MaxDelete, Resolve, SyncOptions, parse_max_delete
from rustassistant.sync.places import check_there, pair_of, side_at
from rustassistant.sync.report import Ask, SyncResult, Told
from rustassistant.sync.run import Run
from rustassistant.sync.side import Side
from rustassistant.sync.state import State
from rustassistant.transfer.report import Cancelled
from rustassistant.transfer.selection import ALL, Selection

_RUNS: Final = "runs"


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
        self._named = (located(a), located(b))
        self._sides = self._opened()
        self._recollection = Recollection()

    @property
    def sides(self) -> tuple[Side, Side]:
        """What the two places are."""
        return self._sides

    def run(
        self,
        told: Told | None = None,
        *,
        dry_run: bool = False,
        forget: bool = False,
        followed: bool = False,
    ) -> SyncResult:
        """Bring both sides in step. May be interrupted and run again at any time.

        ``told`` hears of each step; ``dry_run`` writes nothing at all; ``forget`` makes it a first
        sync, which copies and never deletes; ``followed`` says that `follow` comes next. Raises
        UnsafeSyncError, before anything is changed, where a side looks as if it had lost what it
        held; LockedError.
        """
        with self._remembered(keep=not dry_run, forget=forget) as state:
            self._recollection = Recollection()
            run = Run(
                self._sides,
                state,
                self._options,
                told,
                self._recollection,
                dry_run=dry_run,
                followed=followed,
            )
            result = run.run()
            self._recollection.run = state.fact(_RUNS)
            return result

    def follow(self, news: Sequence[News], told: Told | None = None) -> SyncResult:
        """Bring in step what the news of both sides name, all else being as `run` left it.

        They have to name all that has changed since, by the run before too, or be ``whole``.
        The result says how both sides are now, as that of `run`. Raises TooManyGoneError, having
        changed nothing, where only `run` can judge; else as `run`.
        """
        before = self._recollection.run
        with self._remembered(keep=True) as state:
            known = (
                before is not None
                and state.fact(_RUNS) == str(int(before) + 1)
                and not self._recollection.is_doubtful
            )
            if known:
                self._recollection.run = state.fact(_RUNS)
            else:
                self._recollection = Recollection()
            run = Run(self._sides, state, self._options, told, self._recollection, followed=True)
            result = run.run(news if known else None)
            self._recollection.run = state.fact(_RUNS)
            return result

    @contextmanager
    def _remembered(self, *, keep: bool, forget: bool = False) -> Iterator[State]:
        """What is remembered of the two sides, which are looked at anew: they may have become
        something else. Each time it is opened has a number."""
        before, self._sides = self._sides, self._opened()
        for side, earlier in zip(self._sides, before, strict=True):
            side.remember(earlier)
        check_there(*self._sides)
        pairing = pair_of(*self._sides)
        with opened((self._sides[0].place, self._sides[1].place), keep=keep) as state:
            with state.transaction():
                if state.fact("pairing") != pairing:
                    state.forget(listings=True)
                    state.note("pairing", pairing)
                elif forget:
                    state.forget()
                state.note(_RUNS, str(int(state.fact(_RUNS) or 0) + 1))
            yield state

    def _opened(self) -> tuple[Side, Side]:
        return side_at(self._named[0]), side_at(self._named[1])
