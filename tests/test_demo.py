from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rustassistant import CacheMigrator
from rustassistant.entry_json import parse
from support import hash8

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CACHE = EXAMPLES / "cache" / "repos"
LOCAL = EXAMPLES / "projects" / "cache-tools"


def called(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/cache/*/*.json"))


# The example cache


def test_example_cache_is_what_its_generator_makes(tmp_path: Path) -> None:
    done = called(EXAMPLES / "make_cache.py", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(tmp_path / "cache") == files(EXAMPLES / "cache")
    local = tmp_path / "projects" / "cache-tools" / ".rustassistant"
    assert files(local) == files(LOCAL / ".rustassistant")
    assert len(entries(CACHE)) == 44
    assert len(files(local)) == 3


def test_example_entries_are_as_the_rust_program_writes_them() -> None:
    old = 0
    for path in entries(CACHE):
        parsed = parse(path.read_bytes(), repository="", cache_type=path.parent.name)
        assert parsed.entry.original is None, path  # so rendering gives these very bytes
        assert parsed.notes == ()
        assert parsed.entry.analyzed_at % 1000
        old += parsed.entry.prompt_hash is None
    assert 5 <= old <= 20
    for meta in CACHE.glob("*/meta.json"):
        fields = json.loads(meta.read_bytes())
        assert fields["hash"] == hash8(fields["path"]) == meta.parent.name


def test_example_results_are_about_the_files_that_are_there() -> None:
    for path in entries(CACHE):
        meta = json.loads((path.parents[2] / "meta.json").read_bytes())
        entry = parse(path.read_bytes(), repository="", cache_type=path.parent.name).entry
        source = EXAMPLES / "projects" / Path(meta["path"]).name / entry.file_path
        assert len(source.read_bytes()) == entry.file_size
        for name in re.findall(r'"name": "(?:\w+\.)?(\w+)"', entry.result.decode()):
            assert name in source.read_text(encoding="utf-8")


def test_same_file_in_both_projects_is_analysed_in_both(tmp_path: Path) -> None:
    empty = [path for path in entries(CACHE) if path.name == "__init___py.json"]
    assert len({path.parents[2] for path in empty}) == 2
    result = CacheMigrator(CACHE, tmp_path / "cache.db").migrate()
    assert (result.total_migrated, result.total_failed, result.total_notes) == (44, 0, 0)


def test_local_example_is_a_source(tmp_path: Path) -> None:
    with CacheMigrator(LOCAL, tmp_path / "cache.db") as migrator:
        assert migrator.migrate().total_migrated == 3
        assert migrator.verify()


# The demonstration


def test_demo_shows_each_step_ends_well_and_leaves_nothing_behind(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = files(EXAMPLES)
    done = called(EXAMPLES / "demo.py")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [line for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert shown[0] == "$ rustassistant cache migrate --backup --verify"
    assert shown[1].startswith("$ rustassistant cache get --type docs --content projects/")
    in_order = (
        "✓ Backup created", "  Migrated: 44\n", "✓ Verification passed!",
        "$ rustassistant cache get", '"functions": [',
        "✗ miss: ", "was made from this content",
        "✗ miss: ", "other prompt hash",
        "  Unchanged: 44\n",
        "  Migrated: 880\n", "✓ Verification passed!",
        "rustassistant cache migrate --backup --verify",
    )  # fmt: skip
    place = 0
    for text in in_order:
        place = done.stdout.find(text, place)
        assert place >= 0, f"{text!r} is missing, or not where it belongs"
        place += len(text)
    assert "\033" not in done.stdout  # no colours where nobody sees them
    assert not own_home.exists()
    assert list(tmp_path.iterdir()) == []
    assert files(EXAMPLES) == before


def test_demo_fails_when_something_is_not_as_it_should_be(tmp_path: Path) -> None:
    """An entry that can't be read is something the demonstration does not expect."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    entries(tmp_path / "examples" / "cache" / "repos")[0].write_bytes(b"")
    done = called(tmp_path / "examples" / "demo.py")
    assert done.returncode == 1
    assert "The demonstration failed. Expected: the migration succeeds." in done.stderr
    assert "Next: your own cache" not in done.stdout


# The other example


def test_asyncio_example_migrates_and_says_how_far_it_is(tmp_path: Path) -> None:
    done = called(EXAMPLES / "asyncio_migration.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  44/44 (0 failed)\n" in done.stdout
    assert done.stdout.endswith("44 of 44 entries migrated, all of them verified\n")
    database = tmp_path / "cache.db"
    done = called(EXAMPLES / "asyncio_migration.py", LOCAL, database)
    assert done.stdout.endswith("3 of 3 entries migrated, all of them verified\n")
    assert os.path.getsize(database)
