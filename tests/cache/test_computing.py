"""What was computed is paid for: whatever goes wrong then, it is kept, or at least returned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from rustassistant import AnalysisCache, CacheMigrator, Computed, NotKeptWarning
from rustassistant.errors import UnsuitableResultError
from rustassistant.stores.sqlite import SqliteStore
from support import Cache as Source

BY: dict[str, Any] = {"type": "docs", "provider": "p", "model": "m"}
SET: dict[str, Any] = BY | {"file_path": "a.py", "content": "x", "repository": "/r"}


class Int64:
    """A number as array libraries have them."""

    def __index__(self) -> int:
        return 321


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def cache(database: Path) -> Iterator[AnalysisCache]:
    with AnalysisCache(database) as opened:
        yield opened


def test_result_is_kept_and_its_claim_let_go_though_whoever_asked_is_cancelled(
    cache: AnalysisCache, database: Path
) -> None:
    """The threads of the event loop are all busy when the answer comes, as those of a server."""
    free = threading.Event()

    @cache.analysis(**BY)
    async def analyse(content: bytes) -> str:
        asyncio.get_running_loop().run_in_executor(None, free.wait)
        return "paid"

    async def main() -> None:
        with ThreadPoolExecutor(1) as threads, SqliteStore(database).writer():
            asyncio.get_running_loop().set_default_executor(threads)
            asked = asyncio.create_task(analyse(b"x"))
            while not Path(f"{database}.claims").exists():
                await asyncio.sleep(0)
            for _ in range(3):  # it comes to where it waits for the database
                await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            free.set()

    asyncio.run(main())
    cache.close()
    assert not Path(f"{database}.claims").exists()
    with AnalysisCache(database) as again:
        hit = again.get(type="docs", content="x")
        assert hit is not None
        assert hit.result == "paid"


@pytest.mark.parametrize("tokens", ["321", 321.0, True, 2**63, -(2**63) - 1, [1]])
def test_result_is_kept_though_what_it_took_is_no_number(cache: AnalysisCache, tokens: Any) -> None:
    with pytest.warns(NotKeptWarning, match="tokens_used"):
        made = cache.get_or_compute(**SET, compute=lambda: Computed({"r": 1}, tokens))
    assert (made.result, made.tokens_used) == ({"r": 1}, None)
    hit = cache.get(type="docs", content="x")
    assert hit is not None
    assert (hit.result, hit.tokens_used) == ({"r": 1}, None)


def test_result_is_kept_where_warnings_are_errors(cache: AnalysisCache) -> None:
    with pytest.raises(NotKeptWarning):
        cache.get_or_compute(**SET, compute=lambda: Computed({"r": 1}, "321"))  # type: ignore[arg-type]
    assert cache.get(type="docs", content="x") is not None


def test_numbers_of_other_libraries_are_taken(cache: AnalysisCache) -> None:
    number: Any = Int64()
    assert cache.get_or_compute(**SET, compute=lambda: Computed(1, number)).tokens_used == 321
    cache.set(**(SET | {"content": "y"}), tokens_used=number, schema_version=number, result=1)
    hit = cache.get(type="docs", content="y", schema_version=number)
    assert hit is not None
    assert (hit.tokens_used, hit.schema_version) == (321, 321)


@pytest.mark.parametrize("part", [{1: 2}, {"deep": [{1, 2}]}, "\ud800", [[{"n": float("nan")}]]])
def test_error_hands_back_the_whole_of_what_was_computed(cache: AnalysisCache, part: Any) -> None:
    paid = {"paid": "much", "part": part}
    with pytest.raises(UnsuitableResultError) as raised:
        cache.get_or_compute(**SET, compute=lambda: Computed(paid, 321))
    assert raised.value.value is paid


def test_result_is_returned_whatever_stands_in_the_way_of_keeping_it(
    cache: AnalysisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OverflowError("unforeseen")

    monkeypatch.setattr(cache._served, "keep", fail)
    with pytest.warns(NotKeptWarning, match="unforeseen"):
        assert cache.get_or_compute(**SET, compute=lambda: "paid").result == "paid"
    assert not list(cache)


def test_what_is_set_answers_after_the_last_moment_that_there_is(cache: AnalysisCache) -> None:
    cache.set(**SET, result="of the year 2262", analyzed_at=2**63 - 1)
    for result in ("now", "later", "later"):
        cache.set(**SET, result=result)
        hit = cache.get(type="docs", content="x", repository="/r", file_path="a.py")
        assert hit is not None
        assert hit.result == result
    assert len(list(cache)) == 1


def test_what_is_set_aside_answers_after_the_last_moment_that_there_is(database: Path) -> None:
    with AnalysisCache(database, write_timeout=0) as cache:
        cache.set(**SET, result="of the year 2262", analyzed_at=2**63 - 1)
        with SqliteStore(database).writer():
            cache.set(**SET, result="now")
        cache.flush()
        assert [one.result for one in cache] == ["now"]


@pytest.mark.parametrize("late", ["2099-02-01T00:00:00Z", "2262-04-11T23:47:16.854775807Z"])
@pytest.mark.parametrize("is_held", [False, True])
def test_what_is_set_answers_though_a_later_one_was_superseded(
    tmp_path: Path, database: Path, is_held: bool, late: str
) -> None:
    tree = Source(tmp_path / "repos")
    for when, result in (("2020-02-01T00:00:00Z", "early"), (late, "late")):
        tree.add("a.py", name=f"{result}.json", content=b"x", result=result, analyzed_at=when)
    CacheMigrator(tree.root, database, on_conflict="oldest").migrate()
    with AnalysisCache(database, write_timeout=0) as cache:
        (early,) = cache
        assert early.result == "early"
        words: dict[str, Any] = {
            "type": "docs", "content": "x", "model": early.model,
            "prompt_hash": early.prompt_hash, "repository": early.repository, "file_path": "a.py",
        }  # fmt: skip
        with SqliteStore(database).writer() if is_held else nullcontext():
            cache.set(**words, provider="p", result="now")
        cache.flush()
        assert [one.result for one in cache] == ["now"]


def test_only_the_one_that_cannot_be_put_fails_of_those_that_share_a_transaction(
    cache: AnalysisCache, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads wait for one writer; among what they would put is what nobody foresaw."""
    from rustassistant.stores.sqlite.serving.additions import Additions

    add = Additions.add

    def add_unless_poisonous(additions: Additions, entry: Any, **options: Any) -> None:
        add(additions, entry, **options)
        if entry.file_path == "poison":
            raise OverflowError("unforeseen")

    cache.set(**(SET | {"content": "before"}), result=0)
    monkeypatch.setattr(Additions, "add", add_unless_poisonous)
    names = ["1", "poison", "2", "3"]

    def put(name: str) -> str:
        try:
            cache.set(**(SET | {"content": name, "file_path": name}), result=name)
        except OverflowError as error:
            return str(error)
        return "kept"

    store: Any = cache._served.store  # type: ignore[union-attr]
    with ThreadPoolExecutor(4) as threads:
        with SqliteStore(database).writer():
            told = [threads.submit(put, name) for name in names]
            while len(store._jobs) < len(names):
                threading.Event().wait(0.001)
        assert [one.result() for one in told] == ["kept", "unforeseen", "kept", "kept"]
    assert sorted(one.result for one in cache if one.result) == ["1", "2", "3"]


def test_entry_that_can_neither_be_put_nor_set_aside_fails_alone(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rustassistant.stores.sqlite.serving.spool import Spool

    add = Spool.add

    def add_unless_poisonous(spool: Spool, entry: Any, **options: Any) -> None:
        if entry.file_path == "poison":
            raise TypeError("unforeseen")
        add(spool, entry, **options)

    with AnalysisCache(database, write_timeout=0.2) as cache:
        cache.set(**(SET | {"content": "before"}), result=0)
        monkeypatch.setattr(Spool, "add", add_unless_poisonous)
        names = ["1", "poison", "2", "3"]

        def put(name: str) -> str:
            try:
                cache.set(**(SET | {"content": name, "file_path": name}), result=name)
            except TypeError as error:
                return str(error)
            return "kept"

        with ThreadPoolExecutor(4) as threads, SqliteStore(database).writer():
            assert list(threads.map(put, names)) == ["kept", "unforeseen", "kept", "kept"]
        assert sorted(one.result for one in cache if one.result) == ["1", "2", "3"]
