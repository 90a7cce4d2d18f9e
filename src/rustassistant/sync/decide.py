"""What a sync does about one file's results: a pure function of what is there and what was.

It sees every result of one slot (repository, type, file path), on which sides it is now and on
which it was when both were last in step. From that follows what happened on each side:

    is there, was not           added
    was there, is not           replaced, if something was added in its place; else deleted
    is there, was there         left alone

A database holds any number of results for a file, so in its place means: for the same request
(identity). A tree has one file for a path and shows the newest; there, anything added to the slot
takes the place of what has gone. Such a side is called narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final, NamedTuple

A: Final = 0
B: Final = 1
BOTH: Final = 3
"""Sides are numbers, sets of them bits: 1 for A, 2 for B."""


class Member(NamedTuple):
    """One result of the slot. ``now`` and ``was`` are sets of sides; ``fixed`` ones are not meant
    by the filters, and stay wherever they are. ``held`` says why one is not deleted, whoever
    deletes it elsewhere; empty if it is."""

    digest: bytes
    identity: bytes
    analyzed_at: int
    now: int
    was: int
    fixed: bool = False
    held: str = ""

    @property
    def standing(self) -> tuple[int, bytes]:
        """What decides which is newer: the time of the analysis, never a file's."""
        return (self.analyzed_at, self.digest)


class Choice(Enum):
    """Which side wins a conflict."""

    A = A
    B = B
    KEEP_BOTH = 2
    LEAVE = 3


class Clash(NamedTuple):
    """What each side added in place of the same thing; of each, the newest."""

    a: Member
    b: Member

    @property
    def newest(self) -> Choice:
        """The side with the newer one."""
        return Choice.A if self.a.standing > self.b.standing else Choice.B


Choose = Callable[[Clash], Choice]


class Does(StrEnum):
    """What is done, or not done."""

    COPY = "copy"
    REMOVE = "remove"
    DELETE = "delete"
    KEEP = "keep"


class Act(NamedTuple):
    """One thing to do on the side ``to``.

    COPY puts a result there; ``replaces`` leave with it, and ``beside`` gives it a name of its own
    where a name is taken. REMOVE takes away what was replaced on the other side, DELETE what was
    deleted there; KEEP leaves that. ``lost`` are those of all that leave which the other side does
    not hold either. ``clash`` says that a conflict led to it.
    """

    does: Does
    to: int
    member: Member
    replaces: tuple[Member, ...] = ()
    beside: bool = False
    lost: frozenset[bytes] = frozenset()
    clash: bool = False


@dataclass(slots=True)
class Decision:
    """What to do, and which sides each result is to be remembered on once it is done.

    ``final`` says for each result on which sides it then is. ``left`` is the conflict that nobody
    has decided: then nothing is done and nothing remembered.
    """

    acts: list[Act] = field(default_factory=list)
    agreed: dict[bytes, int] = field(default_factory=dict)
    final: dict[bytes, int] = field(default_factory=dict)
    resolved: list[tuple[Clash, Choice]] = field(default_factory=list)
    left: Clash | None = None


def decide(
    members: Iterable[Member], narrow: tuple[bool, bool], *, delete: bool, choose: Choose
) -> Decision:
    """Decide for one slot. ``narrow`` says which sides are; ``delete`` lets deletions travel."""
    return _Slot(members, narrow, delete=delete, choose=choose).decide()


