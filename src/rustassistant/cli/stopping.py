"""Ctrl-C: as a request, so that the batch at hand is finished and the next not begun; or as an end,
which is told with what is safe by then."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rustassistant.cli.render import warn
from rustassistant.errors import InterruptedRunError


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


@contextmanager
def cut_short(message: str, *, hint: str | None = None) -> Iterator[None]:
    """Where Ctrl-C ends what is within, say so in these words."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(message, hint=hint) from None


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Ctrl-C, and being asked to end, undo what was begun, and are told."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with cut_short(message, hint="Run the same command again."):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
