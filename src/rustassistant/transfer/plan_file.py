"""A plan on disk: what a rehearsal found, and by what to tell that it still holds."""

from __future__ import annotations

import os
from contextlib import suppress
from secrets import token_hex
from typing import Any, Final

import msgspec

from rustassistant.errors import NotFoundError, RustAssistantError, UsageError
from rustassistant.stores.base import printable
from rustassistant.transfer.selection import ALL, Selection

_KIND: Final = "rustassistant plan"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to move from where to where, and what that was found to come to.

    ``digest`` is 64 hex digits over all that the sources held, ``entries`` how many that was;
    ``expected`` are the outcomes, for people.
    """

    kind: str = _KIND
    made_at: str
    version: str
    sources: tuple[str, ...]
    destination: str
    on_conflict: str
    dedup: bool
    level: int
    dictionaries: bool
    selection: Selection = ALL
    digest: str
    entries: int
    expected: dict[str, Any]


def write_plan(plan: Plan, path: str) -> None:
    """Write a plan where there is none yet. Raises UsageError if that name is taken."""
    text = msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"
    temporary = f"{path}.new-{token_hex(4)}"
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # unlike a rename, it replaces nothing
        finally:
            with suppress(OSError):
                os.unlink(temporary)
    except FileExistsError:
        raise UsageError(
            f"{printable(path)} exists", hint="Name another file, or remove this one first."
        ) from None
    except OSError as error:
        raise RustAssistantError(
            f"the plan {printable(path)} cannot be written: {error.strerror}",
            hint="Name a file in a directory that is yours.",
        ) from None


def read_plan(path: str) -> Plan:
    """Read one back. Raises NotFoundError, or UsageError if it is none."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise NotFoundError(
            f"the plan {printable(path)} cannot be read: {error.strerror}",
            hint="Make one with --plan.",
        ) from None
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{printable(path)} is not a plan: {error}") from None
    if plan.kind != _KIND:
        raise UsageError(f"{printable(path)} is not a plan, but {plan.kind!r}")
    return plan
