"""Places on the command line: the same words for every command, the environment and config.toml."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retention_support import Caller
from rustassistant import CacheExporter, CacheMigrator, CacheVerifier
from rustassistant.errors import UsageError
from rustassistant.runs import list_runs, sources_of
from support import Cache, snapshot


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Caller:
    return Caller(monkeypatch, capfd)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the same three entries in every kind of store; it is the current one."""
    cache = Cache(tmp_path / "repos")
    for number in range(3):
        cache.add(f"src/{number}.rs", content=b"%d" % number)
    CacheMigrator(cache.root, tmp_path / "cache.db").migrate()
    for place in ("jsonl:lines", "v1:rust.db"):
        scheme, _, name = place.partition(":")
        CacheExporter(tmp_path / "cache.db", tmp_path / name, format=scheme).export()
    (tmp_path / "results.jsonl").write_bytes((tmp_path / "lines").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


SOURCES = ["json:repos", "jsonl:lines", "results.jsonl", "sqlite:cache.db", "v1:rust.db"]


@pytest.mark.parametrize("source", SOURCES)
def test_migration_reads_what_its_source_is_named_as(call: Caller, here: Path, source: str) -> None:
    done = call("migrate", "-s", source, "-d", "sqlite:new.db", "--verify", "--json")
    assert done.code == 0
    assert (done.summary["total_migrated"], done.summary["verified"]) == (3, True)
    assert done.summary["source"] == str(here / source.rpartition(":")[2])
    assert done.summary["destination"] == str(here / "new.db")
    assert sorted(os.listdir(here)) == sorted(
        ["cache.db", "lines", "new.db", "repos", "results.jsonl", "rust.db"]
    )


@pytest.mark.parametrize("source", SOURCES[:-1])
def test_verification_reads_what_its_source_is_named_as(
    call: Caller, here: Path, source: str
) -> None:
    before = snapshot(here)
    done = call("verify", "-s", source, "-d", "sqlite:cache.db", "--json")
    assert done.code == 0
    assert (done.summary["compared"], done.summary["verified"]) == (3, True)
    assert snapshot(here) == before


def test_several_kinds_are_merged(call: Caller, here: Path) -> None:
    sources = [word for source in SOURCES for word in ("-s", source)]
    assert call("migrate", *sources, "-d", "new.db").code == 0
    done = call("migrate", *sources, "-d", "new.db", "--json")
    assert (done.summary["total_entries"], done.summary["total_unchanged"]) == (15, 15)


def test_migration_fills_the_rust_programs_own_database(call: Caller, here: Path) -> None:
    done = call("migrate", "-s", "repos", "-d", "v1:new.db", "--json")
    assert (done.code, done.summary["total_migrated"]) == (0, 3)
    again = call("export", "-s", "cache.db", "-d", "v1:new.db", "--dry-run", "--json")
    assert (again.code, again.summary["total_unchanged"]) == (0, 3)
    with pytest.raises(UsageError, match="keeps less"):
        CacheMigrator("repos", "v1:new.db").verify()


def test_migration_that_could_not_be_verified_is_not_begun(call: Caller, here: Path) -> None:
    before = snapshot(here)
    done = call("migrate", "-s", "repos", "-d", "v1:new.db", "--verify")
    assert done.code == 2
    assert "keeps less" in done.err
    assert "cache export --format v1 --dry-run" in done.err
    assert snapshot(here) == before


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("migrate -s repos -d json:new", "`cache export`"),
        ("migrate -s repos -d jsonl:new", "`cache export --format jsonl`"),
        ("migrate -s repos -d parquet:new", "`cache export --format parquet`"),
        ("migrate -s parquet:old -d new.db", "exported from"),
        ("migrate -s repos -d v1:new.db --retry-failed 1", "`cache migrate --source"),
        ("verify -s cache.db -d json:repos", "with --source"),
        ("verify -s cache.db -d jsonl:lines", "with --source"),
        ("verify -s cache.db -d v1:rust.db", "`cache export --format v1 --dry-run`"),
        ("verify -s cache.db -d parquet:new", "`cache export --format parquet --dry-run`"),
        ("export -s cache.db -d sqlite:new.db", "`cache migrate --source`"),
        ("export -s cache.db -d jsonl:new --format v1", "Leave out"),
        ("import -s json:repos -d new.db", "`cache migrate --source"),
        ("import -s v1:rust.db -d new.db", "`cache migrate --source"),
        ("import -s lines -d v1:new.db", "`cache export`"),
        ("status -d v1:rust.db", "`cache migrate --source"),
        ("list -d json:repos", "`cache migrate --source"),
        ("log -d jsonl:lines", "`cache import --source"),
        ("compact -d parquet:new", "can't be read back"),
        ("get -t docs -c repos -d v1:rust.db", "`cache migrate --source"),
        ("migrate -s json: -d new.db", "Name a directory or a file"),
        ("migrate -s repos -d sqlite:", "Name a directory or a file"),
    ],
)
def test_kind_that_a_command_can_not_use_is_refused_with_what_does_it(
    call: Caller, here: Path, words: str, hint: str
) -> None:
    before = snapshot(here)
    done = call(*words.split())
    assert (done.code, done.out) == (2, "")
    assert hint in done.err
    assert snapshot(here) == before


