"""Calling the commands that remove and keep, and asking what is left."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rustassistant import AnalysisCache
from rustassistant.cli.app import run


class Ran(NamedTuple):
    """What a command printed, and its true exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        last = self.lines[-1]
        assert last["message_type"] == "summary"
        return last

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["message_type"] == "entry"]


class Caller:
    """`rustassistant cache …` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capfd = capfd

    def __call__(self, *arguments: str | Path) -> Ran:
        words = ["rustassistant", "cache", *map(str, arguments)]
        self._monkeypatch.setattr(sys, "argv", words)
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = self._capfd.readouterr()
        assert "Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err)


def at_a_terminal(answer: str, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and screen of a command that somebody answers."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "rustassistant", "cache", *map(str, arguments)]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        seen = b""
        while True:
            try:
                more = os.read(ours, 4096)
            except OSError:
                break
            if not more:
                break
            seen += more
        code = process.wait()
    os.close(ours)
    return code, seen.decode()


def live(database: Path) -> set[str]:
    """Paths of the entries that answer."""
    with AnalysisCache(database) as cache:
        return {entry.file_path for entry in cache}
