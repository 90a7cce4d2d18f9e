from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rustassistant.inspection.working_tree import FileNow, WorkingTree
from support import as_nobody


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody may look into."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_content_is_hashed_however_large(tmp_path: Path) -> None:
    content = b"0123456789abcdef" * 300_000
    (tmp_path / "a.rs").write_bytes(content)
    with WorkingTree(str(tmp_path)) as tree:
        assert tree.look("a.rs").digest == hashlib.sha256(content).digest()
        assert tree.look("b.rs").state is FileNow.DELETED


def test_repository_may_be_named_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.rs").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    with WorkingTree(str(tmp_path / "link")) as tree:
        assert tree.look("a.rs").state is FileNow.THERE


def test_link_put_in_the_way_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "a.rs").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.rs").write_bytes(b"x")
    really = os.path.realpath

    def swapping(path: str) -> str:
        resolved = really(path)
        if path.endswith("a.rs"):
            (root / "src").rename(root / "was")
            (root / "src").symlink_to(tmp_path / "away")
        return resolved

    with WorkingTree(str(root)) as tree:
        monkeypatch.setattr(os.path, "realpath", swapping)
        assert tree.look("src/a.rs").digest == b""


def test_file_that_may_not_be_read_is_not_called_deleted(public: Path) -> None:
    (public / "a.rs").write_bytes(b"x")
    (public / "a.rs").chmod(0)
    (public / "closed").mkdir(mode=0)

    def look() -> None:
        with WorkingTree(str(public)) as tree:
            for path in ("a.rs", "closed/b.rs"):
                look = tree.look(path)
                assert (look.state, look.why) == (FileNow.UNREADABLE, "Permission denied")

    as_nobody(look)


def test_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.rs").write_bytes(b"x")
    os.mkfifo(tmp_path / "src" / "pipe")
    before = set(os.listdir("/proc/self/fd"))
    with WorkingTree(str(tmp_path)) as tree:
        for path in ("src/a.rs", "src/pipe", "src/none", "none/a.rs", "src", "../x", "src/a.rs/b"):
            tree.look(path)
    assert set(os.listdir("/proc/self/fd")) == before
