from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.sync.decide import A, B, Choice, Clash, Decision, Does, Member, decide

TREE: Final = True
DATABASE: Final = False
KINDS: Final = [(TREE, DATABASE), (DATABASE, TREE), (TREE, TREE), (DATABASE, DATABASE)]


def newest(clash: Clash) -> Choice:
    return clash.newest


def member(
    name: str, now: str, was: str = "", *, of: str = "i", at: int = 0, fixed: bool = False
) -> Member:
    """``now`` and ``was`` name sides; the time is the name's unless given."""
    return Member(
        name.encode(), of.encode(), at or ord(name), _sides(now), _sides(was), fixed=fixed
    )


def _sides(names: str) -> int:
    return ("a" in names) | ("b" in names) << 1


def told(decision: Decision) -> list[str]:
    """Acts as text: what, which, to which side, what leaves."""
    lines = []
    for act in decision.acts:
        gone = "".join(one.digest.decode() for one in act.replaces)
        line = f"{act.does.value} {act.member.digest.decode()} {'ab'[act.to]}"
        line += f" for {gone}" if gone else ""
        lines.append(line + (" beside" if act.beside else ""))
    return sorted(lines)


def agreed(decision: Decision) -> dict[str, str]:
    names = {1: "a", 2: "b", 3: "ab"}
    return {name.decode(): names[sides] for name, sides in decision.agreed.items()}


CASES: Final = {
    "nothing changed": ([("x", "ab", "ab")], [], {"x": "ab"}),
    "both already have it": ([("x", "ab", "")], [], {"x": "ab"}),
    "added on a": ([("x", "a", "")], ["copy x b"], {"x": "ab"}),
    "added on b": ([("x", "b", "")], ["copy x a"], {"x": "ab"}),
    "changed on a": ([("x", "b", "ab"), ("y", "a", "")], ["copy y b for x"], {"y": "ab"}),
    "changed on b to an older one": (
        [("x", "b", ""), ("y", "a", "ab")],
        ["copy x a for y"],
        {"x": "ab"},
    ),
    "gone from both": ([("x", "", "ab")], [], {}),
    "changed on a, deleted on b": (
        [("x", "", "ab"), ("y", "a", "")],
        ["copy y b"],
        {"y": "ab"},
    ),
    "changed on both, b's is newer": (
        [("x", "", "ab"), ("y", "a", ""), ("z", "b", "")],
        ["copy z a for y"],
        {"z": "ab"},
    ),
    "changed on both to the same": ([("x", "", "ab"), ("y", "ab", "")], [], {"y": "ab"}),
}


