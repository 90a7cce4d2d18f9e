"""A log of entries: one JSON line for each, with what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from rustassistant.errors import RustAssistantError
from rustassistant.stores.base import printable
from rustassistant.stores.outcomes import Outcome

_BUFFER: Final = 2**18
_encode: Final = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, omit_defaults=True):
    path: str
    cache_type: str
    outcome: Outcome
    reason: str = ""


class EntryLog:
    """Appends to a file. When that can't be written any more, ``failure`` says why and the log
    ends there: what it tells of goes on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.failure: str | None = None
        # A pipe that nobody reads fails at once, instead of waiting for somebody who does.
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise RustAssistantError(
                f"the log {printable(path)} cannot be written: {error.strerror}",
                hint="Name a file in a directory that is yours.",
            ) from None
        os.set_blocking(descriptor, True)
        self._file = open(descriptor, "ab", buffering=_BUFFER)  # noqa: SIM115 - closed below

    def write(self, path: str, cache_type: str, outcome: Outcome, reason: str) -> None:
        """A line for one entry. Its outcome became durable only with the run's next commit."""
        if self.failure is None:
            try:
                self._file.write(_encode(_Line(path, cache_type, outcome, reason)) + b"\n")
            except OSError as error:
                self._fail(error)

    def close(self) -> None:
        """Write what is left."""
        try:
            self._file.flush()
        except OSError as error:
            self._fail(error)
        with suppress(OSError):  # it tries again to write what it could not
            self._file.close()

    def _fail(self, error: OSError) -> None:
        self.failure = f"the log ends early: {error.strerror}"


@contextmanager
def entry_log(path: str | None) -> Iterator[EntryLog | None]:
    """The log at ``path``, or None for none."""
    if path is None:
        yield None
        return
    log = EntryLog(path)
    try:
        yield log
    finally:
        log.close()
