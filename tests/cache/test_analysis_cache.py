from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import Any

import apsw
import pytest

from rustassistant import AnalysisCache, Computed, DamagedEntryWarning, NotKeptWarning
from rustassistant.codec import Encoder
from rustassistant.errors import (
    DestinationError,
    ForeignFileError,
    LockedError,
    NewerFileError,
    RustAssistantError,
    UnsuitableResultError,
    UsageError,
)
from rustassistant.retention.trashcan import Chosen, restore
from rustassistant.stores.base import Folder, Repository
from rustassistant.stores.sqlite import SqliteStore
from support import as_nobody, sample_entry

ASKED: dict[str, Any] = {"type": "docs", "content": "text", "model": "m", "prompt": "why?"}
SET: dict[str, Any] = ASKED | {"file_path": "a.py", "provider": "xai", "repository": "/r"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture
def cache(database: Path) -> Iterator[AnalysisCache]:
    with AnalysisCache(database) as opened:
        yield opened


def rows(database: Path, sql: str) -> list[Any]:
    with closing(apsw.Connection(str(database))) as connection:
        return connection.execute(sql).fetchall()


def change(database: Path, *statements: str) -> None:
    with closing(apsw.Connection(str(database))) as connection:
        for statement in statements:
            connection.execute(statement)


def results(cache: AnalysisCache, **words: Any) -> list[Any]:
    return sorted(str(one.result) for one in cache.entries(**words))


def put(database: Path, *entries: Any, directory: str | None = "12345678") -> None:
    """As a migration does it."""
    with SqliteStore(database).writer() as writer:
        for entry in entries:
            layout = "local" if directory is None else "centralized"
            folder = Folder(Repository(entry.repository, directory), entry.cache_type, layout)
            writer.put(folder, [Encoder().encode(entry, name=None, stamp=None)])


def test_what_was_set_is_got_with_all_that_was_said_of_it(cache: AnalysisCache) -> None:
    before = len("text")
    cache.set(**SET, schema_version=3, tokens_used=42, result={"a": [1, None]})
    got = cache.get(**ASKED)
    assert got is not None
    assert got.result == {"a": [1, None]}
    assert got.text == b'{"a":[1,null]}'
    assert (got.type, got.repository, got.file_path) == ("docs", "/r", "a.py")
    assert got.file_hash == hashlib.sha256(b"text").hexdigest()
    assert got.file_size == before
    assert (got.provider, got.model, got.schema_version) == ("xai", "m", 3)
    assert got.prompt_hash == hashlib.sha256(b"why?").hexdigest()[:16]
    assert got.tokens_used == 42
    assert not got.computed


def test_result_survives_the_programs_end(database: Path) -> None:
    with AnalysisCache(database) as cache:
        cache.set(**SET, result="kept")
    with AnalysisCache(f"sqlite:{database}") as cache:
        assert results(cache) == ["kept"]


@pytest.mark.parametrize(
    "other",
    [
        {"type": "todos"},
        {"content": "other"},
        {"model": "m2"},
        {"prompt": "what?"},
        {"schema_version": 2},
        {"provider": "openai"},
    ],
)
def test_each_part_that_differs_is_a_miss(cache: AnalysisCache, other: dict[str, Any]) -> None:
    cache.set(**SET, result=1)
    assert cache.get(**(ASKED | other)) is None
    assert cache.get(**ASKED) is not None


def test_content_is_text_or_bytes_or_its_hash(cache: AnalysisCache) -> None:
    cache.set(**SET, result=1)
    digest = hashlib.sha256(b"text")
    for given in (b"text", digest.digest(), digest.hexdigest()):
        words = {"content": given} if given == b"text" else {"file_hash": given}
        assert cache.get(**(ASKED | {"content": None} | words)) is not None


def test_parts_are_compared_and_not_the_key_that_they_make(cache: AnalysisCache) -> None:
    cache.set(**(SET | {"model": "a:b", "prompt": None, "prompt_hash": "c"}), result=1)
    wanted: dict[str, Any] = {"type": "docs", "content": "text"}
    assert cache.get(**wanted, model="a", prompt_hash="b:c") is None
    assert cache.get(**wanted, model="a:b", prompt_hash="c") is not None


def test_without_a_prompt_the_hash_is_default(cache: AnalysisCache) -> None:
    cache.set(type="todos", content="x", file_path="a", provider="p", model="m", result=[])
    assert [one.prompt_hash for one in cache] == ["default"]


def test_setting_again_answers_from_then_on_even_if_the_clock_was_set_back(
    cache: AnalysisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set(**SET, result="first")
    monkeypatch.setattr("rustassistant.cache.wording.time.time_ns", lambda: 5)
    cache.set(**SET, result="second")
    assert results(cache) == ["second"]
    got = cache.get(**ASKED)
    assert got is not None
    assert got.result == "second"
    cache.set(**SET, result="second")
    assert results(cache) == ["second"]


def test_a_result_from_elsewhere_does_not_displace_a_newer_one(cache: AnalysisCache) -> None:
    cache.set(**SET, result="new")
    cache.set(**SET, result="old", analyzed_at=1_700_000_000_000_000_000)
    assert results(cache) == ["new"]


def test_what_is_displaced_is_kept_in_the_trash(cache: AnalysisCache, database: Path) -> None:
    cache.set(**SET, result="first")
    cache.set(**SET, result="second")
    assert rows(database, "SELECT entry_id, reason FROM trash") == [(1, "superseded")]


def test_same_content_elsewhere_is_a_hit_and_the_very_file_is_preferred(
    cache: AnalysisCache,
) -> None:
    for repository, path in (("/r", "a.py"), ("/r", "b.py"), ("/s", "a.py")):
        named = {"repository": repository, "file_path": path}
        cache.set(**(SET | named), result=f"{repository}/{path}")

    def got(**words: Any) -> Any:
        found = cache.get(**ASKED, **words)
        return found and found.result

    assert got() == "/s/a.py"  # the newest
    assert got(repository="/r", file_path="a.py") == "/r/a.py"
    assert got(repository="/r", file_path="b.py") == "/r/b.py"
    assert got(file_path="b.py") == "/r/b.py"
    assert got(repository="/r") == "/r/b.py"
    assert got(repository="/t", file_path="c.py") == "/s/a.py"


def test_among_very_many_with_one_content_the_right_one_answers(cache: AnalysisCache) -> None:
    names = [f"{number}/__init__.py" for number in range(40)]
    empty: dict[str, Any] = {"type": "docs", "content": "", "provider": "p", "repository": "/r"}
    for number, name in enumerate(names):
        cache.set(**empty, model=f"m{number % 2}", file_path=name, result=number)
    asked: dict[str, Any] = {"type": "docs", "content": ""}
    for got, expected in [
        (cache.get(**asked), 39),
        (cache.get(**asked, model="m0"), 38),
        (cache.get(**asked, repository="/r", file_path=names[7]), 7),
        (cache.get(**asked, file_path=names[7]), 7),
        (cache.get(**asked, model="m1", repository="/r", file_path=names[8]), 39),
        (cache.get(**asked, repository="/x", file_path=names[8]), 8),
    ]:
        assert got is not None
        assert got.result == expected
    assert cache.get(**asked, model="m2") is None


@pytest.mark.parametrize("named", [{}, {"repository": "/r"}, {"file_path": "a.py"}])
def test_newest_of_very_many_about_one_file_answers(
    cache: AnalysisCache, named: dict[str, Any]
) -> None:
    for number in [*range(20, 40), *range(20)]:
        words = SET | {"model": f"m{number}", "analyzed_at": number + 1}
        cache.set(**words, result=number)
    for words in (named, {"repository": "/r", "file_path": "a.py"}):
        got = cache.get(type="docs", content="text", prompt="why?", **words)
        assert got is not None
        assert got.result == 39


def test_newest_of_very_many_that_came_back_from_the_trash_answers(
    cache: AnalysisCache, database: Path
) -> None:
    for number in range(12):
        cache.set(**SET, result=number)
    assert restore(database, Chosen(reason="superseded")) == 11
    got = cache.get(**ASKED, repository="/r", file_path="a.py")
    assert got is not None
    assert got.result == 11
    again = cache.get_or_compute(**SET, compute=lambda: pytest.fail("paid for again"))
    assert again.result == 11


def test_entry_with_the_prompt_is_preferred_to_very_many_newer_ones_from_before_prompts(
    cache: AnalysisCache, database: Path
) -> None:
    cache.set(**SET, result="right", analyzed_at=1)
    old = [
        sample_entry(
            repository="/r", file_path="a.py", prompt_hash=None, schema_version=number,
            model="m", result=b"%d" % number,
            file_hash=hashlib.sha256(b"text").digest(),
        )
        for number in range(12)
    ]  # fmt: skip
    put(database, *old, directory=hashlib.sha256(b"/r").hexdigest()[:8])
    assert len(list(cache)) == 13
    got = cache.get(**ASKED, repository="/r", file_path="a.py")
    assert got is not None
    assert got.result == "right"


def test_entry_from_before_prompts_answers_unless_refused(
    cache: AnalysisCache, database: Path
) -> None:
    old = sample_entry(
        repository="/r", prompt_hash=None, schema_version=None, result=b'"old"',
        file_hash=hashlib.sha256(b"text").digest(), model="m",
    )  # fmt: skip
    put(database, old)
    got = cache.get(**ASKED, repository="/r", file_path=old.file_path)
    assert got is not None
    assert (got.result, got.prompt_hash, got.schema_version) == ("old", None, 1)
    assert cache.get(**ASKED, exact=True) is None
    cache.set(**SET, result="new")
    got = cache.get(**ASKED, repository="/r", file_path=old.file_path)
    assert got is not None
    assert got.result == "new"


def test_new_entries_lie_where_the_rust_program_looks(cache: AnalysisCache, database: Path) -> None:
    cache.set(**SET, result=1)
    hash8 = hashlib.sha256(b"/r").hexdigest()[:8]
    folders = "SELECT r.path, r.directory, d.layout FROM folders d JOIN repositories r"
    assert rows(database, folders) == [("/r", hash8, "centralized")]


def test_new_entries_lie_with_the_others_of_their_repository(
    cache: AnalysisCache, database: Path
) -> None:
    put(database, sample_entry(repository="/r"), directory=None)
    cache.set(**SET, result=1)
    cache.set(**(SET | {"type": "todos"}), result=1)
    assert rows(database, "SELECT path, directory FROM repositories") == [("/r", None)]
    assert rows(database, "SELECT DISTINCT layout FROM folders") == [("local",)]


def test_delete_takes_what_entries_would_list_and_no_more(cache: AnalysisCache) -> None:
    for kind in ("docs", "todos"):
        for path in ("a.py", "b.py"):
            cache.set(**(SET | {"type": kind, "file_path": path}), result=f"{kind} {path}")
    assert results(cache, type="docs", file_path="a.py") == ["docs a.py"]
    assert cache.delete(type="docs", file_path="a.py") == 1
    assert cache.delete(type="docs", file_path="a.py") == 0
    assert results(cache) == ["docs b.py", "todos a.py", "todos b.py"]
    assert cache.delete(content="text") == 3
    assert cache.get(**ASKED) is None
    cache.set(**SET, result="again")
    assert results(cache) == ["again"]


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ({}, 3),
        ({"repository": "/r"}, 2),
        ({"repository": "/r", "type": "docs"}, 1),
        ({"model": "m2"}, 1),
        ({"provider": "xai"}, 2),
        ({"prompt": "why?"}, 2),
        ({"prompt_hash": "default"}, 1),
        ({"schema_version": 2}, 1),
        ({"content": "text"}, 2),
        ({"content": "text", "type": "docs"}, 1),
        ({"file_path": "nowhere"}, 0),
    ],
)
def test_entries_can_be_filtered_by_each_word(
    cache: AnalysisCache, words: dict[str, Any], number: int
) -> None:
    cache.set(**SET, result=1)
    cache.set(**(SET | {"type": "todos"}), result=2)
    cache.set(
        type="docs", content="other", model="m2", provider="openai", repository="/s",
        file_path="c.py", schema_version=2, result=3,
    )  # fmt: skip
    assert len(list(cache.entries(**words))) == number


