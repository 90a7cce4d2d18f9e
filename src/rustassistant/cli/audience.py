"""Who reads what a command prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """People, or programs if ``as_json``; if ``quiet``, neither hears of anything but problems and
    the summary."""

    as_json: bool = False
    quiet: bool = False

    @property
    def talks(self) -> bool:
        """Whether people read along."""
        return not (self.as_json or self.quiet)