def test_commands_about_a_database_know_its_scheme(call: Caller, here: Path) -> None:
    for words in ("status", "list", "log", "stale", "check", "path", "pin --list", "trash list"):
        done = call(*words.split(), "-d", "sqlite:cache.db", "--json")
        assert done.code == 0, words
    assert call("init", "sqlite:made.db").code == 0
    assert call("import", "-s", "jsonl:lines", "-d", "sqlite:made.db").code == 0
    assert call("backup", "-d", "sqlite:made.db").code == 0
    assert call("export", "-s", "sqlite:made.db", "-d", "json:out").code == 0
    assert {"made.db", "made.db.backup", "out"} <= set(os.listdir(here))
    assert not [name for name in os.listdir(here) if ":" in name]


def test_export_is_of_the_format_that_its_place_is_named_as(call: Caller, here: Path) -> None:
    done = call("export", "-s", "cache.db", "-d", "jsonl:new", "--json")
    assert (done.code, done.summary["format"]) == (0, "jsonl")
    assert (here / "new").read_bytes() == (here / "lines").read_bytes()
    assert call("export", "-s", "cache.db", "-d", "v1:rust.db", "--format", "v1").code == 0


def test_environment_names_several_places(
    call: Caller, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSTASSISTANT_SOURCE", f"v1:rust.db{os.pathsep}repos")
    monkeypatch.setenv("RUSTASSISTANT_DESTINATION", "sqlite:new.db")
    assert call("migrate", "--json").summary["total_entries"] == 6
    [run] = list_runs(here / "new.db")
    assert sources_of(run) == (f"v1:{here}/rust.db", f"{here}/repos")
    assert call("status", "--json").code == 0


def test_configuration_names_places_from_its_own_directory(
    call: Caller, here: Path, own_home: Path
) -> None:
    own_home.mkdir()
    (here / "lines").rename(own_home / "lines")
    (own_home / "config.toml").write_text(
        '[cache]\nsource = "jsonl:lines"\ndestination = "sqlite:own.db"\n'
    )
    assert call("migrate", "--json").summary["total_migrated"] == 3
    assert call("list", "--json").code == 0
    assert call("init").code == 0
    assert call("export", "-d", "out").code == 0
    assert (own_home / "own.db").exists()
    assert not [name for name in os.listdir(here) if ":" in name]


def test_what_failed_is_retried_from_the_place_as_it_was_named(call: Caller, here: Path) -> None:
    lines = (here / "lines").read_bytes()
    (here / "lines").write_bytes(lines + b"{\n")
    assert call("migrate", "-s", "jsonl:lines", "-d", "new.db").code == 3
    done = call("migrate", "--retry-failed", "1", "-d", "sqlite:new.db", "--json")
    assert (done.code, done.summary["total_entries"]) == (3, 1)


def test_plan_keeps_the_places_as_they_were_named(call: Caller, here: Path) -> None:
    assert call("migrate", "-s", "jsonl:lines", "-d", "v1:new.db", "--plan", "plan").code == 0
    done = call("migrate", "--apply", "plan", "--json")
    assert (done.code, done.summary["total_migrated"]) == (0, 3)
    assert CacheMigrator("v1:new.db", "own.db").migrate().total_migrated == 3
    with pytest.raises(UsageError, match="database"):
        CacheVerifier("jsonl:lines", "v1:new.db")


def test_file_that_is_called_like_a_scheme_is_named_by_its_directory(
    call: Caller, here: Path
) -> None:
    assert call("migrate", "-s", "repos", "-d", "./v1:odd.db", "--verify").code == 0
    assert (here / "v1:odd.db").is_file()
