"""One sync from beginning to end: list both sides, decide, make sure, carry out, remember.

Where it is told what has changed since the last one, it lists that alone, and decides about nothing
else. All that follows is the same.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple

from rustassistant.codec import MIN_SAMPLES
from rustassistant.entry_json import file_name
from rustassistant.errors import EntryError, InterruptedRunError
from rustassistant.stores.base import Found, Repository
from rustassistant.stores.outcomes import Failure
from rustassistant.sync import safety
from rustassistant.sync.decide import (
    A,
    Act,
    B,
    Choice,
    Clash,
    Decision,
    Does,
    Member,
    decide,
)
from rustassistant.sync.differences import differences
from rustassistant.sync.elements import Element, columns_of, element_of
from rustassistant.sync.news import News, Recollection, TooManyGoneError
from rustassistant.sync.options import Resolve, SyncOptions
from rustassistant.sync.places import OWN
from rustassistant.sync.report import Question, SyncResult, Told, Trouble
from rustassistant.sync.side import CHANGED, Incoming, Leaving, Listed, Side, Work
from rustassistant.sync.state import Container, Place, Rest, Settled, Slot, State
from rustassistant.sync.telling import Teller

_BATCH: Final = 1_000
"""Acts that are made durable, and remembered, together."""

_FEW_GONE: Final = 20
"""If more than that has vanished since the last run, both sides are listed whole."""


class _Task(NamedTuple):
    """A slot and what is decided about it."""

    slot: Slot
    decision: Decision


class Run:
    """One sync of two sides, over their state."""

    def __init__(
        self,
        sides: tuple[Side, Side],
        state: State,
        options: SyncOptions,
        told: Told | None,
        recollection: Recollection,
        *,
        dry_run: bool = False,
        followed: bool = False,
    ) -> None:
        self._followed = followed
        self._recollection = recollection
        self._news: Sequence[News] | None = None
        self._rest = Rest()
        self._sides = sides
        self._state = state
        self._options = options
        self._dry_run = dry_run
        self._narrow = (sides[A].is_narrow, sides[B].is_narrow)
        self._result = SyncResult()
        self._works: dict[int, Work] = {}
        self._teller = Teller(self._result, told, self._is_meant)
        self._unowned: set[str] = set()
        self._pinned: list[frozenset[bytes] | None] = [None, None]

    def run(self, news: Sequence[News] | None = None) -> SyncResult:
        """Sync. Raises UnsafeSyncError, before anything is changed, where that could be wrong.

        ``news`` of both sides limits it to what they name. Raises TooManyGoneError then, if they
        are about too many deletions.
        """
        started = time.monotonic()
        result, state = self._result, self._state
        self._news = news
        result.is_first = not state.held(A) and not state.held(B)
        safety.check_present(self._sides, state)
        if not self._dry_run:
            for side in self._sides:
                side.tidy()
        # What is refused is not remembered either: a file that could not be read just now would
        # look as if it were gone once all is there again.
        with state.transaction():
            self._compare()
            copies = self._survey_plan()
        settled = state.settled()
        if self._dry_run:
            for task in self._tasks(answers=False):
                self._teller.tell(task.slot, task.decision)
        else:
            self._carry_out(copies)
            with state.transaction():
                safety.note_state(self._sides, state)
        self._add_rest()
        result.equal = settled + self._teller.equal
        result.trash = [side.trash for side in self._sides if side.trash is not None]
        result.seconds = time.monotonic() - started
        return result

    def _add_rest(self) -> None:
        """What was decided about before, and is as it was then."""
        result, rest = self._result, self._rest
        result.kept += sum(rest.vanished)
        result.left += rest.left
        result.filtered += rest.filtered

    # Looking.

    def _compare(self) -> None:
        """Find what is not as it was agreed."""
        state, listed = self._state, self._list()
        self._unowned = listed[A].unowned | listed[B].unowned
        self._recollection.is_doubtful = bool(self._unowned)
        safety.check_listed(self._sides, state, listed)
        self._own = tuple(
            side.own_key(one.folder for one in state.containers(number))
            for number, side in enumerate(self._sides)
        )
        state.compare(touched=self._news is not None)
        self._rest = state.rest()

    def _list(self) -> list[Listed]:
        listed, known = [], self._recollection
        if self._news is None:
            known.notes.clear()
        else:
            self._state.touch()
        for number, side in enumerate(self._sides):
            found = self._list_side(number, side)
            listed.append(found)
            failures = known.failures[number]
            failures[:] = [one for one in failures if not found.covers(one.path)] + [
                Trouble(one.path, one.cache_type, one.reason) for one in found.failures
            ]
            known.notes |= dict.fromkeys((one.path, one.text) for one in found.problems)
            for trouble in failures:
                self._result.fail(trouble)
        for path, text in known.notes:
            self._result.note(path, text)
        return listed

    def _list_side(self, number: int, side: Side) -> Listed:
        if not side.exists():
            self._state.begin_listing()
            self._state.end_listing(number)
            return Listed(whole=True)
        if self._news is None:
            return side.list(self._state, number)
        found = side.list_news(self._state, number, self._news[number])
        return side.list(self._state, number) if found is None else found

    def _survey_plan(self) -> list[int]:
        """Make sure that no more is to vanish than may; return the copies that go to each side."""
        vanished, copies = [0, 0], [0, 0]
        for task in self._tasks(answers=False):
            for act in task.decision.acts:
                if act.does in (Does.DELETE, Does.KEEP):
                    vanished[1 - act.to] += 1
                elif act.does is Does.COPY:
                    copies[act.to] += 1
        if self._news is not None and sum(vanished) > _FEW_GONE:
            raise TooManyGoneError
        vanished = [now + before for now, before in zip(vanished, self._rest.vanished, strict=True)]
        safety.check_vanished(self._sides, self._state, vanished, self._options.max_delete)
        return copies

    def _tasks(self, *, answers: bool) -> Iterator[_Task]:
        """Decide about every slot that is not as it was; ``answers``: asking who is to answer."""
        for slot in self._state.slots():
            members = [
                one._replace(fixed=not self._is_meant(slot, one), held=self._held(slot, one))
                for one in slot.members
            ]
            choose = partial(self._choose, slot, answers=answers)
            decision = decide(members, self._narrow, delete=self._options.delete, choose=choose)
            yield _Task(slot, decision)

    def _is_meant(self, slot: Slot, member: Member) -> bool:
        facts, selection = slot.facts[member.digest], self._options.selection
        repository = Repository(facts.repository, facts.directory)
        return (
            facts.key not in self._unowned
            and self._has_room(facts.key)
            and (not selection.types or facts.cache_type in selection.types)
            and selection.admits_repository(repository)
            and selection.admits_producer(facts.provider, facts.model)
            and selection.admits_path(facts.file_path)
            and (selection.since is None or member.analyzed_at >= selection.since)
            and (selection.until is None or member.analyzed_at <= selection.until)
            and (selection.min_tokens is None or (facts.tokens_used or 0) >= selection.min_tokens)
        )

    def _has_room(self, key: str) -> bool:
        """Whether both sides can hold entries of the repository of that key."""
        if all(side.is_single for side in self._sides):
            return key == OWN
        return all(own is None or key == own for own in self._own)

    def _held(self, slot: Slot, member: Member) -> str:
        """Why a result that was deleted on one side is not deleted on the other."""
        if not self._options.delete or member.now not in (1, 2):
            return ""
        if not slot.facts[member.digest].has_owner:
            return "no meta.json tells whose it is"
        side = A if member.now == 1 else B
        facts = slot.facts[member.digest]
        # Of a damaged row, only the repository is told.
        names = {file_name(facts.file_path), os.path.basename(facts.repository)}
        if self._recollection.is_unread(1 - side, facts.cache_type, names):
            return "what may hold it there can't be read"
        if self._pinned[side] is None:
            self._pinned[side] = self._sides[side].pinned()
        places = {place.name for place in _places(slot, member, side)}
        return "" if places.isdisjoint(self._pinned[side] or ()) else "it is pinned"

    def _choose(self, slot: Slot, clash: Clash, *, answers: bool) -> Choice:
        options = self._options
        match options.resolve:
            case Resolve.NEWEST:
                return clash.newest
            case Resolve.A:
                return Choice.A
            case Resolve.B:
                return Choice.B
            case Resolve.KEEP_BOTH:
                return Choice.KEEP_BOTH
            case Resolve.ASK if answers and options.ask is not None:
                facts = slot.facts[clash.a.digest]
                return options.ask(Question(clash, facts, lambda: self._differences(slot, clash)))
            case _:
                return Choice.LEAVE

    def _differences(self, slot: Slot, clash: Clash) -> list[str]:
        found = []
        for number, member in ((A, clash.a), (B, clash.b)):
            place = next(one for one in slot.places[member.digest] if one.side == number)
            container = self._state.container_of(place)
            for _, item in self._sides[number].read(container, [place.name]):
                found.append(item.entry if isinstance(item, Found) else None)
        return differences(found[0], found[1])

    # Doing.

    def _carry_out(self, copies: Sequence[int]) -> None:
        tasks: list[_Task] = []
        acts = 0
        for number, side in enumerate(self._sides):
            if copies[number] >= MIN_SAMPLES:
                side.prepare(self._sides[1 - number].survey)
        with ExitStack() as stack:
            for task in self._tasks(answers=True):
                tasks.append(task)
                acts += len(task.decision.acts)
                if acts >= _BATCH or len(tasks) >= _BATCH:
                    self._finish(tasks, stack)
                    tasks, acts = [], 0
                    self._check_cancelled()
            self._finish(tasks, stack)

    def _finish(self, tasks: Sequence[_Task], stack: ExitStack) -> None:
        """Carry out what is decided about some slots, and remember it once it is durable."""
        failed: dict[bytes, str] = {}
        # Databases first: what a tree gives up may be what a database is about to get.
        changing = [
            to
            for to in sorted((A, B), key=lambda side: self._sides[side].is_narrow)
            if any(_is_change(act, to) for task in tasks for act in task.decision.acts)
        ]
        for number, side in enumerate(self._sides):
            side.settle(self._newly_agreed(tasks, number))
        # All is read before anything is changed: a result may move aside for one that it meets.
        for to in changing:
            self._gather(tasks, to, self._work(to, stack), failed)
        for to in changing:
            for one in self._works[to].commit():
                failed.setdefault(one.element.slot, one.reason)
        settled = []
        for task in tasks:
            rest = self._teller.tell(task.slot, task.decision, failed.get(task.slot.key))
            if task.slot.key not in failed:
                agreed = task.decision.agreed if task.decision.left is None else None
                settled.append(Settled(task.slot.key, agreed, rest, self._is_again_due(task)))
        self._result.waiting += len(failed)
        with self._state.transaction():
            self._state.agree(settled, failed)

    def _newly_agreed(
        self, tasks: Sequence[_Task], number: int
    ) -> Iterator[tuple[Container, bytes]]:
        """Results that were found on a side, and are to be remembered as being there from now."""
        for slot, decision in tasks:
            for one in () if decision.left is not None else slot.members:
                if decision.agreed.get(one.digest, 0) & one.now & ~one.was & 1 << number:
                    for place in _places(slot, one, number):
                        yield self._state.container_of(place), place.name

    def _is_again_due(self, task: _Task) -> bool:
        """Whether somebody may undo what is done before it is listed, unknown to all news."""
        return self._followed and any(
            _is_change(act, to) for act in task.decision.acts for to in (A, B)
        )

    def _check_cancelled(self) -> None:
        if self._options.cancelled is not None and self._options.cancelled():
            raise InterruptedRunError("stopped; what was synced before is safe, and remembered")

    def _work(self, to: int, stack: ExitStack) -> Work:
        if to not in self._works:
            other = self._sides[1 - to].location
            self._works[to] = stack.enter_context(
                self._sides[to].changes(self._state, to, other=other)
            )
        return self._works[to]

    def _gather(
        self, tasks: Sequence[_Task], to: int, work: Work, failed: dict[bytes, str]
    ) -> None:
        """Hand one side its changes. ``failed`` gets the slots that something went wrong with."""
        sources: defaultdict[int, dict[bytes, tuple[Slot, Act]]] = defaultdict(dict)
        for slot, decision in tasks:
            for act in decision.acts:
                if not _is_change(act, to):
                    continue
                if act.does is Does.COPY:
                    place = _places(slot, act.member, 1 - to)[0]
                    sources[place.container][place.name] = (slot, act)
                    continue
                for leaving in _leaving(slot, act, act.member):
                    work.remove(leaving)
        for wanted in sources.values():
            self._copy(wanted, to, work, failed)

    def _copy(
        self,
        wanted: dict[bytes, tuple[Slot, Act]],
        to: int,
        work: Work,
        failed: dict[bytes, str],
    ) -> None:
        """Hand over results that lie together on the other side."""
        other = self._sides[1 - to]
        slot, act = next(iter(wanted.values()))
        container = self._state.container_of(_places(slot, act.member, 1 - to)[0])
        folder = container.folder
        for name, found in other.read(container, wanted):
            slot, act = wanted[name]
            element = _element(slot, act.member)
            if isinstance(found, Failure):
                failed.setdefault(slot.key, found.reason)
                continue
            there = element_of(
                other.key_of(folder.repository), folder.cache_type, columns_of(found.entry)
            )
            if there != element:
                failed.setdefault(slot.key, CHANGED)
                continue
            try:
                work.add(_incoming(slot, act), found, folder)
            except EntryError as error:
                failed.setdefault(slot.key, error.message)


def _is_change(act: Act, to: int) -> bool:
    return act.to == to and act.does is not Does.KEEP


def _element(slot: Slot, member: Member) -> Element:
    return Element(slot.key, member.identity, member.digest, member.analyzed_at)


def _places(slot: Slot, member: Member, side: int) -> list[Place]:
    return [place for place in slot.places[member.digest] if place.side == side]


def _leaving(slot: Slot, act: Act, member: Member) -> list[Leaving]:
    element, is_lost = _element(slot, member), member.digest in act.lost
    is_deleted = act.does is Does.DELETE
    return [Leaving(element, place, is_lost, is_deleted) for place in _places(slot, member, act.to)]


def _incoming(slot: Slot, act: Act) -> Incoming:
    there = [one for one in slot.members if one.now & 1 << act.to]
    gone: Sequence[Member] = there if act.beside else act.replaces
    replaces = [leaving for one in gone for leaving in _leaving(slot, act, one)]
    present = frozenset(one.digest for one in there)
    return Incoming(_element(slot, act.member), tuple(replaces), act.beside, present)
