"""Options that several commands share, and the one way to declare one."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated, Any

import typer

from rustassistant.levels import MAX_LEVEL, MIN_LEVEL
from rustassistant.locations import listed


def option(name: str, *short: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's word
    """An option that the environment gives too: ``RUSTASSISTANT_FOO_BAR`` for ``--foo-bar``."""
    return typer.Option(
        name, *short, envvar=variable_of(name), show_envvar=False, help=help, **more
    )


def repeated(name: str, *short: str, help: str, **more: Any) -> Any:  # noqa: A002 - typer's word
    """An option that may be given several times. In the environment its values stand apart as
    `from_environment` says: the parser would part them at every space."""
    return typer.Option(name, *short, help=f"{help} May be repeated.", **more)


def variable_of(name: str) -> str:
    """The environment variable of an option."""
    return "RUSTASSISTANT_" + name.strip("-").upper().replace("-", "_")


def from_environment(name: str) -> list[str] | None:
    """The values of a repeated option: sources stand apart by ``:``, others by commas."""
    text = os.environ.get(variable_of(name))
    if not text:
        return None
    return listed(text) if name in ("--source", "--from") else text.split(",")


Sources = Annotated[
    list[str] | None,
    repeated(
        "--source",
        "-s",
        metavar="PATH",
        show_default="~/.rustassistant/cache/repos",
        help="A JSON cache: its root, one <hash8> directory, a repository, or its .rustassistant; "
        "a database; or JSON Lines. json:, sqlite:, v1: or jsonl: before the path says which.",
    ),
]
Source = Annotated[
    str | None,
    option(
        "--source",
        "-s",
        metavar="PATH",
        show_default="~/.rustassistant/cache/repos",
        help="The JSON cache: its root, one <hash8> directory, a repository, or its "
        ".rustassistant; or a database.",
    ),
]
Destination = Annotated[
    str | None,
    option(
        "--destination",
        "-d",
        metavar="PATH",
        show_default="~/.rustassistant/cache.db",
        help="The database file.",
    ),
]
Json = Annotated[bool, option("--json", help="Print JSON for programs instead of text for people.")]
Quiet = Annotated[
    bool,
    option(
        "--quiet",
        "-q",
        help="Print no progress and no report; problems still go to standard error.",
    ),
]
Limit = Annotated[
    int,
    option("--limit", "-n", metavar="N", min=0, help="At most so many entries; 0 lists all."),
]
DryRemoval = Annotated[
    bool,
    option(
        "--dry-run",
        "-n",
        help="Say how many would go, and what making them again would cost; change nothing.",
    ),
]
Yes = Annotated[bool, option("--yes", "-y", help="Don't ask. Needed where nobody can be asked.")]
Exact = Annotated[bool, option("--exact", help="Refuse results from before prompts were recorded.")]
Jobs = Annotated[
    int | None,
    option(
        "--jobs",
        "-j",
        metavar="N",
        min=1,
        show_default="one per processor",
        help="Worker processes that read and compress.",
    ),
]


class Policy(StrEnum):
    """What ``--on-conflict`` may be: `rustassistant.OnConflict`, without importing the store."""

    NEWEST = "newest"
    OLDEST = "oldest"
    KEEP_BOTH = "keep-both"
    FAIL = "fail"


OnConflict = Annotated[
    Policy,
    option(
        "--on-conflict",
        help="Of two results under one identity (repository, file, content, type, model, prompt), "
        "which answers: newest, oldest, the newest of both as equals (keep-both), or none, and "
        "nothing is moved (fail). What does not answer is kept in the trash.",
    ),
]
Level = Annotated[
    int,
    option(
        "--level",
        metavar="1-22",
        min=MIN_LEVEL,
        max=MAX_LEVEL,
        help="How hard to compress: 1 is fastest, 22 smallest.",
    ),
]