def test_long_lists_come_whole_while_they_are_changed(cache: AnalysisCache) -> None:
    for number in range(200):
        cache.set(**(SET | {"file_path": f"{number}.py"}), result=number)
    seen = []
    for one in cache:
        seen.append(one.result)
        if one.result == 100:
            cache.delete(file_path="199.py")
    assert seen == list(range(199))


def test_delete_wants_to_know_what(cache: AnalysisCache) -> None:
    with pytest.raises(UsageError, match="nothing says what to delete"):
        cache.delete()


def test_hits_and_misses_are_counted_in_the_database(database: Path) -> None:
    with AnalysisCache(database) as cache:
        cache.set(**SET, tokens_used=10, result=1)
        for _ in range(3):
            cache.get(**ASKED)
        cache.get(**(ASKED | {"model": "other"}))
        assert (cache.statistics().hits, cache.statistics().misses) == (3, 1)
        assert rows(database, "SELECT count(*) FROM uses") == [(0,)]  # not a write for each hit
    with AnalysisCache(database) as cache:
        found = cache.statistics()
        assert (found.hits, found.misses, found.tokens_saved) == (3, 1, 30)
        assert found.hit_rate == 0.75
    shown = rows(database, "SELECT access_count, last_accessed >= created_at FROM cache_entries")
    assert shown == [(3, 1)]
    by_what = rows(database, "SELECT cache_type, model, repository, hits, misses FROM traffic")
    assert sorted(by_what) == [("docs", "m", "/r", 3, 0), ("docs", "other", "", 0, 1)]


