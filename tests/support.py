"""Building caches as the Rust program writes them, and running things as other users."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rustassistant.entry import Entry, full_key
from rustassistant.entry_json import file_name

SHARED: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
NOBODY: Final = 65534


def hash8(repository: str) -> str:
    return hashlib.sha256(repository.encode()).hexdigest()[:8]


def fields_of(
    path: str = "src/lib.rs",
    *,
    content: bytes = b"fn main() {}\n",
    old: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """The fields of an entry's file, in the Rust program's order. ``old``: before keys."""
    file_hash = hashlib.sha256(content).hexdigest()
    model = changes.get("model", "grok-beta")
    prompt_hash = changes.get("prompt_hash", "b56f6b9b1ff77eac")
    version = changes.get("schema_version", 1)
    fields: dict[str, Any] = {"file_path": path, "file_hash": file_hash}
    if not old:
        fields["cache_key"] = full_key(file_hash, model, prompt_hash, version)[:32]
    fields |= {
        "analyzed_at": "2026-02-04T03:13:54.878744252+00:00",
        "provider": "xai",
        "model": model,
    }
    if not old:
        fields |= {"prompt_hash": prompt_hash, "schema_version": version}
    fields |= {
        "result": {"code_smells": [], "complexity_score": 50.0, "path": path},
        "tokens_used": 1234,
        "file_size": len(content),
        "cache_type": "docs",
    }
    return fields | changes


def dump(fields: dict[str, Any]) -> bytes:
    """As serde_json prints: two spaces, UTF-8 unescaped, no final newline."""
    return json.dumps(fields, indent=2, ensure_ascii=False).encode()


class Cache:
    """A centralized cache tree in ``root``, made file by file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def repository(self, path: str = "/home/dev/project") -> Path:
        """The directory of a repository, with its ``meta.json``."""
        directory = self.root / hash8(path)
        if not directory.exists():
            directory.mkdir()
            meta = {
                "path": path,
                "hash": hash8(path),
                "schema_version": 1,
                "created_at": "2026-01-05T00:00:00+00:00",
            }
            (directory / "meta.json").write_text(json.dumps(meta, indent=2))
        return directory

    def add(
        self,
        path: str = "src/lib.rs",
        *,
        repository: str = "/home/dev/project",
        name: str | None = None,
        text: bytes | None = None,
        **fields: Any,
    ) -> Path:
        """An entry's file: from `fields_of`, or with ``text`` as it is."""
        made = fields_of(path, **fields)
        directory = self.repository(repository) / "cache" / made["cache_type"]
        directory.mkdir(parents=True, exist_ok=True)
        file: Path = directory / (name or file_name(path))
        file.write_bytes(dump(made) if text is None else text)
        return file


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything below a directory: mode, modification time and bytes (or link target) by path."""
    found = {}
    for directory, directories, names in os.walk(root):
        for name in [*directories, *names]:
            path = Path(directory, name)
            status = path.lstat()
            content = b""
            if path.is_symlink():
                content = os.fsencode(path.readlink())
            elif path.is_file():
                content = path.read_bytes()
            found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def as_nobody(action: Callable[[], None]) -> None:
    """Run ``action`` in a child that has given up root's rights; fail if it fails there.

    Whatever it imports must have been imported before: the child may not be able to read it.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "failed as an unprivileged user; see above"


def sample_entry(**changes: Any) -> Entry:
    """An entry that needs no file."""
    fields: dict[str, Any] = {
        "repository": "/home/dev/project",
        "cache_type": "docs",
        "file_path": "src/lib.rs",
        "file_hash": hashlib.sha256(b"fn main() {}\n").digest(),
        "analyzed_at": 1_770_174_834_878_744_252,
        "provider": "xai",
        "model": "grok-beta",
        "prompt_hash": "b56f6b9b1ff77eac",
        "schema_version": 1,
        "result": b'{"summary":"short"}',
        "tokens_used": 1234,
        "file_size": 13,
    }
    return Entry(**(fields | changes))
