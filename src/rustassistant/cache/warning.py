"""Telling a program of what it need not stop for: as Python warnings, and to a log."""

from __future__ import annotations

import logging
import warnings
from typing import Final

LOGGER: Final = logging.getLogger("rustassistant")
LOGGER.addHandler(logging.NullHandler())  # heard by programs that log, not printed to others


class DamagedEntryWarning(UserWarning):
    """An entry was found damaged. It counts as a miss; a wrong answer is never given."""


class NotKeptWarning(UserWarning):
    """What was computed was returned, but it could not be kept, and will be paid for again; or
    only what it took could not, as the text says then."""


def warn(kind: type[UserWarning], text: object) -> None:
    """Tell it in both ways. Python shows a warning once for each text."""
    LOGGER.warning("%s", text)
    warnings.warn(str(text), kind, stacklevel=2)