class _Slot:
    def __init__(
        self, members: Iterable[Member], narrow: tuple[bool, bool], *, delete: bool, choose: Choose
    ) -> None:
        self._all = sorted(members, key=lambda one: one.standing)
        self._movable = [one for one in self._all if not one.fixed]
        self._narrow = narrow
        self._delete = delete
        self._choose = choose
        self._final = {one.digest: one.now for one in self._movable}
        self._acts: list[Act] = []
        self._resolved: list[tuple[Clash, Choice]] = []
        self._incoming: tuple[list[Member], list[Member]] = ([], [])
        self._replaced: tuple[dict[bytes, Member], dict[bytes, Member]] = ({}, {})
        """On each side, what leaves it, by digest, and what comes instead."""
        self._clashing: set[bytes] = set()
        self._unsettled: set[bytes] = set()

    def decide(self) -> Decision:
        for cluster in self._clusters():
            clash = self._clash(cluster)
            if clash is None:
                continue
            choice = self._choose(clash)
            if choice is Choice.LEAVE:
                return Decision(final=self._sides_now(), left=clash)
            self._resolved.append((clash, choice))
            self._settle(cluster, clash, choice)
        for one in self._movable:
            if one.now in (1, 2) and one.digest not in self._clashing:
                self._one_sided(one)
        for to in (A, B):
            if self._narrow[to]:
                self._fill(to)
            else:
                self._spread(to)
        final = self._sides_now() | self._final
        return Decision(self._with_lost(), self._agreed(), final, self._resolved)

    def _sides_now(self) -> dict[bytes, int]:
        return {one.digest: one.now for one in self._all}

    # Conflicts.

    def _clusters(self) -> list[list[Member]]:
        """What can take each other's place, whichever side it is on."""
        if all(self._narrow):
            return [self._movable]
        clusters: dict[bytes, list[Member]] = {}
        for one in self._movable:
            clusters.setdefault(one.identity, []).append(one)
        return list(clusters.values())

    def _clash(self, cluster: Sequence[Member]) -> Clash | None:
        newest = [
            next((one for one in reversed(cluster) if _is_new_only(one, side)), None)
            for side in (A, B)
        ]
        a, b = newest
        return None if a is None or b is None else Clash(a, b)

    def _settle(self, cluster: Sequence[Member], clash: Clash, choice: Choice) -> None:
        if choice is Choice.KEEP_BOTH:
            for one in cluster:
                for side in (A, B):
                    if _is_new_only(one, side):
                        self._copy(one, _other(side), beside=True, clash=True)
                        self._clashing.add(one.digest)
            return
        loser = _other(choice.value)
        winner = clash.a if choice is Choice.A else clash.b
        self._incoming[loser].append(winner)
        self._clashing.add(winner.digest)
        for one in cluster:
            if _is_new_only(one, loser):
                self._replaced[loser][one.digest] = winner
                self._clashing.add(one.digest)

    # What happened on one side only.

    def _one_sided(self, one: Member) -> None:
        here = A if one.now == 1 else B
        there = _other(here)
        if not one.was & _bit(here):
            self._incoming[there].append(one)
        elif one.was & _bit(there):
            self._vanished(one, here, there)

    def _vanished(self, one: Member, here: int, there: int) -> None:
        added = [new for new in self._movable if _is_new(new, there)]
        successors = [new for new in added if self._narrow[there] or new.identity == one.identity]
        if successors:
            rivals = [
                new
                for new in successors
                if (all(self._narrow) or new.identity == one.identity)
                and new.digest not in self._replaced[there]
            ]  # a database keeps what answers other requests, and what a loser has replaced
            if rivals:
                self._replaced[here][one.digest] = rivals[-1]
            return
        if self._delete and not one.held:
            self._acts.append(Act(Does.DELETE, here, one))
            self._final[one.digest] = 0
        else:
            self._acts.append(Act(Does.KEEP, here, one))
            self._unsettled.add(one.digest)

    # What comes to a side.

    def _spread(self, to: int) -> None:
        """Everything has room."""
        replaced = self._replaced[to]
        for one in self._incoming[to]:
            leaving = [gone for gone in self._movable if replaced.get(gone.digest) is one]
            self._copy(one, to, replaces=leaving)
        self._remove_rest(to)

    def _fill(self, to: int) -> None:
        """One name: the newest gets it."""
        incoming = sorted(self._incoming[to], key=lambda one: one.standing)
        replaced = self._replaced[to]
        staying = [one for one in self._all if self._stays(one, to) and one.digest not in replaced]
        deleted = {
            act.member.digest for act in self._acts if act.does is Does.DELETE and act.to == to
        }
        leaving = [one for one in self._movable if one.digest in replaced.keys() | deleted]
        if incoming:
            newest = incoming[-1]
            holder = staying[-1] if staying else None
            if any(one.fixed for one in staying):
                self._unsettled.update(one.digest for one in incoming)
            elif holder is None or leaving:
                if holder is None or newest.standing > holder.standing or self._narrow[_other(to)]:
                    self._copy(newest, to, replaces=leaving)
            elif self._lies_beside(newest, holder, to):
                self._copy(newest, to, beside=True)
            elif newest.standing > holder.standing:
                self._copy(newest, to, replaces=[holder])
            if self._narrow[_other(to)]:
                for one in incoming[:-1]:
                    self._copy(one, to, beside=True)
        self._remove_rest(to)

    def _stays(self, one: Member, side: int) -> bool:
        sides = one.now if one.fixed else self._final[one.digest]
        return bool(sides & one.now & _bit(side))

    def _lies_beside(self, newest: Member, holder: Member, to: int) -> bool:
        """Whether both are to be there: as on the other side, where they have a file each, or as
        somebody who kept both of a conflict was about to have it when they were interrupted."""
        is_on_both = holder.now == BOTH
        if self._narrow[_other(to)]:
            return is_on_both or newest.standing < holder.standing
        is_kept = holder.was != BOTH and holder.identity == newest.identity
        return is_on_both and is_kept

    def _remove_rest(self, to: int) -> None:
        """What was replaced on the other side, and has not left with what was copied here."""
        for one in self._movable:
            if one.digest in self._replaced[to] and self._final[one.digest] & _bit(to):
                self._acts.append(Act(Does.REMOVE, to, one, clash=one.digest in self._clashing))
                self._final[one.digest] &= ~_bit(to)

    def _copy(
        self,
        one: Member,
        to: int,
        *,
        replaces: Sequence[Member] = (),
        beside: bool = False,
        clash: bool = False,
    ) -> None:
        clash = clash or one.digest in self._clashing
        # What was deleted there is replaced here, if something came in its place after all.
        gone = {two.digest for two in replaces}
        self._acts = [
            act
            for act in self._acts
            if act.does is Does.COPY or act.to != to or act.member.digest not in gone
        ]
        self._unsettled -= gone
        self._acts.append(Act(Does.COPY, to, one, tuple(replaces), beside, clash=clash))
        self._final[one.digest] |= _bit(to)
        for digest in gone:
            self._final[digest] &= ~_bit(to)

    # The end.

    def _with_lost(self) -> list[Act]:
        acts = []
        for act in self._acts:
            leaving = act.replaces if act.does is Does.COPY else (act.member,)
            # What is only about to be copied there counts as lost: copying may fail.
            lost = frozenset(one.digest for one in leaving if not self._final[one.digest] & one.now)
            acts.append(act._replace(lost=lost))
        return acts

    def _agreed(self) -> dict[bytes, int]:
        agreed = {}
        for one in self._all:
            if one.fixed or one.digest in self._unsettled:
                sides = one.was
            else:
                sides = self._final[one.digest]
                if self._unsettled and sides in (1, 2) and not one.was:
                    sides = 0  # whether it gets the name will show when the rest is settled
            if sides:
                agreed[one.digest] = sides
        return agreed


def _bit(side: int) -> int:
    return 1 << side


def _other(side: int) -> int:
    return 1 - side


def _is_new(one: Member, side: int) -> bool:
    return bool(one.now & ~one.was & _bit(side))


def _is_new_only(one: Member, side: int) -> bool:
    return one.now == _bit(side) and not one.was & _bit(side)
