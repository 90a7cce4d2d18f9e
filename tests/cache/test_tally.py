from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import pytest

from rustassistant.cache.tally import Tally
from rustassistant.errors import DamagedError, LockedError
from rustassistant.stores.live import Answer, Question, Traffic, Use, Wanted
from support import sample_entry

CONTENT = bytes(32)


class Written:
    """A store that some counts cannot be written to."""

    def __init__(self) -> None:
        self.uses: dict[int, int] = {}
        self.traffic: dict[str, Traffic] = {}
        self.refused: dict[int | str, Exception] = {}
        self.asked = 0

    def write(self, uses: Mapping[int, Use], traffic: Mapping[Question, Traffic]) -> None:
        self.asked += 1
        for name in (*uses, *(question.model for question in traffic)):
            if name in self.refused:
                raise self.refused[name]
        for entry_id, use in uses.items():
            self.uses[entry_id] = self.uses.get(entry_id, 0) + use.hits
        for question, sums in traffic.items():
            self.traffic[question.model] = sums


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def tally(written: Written) -> Iterator[Tally]:
    made = Tally(written.write)
    yield made
    made.end()


def hit(tally: Tally, entry_id: int, tokens_used: int | None = 5) -> None:
    entry = sample_entry(model=f"m{entry_id}", tokens_used=tokens_used)
    answer = msgspec.structs.replace(Answer.from_entry(entry), id=entry_id)
    tally.count(answer, Wanted("docs", CONTENT))


@pytest.mark.parametrize("error", [DamagedError("one is wrong"), OverflowError("too large")])
def test_what_cannot_be_written_takes_nothing_else_with_it(
    tally: Tally, written: Written, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    for entry_id in range(1, 6):
        hit(tally, entry_id)
    tally.count(None, Wanted("docs", CONTENT, "missing"))
    written.refused = {3: error, "m4": error}
    tally.flush()
    assert written.uses == {1: 1, 2: 1, 4: 1, 5: 1}
    assert set(written.traffic) == {"m1", "m2", "m3", "m5", "missing"}
    assert str(error) in caplog.text
    written.refused = {}
    tally.flush()
    assert 3 not in written.uses


def test_lock_that_comes_between_loses_nothing(tally: Tally, written: Written) -> None:
    for entry_id in range(1, 6):
        hit(tally, entry_id)
    written.refused = {2: DamagedError("one is wrong"), 4: LockedError("busy")}
    tally.flush()
    del written.refused[4]
    tally.flush()
    assert written.uses == {1: 1, 3: 1, 4: 1, 5: 1}
    assert set(written.traffic) == {f"m{entry_id}" for entry_id in range(1, 6)}


def test_database_that_takes_nothing_is_not_asked_for_each_of_very_many(
    tally: Tally, written: Written
) -> None:
    for entry_id in range(1, 1000):
        hit(tally, entry_id)
        written.refused[entry_id] = DamagedError("all is wrong")
        written.refused[f"m{entry_id}"] = DamagedError("all is wrong")
    tally.flush()
    assert written.asked < 50


@pytest.mark.parametrize(("tokens", "saved"), [(10**12, 2 * 10**12), (2**63 - 1, 0), (-1, 0)])
def test_tokens_that_no_request_uses_are_not_counted_as_saved(
    tally: Tally, written: Written, tokens: int, saved: int
) -> None:
    """As in all other sums: an entry that says so says nothing."""
    for _ in range(2):
        hit(tally, 1, tokens)
    tally.flush()
    assert written.traffic == {"m1": Traffic(hits=2, tokens_saved=saved)}