def test_counts_are_written_at_the_end_of_a_program_that_closes_nothing(database: Path) -> None:
    with AnalysisCache(database) as cache:
        cache.set(**SET, result=1)
    source = (
        "import sys; from rustassistant import AnalysisCache\n"
        "cache = AnalysisCache(sys.argv[1])\n"
        "assert cache.get(type='docs', content='text').result == 1\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", source, database], check=True)
    assert rows(database, "SELECT hits FROM uses") == [(1,)]


def test_counts_wait_while_somebody_else_writes(cache: AnalysisCache, database: Path) -> None:
    cache.set(**SET, result=1)
    cache.get(**ASKED)
    with SqliteStore(database).writer():
        cache.flush()
        assert cache.statistics().hits == 1
    cache.get(**ASKED)
    cache.flush()
    assert rows(database, "SELECT hits FROM uses") == [(2,)]


def test_damaged_result_is_a_miss_with_a_warning(
    cache: AnalysisCache, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.set(**SET, result="right")
    cache.set(**(SET | {"content": "other"}), result="wrong")
    change(
        database,
        "UPDATE entries SET result = (SELECT result FROM entries WHERE id = 2) WHERE id = 1",
    )
    with (
        caplog.at_level(logging.WARNING, "rustassistant"),
        pytest.warns(DamagedEntryWarning, match="SHA-256"),
    ):
        assert cache.get(**ASKED) is None
    assert "SHA-256" in caplog.text
    assert cache.statistics().misses == 1
    with pytest.warns(DamagedEntryWarning):
        assert results(cache) == ["wrong"]
    cache.set(**SET, result="anew")
    got = cache.get(**ASKED)
    assert got is not None
    assert got.result == "anew"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET producer_id = 2 WHERE id = 1",
        "UPDATE entries SET tokens_used = 7",
        "UPDATE entries SET analyzed_at = 7",
        "UPDATE files SET path = 'z.py'",
        "UPDATE files SET size = 7",
        "UPDATE producers SET provider = 'z'",
        "UPDATE entries SET result = zeroblob(5)",
        "UPDATE entries SET dictionary_id = 9",
    ],
)
def test_row_that_was_altered_is_a_miss_with_a_warning(
    cache: AnalysisCache, database: Path, damage: str
) -> None:
    cache.set(**(SET | {"prompt": None}), result="right")
    cache.set(**(SET | {"content": "other", "prompt": "z"}), result="wrong")
    change(database, damage)
    with pytest.warns(DamagedEntryWarning):
        assert cache.get(type="docs", content="text") is None


