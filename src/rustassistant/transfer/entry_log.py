"""A log of entries: one JSON line for each, with what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from rustassistant.errors import RustAssistantError
from rustassistant.stores.base import Outcome, printable
from rustassistant.transfer.report import ReportEntry

_BUFFER: Final = 2**18
_encode: Final = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, omit_defaults=True):
    path: str
    cache_type: str
    outcome: Outcome
    reason: str = ""


@contextmanager
def entry_log(path: str | None) -> Iterator[ReportEntry | None]:
    """Something that appends to the file, or None for none. An outcome that is written there became
    durable only with the run's next commit."""
    if path is None:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RustAssistantError(
            f"the log {printable(path)} cannot be written: {error.strerror}",
            hint="Name a file in a directory that is yours.",
        ) from None
    with open(descriptor, "ab", buffering=_BUFFER) as file:

        def write(entry: str, cache_type: str, outcome: Outcome, reason: str) -> None:
            file.write(_encode(_Line(entry, cache_type, outcome, reason)) + b"\n")

        yield write
