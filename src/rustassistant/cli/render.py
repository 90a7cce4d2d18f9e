"""Text for people, and JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from rustassistant.errors import ConfigurationError, RustAssistantError

LISTED: Final = 200
"""Failures and differences that are printed; ``--json`` has the rest."""

_LINE_SECONDS: Final = 1.0


def say(text: str = "") -> None:
    """A line for people."""
    print(text, flush=True)


def warn(text: str) -> None:
    """A line about a problem."""
    print(text, file=sys.stderr, flush=True)


def emit(message_type: str, **fields: Any) -> None:
    """One JSON line, in characters that every screen and pipe has."""
    print(json.dumps({"message_type": message_type, **fields}), flush=True)


def visible(text: str) -> str:
    """A path or message on one line: what can't be seen is written as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def print_error(error: RustAssistantError, *, as_json: bool) -> None:
    """What stopped the command, and what to do about it."""
    several = {"problems": error.problems} if isinstance(error, ConfigurationError) else {}
    if as_json:
        emit(
            "error",
            error=type(error).__name__,
            message=error.message,
            hint=error.hint,
            exit_code=error.exit_code,
            **several,
        )
    for problem in several.get("problems", (error.message,)):
        warn(f"✗ {visible(problem)}")
    if error.hint:
        warn(f"  Hint: {visible(error.hint)}")


class Meter(Protocol):
    """Shows how far something has come."""

    def update(self, done: int, total: int, failed: int) -> None:
        """So far."""


class _Silent:
    def update(self, done: int, total: int, failed: int) -> None:
        """Nothing to show."""


class _JsonLines:
    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._next = 0.0
        self._said: tuple[int, int, int] | None = None

    def update(self, done: int, total: int, failed: int) -> None:
        now = time.monotonic()
        state = (done, total, failed)
        if state != self._said and (now >= self._next or done == total):
            self._said = state
            self._next = now + _LINE_SECONDS
            emit("status", phase=self._phase, done=done, total=total, failed=failed)


class _Lines:
    """A line a second, and one at the end, for logs and pipes."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _LINE_SECONDS
        self._last: tuple[int, int, int] | None = None
        self._said: tuple[int, int, int] | None = None

    def last(self, done: int, total: int, failed: int) -> None:
        self._last = (done, total, failed)

    def update(self, done: int, total: int, failed: int) -> None:
        self.last(done, total, failed)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE_SECONDS
            self.finish()

    def finish(self) -> None:
        if self._last is not None and self._last != self._said:
            self._said = self._last
            say("  Progress: {}/{} ({} failed)".format(*self._last))


@contextmanager
def errors_told(*, as_json: bool) -> Iterator[None]:
    """Turn an error of ours into what is printed of it, and its exit code."""
    try:
        yield
    except RustAssistantError as error:
        print_error(error, as_json=as_json)
        sys.exit(error.exit_code)


@contextmanager
def meter(
    phase: str, *, as_json: bool, quiet: bool, unit: str = "entries", last_line: bool = False
) -> Iterator[Meter]:
    """A bar with rate and time left on a terminal, plain lines elsewhere.

    ``last_line`` says where it ended, however quick it was.
    """
    if quiet:
        yield _Silent()
    elif as_json:
        yield _JsonLines(phase)
    elif sys.stdout.isatty():
        with _bar(unit, last_line=last_line) as bar:
            yield bar
    else:
        lines = _Lines()
        yield lines
        if last_line:
            lines.finish()


@contextmanager
def _bar(unit: str, *, last_line: bool) -> Iterator[Meter]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f} {unit}/s")

    with Progress(
        TextColumn("  Progress:"),
        BarColumn(),
        MofNCompleteColumn() if unit == "entries" else TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("({task.fields[failed]} failed)"),
        Rate(),
        TimeRemainingColumn(),
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None, failed=0)
        lines = _Lines()

        class Bar:
            def update(self, done: int, total: int, failed: int) -> None:
                progress.update(task, completed=done, total=total, failed=failed)
                lines.last(done, total, failed)

        yield Bar()
    if last_line:
        lines.finish()
