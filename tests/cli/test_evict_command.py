from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from retention_support import Caller, Ran, at_a_terminal
from retention_support import live as live_paths
from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.cli.app import run
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.sqlite.upkeep.live_size import ENTRY_BYTES
from support import SHARED, Cache, as_nobody, snapshot

POLICIES = ("lru", "oldest", "largest", "cheapest", "most-expensive", "value")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Ten entries: the later, the larger and the dearer, each with a result of its own."""
    cache = Cache(tmp_path / "repos")
    for number in range(10):
        cache.add(
            f"src/{number}.rs",
            content=b"%d" % number,
            analyzed_at=f"2026-01-{number + 1:02d}T00:00:00+00:00",
            tokens_used=1000 * (number + 1),
            result={"text": os.urandom(100 * (number + 1)).hex()},
        )
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    return tmp_path / "cache.db"


def live(database: Path) -> set[str]:
    return {Path(path).stem for path in live_paths(database)}


def size_of(call: Caller, database: Path) -> int:
    done = call("evict", "-d", database, "--max-size", "1TiB", "--json")
    return int(done.summary["size_before"])


@pytest.mark.parametrize("policy", POLICIES)
def test_no_more_goes_than_the_target_takes(call: Caller, database: Path, policy: str) -> None:
    size = size_of(call, database)
    target = size - 1500
    done = call("evict", "-d", database, "--max-size", str(target), "--policy", policy, "--json")
    assert done.code == 0
    assert size_of(call, database) == done.summary["size_after"] <= target
    gone = done.summary["entries"]
    assert len(live(database)) == 10 - gone
    # Bring back the one that went last: then it does not fit.
    listed = call("trash", "list", "-d", database, "--json").lines[:-1]
    assert len(listed) == gone
    sizes = {one["id"]: one["stored_bytes"] + ENTRY_BYTES for one in listed}
    last = {"oldest": max, "lru": max, "cheapest": max, "largest": min, "most-expensive": min}
    if policy in last:
        back = last[policy](sizes)
        assert call("trash", "restore", str(back), "-d", database).code == 0
        assert size_of(call, database) == done.summary["size_after"] + sizes[back] > target


@pytest.mark.parametrize(
    ("policy", "first"),
    [("lru", "0"), ("oldest", "0"), ("largest", "9"), ("cheapest", "0"), ("most-expensive", "9")],
)
def test_policy_says_what_goes_first(call: Caller, database: Path, policy: str, first: str) -> None:
    target = size_of(call, database) - 1
    assert call("evict", "-d", database, "--max-size", str(target), "--policy", policy).code == 0
    assert live(database) == set("0123456789") - {first}


def test_what_was_used_lately_goes_last(call: Caller, database: Path) -> None:
    with AnalysisCache(database) as cache:
        assert cache.get(type="docs", content="0") is not None
    target = size_of(call, database) - 1
    assert call("evict", "-d", database, "--max-size", str(target)).code == 0
    assert live(database) == set("023456789")


def test_value_weighs_money_and_waiting_and_use_by_bytes(call: Caller, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    for name, tokens, length in (("cheap", 10, 500), ("dear", 100_000, 500), ("big", 10, 900)):
        text = os.urandom(length).hex()
        cache.add(f"{name}.rs", content=name.encode(), tokens_used=tokens, result=text)
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database).migrate()

    def next_to_go() -> str:
        target = str(size_of(call, database) - 1)
        done = call(
            "evict", "-d", database, "--max-size", target, "--policy", "value", "-n", "--json"
        )
        return str(done.summary["first"][0]["file_path"])

    assert next_to_go() == "big.rs"
    with AnalysisCache(database) as used:
        for _ in range(3):
            assert used.get(type="docs", content="big") is not None
    assert next_to_go() == "cheap.rs"
    assert call("pin", "cheap.rs", "-d", database).code == 0
    assert next_to_go() == "big.rs"


def test_cost_is_that_which_results_state(call: Caller, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    cache.add("stated.rs", content=b"1", tokens_used=1_000_000, result={"usage": usage})
    cache.add("half.rs", content=b"2", tokens_used=1_000_000)
    cache.add("unsaid.rs", content=b"3", tokens_used=None)
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database).migrate()
    arguments = ("evict", "-d", database, "--max-size", "262144", "--dry-run", "--json")
    done = call(*arguments, "--policy", "cheapest").summary
    # grok-beta: 5 and 15 dollars a million; what does not say counts like the mean of the others.
    assert [one["file_path"] for one in done["first"]] == ["stated.rs", "unsaid.rs", "half.rs"]
    cost = done["cost"]
    assert cost["usd"] == pytest.approx(5 + 10 + 7.5)
    assert cost["estimated_usd"] == pytest.approx(7.5)
    assert (cost["entries_without_tokens"], cost["seconds"]) == (1, 90.0)


def test_dry_run_says_what_would_go_and_writes_nothing(call: Caller, database: Path) -> None:
    before = snapshot(database.parent)
    done = call("evict", "-d", database, "--max-size", "264000", "--dry-run")
    assert done.code == 0
    assert "Would evict" in done.out
    assert "Making them again would take $" in done.out
    assert "src/0.rs" in done.out
    as_json = call("evict", "-d", database, "--max-size", "264000", "-n", "--json").summary
    assert as_json["dry_run"] is True
    assert snapshot(database.parent) == before
    real = call("evict", "-d", database, "--max-size", "264000", "--json").summary
    same = ("entries", "size_before", "size_after", "freed", "cost")
    assert {name: real[name] for name in same} == {name: as_json[name] for name in same}


def test_dry_run_needs_no_right_to_write(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path(tempfile.mkdtemp())
    shutil.copy(database, place / "cache.db")
    monkeypatch.setenv("RUSTASSISTANT_HOME", str(place / "home"))
    words = ["evict", "-d", str(place / "cache.db"), "-n", "--max-size", "264000", "--quiet"]
    monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", *words])
    (place / "cache.db").chmod(0o444)
    place.chmod(0o555)

    def action() -> None:
        with pytest.raises(SystemExit) as exited:
            run()
        assert not exited.value.code

    try:
        as_nobody(action)
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)


def test_pinned_entries_never_go(call: Caller, database: Path) -> None:
    assert call("pin", "src/0.rs", "src/9.rs", "-d", database).code == 0
    before = snapshot(database.parent)
    done = call("evict", "-d", database, "--max-size", "262200")
    assert done.code == 1
    assert "bytes stay" in done.err
    assert "Nothing was evicted" in done.err
    assert snapshot(database.parent) == before
    smallest = call("evict", "-d", database, "--max-size", "266000", "--json")
    assert smallest.code == 0
    assert {"0", "9"} <= live(database)


def test_filters_say_what_may_go(call: Caller, database: Path) -> None:
    target = str(size_of(call, database) - 1)
    narrowed = ("--include", "src/[5-7].rs", "-d", database)
    assert call("evict", "--max-size", target, *narrowed).code == 0
    assert live(database) == set("012346789")
    done = call("evict", "--max-size", "262200", *narrowed)
    assert (done.code, live(database)) == (1, set("012346789"))


def test_equal_results_count_once_and_go_with_the_last(call: Caller, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    text = os.urandom(5000).hex()
    for number in range(3):
        cache.add(
            f"{number}.rs",
            content=b"%d" % number,
            analyzed_at=f"2026-01-0{number + 1}T00:00:00+00:00",
            result=text,
        )
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database).migrate()
    size = size_of(call, database)
    two = call("evict", "-d", database, "--max-size", str(size - 2 * ENTRY_BYTES), "--json").summary
    assert (two["entries"], two["freed"]) == (2, 2 * ENTRY_BYTES)
    last = call("evict", "-d", database, "--max-size", str(size - 411), "--json").summary
    assert last["entries"] == 1
    assert last["freed"] > 5000
    assert call("trash", "restore", "--all", "-d", database).code == 0
    assert size_of(call, database) == size
    with AnalysisCache(database) as opened:
        assert [entry.result for entry in opened] == [text] * 3


def test_result_that_a_pinned_entry_shares_frees_nothing(call: Caller, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "repos")
    text = os.urandom(5000).hex()
    for name in ("0", "1"):
        cache.add(f"{name}.rs", content=name.encode(), result=text)
    cache.add("2.rs", content=b"2", result="short", analyzed_at="2026-03-01T00:00:00+00:00")
    database = tmp_path / "cache.db"
    CacheMigrator(cache.root, database).migrate()
    call("pin", "0.rs", "-d", database)
    target = size_of(call, database) - 300
    done = call("evict", "-d", database, "--max-size", str(target), "--json").summary
    assert done["entries"] == 2
    assert done["size_after"] <= target
    assert live(database) == {"0"}


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """One row that stands for the entries of two repositories."""
    cache = Cache(tmp_path / "repos")
    for repository in ("/r/one", "/r/two"):
        cache.add("equal.rs", repository=repository, content=b"equal", result="equal")
    CacheMigrator(cache.root, tmp_path / "cache.db", dedup=True).migrate()
    return tmp_path / "cache.db"


@pytest.mark.parametrize("repository", ["/r/one", "/r/two"])
def test_filter_does_not_reach_who_shares_a_row(
    call: Caller, shared: Path, repository: str
) -> None:
    target = str(size_of(call, shared) - 1)
    assert call("evict", "-d", shared, "--repo", repository, "--max-size", target).code == 1
    both = ("--repo", "/r/one", "--repo", "/r/two")
    done = call("evict", "-d", shared, *both, "--max-size", target, "-n", "--json").summary
    assert done["entries"] == 2


def test_entries_that_share_a_row_go_together(call: Caller, shared: Path) -> None:
    size = size_of(call, shared)
    target = str(size - 1)
    done = call("evict", "-d", shared, "--max-size", target, "--json").summary
    assert (done["entries"], done["size_after"]) == (2, 262_144)
    assert live(shared) == set()
    assert call("trash", "restore", "--all", "-d", shared).code == 0
    with AnalysisCache(shared) as opened:
        assert sorted(entry.repository for entry in opened) == ["/r/one", "/r/two"]
    assert call("check", "-d", shared).code == 0


def test_now_gives_the_room_to_the_disk(call: Caller, database: Path) -> None:
    arguments = ("evict", "-d", database, "--max-size", "264000", "--now")
    assert call(*arguments).code == 2
    assert live(database) == set("0123456789")
    done = call(*arguments, "--yes", "--json").summary
    assert done["deleted"] == done["entries"] > 0
    assert done["file_size_after"] <= done["file_size_before"]
    assert call("trash", "list", "-d", database, "--json").summary["total"] == 0
    assert len(live(database)) == 10 - done["entries"]
    assert call("check", "-d", database).code == 0


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_now_asks_at_a_terminal(database: Path, answer: str, code: int) -> None:
    words = ("evict", "-d", database, "--max-size", "264000", "--now")
    exited, seen = at_a_terminal(answer, *words)
    assert exited == code
    assert "for good? Making them again would take $" in seen
    assert (live(database) == set("0123456789")) == bool(code)


def test_what_is_locked_is_left(call: Caller, database: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("rustassistant.stores.sqlite.connection.BUSY_TIMEOUT_MS", 1)
    with SqliteStore(database).writer():
        done = call("evict", "-d", database, "--max-size", "264000")
    assert done.code == 11
    assert "is locked by" in done.err
    assert live(database) == set("0123456789")


def test_eviction_is_in_the_log_and_nothing_to_do_is_not(call: Caller, database: Path) -> None:
    call("evict", "-d", database, "--max-size", "264000", "--policy", "oldest")
    call("evict", "-d", database, "--max-size", "264000", "--policy", "oldest")
    runs = call("log", "-d", database, "--json").summary["runs"]
    assert [run["command"] for run in runs] == ["evict", "migrate"]
    assert runs[0]["options"]["policy"] == "oldest"
    assert runs[0]["found"] == runs[0]["options"]["evicted"] > 0


@pytest.mark.parametrize("size", ["", "0", "many", "-5"])
def test_size_that_is_none_is_refused(call: Caller, database: Path, size: str) -> None:
    done = call("evict", "-d", database, "--max-size", size)
    assert done.code == 2
    assert live(database) == set("0123456789")


def test_size_must_be_named_here_or_in_the_configuration(
    call: Caller, database: Path, own_home: Path
) -> None:
    done = call("evict", "-d", database)
    assert done.code == 2
    assert "--max-size" in done.err
    own_home.mkdir(exist_ok=True)
    (own_home / "config.toml").write_text('[cache]\nmax_size = "264000"\n')
    assert call("evict", "-d", database).code == 0
    assert len(live(database)) < 10


def test_database_that_does_not_exist_is_not_made(call: Caller, tmp_path: Path) -> None:
    assert call("evict", "-d", tmp_path / "no.db", "--max-size", "1MiB").code == 10
    assert not list(tmp_path.glob("*.db*"))


class TestAutomatic:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Cache:
        cache = Cache(tmp_path / "repos")
        for number in range(10):
            moment = f"2026-01-{number + 1:02d}T00:00:00+00:00"
            text = os.urandom(500).hex()
            cache.add(
                f"{number}.rs", content=b"%d" % number, result={"text": text}, analyzed_at=moment
            )
        return cache

    def migrate(self, call: Caller, cache: Cache, *more: str) -> Ran:
        return call("migrate", "-s", cache.root, "-d", cache.root.parent / "cache.db", *more)

    def test_nothing_goes_unless_it_is_configured(self, call: Caller, cache: Cache) -> None:
        assert self.migrate(call, cache).code == 0
        assert len(live(cache.root.parent / "cache.db")) == 10

    def test_migration_keeps_within_the_configured_size(
        self, call: Caller, cache: Cache, own_home: Path
    ) -> None:
        own_home.mkdir(exist_ok=True)
        (own_home / "config.toml").write_text('[cache]\nmax_size = "268000"\n')
        database = cache.root.parent / "cache.db"
        done = self.migrate(call, cache, "--verify")
        assert done.code == 0
        assert "the least recently used, since max_size is" in done.out
        left = live(database)
        assert left
        assert left == {str(number) for number in range(10 - len(left), 10)}
        listed = call("trash", "list", "-d", database, "--json").lines
        assert len(listed) - 1 == 10 - len(left)
        assert {one["reason"] for one in listed[:-1]} == {"evicted"}
        assert size_of(call, database) <= 268_000

    def test_size_that_can_not_be_reached_is_told_and_no_failure(
        self, call: Caller, cache: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RUSTASSISTANT_MAX_SIZE", "1000")
        done = self.migrate(call, cache, "--json")
        assert done.code == 0
        assert "Nothing was evicted, though max_size is configured" in done.err
        assert done.summary["total_migrated"] == 10
        assert len(live(cache.root.parent / "cache.db")) == 10


@pytest.mark.shared
def test_real_entries_can_go_and_come_back(call: Caller, tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    source = SHARED / "real-2026-02" / "repo"
    assert call("migrate", "-s", source, "-d", database).code == 0
    before = call("verify", "-s", source, "-d", database, "--json").summary
    done = call("evict", "-d", database, "--max-size", "262144", "--json").summary
    assert done["entries"] == before["compared"]
    assert live(database) == set()
    assert call("trash", "restore", "--all", "-d", database).code == 0
    after = call("verify", "-s", source, "-d", database, "--json").summary
    assert after["digest"] == before["digest"]
