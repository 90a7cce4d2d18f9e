"""The options by which commands choose entries, and what they add up to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from rustassistant.cli.options import option, repeated
from rustassistant.errors import UsageError

if TYPE_CHECKING:
    from rustassistant.transfer.selection import Selection

Types = Annotated[
    list[str] | None,
    repeated(
        "--type",
        "-t",
        metavar="TYPE",
        help="Only this kind of analysis: analysis, docs, refactor, todos, or others.",
    ),
]
Repositories = Annotated[
    list[str] | None,
    repeated(
        "--repo",
        metavar="PATH",
        help="Only this repository: its path, a glob, or the name of its cache directory "
        "(<hash8>).",
    ),
]
Include = Annotated[
    list[str] | None,
    repeated(
        "--include",
        metavar="GLOB",
        help="Only files whose path matches, such as 'src/**/*.rs'; a glob without a / is about "
        "the name alone.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    repeated("--exclude", metavar="GLOB", help="No files whose path matches."),
]
Providers = Annotated[
    list[str] | None,
    repeated("--provider", metavar="NAME", help="Only results of this provider."),
]
Models = Annotated[
    list[str] | None,
    repeated("--model", "-m", metavar="NAME", help="Only results of this model."),
]
Since = Annotated[
    str | None,
    option(
        "--since",
        metavar="WHEN",
        help="Only results made since then: a date (2026-02-04, UTC), a time, or an age (30d, "
        "12h, 2w).",
    ),
]
Until = Annotated[
    str | None,
    option(
        "--until", metavar="WHEN", help="Only results made until then; a date includes its day."
    ),
]
MinTokens = Annotated[
    int | None,
    option(
        "--min-tokens",
        metavar="N",
        min=0,
        help="Only results that took at least so many tokens.",
    ),
]


def selection_of(
    *,
    types: list[str] | None = None,
    repositories: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    providers: list[str] | None = None,
    models: list[str] | None = None,
    since: str | None = None,
    until: str | None = None,
    min_tokens: int | None = None,
) -> Selection:
    """What the options choose. Raises UsageError for a time that is none."""
    from rustassistant.transfer.selection import Selection

    return Selection(
        types=tuple(types or ()),
        repositories=tuple(repositories or ()),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        providers=tuple(providers or ()),
        models=tuple(models or ()),
        since=None if since is None else _moment("--since", since, end=False),
        until=None if until is None else _moment("--until", until, end=True),
        min_tokens=min_tokens,
    )


def _moment(name: str, text: str, *, end: bool) -> int:
    from rustassistant.timestamps import parse_moment

    try:
        return parse_moment(text, now=time.time_ns(), end=end)
    except ValueError:
        raise UsageError(
            f"{name} {text!r} is neither a date, a time nor an age",
            hint="Write 2026-02-04, 2026-02-04T03:13:54Z, or an age: 30d, 12h, 2w.",
        ) from None
