"""What may be asked of a sync."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from rustassistant.errors import UsageError
from rustassistant.sync.report import Ask
from rustassistant.transfer.report import Cancelled
from rustassistant.transfer.selection import ALL, Selection


class Resolve(StrEnum):
    """What becomes of a result that changed on both sides, differently."""

    NEWEST = "newest"
    A = "a"
    B = "b"
    KEEP_BOTH = "keep-both"
    ASK = "ask"
    FAIL = "fail"


class MaxDelete(NamedTuple):
    """How many results may vanish from a side: a number, or a part of what it held in percent."""

    number: float
    is_part: bool = True

    def allows(self, vanished: int, held: int) -> bool:
        """Whether so many of so many may."""
        return vanished <= (held * self.number / 100 if self.is_part else self.number)

    def __str__(self) -> str:
        return f"{self.number:g}%" if self.is_part else f"{self.number:g}"


HALF: Final = MaxDelete(50)


def parse_max_delete(text: str) -> MaxDelete:
    """``50%`` or a number. Raises UsageError for anything else."""
    number = text.strip().removesuffix("%")
    is_part = text.strip().endswith("%")
    try:
        value = float(number) if is_part else int(number)
    except ValueError:
        value = -1
    if not (0 <= value <= 100 if is_part else value >= 0):  # a NaN is neither
        raise UsageError(
            f"{text!r} is not a number of results that may be deleted",
            hint="Write a number, or a part such as 50%.",
        )
    return MaxDelete(value, is_part)


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How to sync. ``delete`` lets deletions travel; ``ask`` is asked about conflicts if
    ``resolve`` says so, and without it they are left."""

    resolve: Resolve = Resolve.NEWEST
    delete: bool = False
    max_delete: MaxDelete = HALF
    selection: Selection = ALL
    ask: Ask | None = None
    cancelled: Cancelled | None = None
