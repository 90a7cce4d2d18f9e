from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import rustassistant
from rustassistant.cli.app import app

HEAVY = ("apsw", "genai_prices", "msgspec", "pydantic", "rich", "zstandard")


def called(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "rustassistant", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def commands() -> Iterator[tuple[list[str], Any]]:
    """Every command that does something, with the words that lead to it."""
    pending: list[tuple[list[str], Any]] = [([], typer.main.get_command(app))]
    while pending:
        words, command = pending.pop(0)
        if hasattr(command, "commands"):
            pending += [([*words, name], below) for name, below in command.commands.items()]
        else:
            yield words, command


LEAVES = [pytest.param(words, command, id=" ".join(words)) for words, command in commands()]


def test_there_are_commands() -> None:
    found = [words for words, _ in commands()]
    assert ["cache", "migrate"] in found
    assert ["cache", "get"] in found


def test_version_is_the_packages_own() -> None:
    for option in ("--version", "-V"):
        done = called(option)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"rustassistant {rustassistant.__version__}\n"


def test_installed_command_and_module_are_the_same() -> None:
    script = Path(sys.executable).with_name("rustassistant")
    if not script.exists():
        pytest.skip("the package is not installed as a command beside this Python")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, called("--help").stdout)


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_help_of_each_command_has_examples_and_exit_codes(words: list[str], command: Any) -> None:
    done = called(*words, "--help", COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: rustassistant {' '.join(words)} [OPTIONS]" in done.stdout
    examples = done.stdout.partition("\n  Examples:\n")[2]
    assert f"    rustassistant {' '.join(words)}" in examples
    assert "Exit codes: 0 " in examples
    assert max(map(len, done.stdout.splitlines())) <= 102  # as wide as our own lines, indented
    assert called(*words, "-h", COLUMNS="100").stdout == done.stdout


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_every_option_is_explained_and_has_its_environment_variable(
    words: list[str], command: Any
) -> None:
    for parameter in command.params:
        long = max(parameter.opts, key=len)
        if long == "--help":
            continue
        assert parameter.help, long
        if parameter.param_type_name == "argument":
            continue
        expected = "RUSTASSISTANT_" + long.removeprefix("--").upper().replace("-", "_")
        # The parser would part the values of a repeated option at spaces: we read it ourselves.
        assert parameter.envvar == (None if parameter.multiple else expected)


@pytest.mark.parametrize("words", [[], ["cache"]], ids=["root", "cache"])
def test_no_command_shows_the_help_and_is_wrong_usage(words: list[str]) -> None:
    done = called(*words)
    assert done.returncode == 2
    assert "Usage: rustassistant" in done.stdout + done.stderr
    assert "Commands:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "words",
    [["frob"], ["cache", "frob"], ["--frob"], ["cache", "migrate", "--sauce"], ["cache", "get"]],
    ids=" ".join,
)
def test_wrong_usage_says_where_help_is(words: list[str]) -> None:
    done = called(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "-h' for help" in done.stderr
    assert "Traceback" not in done.stderr


def test_misspelt_option_gets_a_suggestion() -> None:
    assert "--source" in called("cache", "migrate", "--sauce", "x").stderr


def imported(*words: str) -> tuple[int, set[str]]:
    """A command's exit code, and all modules that it imported."""
    script = f"""
import sys
sys.argv = ["rustassistant", *{words!r}]
from rustassistant.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    return done.returncode, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("words", "commands"),
    [
        ([], set()),
        (["cache"], set()),
        (["cache", "migrate"], {"migrate"}),
        (["cache", "get"], {"get"}),
        (["cache", "trash", "list"], {"trash"}),
    ],
    ids=str,
)
def test_help_imports_nothing_that_takes_long_and_no_other_command(
    words: list[str], commands: set[str]
) -> None:
    code, modules = imported(*words, "--help")
    assert code == 0
    assert not modules & set(HEAVY)
    below = "rustassistant.cli.commands."
    assert {one.removeprefix(below) for one in modules if one.startswith(below)} == commands


def test_command_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """It gets text, numbers and a choice, given or by default."""
    database = str(tmp_path / "cache.db")
    assert imported("cache", "init", database)[0] == 0
    for words in (
        ["path", "-d", database],
        ["list", "-d", database, "--limit", "5", "--sort", "oldest", "--type", "docs"],
        ["get", "-d", database, "--type", "docs", "--content", __file__],
    ):
        code, modules = imported("cache", *words)
        assert code == int(words[0] == "get")  # a miss
        assert not modules & {"pydantic", "rich", "genai_prices"}
        assert "rustassistant.inspection.status" not in modules


def test_summaries_in_the_help_of_groups_are_the_commands_own() -> None:
    pending: list[Any] = [typer.main.get_command(app)]
    found = 0
    while pending:
        group = pending.pop()
        for name, command in group.commands.items():
            if name in group.later:
                found += 1
                assert group.later[name].summary == command.help.splitlines()[0]
            assert command.name == name
            if hasattr(command, "commands"):
                pending.append(command)
    assert found > 20


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_for_each_shell(shell: str) -> None:
    # Else typer asks which shell it runs in, which may be one that has no completion.
    done = called("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "_RUSTASSISTANT_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rustassistant ca", ["cache"]),
        ("rustassistant cache m", ["migrate"]),
        ("rustassistant cache migrate --de", ["--destination", "--dedup"]),
        ("rustassistant cache get --pr", ["--prompt-hash"]),
    ],
)
def test_completion_offers_commands_and_options(line: str, expected: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rustassistant"],
        env={
            **os.environ,
            "_RUSTASSISTANT_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == expected