@pytest.mark.parametrize("narrow", KINDS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_one_request(case: str, narrow: tuple[bool, bool]) -> None:
    members, acts, remembered = CASES[case]
    decision = decide([member(*one) for one in members], narrow, delete=False, choose=newest)
    assert (told(decision), agreed(decision)) == (acts, remembered)


@pytest.mark.parametrize("narrow", KINDS, ids=str)
def test_deletion_travels_only_if_asked_and_stays_pending_until_then(
    narrow: tuple[bool, bool],
) -> None:
    gone = [member("x", "a", "ab")]
    kept = decide(gone, narrow, delete=False, choose=newest)
    assert (told(kept), agreed(kept)) == (["keep x a"], {"x": "ab"})
    deleted = decide(gone, narrow, delete=True, choose=newest)
    assert (told(deleted), agreed(deleted)) == (["delete x a"], {})
    assert deleted.acts[0].lost == {b"x"}


@pytest.mark.parametrize(
    ("choice", "acts"),
    [
        (Choice.A, ["copy y b for z"]),
        (Choice.B, ["copy z a for y"]),
        (Choice.KEEP_BOTH, ["copy y b beside", "copy z a beside"]),
    ],
)
@pytest.mark.parametrize("narrow", KINDS, ids=str)
def test_conflict_goes_as_chosen(
    narrow: tuple[bool, bool], choice: Choice, acts: list[str]
) -> None:
    members = [member("x", "", "ab"), member("y", "a"), member("z", "b")]
    decision = decide(members, narrow, delete=False, choose=lambda _: choice)
    assert told(decision) == acts
    assert [choice for _, choice in decision.resolved] == [choice]


def test_conflict_that_nobody_decides_leaves_all_of_the_file_and_its_memory() -> None:
    members = [member("x", "", "ab"), member("y", "a"), member("z", "b")]
    decision = decide(members, (TREE, DATABASE), delete=True, choose=lambda _: Choice.LEAVE)
    assert decision.left is not None
    assert (decision.acts, decision.agreed) == ([], {})


def test_older_results_of_a_database_are_left_out_of_a_tree() -> None:
    members = [member("x", "b", of="1"), member("y", "b", of="2"), member("z", "ab", "ab", of="3")]
    decision = decide(members, (TREE, DATABASE), delete=False, choose=newest)
    assert told(decision) == []
    assert agreed(decision) == {"x": "b", "y": "b", "z": "ab"}


def test_deleting_the_file_of_a_tree_does_not_bring_an_older_result_back() -> None:
    members = [member("x", "b", "b", of="1"), member("z", "b", "ab", of="3")]
    decision = decide(members, (TREE, DATABASE), delete=True, choose=newest)
    assert told(decision) == ["delete z b"]
    assert agreed(decision) == {"x": "b"}


def test_file_analysed_anew_leaves_the_database_its_older_result() -> None:
    members = [member("x", "b", "ab", of="1"), member("y", "a", of="2")]
    decision = decide(members, (TREE, DATABASE), delete=True, choose=newest)
    assert told(decision) == ["copy y b"]
    assert agreed(decision) == {"x": "b", "y": "ab"}


def test_file_analysed_anew_replaces_that_of_another_tree() -> None:
    members = [member("x", "b", "ab", of="1"), member("y", "a", of="2")]
    decision = decide(members, (TREE, TREE), delete=False, choose=newest)
    assert told(decision) == ["copy y b for x"]
    assert decision.acts[0].lost == {b"x"}


def test_what_a_database_still_holds_is_not_lost_when_a_tree_gives_it_up() -> None:
    members = [member("x", "ab", "ab", of="1"), member("y", "b", of="2")]
    decision = decide(members, (TREE, DATABASE), delete=False, choose=newest)
    assert told(decision) == ["copy y a for x"]
    assert decision.acts[0].lost == set()


def test_what_is_only_about_to_be_copied_counts_as_lost() -> None:
    members = [member("x", "a", of="1"), member("y", "b", of="2")]
    decision = decide(members, (TREE, DATABASE), delete=False, choose=newest)
    assert told(decision) == ["copy x b", "copy y a for x"]
    assert [act.lost for act in decision.acts if act.replaces] == [{b"x"}]


def test_restoring_an_old_file_in_a_tree_is_not_undone() -> None:
    members = [member("x", "ab", "b", of="1"), member("y", "b", "ab", of="2")]
    decision = decide(members, (TREE, DATABASE), delete=True, choose=newest)
    assert told(decision) == []
    assert agreed(decision) == {"x": "ab", "y": "b"}


def test_what_the_filters_leave_out_stays_and_is_not_replaced() -> None:
    members = [
        member("x", "a", "ab", of="1", fixed=True),
        member("y", "b", of="2"),
    ]
    decision = decide(members, (TREE, DATABASE), delete=True, choose=newest)
    assert told(decision) == []
    assert agreed(decision) == {"x": "ab"}


def test_winner_s_side_keeps_what_it_had_besides() -> None:
    members = [member("x", "a", "ab"), member("y", "a"), member("z", "b")]
    decision = decide(members, (DATABASE, DATABASE), delete=True, choose=lambda _: Choice.A)
    assert told(decision) == ["copy y b for z"]
    assert agreed(decision) == {"x": "a", "y": "ab"}


def test_file_gets_the_name_of_one_that_was_deleted() -> None:
    members = [member("x", "a", "ab", of="1"), member("y", "b", of="2")]
    decision = decide(members, (TREE, DATABASE), delete=True, choose=newest)
    assert told(decision) == ["copy y a for x"]
    assert decision.acts[0].lost == {b"x"}


def test_keeping_both_goes_on_after_an_interruption() -> None:
    members = [member("y", "ab"), member("z", "b")]
    for narrow in KINDS:
        decision = decide(members, narrow, delete=False, choose=newest)
        assert told(decision)[0].startswith("copy z a")
        assert not any(act.replaces for act in decision.acts)


# Any sequence of edits and syncs, on a model of the two sides.


@dataclass
class World:
    narrow: tuple[bool, bool]
    sides: tuple[dict[bytes, Member], dict[bytes, Member]] = field(default_factory=lambda: ({}, {}))
    was: dict[bytes, int] = field(default_factory=dict)
    trash: set[bytes] = field(default_factory=set)
    known: set[bytes] = field(default_factory=set)
    unwanted: set[bytes] = field(default_factory=set)
    count: int = 0

    def analyse(self, side: int, identity: int, at: int) -> None:
        """A program's new result: it takes the place of others, as programs do."""
        self.count += 1
        made = Member(b"%06d" % self.count, b"%d" % identity, at, 0, 0)
        here = self.sides[side]
        for one in list(here.values()):
            if self.narrow[side] or one.identity == made.identity:
                del here[one.digest]
                self.unwanted.add(one.digest)
        here[made.digest] = made
        self.known.add(made.digest)

    def delete(self, side: int, which: int) -> None:
        here = sorted(self.sides[side])
        if here:
            digest = here[which % len(here)]
            del self.sides[side][digest]
            self.unwanted.add(digest)

    def members(self) -> list[Member]:
        a, b = self.sides
        return [
            (a.get(digest) or b[digest])._replace(
                now=(digest in a) | (digest in b) << 1, was=self.was.get(digest, 0)
            )
            for digest in a.keys() | b.keys()
        ]

    def decide(self, choice: Choice | None, *, delete: bool) -> Decision:
        def choose(clash: Clash) -> Choice:
            return choice or clash.newest

        return decide(self.members(), self.narrow, delete=delete, choose=choose)

    def sync(
        self, choice: Choice | None, *, delete: bool, stops_after: int | None = None
    ) -> Decision:
        decision = self.decide(choice, delete=delete)
        acts = sorted(decision.acts, key=lambda act: self.narrow[act.to])
        for act in acts[:stops_after]:
            here, there = self.sides[act.to], self.sides[1 - act.to]
            gone = act.replaces if act.does is Does.COPY else (act.member,)
            if act.does is Does.COPY:
                assert act.member.digest in there
                here[act.member.digest] = act.member
            if act.does is Does.KEEP:
                continue
            for one in gone:
                del here[one.digest]
                if one.digest in act.lost:
                    self.trash.add(one.digest)
                else:
                    assert one.digest in there
        if stops_after is None and decision.left is None:
            self.was = dict(decision.agreed)
        return decision

    def check_nothing_is_lost(self) -> None:
        a, b = self.sides
        somewhere = a.keys() | b.keys() | self.trash
        assert self.known - self.unwanted <= somewhere


side = st.sampled_from([A, B])
choices = st.sampled_from([None, Choice.A, Choice.B, Choice.KEEP_BOTH, Choice.LEAVE])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("analyse"), side, st.integers(0, 2), st.integers(0, 5)),
        st.tuples(st.just("delete"), side, st.integers(0, 5)),
        st.tuples(st.just("sync"), choices, st.booleans(), st.none() | st.integers(0, 3)),
    ),
    max_size=14,
)


