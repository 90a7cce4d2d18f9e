from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rustassistant.transfer import partial
from rustassistant.transfer.partial import (
    free_name,
    partial_directory,
    partial_file,
    publish,
)

MAKES = """
import os, sys
from rustassistant.transfer import partial
with getattr(partial, sys.argv[1])(sys.argv[2]) as path:
    if os.path.isdir(path):
        os.makedirs(path + "/a/b")
        os.chmod(path + "/a", 0o500)
    print(path, flush=True)
    sys.stdin.read()
"""


def in_another_process(kind: str, wanted: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKES, kind, str(wanted)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


KINDS = pytest.mark.parametrize("kind", ["partial_directory", "partial_file"])


@KINDS
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, kind: str) -> None:
    process, left = in_another_process(kind, tmp_path / "wanted")
    with process:
        process.kill()
    assert left.exists()
    with partial_file(str(tmp_path / "other")):
        assert left.exists(), "another name's is not its concern"
    with partial_directory(str(tmp_path / "wanted")):
        assert not left.exists()


@KINDS
def test_what_a_living_process_is_making_is_left_alone(tmp_path: Path, kind: str) -> None:
    process, making = in_another_process(kind, tmp_path / "wanted")
    with process:
        with partial_directory(str(tmp_path / "wanted")):
            assert making.exists()
        assert making.exists()
        process.communicate()
    assert os.listdir(tmp_path) == []


def test_threads_do_not_remove_each_others(tmp_path: Path) -> None:
    wanted = str(tmp_path / "wanted")
    seen: list[bool] = []

    def other(path: str) -> None:
        with partial_file(wanted):
            seen.append(os.path.isdir(path))

    with partial_directory(wanted) as path:
        thread = threading.Thread(target=other, args=(path,))
        thread.start()
        thread.join()
    assert seen == [True]


@pytest.mark.parametrize(
    "name",
    ["wanted.partial-", "wanted.partial-mine", "wanted.partial-12_", "wanted.partial-x_12345678"],
)
def test_what_merely_looks_alike_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with partial_directory(str(tmp_path / "wanted")):
        assert (tmp_path / name).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_what_another_user_left_is_left_alone(tmp_path: Path) -> None:
    left = tmp_path / "wanted.partial-12_12345678"
    left.write_bytes(b"theirs")
    os.chown(left, 12345, 12345)
    with partial_directory(str(tmp_path / "wanted")):
        assert left.exists()


def test_nobody_else_can_look_into_it(tmp_path: Path) -> None:
    with partial_directory(str(tmp_path / "a")) as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
    with partial_file(str(tmp_path / "a")) as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_its_lock_is_gone_with_it(tmp_path: Path) -> None:
    with partial_directory(str(tmp_path / "wanted")) as path:
        made = publish(path, str(tmp_path / "wanted"))
    descriptor = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def test_a_name_that_is_taken_in_the_very_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tmp_path / "wanted"

    def free(name: str) -> str:
        monkeypatch.setattr(partial, "free_name", free_name)
        wanted.write_bytes(b"theirs")
        return name

    monkeypatch.setattr(partial, "free_name", free)
    with partial_file(str(wanted)) as path:
        assert publish(path, str(wanted)).startswith(f"{wanted}-2")
    assert wanted.read_bytes() == b"theirs"


def test_publishing_never_takes_a_name_that_is_taken(tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    names = set()
    for number in range(4):
        with partial_file(str(wanted)) as path:
            Path(path).write_text(str(number))
            names.add(publish(path, str(wanted)))
    assert len(names) == 4
    assert sorted(Path(name).read_text() for name in names) == ["0", "1", "2", "3"]
    (tmp_path / "empty").mkdir()
    with partial_directory(str(tmp_path / "empty")) as path:
        assert publish(path, str(tmp_path / "empty")) != str(tmp_path / "empty")


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("a", "a-2", ""), ("a.tar.zst", "a-2", ".tar.zst"), (".tar.zst", "-2", ".tar.zst")],
)
def test_a_taken_name_gets_the_date(tmp_path: Path, wanted: str, start: str, end: str) -> None:
    assert free_name(str(tmp_path / wanted)) == str(tmp_path / wanted)
    (tmp_path / wanted).touch()
    name = os.path.basename(free_name(str(tmp_path / wanted)))
    assert name.startswith(start)
    assert name.endswith(end)
