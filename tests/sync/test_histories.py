"""Anything that people and programs do, in any order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustassistant.errors import (
    UnsafeSyncError,
)
from sync.pairs import (
    KINDS,
    Database,
    in_step,
    side_of,
    sync,
    touch,
)

side = st.sampled_from([0, 1])
path = st.sampled_from(["x.rs", "y.rs", "src/x.rs"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("analyse"), side, path, st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("delete"), side, path),
        st.tuples(st.just("touch"), side, st.sampled_from([1, 4_000_000_000])),
        st.tuples(
            st.just("sync"),
            st.sampled_from(["newest", "a", "b", "keep-both", "fail"]),
            st.booleans(),
        ),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.sampled_from(KINDS), history=steps)
def test_any_history_ends_in_step_and_loses_nothing(
    kinds: tuple[str, str],
    history: list[tuple[Any, ...]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = tmp_path_factory.mktemp("history")
    sides = [side_of(kind, place / name) for kind, name in zip(kinds, "ab", strict=True)]
    known: set[bytes] = set()
    unwanted: set[bytes] = set()
    steps: list[tuple[Any, ...]] = [*history, ("sync", "newest", True)]
    for step in steps:
        if step[0] == "sync":
            try:
                sync(sides[0].path, sides[1].path, resolve=step[1], delete=step[2],
                     max_delete="100%")  # fmt: skip
            except UnsafeSyncError:  # one of them was emptied
                assert not all(side.live() for side in sides)
                sync(sides[0].path, sides[1].path, forget=True)
        else:
            changed = sides[step[1]]
            before = changed.live()
            if step[0] == "analyse":
                changed.analyse(*step[2:])
            elif step[0] == "delete":
                changed.delete(step[2])
            elif changed.path.is_dir():
                touch(changed.path, int(step[2]))
            unwanted |= before - changed.live()
            known |= changed.live()
        assert known - unwanted <= sides[0].kept() | sides[1].kept()
    in_step(sides[0], sides[1])
    for one, other in (sides, sides[::-1]):
        if isinstance(other, Database):
            assert one.live() <= other.live()
