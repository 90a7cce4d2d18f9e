"""Running commands that look into a cache, and filling one."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apsw
import pytest

from rustassistant import CacheMigrator
from rustassistant.cli.app import run
from support import Cache

MILLION = 1_000_000
REPOSITORY = "/home/dev/project"


class Ran(NamedTuple):
    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def summary(self) -> dict[str, Any]:
        assert [one["message_type"] for one in self.objects].count("summary") == 1
        assert self.objects[-1]["message_type"] == "summary"
        return self.objects[-1]

    def row(self, start: str) -> list[str]:
        """The cells of the one line of a table that begins so."""
        (found,) = [line.split() for line in self.lines if line.split()[:1] == [start]]
        return found


class Run(Protocol):
    def __call__(self, *arguments: str | Path) -> Ran: ...


def runner(
    command: str, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]
) -> Run:
    """`rustassistant cache COMMAND` in this process: quick, with its true exit code."""

    def call(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["rustassistant", "cache", command, *map(str, arguments)])
        capture.readouterr()
        with pytest.raises(SystemExit) as exited:
            run()
        out, err = capture.readouterr()
        assert b"Traceback" not in err
        return Ran(int(exited.value.code or 0), out, err.decode())

    return call


class Filled:
    """A database, and a cache tree whose files are migrated into it."""

    def __init__(self, root: Path) -> None:
        self.cache = Cache(root / "repos")
        self.database = root / "cache.db"

    def add(self, path: str = "src/lib.rs", **fields: Any) -> Path:
        return self.cache.add(path, **fields)

    def migrate(self, **options: Any) -> None:
        result = CacheMigrator(self.cache.root, self.database, **options).migrate()
        assert not result.failures

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with closing(apsw.Connection(str(self.database))) as connection:
            return connection.execute(sql, values).fetchall()


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    """A database where commands look unless told otherwise, and nothing in it yet."""
    monkeypatch.delenv("COLUMNS", raising=False)
    made = Filled(tmp_path)
    monkeypatch.setenv("RUSTASSISTANT_DESTINATION", str(made.database))
    return made
