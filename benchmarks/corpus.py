"""Cache trees to measure on: the shared corpus if it is there, else made from Python's own library.

The made one is as the Rust program writes it, from real docstrings and signatures, so that it
compresses as real results do.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import shutil
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import zstandard

SHARED: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "corpus-20k.tar.zst"
_PROMPTS: Final = {"docs": "b56f6b9b1ff77eac", "refactor": "4648e62b2f6f18ca"}


def make_corpus(root: Path, *, copies: int = 1) -> Path:
    """A central root below ``root``; with ``copies``, its repositories again under other names."""
    repos = root / "repos"
    if SHARED.is_file():
        with SHARED.open("rb") as packed:
            tar = zstandard.ZstdDecompressor().stream_reader(packed).read()
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            archive.extractall(root, filter="data")
    else:
        _from_library(repos)
    originals = sorted(repos.iterdir())
    for copy in range(1, copies):
        for original in originals:
            _copy_repository(original, repos, f"-{copy}")
    return repos


def _copy_repository(original: Path, repos: Path, suffix: str) -> None:
    meta = json.loads((original / "meta.json").read_text())
    meta["path"] += suffix
    meta["hash"] = hashlib.sha256(meta["path"].encode()).hexdigest()[:8]
    copy = repos / meta["hash"]
    shutil.copytree(original, copy)
    (copy / "meta.json").write_text(json.dumps(meta, indent=2))


def _from_library(repos: Path) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    packages = [path for path in sorted(library.iterdir()) if (path / "__init__.py").is_file()]
    for package in packages:
        path = f"/home/dev/{package.name}"
        hash8 = hashlib.sha256(path.encode()).hexdigest()[:8]
        directory = repos / hash8
        directory.mkdir(parents=True)
        meta = {"path": path, "hash": hash8, "schema_version": 1}
        (directory / "meta.json").write_text(json.dumps(meta, indent=2))
        for module in sorted(package.rglob("*.py")):
            for cache_type, fields in _entries(module, package):
                name = fields["file_path"].translate(str.maketrans(dict.fromkeys("/\\.:", "_")))
                target = directory / "cache" / cache_type
                target.mkdir(parents=True, exist_ok=True)
                text = json.dumps(fields, indent=2, ensure_ascii=False)
                (target / f"{name}.json").write_text(text)


def _entries(module: Path, package: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    source = module.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
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