@given(narrow=st.sampled_from(KINDS), history=steps, choice=choices, delete=st.booleans())
def test_whatever_happened_nothing_is_lost_and_a_second_sync_does_nothing(
    narrow: tuple[bool, bool],
    history: list[tuple[str, int, int, int]],
    choice: Choice | None,
    delete: bool,
) -> None:
    world = World(narrow)
    for step in history:
        if step[0] == "analyse":
            world.analyse(*step[1:])
        elif step[0] == "delete":
            world.delete(*step[1:3])
        else:
            world.sync(step[1], delete=bool(step[2]), stops_after=step[3])  # type: ignore[arg-type]
        world.check_nothing_is_lost()
    first = world.sync(choice, delete=delete)
    world.check_nothing_is_lost()
    second = world.decide(choice, delete=delete)
    if first.left is None:
        assert {act.does for act in second.acts} <= {Does.KEEP}
        assert second.agreed == world.was
        if delete:
            assert not second.acts
    if narrow == (DATABASE, DATABASE) and first.left is None and delete:
        assert world.sides[A].keys() == world.sides[B].keys()


@given(narrow=st.sampled_from(KINDS), history=steps)
def test_it_does_not_matter_which_side_is_named_first(
    narrow: tuple[bool, bool], history: list[tuple[str, int, int, int]]
) -> None:
    one, other = World(narrow), World((narrow[1], narrow[0]))
    for step in history:
        if step[0] == "analyse":
            one.analyse(*step[1:])
            other.analyse(1 - step[1], *step[2:])
        elif step[0] == "delete":
            one.delete(*step[1:3])
            other.delete(1 - step[1], step[2])
        else:
            one.sync(None, delete=bool(step[2]))
            other.sync(None, delete=bool(step[2]))
    assert one.sides[A].keys() == other.sides[B].keys()
    assert one.sides[B].keys() == other.sides[A].keys()
