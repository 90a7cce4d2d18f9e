from __future__ import annotations

import importlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rustassistant import CacheMigrator

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ALL_FOUND = re.compile(r".+: 36 of 36 entries; ([1-9]\d*) of \1 keys found\.")
OPTIONAL = ("diskcache", "duckdb", "matplotlib", "sqlite_utils")


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("corpus")


def run(tmp_path: Path, *arguments: str, hidden: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a run over some dozens of entries kept as JSON; ``hidden`` packages are not there."""
    site = tmp_path / "site"
    site.mkdir()
    lines = [f"sys.modules[{name!r}] = None\n" for name in hidden]
    (site / "sitecustomize.py").write_text("import sys\n" + "".join(lines))
    results = tmp_path / "results"
    sizes = ["--size", "48", "--small", "36", "--rounds", "1"]
    places = ["--save", "--results", str(results), "--work", str(tmp_path / "work")]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "run.py", *sizes, *places, *arguments],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (kept,) = results.glob("*.json")
    assert done.stdout.strip() in (results / f"{kept.stem}.md").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def figures(found: dict[str, Any]) -> dict[str, Any]:
    return {figure["name"]: figure for figure in found["figures"]}


def assert_ratios_are_numbers(figure: dict[str, Any]) -> None:
    assert figure["rows"], figure["skipped"]
    for row in figure["rows"]:
        assert all(math.isfinite(ratio) and ratio >= 0 for ratio in row["ratios"])
        if row["name"] == figure["baseline"]:
            assert set(row["ratios"]) == {1.0}


def test_run_without_peers_keeps_ratios_and_says_what_was_skipped(tmp_path: Path) -> None:
    chosen = ("speed", "rerun", "verify", "peers", "size", "memory", "start", "lookups", "profile")
    only = [part for name in chosen for part in ("--only", name)]
    found = run(tmp_path, *only, hidden=OPTIONAL)
    by_name = figures(found)
    assert set(by_name) == {*chosen, "growth", "cpu"}
    assert by_name["lookups"]["skipped"] == "diskcache is not installed"
    for name in set(by_name) - {"lookups", "memory"}:
        assert_ratios_are_numbers(by_name[name])
    remarks = by_name["peers"]["remarks"]
    for peer in ("sqlite-utils", "diskcache", "duckdb"):
        assert f"{peer} is not installed and was skipped." in remarks
    assert any(ALL_FOUND.fullmatch(remark) for remark in remarks)
    assert by_name["speed"]["entries"] == 48
    stems = sorted(path.name.partition("-48")[2] for path in (tmp_path / "results").iterdir())
    assert stems == ["-profile.md", ".json", ".md"]


def test_every_peer_holds_all_entries_and_finds_them(tmp_path: Path) -> None:
    for name in OPTIONAL:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed; `make bench` installs it")
    found = run(tmp_path, "--only", "peers")
    figure = figures(found)["peers"]
    assert_ratios_are_numbers(figure)
    assert sum(ALL_FOUND.fullmatch(remark) is not None for remark in figure["remarks"]) == 4
    (plot,) = (tmp_path / "results").glob("*.png")
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_result_describes_the_machine_without_naming_it(corpus: Any, tmp_path: Path) -> None:
    module = importlib.import_module("machine")
    known = module.machine(tmp_path)
    for name in ("cpu", "cpus", "memory_bytes", "kernel", "python", "sqlite", "packages"):
        assert known[name]
    for part in (known["cpu"], known["kernel"], known["file_system"], "apsw"):
        assert part in module.described(known)
    assert os.uname().nodename not in module.described(known).split()


def test_ratios_are_taken_within_a_round(corpus: Any) -> None:
    figure = importlib.import_module("figures").Figure(
        name="x", title="x", baseline="peer", rows={"ours": [2.0, 90.0], "peer": [1.0, 30.0]}
    )
    assert figure.ratios("ours") == [2.0, 3.0]


def test_failed_benchmark_leaves_the_others(corpus: Any) -> None:
    program = importlib.import_module("run")

    def fail(setting: Any) -> Any:
        raise subprocess.CalledProcessError(1, ["false"])

    (figure,) = program._tried("one", fail, None)
    assert figure.failed
    assert "false" in figure.skipped


def test_tree_made_from_packages_is_a_cache_and_grows_by_copies(
    corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SHARED", tmp_path / "none")
    originals = corpus.tree_of(tmp_path, 30)
    assert originals.entries == 30
    monkeypatch.setattr(
        corpus, "_make_originals", lambda repos, limit: corpus._from_packages(repos, 30)
    )
    tree = corpus.tree_of(tmp_path, 90)
    assert tree.entries == 90
    assert tree.size == sum(path.stat().st_size for path in corpus.files_of(tree.repos))
    with CacheMigrator(tree.repos, tmp_path / "cache.db") as migrator:
        result = migrator.migrate()
        assert (result.total_migrated, result.total_failed) == (90, 0)
        assert migrator.verify()


def test_tree_that_is_there_is_used_again(corpus: Any, tmp_path: Path) -> None:
    tree = corpus.tree_of(tmp_path, 12)
    before = {path: path.stat().st_ino for path in corpus.files_of(tree.repos)}
    assert len(before) == 12
    assert corpus.tree_of(tmp_path, 12) == tree
    assert before == {path: path.stat().st_ino for path in corpus.files_of(tree.repos)}


def test_tree_that_was_left_unfinished_is_made_anew(corpus: Any, tmp_path: Path) -> None:
    left = tmp_path / "tree-12" / "repos" / "left"
    left.mkdir(parents=True)
    assert corpus.tree_of(tmp_path, 12).entries == 12
    assert not left.exists()
