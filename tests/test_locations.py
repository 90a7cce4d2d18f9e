"""How places are named, wherever one may be named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.errors import UsageError
from rustassistant.locations import SCHEMES, Location, Unfit, listed, located, parted

PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scheme_and_path(scheme: str) -> None:
    assert parted(f"{scheme}:a/b.db") == (scheme, "a/b.db")
    assert str(parted(f"{scheme}:a/b.db")) == f"{scheme}:a/b.db"


@pytest.mark.parametrize(
    "place",
    ["cache.db", "C:cache.db", "./v1:cache.db", "/a/v1:b", ":memory:", "V1:x", "v2:x", "v1"],
)
def test_path_without_a_scheme(place: str) -> None:
    assert parted(place) == ("", place)


@given(st.sampled_from(SCHEMES), PATHS)
def test_what_a_place_is_called_names_it_again(scheme: str, path: str) -> None:
    place = Location(scheme, path)
    assert parted(str(place)) == place
    assert located(str(located(str(place)))) == located(str(place))


def test_place_stays_where_it_was_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = located("v1:sub/../x.db")
    monkeypatch.chdir("/")
    assert place == ("v1", str(tmp_path / "x.db"))
    assert located(str(place)) == place


def test_home_may_stand_after_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/dev")
    assert located("json:~/repos") == ("json", "/home/dev/repos")
    assert located(Path("~/repos")) == ("", "/home/dev/repos")


@pytest.mark.parametrize("place", ["", "v1:", "json:"])
def test_empty_path_names_nothing(place: str) -> None:
    with pytest.raises(UsageError, match="empty path"):
        located(place)


def test_unfit_kind_says_why_and_what_to_do() -> None:
    unfit = {"v1": Unfit("it can't be", "Do that instead.")}
    with pytest.raises(UsageError, match=r"/x\\xff\.db: it can't be") as raised:
        located(os.fsdecode(b"v1:/x\xff.db")).check_fit(unfit)
    assert raised.value.hint == "Do that instead."
    located("json:/x").check_fit(unfit)
    located("/v1").check_fit(unfit)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a", ["a"]),
        ("/a:/b c:", ["/a", "/b c", ""]),
        ("v1:/a:/b:json:/c", ["v1:/a", "/b", "json:/c"]),
        ("jsonl:json:v1", ["jsonl:json", "v1"]),
        ("v1:", ["v1:"]),
    ],
)
def test_list_of_places_keeps_schemes_with_their_paths(text: str, places: list[str]) -> None:
    assert listed(text) == places


@given(st.lists(st.tuples(st.sampled_from(["", *SCHEMES]), PATHS.filter(lambda p: ":" not in p))))
def test_list_of_places_comes_apart_as_it_was_joined(places: list[tuple[str, str]]) -> None:
    # A path that is itself the name of a scheme has to be written with ./ before it.
    named = [str(Location(scheme, f"./{path}")) for scheme, path in places]
    assert not named or listed(os.pathsep.join(named)) == named
