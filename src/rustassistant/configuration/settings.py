"""What can be set: every key with its kind, its default and its meaning, and the typed result."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from rustassistant.configuration.values import Kind, choice, flag, number, paths, size, text, whole
from rustassistant.errors import UsageError

FILE_NAME: Final = "config.toml"
PRICES: Final = "prices"


def home() -> Path:
    """``~/.rustassistant``, or where ``RUSTASSISTANT_HOME`` moves it.

    Raises UsageError where there is no home directory to be found.
    """
    moved = os.environ.get("RUSTASSISTANT_HOME")
    try:
        return Path(moved).expanduser() if moved else Path.home() / ".rustassistant"
    except RuntimeError as error:
        raise UsageError(str(error), hint="Set RUSTASSISTANT_HOME to a directory.") from None


class OriginKind(StrEnum):
    """Where a value can come from, in the order of growing weight."""

    DEFAULT = "default"
    FILE = "config.toml"
    ENVIRONMENT = "environment"


class Origin(NamedTuple):
    """Where a value came from: ``line`` in the file, or the ``variable``'s name."""

    kind: OriginKind = OriginKind.DEFAULT
    line: int | None = None
    variable: str | None = None


class Setting(NamedTuple):
    """One key. ``default`` makes its value from the home directory; ``about`` says what it does."""

    section: str
    key: str
    kind: Kind
    default: Callable[[Path], Any]
    about: str

    @property
    def name(self) -> str:
        """As it is written in one line: ``cache.level``."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable: for options the option's, for others with the section."""
        name = self.key if self.section == "cache" else f"{self.section}_{self.key}"
        return "RUSTASSISTANT_" + name.upper()


def _always(value: Any) -> Callable[[Path], Any]:
    return lambda _home: value


ON_CONFLICT: Final = ("newest", "oldest", "keep-both", "fail")

SETTINGS: Final = (
    Setting(
        "cache",
        "source",
        paths(),
        lambda home: (str(home / "cache" / "repos"),),
        "The JSON cache, or a list of caches where a command takes more than one.",
    ),
    Setting(
        "cache",
        "destination",
        text("a path"),
        lambda home: str(home / "cache.db"),
        "The database file.",
    ),
    Setting(
        "cache",
        "jobs",
        whole(1),
        _always(None),
        "Worker processes that read and compress; one per processor unless set.",
    ),
    Setting(
        "cache",
        "level",
        whole(1, 22),
        _always(3),
        "How hard to compress: 1 is fastest, 22 smallest.",
    ),
    Setting(
        "cache", "backup", flag(), _always(False), "Whether migrating copies the source first."
    ),
    Setting(
        "cache", "verify", flag(), _always(False), "Whether migrating compares all afterwards."
    ),
    Setting(
        "cache",
        "dedup",
        flag(),
        _always(False),
        "Whether entries with equal key, type and result share one row.",
    ),
    Setting(
        "cache",
        "exact",
        flag(),
        _always(False),
        "Whether looking up refuses results from before prompts were recorded.",
    ),
    Setting(
        "cache",
        "on_conflict",
        choice(*ON_CONFLICT),
        _always("newest"),
        "Which of two results for one request answers, or fail to move nothing then.",
    ),
    Setting(
        "cache",
        "max_size",
        size(),
        _always(None),
        "What live entries may take: above it, migrating evicts; without limit unless set.",
    ),
    Setting(
        "budget",
        "monthly_usd",
        number("an amount in dollars of more than 0", above=0, high=10**9),
        _always(Decimal("3.00")),
        "What a month's analyses may cost, in US dollars.",
    ),
    Setting(
        "budget",
        "warn_percent",
        number("a percentage, more than 0 and at most 100", above=0, high=100),
        _always(Decimal(75)),
        "From which part of the budget on there is a warning.",
    ),
    Setting(
        "budget",
        "alert_percent",
        number("a percentage, more than 0 and at most 100", above=0, high=100),
        _always(Decimal(90)),
        "From which part of the budget on there is an alert.",
    ),
    Setting(
        "cost",
        "seconds_per_entry",
        number("a number of seconds, 0-86400", high=86_400),
        _always(Decimal(30)),
        "How long making one entry takes: what a lost one costs, and a hit saves, in time.",
    ),
)
"""All but the prices, in the order in which they are shown."""

_USD: Final = "an amount in dollars, 0 or more"
PRICE_KEYS: Final[dict[str, Kind]] = {
    "input_usd_per_million": number(_USD, high=10**6),
    "output_usd_per_million": number(_USD, high=10**6),
    "provider": text("a provider's name"),
}
"""What stands under ``[prices."model"]``."""


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[cache]``: what the options of the ``cache`` commands default to.

    None means one job per processor, and no limit to the size (in bytes).
    """

    source: tuple[str, ...]
    destination: str
    jobs: int | None
    level: int
    backup: bool
    verify: bool
    dedup: bool
    exact: bool
    on_conflict: str
    max_size: int | None


class BudgetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[budget]``: US dollars a month, and the percentages of it that are told."""

    monthly_usd: Decimal
    warn_percent: Decimal
    alert_percent: Decimal


class CostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[cost]``: what an entry costs besides money."""

    seconds_per_entry: Decimal


class PriceOverride(msgspec.Struct, frozen=True, kw_only=True):
    """``[prices."model"]``: US dollars per million tokens; for any provider if that is None."""

    model: str
    input_usd_per_million: Decimal
    output_usd_per_million: Decimal
    provider: str | None = None


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. ``origins`` has the origin of each by its name, as ``cache.level``."""

    home: str
    file: str
    file_exists: bool
    cache: CacheSettings
    budget: BudgetSettings
    cost: CostSettings
    prices: tuple[PriceOverride, ...]
    origins: dict[str, Origin]

    def value(self, setting: Setting) -> Any:
        """The value of one setting."""
        return getattr(getattr(self, setting.section), setting.key)
