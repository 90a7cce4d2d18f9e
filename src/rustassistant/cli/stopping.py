"""Ctrl-C as a request: the batch at hand is finished, the next not begun."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rustassistant.cli.render import warn


class Stop:
    """Whether somebody pressed Ctrl-C."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as requests; a second one stops at once."""
        previous = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                # Who has asked twice must not cut off the message that says what is safe.
                signal.signal(number, signal.SIG_IGN if self.asked else handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        warn("\nStopping after this batch; once more to stop at once.")
