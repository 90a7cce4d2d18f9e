from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import typer.main

from completion_server import completion_server
from rustassistant.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str) -> list[Any]:
    """The fenced blocks of one language on all pages, as parameters."""
    return [
        pytest.param(body, id=f"{named(page)}:{number}")
        for page in PAGES
        for number, (found, body) in enumerate(FENCE.findall(text_of(page)))
        if found == language
    ]


def commands(words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    pending: list[tuple[str, Any]] = [("rustassistant", typer.main.get_command(app))]
    while pending:
        path, command = pending.pop()
        yield path, command
        below = getattr(command, "commands", {})
        pending += [(f"{path} {name}", one) for name, one in below.items()]


COMMANDS = dict(commands())


def test_command_reference_is_what_its_generator_prints() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate_cli.py"], capture_output=True, check=False
    )
    assert done.stderr == b""
    assert (ROOT / "docs" / "cli.md").read_bytes() == done.stdout, "run `make docs`"


@pytest.mark.parametrize("path", COMMANDS)
def test_command_and_each_of_its_options_are_in_the_reference(path: str) -> None:
    reference = text_of(ROOT / "docs" / "cli.md")
    section = reference.partition(f"\n## {path}\n")[2].partition("\n## ")[0]
    assert section
    for option in COMMANDS[path].params:
        for name in option.opts:
            assert f"`{name}`" in section


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(text_of(page)):
        if re.match(r"\w+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), target
        if anchor:
            titles = HEADING.findall(text_of(place))
            anchors = [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles]
            assert anchor in anchors, target


@pytest.mark.parametrize("block", blocks("sh"))
def test_shell_commands_on_the_pages_exist(block: str) -> None:
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    assert lines
    for line in lines:
        for part in re.split(r" \| | && ", line):
            _check_exists(shlex.split(part, comments=True))


def _check_exists(words: list[str]) -> None:
    if words[0] == "make":
        makefile = text_of(ROOT / "Makefile")
        targets = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        for target in targets or ["help"]:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), words
    elif words[0] == "rustassistant":
        path, rest = words[0], words[1:]
        while rest and f"{path} {rest[0]}" in COMMANDS:
            path, rest = f"{path} {rest[0]}", rest[1:]
        assert path != "rustassistant" or not rest or rest[0].startswith("-"), words
        known = {name for option in COMMANDS[path].params for name in option.opts} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known, words
    elif words[0].startswith("python") and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), words


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's home, with the example cache where the pages take it to be."""
    monkeypatch.delenv("RUSTASSISTANT_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(ROOT / "examples" / "cache", tmp_path / ".rustassistant" / "cache")
    return tmp_path


def run_python(source: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=home,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("block", blocks("python"))
def test_python_on_the_pages_runs(
    block: str, at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with completion_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        run_python(block, at_home)


def test_readme_shows_python_and_sql() -> None:
    readme = text_of(ROOT / "README.md")
    assert "```python\n" in readme
    assert 'sqlite3 cache.db "' in readme


def test_sql_on_the_readme_runs(at_home: Path) -> None:
    run_python(
        "from rustassistant import CacheMigrator\n"
        "CacheMigrator('~/.rustassistant/cache/repos', 'cache.db').migrate()",
        at_home,
    )
    for statement in re.findall(r'^sqlite3 cache\.db "(.+)"', text_of(ROOT / "README.md"), re.M):
        with closing(apsw.Connection(str(at_home / "cache.db"))) as opened:
            assert opened.execute(statement).fetchall(), statement


def test_architecture_names_only_rooms_that_there_are_and_all_of_them() -> None:
    page = text_of(ROOT / "docs" / "architecture.md")
    ((_, picture),) = [block for block in FENCE.findall(page) if "src/rustassistant/" in block[1]]
    shown = set(re.findall(r"\w+\.pyx?\b", picture))
    sources = (ROOT / "src" / "rustassistant").rglob("*.py*")
    rooms = {
        path.name
        for path in sources
        if path.suffix in {".py", ".pyx"} and not path.name.startswith("__")
    }
    command_line = {path.name for path in sources_of_the_command_line()}
    assert shown <= rooms
    assert rooms - command_line <= shown


def sources_of_the_command_line() -> Iterator[Path]:
    return (ROOT / "src" / "rustassistant" / "cli").rglob("*.py")