def test_what_another_program_commits_is_seen_at_once(cache: AnalysisCache, database: Path) -> None:
    cache.set(**SET, result="first")
    for result in ("first", "second", "third"):
        with AnalysisCache(database) as other:
            other.set(**SET, result=result)
        for _ in range(2):
            got = cache.get(**ASKED)
            assert got is not None
            assert got.result == result
    with AnalysisCache(database) as other:
        other.delete(type="docs")
    assert cache.get(**(ASKED | {"content": "something else"})) is None
    assert cache.get(**ASKED) is None


def test_database_that_appears_or_goes_or_is_replaced_is_noticed(
    cache: AnalysisCache, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rustassistant.stores.sqlite.serving.live._REPLACED_CHECK_NS", -1)
    assert cache.get(**ASKED) is None
    with AnalysisCache(tmp_path / "other.db") as other:
        other.set(**SET, result="of another file")
    os.rename(tmp_path / "other.db", database)
    got = cache.get(**ASKED)
    assert got is not None
    with AnalysisCache(tmp_path / "other.db") as other:
        other.set(**(SET | {"content": "new"}), result="newer")
    os.rename(tmp_path / "other.db", database)
    assert cache.get(**ASKED) is None
    assert cache.get(**(ASKED | {"content": "new"})) is not None
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    assert cache.get(**(ASKED | {"content": "new"})) is None


def test_memory_is_bounded_and_may_be_none(database: Path) -> None:
    for memory in (0, 60_000):
        with AnalysisCache(database, memory=memory) as cache:
            for number in range(100):
                cache.set(**(SET | {"content": str(number)}), result=f"{number}" + "x" * 2000)
            for _ in range(2):
                for number in range(100):
                    got = cache.get(type="docs", content=str(number))
                    assert got is not None
                    assert got.result.startswith(str(number))


@pytest.mark.parametrize("how", ["none", "argument", "environment"])
def test_disabled_cache_finds_nothing_and_keeps_nothing(
    how: str, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "environment":
        monkeypatch.setenv("RUSTASSISTANT_CACHE_DISABLED", "1")
    with AnalysisCache(None if how == "none" else database, enabled=how != "argument") as cache:
        assert not cache.enabled
        cache.set(**SET, result=1)
        assert cache.get(**ASKED) is None
        calls = []

        def compute() -> tuple[int]:
            calls.append(1)
            return (1,)

        for _ in range(2):
            got = cache.get_or_compute(**SET, compute=compute)
            assert (got.result, got.computed) == ([1], True)
        assert len(calls) == 2
        assert list(cache) == []
        assert cache.delete(type="docs") == 0
        assert cache.statistics().hits == 0
        cache.flush()
    assert not database.exists()


@pytest.mark.parametrize("value", ["0", "no", "False", ""])
def test_environment_may_say_that_it_is_not_disabled(
    value: str, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSTASSISTANT_CACHE_DISABLED", value)
    with AnalysisCache(database) as cache:
        assert cache.enabled


def test_get_or_compute_computes_what_is_not_there_and_only_that(cache: AnalysisCache) -> None:
    calls = []

    def compute() -> Computed:
        calls.append(1)
        return Computed({"n": len(calls)}, tokens_used=9)

    first = cache.get_or_compute(**SET, compute=compute)
    again = cache.get_or_compute(**SET, compute=compute)
    assert (first.computed, again.computed) == (True, False)
    assert first.result == again.result == {"n": 1}
    assert again.tokens_used == 9
    assert (cache.statistics().hits, cache.statistics().misses) == (1, 1)


def test_computed_result_is_what_a_later_hit_gives(cache: AnalysisCache) -> None:
    assert cache.get_or_compute(**SET, compute=lambda: (1, 2)).result == [1, 2]


def test_error_of_the_computation_comes_out_and_the_next_one_computes(cache: AnalysisCache) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute(**SET, compute=fail)
    assert cache.get_or_compute(**SET, compute=lambda: 1).computed


def test_computation_that_asks_for_itself_is_refused_not_waited_for(cache: AnalysisCache) -> None:
    def compute() -> Any:
        return cache.get_or_compute(**SET, compute=lambda: 1).result

    with pytest.raises(UsageError, match="itself"):
        cache.get_or_compute(**SET, compute=compute)


def test_computation_may_ask_for_something_else(cache: AnalysisCache) -> None:
    other = SET | {"type": "todos"}

    def compute() -> Any:
        return [cache.get_or_compute(**other, compute=lambda: 1).result]

    assert cache.get_or_compute(**SET, compute=compute).result == [1]


def test_wrong_words_are_refused_before_anything_is_paid_for(cache: AnalysisCache) -> None:
    with pytest.raises(UsageError):
        cache.get_or_compute(**(SET | {"model": ""}), compute=lambda: pytest.fail("paid"))


def test_result_that_json_would_alter_is_handed_back_with_the_error(cache: AnalysisCache) -> None:
    paid = {"score": float("nan")}
    with pytest.raises(UnsuitableResultError) as raised:
        cache.get_or_compute(**SET, compute=lambda: paid)
    assert raised.value.value is paid


def test_result_that_cannot_be_kept_is_returned_with_a_warning(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir(0o777)
    place.chmod(0o777)
    os.chmod(tmp_path, 0o755)  # noqa: S103 - somebody without rights is to come so far
    for parent in tmp_path.parents[:3]:
        os.chmod(parent, 0o755)  # noqa: S103

    def action() -> None:
        with AnalysisCache(place / "cache.db") as cache:
            os.chmod(place, 0o500)
            with pytest.warns(NotKeptWarning, match="cannot be written"):
                assert cache.get_or_compute(**SET, compute=lambda: "paid").result == "paid"
            with pytest.raises(DestinationError):
                cache.set(**SET, result="paid")
            os.chmod(place, 0o700)

    if os.getuid() == 0:
        os.chown(place, 65534, 65534)
    as_nobody(action)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"content": None}, "neither content nor file_hash"),
        ({"file_hash": "ab"}, "both given"),
        ({"content": None, "file_hash": "ab"}, "64 hex digits"),
        ({"content": None, "file_hash": "zz" * 32}, "64 hex digits"),
        ({"content": 5}, "content is a int"),
        ({"content": "\ud800"}, "no Unicode"),
        ({"prompt_hash": "x"}, "both given"),
        ({"prompt": None, "prompt_hash": ""}, "prompt_hash is empty"),
        ({"model": "\ud800"}, "no Unicode"),
        ({"model": 5}, "model is a int"),
        ({"type": ""}, "must not be empty"),
        ({"type": "../up"}, "no directory's name"),
        ({"type": ".."}, "no directory's name"),
        ({"tokens_used": 2**63}, "tokens_used"),
        ({"tokens_used": "many"}, "tokens_used"),
        ({"file_size": -1}, "file_size"),
        ({"schema_version": 1.5}, "schema_version"),
        ({"analyzed_at": 2**63}, "analyzed_at"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    cache: AnalysisCache, database: Path, words: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        cache.set(**(SET | words), result=1)
    assert not database.exists()


def test_asking_with_text_that_is_none_is_refused(cache: AnalysisCache) -> None:
    cache.set(**SET, result=1)
    with pytest.raises(UsageError, match="no Unicode"):
        cache.get(type="docs", content="text", model="\ud800")
    assert cache.get(**ASKED) is not None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"type": ["docs"]}, "type is a list"),
        ({"type": None}, "type is a NoneType"),
        ({"model": 5}, "model is a int"),
        ({"model": Path("m")}, "model is a PosixPath"),
        ({"prompt": None, "prompt_hash": 5}, "prompt_hash is a int"),
        ({"provider": b"xai"}, "provider is a bytes"),
        ({"repository": 5}, "repository is a int"),
        ({"repository": b"/r"}, "repository is a bytes"),
        ({"file_path": 5}, "file_path is a int"),
        ({"file_path": b"a.py"}, "file_path is a bytes"),
        ({"schema_version": "1"}, "schema_version"),
        ({"schema_version": 2**63}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
    ],
)
def test_words_of_wrong_types_are_refused_and_are_no_miss(
    cache: AnalysisCache, words: dict[str, Any], reason: str
) -> None:
    cache.set(**SET, result=1)
    wrong: dict[str, Any] = SET | words
    with pytest.raises(UsageError, match=reason):
        cache.set(**wrong, result=1)
    with pytest.raises(UsageError, match=reason):
        cache.get_or_compute(**wrong, compute=lambda: pytest.fail("paid for again"))
    with pytest.raises(UsageError, match=reason):
        cache.get(**(ASKED | words))
    if words != {"type": None}:  # which is to leave it out, there
        with pytest.raises(UsageError, match=reason):
            list(cache.entries(**(ASKED | words)))
    assert cache.get(**ASKED) is not None
    assert (cache.statistics().hits, cache.statistics().misses) == (1, 0)


