"""What went wrong with single entries, or was only odd: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from rustassistant.cli.audience import Audience
from rustassistant.cli.render import LISTED, emit, visible, warn
from rustassistant.results import MigrationFailure

_NOTES_LISTED: Final = 10
"""Oddities that lost nothing: a few show what they are about."""


def warn_each(
    lines: Iterable[str],
    count: int,
    *,
    most: int = LISTED,
    rest: str = "more; --json lists them",
) -> None:
    """Lines about ``count`` problems, as many as are listed, and how many more there are."""
    for line in islice(lines, most):
        warn(f"  {visible(line)}")
    if count > most:
        warn(f"  … and {count - most} {rest}")


def tell_failures(failures: Sequence[MigrationFailure], what: str, audience: Audience) -> None:
    """Name files, and why."""
    if audience.as_json:
        for one in failure_fields(failures):
            emit("error", **one)
    elif failures:
        warn(f"\n✗ {len(failures)} {'entry' if len(failures) == 1 else 'entries'} {what}:")
        warn_each((f"{one.file_path}: {one.error}" for one in failures), len(failures))


def failure_fields(failures: Iterable[MigrationFailure]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {"file_path": one.file_path, "cache_type": one.cache_type, "error": one.error}
        for one in failures
    ]


def tell_notes(
    notes: Sequence[tuple[str, str]], audience: Audience, *, total: int | None = None
) -> None:
    """Oddities that lost nothing, as (path, what); ``total`` if there are more than are given."""
    if audience.as_json:
        for path, text in notes:
            emit("status", phase="note", path=path, note=text)
    elif not audience.quiet:
        count = len(notes) if total is None else total
        lines = (f"Note: {path}: {text}" for path, text in notes)
        warn_each(lines, count, most=_NOTES_LISTED, rest="more notes")
