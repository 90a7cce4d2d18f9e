"""Cache trees to measure on: the shared corpus if it is there, else made from installed packages.

The made one is as the Rust program writes it, from real docstrings and signatures of Python's own
library and of what is installed beside it, so that it compresses as real results do.
"""

from __future__ import annotations

import ast
import hashlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sysconfig
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import zstandard

SHARED: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpus-20k.tar.zst"
_PROMPTS: Final = {"docs": "b56f6b9b1ff77eac", "refactor": "4648e62b2f6f18ca"}
_ROOM: Final = 8 * 2**10
"""Bytes of disk for an entry: its file's blocks, its inode, and what is made from it."""


class Tree(NamedTuple):
    """A central root, the entries in it, and the bytes in their files."""

    repos: Path
    entries: int
    size: int


def make_corpus(root: Path, *, copies: int = 1) -> Path:
    """A central root below ``root``; with ``copies``, its repositories again under other names."""
    repos = root / "repos"
    _make_originals(repos, None)
    originals = sorted(repos.iterdir())
    for copy in range(1, copies):
        for original in originals:
            _copy_repository(original, repos, f"-{copy}")
    return repos


def tree_of(work: Path, entries: int) -> Tree:
    """About so many entries, below ``work``; one that an earlier call made there is used again.

    More than the originals are copies of them under other names, repository by repository: results
    repeat then, as they do among forks and vendored files, only more often.
    """
    root = work / f"tree-{entries}"
    repos, made = root / "repos", root / "made.json"
    if not made.is_file():
        if root.exists():  # left by a run that was stopped
            shutil.rmtree(root)
        _check_room(work, entries)
        count = _make_originals(repos, entries)
        originals = sorted(repos.iterdir())
        for number in itertools.count(len(originals)):
            if count >= entries:
                break
            copy, which = divmod(number, len(originals))
            count += _copy_repository(originals[which], repos, f"-{copy}")
        sizes = [path.stat().st_size for path in files_of(repos)]
        made.write_text(json.dumps([len(sizes), sum(sizes)]))
    return Tree(repos, *json.loads(made.read_text()))


def files_of(repos: Path) -> Iterator[Path]:
    """The files of all entries."""
    for directory, _, names in os.walk(repos):
        for name in names:
            if name != "meta.json":
                yield Path(directory, name)


def _check_room(work: Path, entries: int) -> None:
    work.mkdir(parents=True, exist_ok=True)
    disk = os.statvfs(work)
    room, needed = disk.f_bavail * disk.f_frsize, entries * _ROOM
    if room < needed:
        raise SystemExit(
            f"{entries:,} entries take {needed:,} bytes of disk and there are {room:,}: choose "
            "another place with --work, or a smaller --size"
        )


def _make_originals(repos: Path, limit: int | None) -> int:
    """Every entry there is to make, or ``limit`` of them; how many that were."""
    if SHARED.is_file():
        return _unpack(repos, limit)
    return _from_packages(repos, limit)


def _unpack(repos: Path, limit: int | None) -> int:
    with SHARED.open("rb") as packed:
        tar = zstandard.ZstdDecompressor().stream_reader(packed).read()
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = [member for member in archive if member.isfile()]
        metas = [member for member in members if Path(member.name).name == "meta.json"]
        entries = [member for member in members if Path(member.name).name != "meta.json"]
        if limit is not None and limit < len(entries):
            entries = entries[:: len(entries) // limit][:limit]
        archive.extractall(repos.parent, [*metas, *entries], filter="data")
    return len(entries)


def _copy_repository(original: Path, repos: Path, suffix: str) -> int:
    """How many entries that were."""
    meta = json.loads((original / "meta.json").read_text())
    meta["path"] += suffix
    meta["hash"] = hashlib.sha256(meta["path"].encode()).hexdigest()[:8]
    copy = repos / meta["hash"]
    subprocess.run(["cp", "-Rp", original, copy], check=True)  # several times as fast as shutil
    (copy / "meta.json").write_text(json.dumps(meta, indent=2))
    return sum(1 for _ in files_of(copy))


def _packages() -> Iterator[Path]:
    places = dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    for place in places:
        for path in sorted(Path(place).iterdir()):
            if (path / "__init__.py").is_file():
                yield path


def _from_packages(repos: Path, limit: int | None) -> int:
    count = 0
    for package in _packages():
        path = f"/home/dev/{package.name}"
        hash8 = hashlib.sha256(path.encode()).hexdigest()[:8]
        directory = repos / hash8
        directory.mkdir(parents=True)
        meta = {"path": path, "hash": hash8, "schema_version": 1}
        (directory / "meta.json").write_text(json.dumps(meta, indent=2))
        for module in sorted(package.rglob("*.py")):
            for cache_type, fields in _entries(module, package):
                if count == limit:
                    return count
                count += _write(directory / "cache" / cache_type, fields)
    return count


def _write(directory: Path, fields: dict[str, Any]) -> int:
    """How many files that made: none, if another path has that name already."""
    name = fields["file_path"].translate(str.maketrans(dict.fromkeys("/\\.:", "_")))
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{name}.json"
    if file.exists():
        return 0
    file.write_text(json.dumps(fields, indent=2, ensure_ascii=False), encoding="utf-8")
    return 1


def _entries(module: Path, package: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    source = module.read_bytes()
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    path = str(module.relative_to(package))
    file_hash = hashlib.sha256(source).hexdigest()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    results: dict[str, dict[str, Any]] = {
        "docs": {
            "module_name": path,
            "summary": (ast.get_docstring(tree) or "")[:400],
            "functions": [
                {"name": one.name, "description": (ast.get_docstring(one) or "")[:300]}
                for one in functions
            ],
        },
        "refactor": {
            "code_smells": [
                {
                    "smell_type": "LongParameterList",
                    "severity": "Low",
                    "location": {"item_name": one.name, "line_start": one.lineno},
                }
                for one in functions
                if len(one.args.args) > 5
            ],
            "complexity_score": round(len(functions) / 3, 2),
        },
    }
    for cache_type, result in results.items():
        prompt = _PROMPTS[cache_type]
        key = hashlib.sha256(f"{file_hash}:grok-beta:{prompt}:1".encode()).hexdigest()[:32]
        yield (
            cache_type,
            {
                "file_path": path,
                "file_hash": file_hash,
                "cache_key": key,
                "analyzed_at": f"2026-01-09T05:26:{len(path) % 60:02d}.{int(file_hash[:5], 16):09d}"
                "+00:00",
                "provider": "xai",
                "model": "grok-beta",
                "prompt_hash": prompt,
                "schema_version": 1,
                "result": result,
                "tokens_used": len(source) // 4,
                "file_size": len(source),
                "cache_type": cache_type,
            },
        )
