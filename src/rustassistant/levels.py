"""zstd's compression levels: which there are, and which are taken unless somebody says another."""

from __future__ import annotations

from typing import Final

from rustassistant.errors import UsageError

MIN_LEVEL: Final = 1
MAX_LEVEL: Final = 22

DEFAULT_LEVEL: Final = 5
"""Takes some eight microseconds an entry more than 3, and a twentieth less room."""

THOROUGH_LEVEL: Final = 19
"""For results that are compressed again, when nobody waits: higher ones only take more memory."""


def check_level(level: int) -> int:
    """The level itself, if zstd has it."""
    if not MIN_LEVEL <= level <= MAX_LEVEL:
        raise UsageError(
            f"compression level {level} does not exist",
            hint=f"Choose one from {MIN_LEVEL} (fastest) to {MAX_LEVEL} (smallest).",
        )
    return level