def test_paths_may_be_given_as_paths(cache: AnalysisCache) -> None:
    words: dict[str, Any] = SET | {"repository": Path("/r"), "file_path": Path("a.py")}
    cache.set(**words, result=1)
    near: dict[str, Any] = {"repository": Path("/r"), "file_path": Path("a.py")}
    got = cache.get(**ASKED, **near)
    assert got is not None
    assert (got.repository, got.file_path) == ("/r", "a.py")
    assert not cache.get_or_compute(**words, compute=lambda: pytest.fail("paid")).computed
    assert len(list(cache.entries(**near))) == 1
    assert cache.delete(**near) == 1


class Kind(str, Enum):  # noqa: UP042 - as they were before there was StrEnum
    DOCS = "docs"


def test_names_may_be_those_of_an_enumeration(cache: AnalysisCache) -> None:
    cache.set(**(SET | {"type": Kind.DOCS}), result=1)
    assert [one.type for one in cache] == ["docs"]
    assert cache.get(**(ASKED | {"type": Kind.DOCS})) is not None
    assert len(list(cache.entries(type=Kind.DOCS))) == 1


def test_wrong_places_are_refused_when_opened(tmp_path: Path, database: Path) -> None:
    with pytest.raises(RustAssistantError, match="is a directory"):
        AnalysisCache(tmp_path)
    (tmp_path / "text").write_text("mine")
    with pytest.raises(ForeignFileError):
        AnalysisCache(tmp_path / "text")
    assert (tmp_path / "text").read_text() == "mine"
    with AnalysisCache(database) as cache:
        cache.set(**SET, result=1)
    change(database, "PRAGMA user_version = 99")
    with pytest.raises(NewerFileError):
        AnalysisCache(database)


