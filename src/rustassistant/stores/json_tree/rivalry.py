"""Which of several entries gets a file's name, and what becomes of the others.

A tree has one name for a file path, and the name is lossy; a database holds every result. So:

- Of several results for one path, the newest gets the name. The older are left out and counted, or
  are given names of their own if all are asked for.
- Of several paths with one name, the newest entry gets it, and the others get names of their own:
  none of them is an older state of another.
- A file that is there already and that none of these entries is, belongs to somebody else. The
  policy decides, and nothing of it is lost: if all results are kept, it gets a name of its own
  too, else it is kept outside the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rustassistant.stores.outcomes import OnConflict


class Candidate(NamedTuple):
    """An entry that wants a name. ``digest`` is its text's SHA-256.

    ``number`` is where its text was put for now, None if it is the file that has the name;
    ``fresh`` says that this run wrote it.
    """

    analyzed_at: int
    digest: bytes
    file_path: str
    number: int | None
    fresh: bool


class Present(NamedTuple):
    """Somebody else's file under that name; the first two None if it is no entry."""

    analyzed_at: int | None
    file_path: str | None
    digest: bytes


class Verdict(NamedTuple):
    """What becomes of each. ``conflict`` says it in words, if somebody else's file was involved.

    ``named`` gets the name, ``elsewhere`` names of their own, ``older`` are left out, ``refused``
    fail. With ``aside``, the file that is there is kept outside the tree and replaced; with
    ``beside``, under a name of its own.
    """

    named: Candidate | None
    elsewhere: Sequence[Candidate] = ()
    older: Sequence[Candidate] = ()
    refused: Sequence[Candidate] = ()
    aside: bool = False
    beside: bool = False
    conflict: str = ""


def judge(
    candidates: Sequence[Candidate],
    present: Present | None,
    *,
    on_conflict: OnConflict,
    every: bool,
) -> Verdict:
    """Decide for one name. ``every`` keeps older results too."""
    ordered = sorted(candidates, key=_age, reverse=True)
    paths: set[str] = set()
    current: list[Candidate] = []
    older: list[Candidate] = []
    for one in ordered:
        (older if one.file_path in paths else current).append(one)
        paths.add(one.file_path)
    if every:
        current, older = current + older, []
    first, others = current[0], current[1:]
    if present is None:
        return Verdict(first, others, older)
    if on_conflict is OnConflict.FAIL:
        # All of them: that some of a name's entries are there would look as if all were.
        reason = "another file is there, and was left alone"
        return Verdict(None, (), older, current, conflict=reason)
    other_path = present.file_path is not None and present.file_path != first.file_path
    if on_conflict is OnConflict.KEEP_BOTH or other_path:
        reason = "another file is there: both are kept, the exported one under a name of its own"
        return Verdict(None, current, older, conflict=reason)
    theirs = None if present.analyzed_at is None else (present.analyzed_at, present.digest)
    mine = _age(first)
    if theirs is None or on_conflict.best((mine, theirs)) == mine:
        beside = every and theirs is not None
        where = "beside it" if beside else "aside"
        reason = f"another file was there: it was replaced, and is kept {where}"
        return Verdict(first, others, older, aside=not beside, beside=beside, conflict=reason)
    age = "older" if on_conflict is OnConflict.OLDEST else "newer"
    reason = f"another file is there, and is the {age} one: it was left alone"
    if every:
        return Verdict(None, current, older, conflict=reason)
    return Verdict(None, others, [first, *older], conflict=reason)


def _age(one: Candidate) -> tuple[int, bytes]:
    return (one.analyzed_at, one.digest)
