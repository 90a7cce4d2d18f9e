"""Telling what is done about each file's results, and counting it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rustassistant.sync.decide import BOTH, A, Act, B, Choice, Decision, Does, Member
from rustassistant.sync.elements import Facts
from rustassistant.sync.report import Moved, Sign, Step, SyncResult, Told, Trouble
from rustassistant.sync.state import Rest, Slot

_LETTERS: Final = ("a", "b")
_SHOWN: Final = ("A", "B")


class Teller:
    """Counts in ``result``, and lets ``told`` hear of each step. ``equal`` counts results that are
    on both sides, of the slots that it was told of."""

    def __init__(
        self, result: SyncResult, told: Told | None, is_meant: Callable[[Slot, Member], bool]
    ) -> None:
        self._result = result
        self._told = told
        self._is_meant = is_meant
        self.equal = 0

    def tell(self, slot: Slot, decision: Decision, failure: str | None = None) -> Rest:
        """Tell of a slot, with the reason if it failed; return what of it is not in step."""
        result = self._result
        # Of what has failed it is not known how far it came: what was to stay is there.
        equal = sum(
            decision.final[one.digest] == BOTH and (failure is None or one.now == BOTH)
            for one in slot.members
        )
        self.equal += equal
        if failure is not None:
            facts = next(iter(slot.facts.values()))
            path = f"{facts.repository}/{facts.file_path}"
            result.fail(Trouble(path, facts.cache_type, failure))
            return Rest()
        if decision.left is not None:
            result.left += 1
            note = "changed on both sides: left as it is; choose with --resolve"
            self._say(Sign.CONFLICT, "", slot.facts[decision.left.a.digest], note)
        result.resolved += len(decision.resolved)
        vanished = [0, 0]
        for act in decision.acts:
            self._count(act)
            vanished[1 - act.to] += act.does is Does.KEEP
            self._say(*_told(act), slot.facts[act.member.digest], _note(act, decision))
        filtered = sum(not self._is_meant(slot, one) for one in slot.members if one.now in (1, 2))
        result.filtered += filtered
        left = int(decision.left is not None)
        agreed = slot.agreed if left else decision.agreed
        both = sum(sides == BOTH for sides in agreed.values())
        return Rest((vanished[A], vanished[B]), left, filtered, both - equal)

    def _count(self, act: Act) -> None:
        moved: Moved = (self._result.a, self._result.b)[act.to]
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
        why = f": {act.member.held}" if act.member.held else "; --delete deletes it"
        return f"deleted on {there}, kept on {here}{why}"
    if not act.clash:
        return ""
    choice = next((choice for _, choice in decision.resolved), None)
    if choice is Choice.KEEP_BOTH:
        return f"changed on both sides: both are kept, that of {there} on {here} too"
    if act.does is Does.REMOVE:
        return f"changed on both sides: that of {here} goes to the trash"
    return f"changed on both sides: that of {there} replaces that of {here}"
