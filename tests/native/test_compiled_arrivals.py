"""Records that compiled code puts into a database end up as those that Python puts there."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustassistant.entry import CacheType, Entry
from rustassistant.records import Record
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.outcomes import OnConflict, Outcome, Put, Rules
from rustassistant.stores.sqlite import SqliteStore, arrivals
from rustassistant.stores.sqlite.totals import month_of
from stores.store_suite import record_of
from support import sample_entry

pytest.importorskip(
    "rustassistant.native.arrivals", reason="there was no C compiler when this was installed"
)
TABLES: Final = ("repositories", "folders", "producers", "files", "entries", "copies", "totals")
REPOSITORIES: Final = (Repository("/home/dev/a", "6b1e9f3a"), Repository("/home/dev/b"))
INT64: Final = 2**63

Batches = list[tuple[Folder, list[Record]]]

few_results: Final = st.sampled_from(
    [b"1", b'{"a":1}', b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}', b'["' + b"x" * 99]
)
records: Final = st.builds(
    lambda original, stamp, name, **fields: record_of(
        sample_entry(**fields, original=original), stamp=stamp, name=name
    ),
    file_path=st.sampled_from(["src/lib.rs", "größe.rs", "a"]),
    file_hash=st.sampled_from([b"h" * 32, b"i" * 32]),
    file_size=st.sampled_from([None, 0, 13]),
    provider=st.sampled_from(["xai", "anthropic"]),
    model=st.sampled_from(["grok-beta", "claude"]),
    prompt_hash=st.sampled_from([None, "b56f6b9b1ff77eac"]),
    schema_version=st.sampled_from([None, 1, 2]),
    analyzed_at=st.sampled_from([0, -1, 10**18, 10**18 + 1, 1770174834878744252]),
    tokens_used=st.sampled_from([None, 0, 1234, -1, 10**12, 10**12 + 1, INT64 - 1]),
    result=few_results,
    original=st.sampled_from([None, None, b"as it was"]),
    name=st.sampled_from([None, b"\xff.json"]),
    stamp=st.sampled_from([None, 1, -(2**47)]),
)
folders: Final = st.builds(
    Folder,
    st.sampled_from(REPOSITORIES),
    st.sampled_from(["docs", "todos", CacheType.REFACTOR]),
    st.sampled_from(["centralized", "flat"]),
)
batches: Final = st.lists(st.tuples(folders, st.lists(records, max_size=12)), max_size=6)
rules: Final = st.builds(Rules, st.sampled_from(OnConflict), st.booleans())


def put_all(path: Path, rules: Rules, batches: Batches) -> tuple[list[Put], dict[str, Any]]:
    for left in path.parent.glob(f"{path.name}*"):
        left.unlink()
    with SqliteStore(path).writer(rules) as writer:
        puts = [writer.put(folder, some) for folder, some in batches]
    connection = apsw.Connection(str(path))
    rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}  # noqa: S608
    rows["trash"] = connection.execute("SELECT entry_id, reason FROM trash").fetchall()
    connection.close()
    return puts, rows


def check(directory: Path, rules: Rules, batches: Batches) -> list[Put]:
    puts, rows = put_all(directory / "compiled.db", rules, batches)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arrivals, "Arriving", None)
        by_python, python_rows = put_all(directory / "python.db", rules, batches)
    assert puts == by_python
    assert rows == python_rows
    return puts


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules, batches)
def test_whatever_comes_ends_up_alike(tmp_path: Path, rules: Rules, batches: Batches) -> None:
    check(tmp_path, rules, batches)


def entries(count: int) -> list[Entry]:
    return [
        sample_entry(file_path=f"src/{number}.rs", result=b"%d" % (number % 700))
        for number in range(count)
    ]


def test_those_of_a_new_repository_take_no_step_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [record_of(entry) for entry in entries(1_000)]
    folder = Folder(REPOSITORIES[0], "docs", "flat")
    taken: list[Record] = []
    original = arrivals.Arrivals._put_one

    def noting(self: Any, record: Record, *rest: Any) -> Outcome:
        taken.append(record)
        return original(self, record, *rest)

    monkeypatch.setattr(arrivals.Arrivals, "_put_one", noting)
    check(tmp_path, Rules(), [(folder, some)])
    assert taken == [some[0], *some]  # the first makes its producer; Python alone takes all


def test_more_groups_than_are_added_up_at_once(tmp_path: Path) -> None:
    day = 86_400 * 10**9
    some = [
        record_of(sample_entry(file_path=f"{number}", analyzed_at=number % 200 * 31 * day))
        for number in range(600)
    ]
    check(tmp_path, Rules(), [(Folder(REPOSITORIES[0], "docs", "flat"), some)])


def test_every_month_begins_and_ends_as_in_the_calendar(tmp_path: Path) -> None:
    day, epoch = 86_400 * 10**9, dt.date(1970, 1, 1).toordinal()
    moments = []
    for year in (1678, 1699, 1700, 1899, 1900, 1969, 1970, 1999, 2000, 2024, 2026, 2100, 2261):
        for month in range(1, 13):
            first = (dt.date(year, month, 1).toordinal() - epoch) * day
            moments += [first - 1, first, first + 28 * day, first + 29 * day]
    some = [
        record_of(sample_entry(file_path=f"{number}", analyzed_at=moment))
        for number, moment in enumerate(moments)
    ]
    folder = Folder(REPOSITORIES[0], "docs", "flat")
    check(tmp_path, Rules(), [(folder, some)])
    connection = apsw.Connection(str(tmp_path / "compiled.db"))
    months = {month for (month,) in connection.execute("SELECT month FROM totals")}
    assert months == {month_of(moment) for moment in moments}
    assert 2024 * 12 + 1 in months
