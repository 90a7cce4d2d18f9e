"""The options by which commands choose entries, and what they add up to."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

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


@dataclass(frozen=True, slots=True)
class Filters:
    """What the filters' options say, as it was given. Each field is an option of every command
    that is `filtered`; all of them together are what such a command is handed."""

    types: Types = None
    repositories: Repositories = None
    include: Include = None
    exclude: Exclude = None
    providers: Providers = None
    models: Models = None
    since: Since = None
    until: Until = None
    min_tokens: MinTokens = None

    def selection(self) -> Selection:
        """What they choose. Raises UsageError for a time that is none."""
        from rustassistant.transfer.selection import Selection

        return Selection(
            types=tuple(self.types or ()),
            repositories=tuple(self.repositories or ()),
            include=tuple(self.include or ()),
            exclude=tuple(self.exclude or ()),
            providers=tuple(self.providers or ()),
            models=tuple(self.models or ()),
            since=None if self.since is None else _moment("--since", self.since, end=False),
            until=None if self.until is None else _moment("--until", self.until, end=True),
            min_tokens=self.min_tokens,
        )


NO_FILTERS: Final = Filters()
_HINTS: Final = get_type_hints(Filters, include_extras=True)


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of `Filters`, where its one parameter of that type
    stands, and hand it what they say as that parameter.

    The parser learns of options from a function's signature alone: only that is made anew.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters = list(signature.parameters.values())
    (place,) = (at for at, one in enumerate(parameters) if one.annotation is Filters)
    own = parameters[place]
    names = [field.name for field in fields(Filters)]
    options = [own.replace(name=name, annotation=_HINTS[name], default=None) for name in names]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        said = {name: given.pop(name) for name in names}
        command(**given, **{own.name: Filters(**said)})

    parameters[place : place + 1] = options
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return called


def _moment(name: str, text: str, *, end: bool) -> int:
    from rustassistant.timestamps import parse_moment

    try:
        return parse_moment(text, now=time.time_ns(), end=end)
    except ValueError:
        raise UsageError(
            f"{name} {text!r} is neither a date, a time nor an age",
            hint="Write 2026-02-04, 2026-02-04T03:13:54Z, or an age: 30d, 12h, 2w.",
        ) from None
