from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from rustassistant import AnalysisCache, Computed, NotKeptWarning
from rustassistant.errors import UsageError

BY: dict[str, Any] = {"type": "docs", "provider": "p", "model": "m"}


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AnalysisCache]:
    with AnalysisCache(tmp_path / "cache.db", repository=tmp_path / "code") as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "code" / "src").mkdir(parents=True)
    file = tmp_path / "code" / "src" / "a.py"
    file.write_text("one")
    return file


def test_function_is_called_once_for_each_content(cache: AnalysisCache, file: Path) -> None:
    calls = []

    @cache.analysis(**BY, prompt="How many letters?")
    def analyse(path: Path) -> Computed:
        """Count."""
        calls.append(path)
        return Computed({"letters": len(path.read_text())}, tokens_used=7)

    assert analyse(file) == analyse(file) == analyse(path=file) == {"letters": 3}
    file.write_text("three")
    assert analyse(file) == {"letters": 5}
    file.write_text("one")
    assert analyse(file) == {"letters": 3}
    assert len(calls) == 2
    assert analyse.__doc__ == "Count."
    (one,) = cache.entries(content="one")
    assert (one.repository, one.file_path) == (str(file.parents[1]), "src/a.py")
    assert (one.tokens_used, one.file_size) == (7, 3)
    assert one.prompt_hash == hashlib.sha256(b"How many letters?").hexdigest()[:16]


def test_file_may_be_named_by_text_and_lie_anywhere(cache: AnalysisCache, tmp_path: Path) -> None:
    elsewhere = tmp_path / "b.py"
    elsewhere.write_text("two")

    @cache.analysis(**BY)
    def analyse(path: str) -> str:
        return Path(path).read_text()

    assert analyse(str(elsewhere)) == "two"
    assert [one.file_path for one in cache] == [str(elsewhere)]


def test_content_may_be_given_itself(cache: AnalysisCache) -> None:
    @cache.analysis(**BY)
    def analyse(content: bytes, file_path: str | None = None) -> int:
        return len(content)

    assert analyse(b"1234") == 4
    assert analyse(b"12", file_path="src/a.py") == 2
    assert {one.file_path for one in cache} == {
        hashlib.sha256(b"1234").hexdigest()[:16],
        "src/a.py",
    }


def test_argument_that_may_change_the_result_needs_a_prompt_that_tells_it(
    cache: AnalysisCache,
) -> None:
    def analyse(content: bytes, style: str = "short") -> str:
        return style

    plain = cache.analysis(**BY, prompt="Describe.")(analyse)
    assert plain(b"x") == "short"
    with pytest.raises(UsageError, match="may depend on style"):
        plain(b"x", style="long")
    told = cache.analysis(**BY, prompt=lambda content, style: f"Describe, {style}.")(analyse)
    assert told(b"x", style="long") == "long"
    assert told(b"x", style="short") == "short"
    assert told(b"x", style="long") == "long"


def test_argument_that_makes_no_difference_is_named(cache: AnalysisCache) -> None:
    @cache.analysis(**BY, ignore=["client"])
    def analyse(content: bytes, client: object) -> int:
        return 1

    assert analyse(b"x", object()) == analyse(b"x", client=None) == 1
    assert len(list(cache)) == 1


def test_methods_can_be_decorated(cache: AnalysisCache) -> None:
    class Analyst:
        calls = 0

        @cache.analysis(**BY)
        def analyse(self, content: bytes) -> int:
            self.calls += 1
            return len(content)

    analyst = Analyst()
    assert analyst.analyse(b"abc") == analyst.analyse(b"abc") == 3
    assert analyst.calls == 1


def test_file_that_changes_meanwhile_is_not_kept(cache: AnalysisCache, file: Path) -> None:
    @cache.analysis(**BY)
    def analyse(path: Path) -> str:
        path.write_text("changed")
        return path.read_text()

    with pytest.warns(NotKeptWarning, match="changed while"):
        assert analyse(file) == "changed"
    assert list(cache) == []
    assert analyse(file) == "changed"
    assert cache.get(type="docs", content="changed") is not None


def test_missing_file_is_the_usual_error(cache: AnalysisCache, tmp_path: Path) -> None:
    @cache.analysis(**BY)
    def analyse(path: Path) -> int:
        return 1

    with pytest.raises(FileNotFoundError):
        analyse(tmp_path / "nowhere")


def test_coroutine_functions_wait_without_holding_threads(cache: AnalysisCache, file: Path) -> None:
    calls = []

    @cache.analysis(**BY)
    async def analyse(path: Path) -> int:
        calls.append(path)
        await asyncio.sleep(0.02)
        return await asyncio.to_thread(len, path.read_text())

    async def many() -> Any:
        return await asyncio.gather(*(analyse(file) for _ in range(100)))

    assert asyncio.run(many()) == [3] * 100
    assert len(calls) == 1


def test_result_of_a_cancelled_wait_is_left_to_the_next(cache: AnalysisCache, file: Path) -> None:
    begun: list[int] = []

    @cache.analysis(**BY)
    async def analyse(path: Path) -> str:
        begun.append(1)
        if len(begun) == 1:
            await asyncio.Event().wait()
        return "second"

    async def main() -> Any:
        first = asyncio.create_task(analyse(file))
        while not begun:
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await analyse(file)

    assert asyncio.run(main()) == "second"


def test_disabled_cache_calls_each_time(tmp_path: Path) -> None:
    calls = []

    @AnalysisCache(None).analysis(**BY)
    def analyse(content: bytes) -> tuple[int, int]:
        calls.append(content)
        return 1, 2

    assert [analyse(b"x"), analyse(b"x")] == [[1, 2], [1, 2]]
    assert len(calls) == 2


def test_functions_that_cannot_be_asked_for_are_refused(cache: AnalysisCache) -> None:
    async def pieces(content: bytes) -> AsyncIterator[int]:
        yield 1

    for wrong, reason in ((lambda: 1, "no file"), (pieces, "in pieces")):
        with pytest.raises(UsageError, match=reason):
            cache.analysis(**BY)(wrong)
    with pytest.raises(UsageError, match="is a int"):
        cache.analysis(**BY)(lambda path: 1)(5)
    with pytest.raises(UsageError, match="coroutine"):
        cache.get_or_compute(**BY, file_path="a", content="x", compute=_later)


async def _later() -> int:
    return 1
