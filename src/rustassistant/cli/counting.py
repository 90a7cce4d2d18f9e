"""How far a run over entries has come, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rustassistant.cli.audience import Audience
from rustassistant.cli.render import Meter, meter
from rustassistant.results import MigrationProgress


class Ended(Protocol):
    """A result, of whatever run."""

    @property
    def total_entries(self) -> int:
        """How many there were."""

    @property
    def total_failed(self) -> int:
        """How many of them failed."""


class Count:
    """What the published API takes as ``progress``."""

    def __init__(self, shown: Meter) -> None:
        self._shown = shown

    def __call__(self, now: MigrationProgress) -> None:
        """So far."""
        self._shown.update(now.done, now.total, now.failed)

    def end(self, result: Ended) -> None:
        """All there was, which need not be what the listing had promised."""
        self._shown.update(result.total_entries, result.total_entries, result.total_failed)


@contextmanager
def counting(phase: str, audience: Audience, *, last_line: bool = True) -> Iterator[Count]:
    """Show it as `meter` does."""
    with meter(phase, as_json=audience.as_json, quiet=audience.quiet, last_line=last_line) as shown:
        yield Count(shown)
