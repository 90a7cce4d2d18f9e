"""One sync from beginning to end: list both sides, decide, make sure, carry out, remember."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple

from rustassistant.codec import MIN_SAMPLES
from rustassistant.errors import EntryError, InterruptedRunError
from rustassistant.stores.base import Found, Repository
from rustassistant.stores.outcomes import Failure
from rustassistant.sync import safety
from rustassistant.sync.decide import (
    BOTH,
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
from rustassistant.sync.elements import Element, Facts, columns_of, element_of
from rustassistant.sync.options import Resolve, SyncOptions
from rustassistant.sync.places import OWN
from rustassistant.sync.report import Moved, Question, Sign, Step, SyncResult, Told, Trouble
from rustassistant.sync.side import CHANGED, Incoming, Leaving, Listed, Side, Work
from rustassistant.sync.state import Place, Slot, State

_BATCH: Final = 1_000
"""Acts that are made durable, and remembered, together."""

_LETTERS: Final = ("a", "b")
_SHOWN: Final = ("A", "B")


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
        *,
        dry_run: bool,
    ) -> None:
        self._sides = sides
        self._state = state
        self._options = options
        self._told = told
        self._dry_run = dry_run
        self._narrow = (sides[A].is_narrow, sides[B].is_narrow)
        self._result = SyncResult()
        self._works: dict[int, Work] = {}
        self._equal = 0

    def run(self) -> SyncResult:
        """Sync. Raises UnsafeSyncError, before anything is changed, where that could be wrong."""
        started = time.monotonic()
        result, state = self._result, self._state
        result.is_first = not state.held(A) and not state.held(B)
        safety.check_present(self._sides, state)
        if not self._dry_run:
            for side in self._sides:
                side.tidy()
        listed = self._list()
        safety.check_listed(self._sides, state, listed)
        self._own = tuple(
            side.own_key(one.folder for one in state.containers(number))
            for number, side in enumerate(self._sides)
        )
        with state.transaction():
            state.compare()
        copies = self._survey_plan()
        if self._dry_run:
            for task in self._tasks(answers=False):
                self._tell(task, {})
        else:
            self._carry_out(copies)
        result.equal = state.settled() + self._equal
        result.trash = [side.trash for side in self._sides if side.trash is not None]
        result.seconds = time.monotonic() - started
        return result

    # Looking.

    def _list(self) -> list[Listed]:
        listed = []
        for number, side in enumerate(self._sides):
            with self._state.transaction():
                if side.exists():
                    found = side.list(self._state, number)
                else:
                    found = Listed()
                    self._state.begin_listing()
                    self._state.end_listing(number)
            listed.append(found)
            for failure in found.failures:
                self._result.fail(Trouble(failure.path, failure.cache_type, failure.reason))
            for problem in found.problems:
                self._result.note(problem.path, problem.text)
        return listed

    def _survey_plan(self) -> list[int]:
        """Make sure that no more is to vanish than may; return the copies that go to each side."""
        vanished, copies = [0, 0], [0, 0]
        for task in self._tasks(answers=False):
            for act in task.decision.acts:
                if act.does in (Does.DELETE, Does.KEEP):
                    vanished[1 - act.to] += 1
                elif act.does is Does.COPY:
                    copies[act.to] += 1
        safety.check_vanished(self._sides, self._state, vanished, self._options.max_delete)
        return copies

    def _tasks(self, *, answers: bool) -> Iterator[_Task]:
        """Decide about every slot that is not as it was; ``answers``: asking who is to answer."""
        for slot in self._state.slots():
            members = [one._replace(fixed=not self._is_meant(slot, one)) for one in slot.members]
            choose = partial(self._choose, slot, answers=answers)
            decision = decide(members, self._narrow, delete=self._options.delete, choose=choose)
            yield _Task(slot, decision)

    def _is_meant(self, slot: Slot, member: Member) -> bool:
        facts, selection = slot.facts[member.digest], self._options.selection
        repository = Repository(facts.repository, facts.directory)
        return (
            self._has_room(repository)
            and (not selection.types or facts.cache_type in selection.types)
            and selection.admits_repository(repository)
            and selection.admits_producer(facts.provider, facts.model)
            and selection.admits_path(facts.file_path)
            and (selection.since is None or member.analyzed_at >= selection.since)
            and (selection.until is None or member.analyzed_at <= selection.until)
            and (selection.min_tokens is None or (facts.tokens_used or 0) >= selection.min_tokens)
        )

    def _has_room(self, repository: Repository) -> bool:
        """Whether both sides can hold entries of that repository."""
        if all(side.is_single for side in self._sides):
            return any(side.key_of(repository) == OWN for side in self._sides)
        return all(
            own is None or side.key_of(repository) == own
            for side, own in zip(self._sides, self._own, strict=True)
        )

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
                side.prepare(self._sides[1 - number].survey())
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
        # All is read before anything is changed: a result may move aside for one that it meets.
        for to in changing:
            self._gather(tasks, to, self._work(to, stack), failed)
        for to in changing:
            for one in self._works[to].commit():
                failed.setdefault(one.element.slot, one.reason)
        settled = []
        for task in tasks:
            self._tell(task, failed)
            if task.slot.key not in failed and task.decision.left is None:
                settled.append((task.slot.key, task.decision.agreed))
        with self._state.transaction():
            self._state.agree(settled)

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

    # Telling.

    def _tell(self, task: _Task, failed: dict[bytes, str]) -> None:
        slot, decision = task
        result = self._result
        self._equal += sum(one.now == BOTH for one in slot.members)
        reason = failed.get(slot.key)
        if reason is not None:
            facts = next(iter(slot.facts.values()))
            result.fail(Trouble(f"{facts.repository}/{facts.file_path}", facts.cache_type, reason))
            return
        if decision.left is not None:
            result.left += 1
            note = "changed on both sides: left as it is; choose with --resolve"
            self._say(Sign.CONFLICT, "", slot.facts[decision.left.a.digest], note)
        result.resolved += len(decision.resolved)
        for act in decision.acts:
            self._count(act)
            self._say(*_told(act), slot.facts[act.member.digest], _note(act, decision))
        result.filtered += sum(
            not self._is_meant(slot, one) for one in slot.members if one.now in (1, 2)
        )

    def _count(self, act: Act) -> None:
        moved: Moved = (self._result.a, self._result.b)[act.to]
        self._equal += act.does is Does.COPY and not self._dry_run
        match act.does:
            case Does.COPY if not act.replaces or act.beside:
                moved.added += 1
            case Does.COPY | Does.REMOVE:
                moved.changed += 1
            case Does.DELETE:
                moved.deleted += 1
            case Does.KEEP:
                self._result.kept += 1

    def _say(self, sign: Sign, to: str, facts: Facts, note: str) -> None:
        if self._told is not None:
            self._told(Step(sign, to, facts.cache_type, facts.file_path, facts.repository, note))


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


def _told(act: Act) -> tuple[Sign, str]:
    to = _LETTERS[act.to]
    match act.does:
        case Does.KEEP:
            return Sign.LEAVE, ""
        case Does.DELETE:
            return Sign.DELETE, to
        case _ if act.clash:
            return Sign.CONFLICT, to
        case Does.COPY if not act.replaces or act.beside:
            return Sign.ADD, to
        case _:
            return Sign.CHANGE, to


def _note(act: Act, decision: Decision) -> str:
    here, there = _SHOWN[act.to], _SHOWN[1 - act.to]
    if act.does is Does.KEEP:
        return f"deleted on {there}, kept on {here}; --delete deletes it"
    if not act.clash:
        return ""
    choice = next((choice for _, choice in decision.resolved), None)
    if choice is Choice.KEEP_BOTH:
        return f"changed on both sides: both are kept, that of {there} on {here} too"
    if act.does is Does.REMOVE:
        return f"changed on both sides: that of {here} goes to the trash"
    return f"changed on both sides: that of {there} replaces that of {here}"