def test_closed_cache_says_so(database: Path) -> None:
    cache = AnalysisCache(database)
    cache.set(**SET, result=1)
    cache.close()
    cache.close()
    with pytest.raises(UsageError, match="closed"):
        cache.get(**ASKED)
    with pytest.raises(UsageError, match="closed"):
        cache.set(**SET, result=2)


def test_nothing_is_left_beside_the_database(database: Path) -> None:
    with AnalysisCache(database) as cache:
        cache.get_or_compute(**SET, compute=lambda: 1)
        cache.get(**ASKED)
    assert [path.name for path in database.parent.iterdir()] == ["cache.db"]
    assert database.stat().st_mode & 0o777 == 0o600


def test_delete_says_who_holds_the_database(database: Path) -> None:
    with AnalysisCache(database, write_timeout=0.05) as cache:
        cache.set(**SET, result=1)
        with SqliteStore(database).writer(), pytest.raises(LockedError):
            cache.delete(type="docs")
        assert cache.delete(type="docs") == 1


def test_counts_go_with_their_entry(cache: AnalysisCache, database: Path) -> None:
    cache.set(**SET, result=1)
    cache.get(**ASKED)
    cache.flush()
    change(
        database,
        "INSERT INTO pins VALUES (1, 0)",
        "DELETE FROM trash",
        "DELETE FROM entries",
    )
    assert rows(database, "SELECT * FROM uses UNION ALL SELECT *, 0 FROM pins") == []


def test_lookup_among_thousands_with_one_content_reads_few_of_them(database: Path) -> None:
    """The place of a file leads to it: what shares its content costs nothing."""
    with SqliteStore(database).writer() as writer:
        folder = Folder(Repository("/r", "12345678"), "docs", "centralized")
        encode = Encoder().encode
        entries = [
            sample_entry(repository="/r", file_path=f"{number}.py", result=b"%d" % number)
            for number in range(3000)
        ]
        writer.put(folder, [encode(entry, name=None, stamp=None) for entry in entries])
    steps = []

    def goes_on() -> bool:
        steps.append(1)
        return False

    with AnalysisCache(database) as cache:
        sessions: Any = cache._served.store._sessions  # type: ignore[union-attr]
        reader = sessions.take()
        reader.connection.set_progress_handler(goes_on, 100)
        sessions.give_back(reader)
        got = cache.get(
            type="docs", file_hash=entries[0].file_hash, repository="/r", file_path="1234.py"
        )
        assert got is not None
        assert got.result == 1234
    assert len(steps) < 10
