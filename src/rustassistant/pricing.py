"""What an analysis cost: the price of its model, and its tokens.

A price comes from the configuration, else from the list that the package ``genai-prices`` brings
along (never from the network), else from the published figures for the model's family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final

import msgspec

from rustassistant.configuration.settings import PriceOverride

_MILLION: Final = 1_000_000

_PUBLISHED: Final = (
    (re.compile(r"grok"), "5", "15"),
    (re.compile(r"gpt-4(?![^-])"), "30", "60"),
    (re.compile(r"gpt-3\.?5"), "0.50", "1.50"),
    (re.compile(r"claude.*sonnet"), "3", "15"),
    (re.compile(r"gemini.*pro"), "0.50", "1.50"),
)
"""RustAssistant's own figures by family, US dollars per million tokens in and out. GPT-4 alone is
meant: what is called gpt-4o or gpt-4.1 costs a tenth of it, and no price is better than that."""

_LOCAL: Final = frozenset(
    ("ollama", "local", "localhost", "llama.cpp", "llamacpp", "lmstudio", "lm-studio", "vllm")
)
"""Who runs models at home pays none of the prices that others ask for a model of that name."""


class PriceSource(StrEnum):
    """Where a price comes from, the best first."""

    CONFIGURATION = "configuration"
    LIST = "genai-prices"
    PUBLISHED = "published"


class Split(StrEnum):
    """How input and output tokens were told apart."""

    STATED = "stated"
    HALF = "half and half"
    MIXED = "partly stated, else half and half"
    NONE = "no tokens"


class Cost(msgspec.Struct, frozen=True):
    """US dollars for some tokens: those told apart by the result, and those taken half and half.

    Costs add up, from ``Cost()`` on.
    """

    usd: Decimal = Decimal(0)
    stated_tokens: int = 0
    assumed_tokens: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.usd + other.usd,
            self.stated_tokens + other.stated_tokens,
            self.assumed_tokens + other.assumed_tokens,
        )

    @property
    def split(self) -> Split:
        """Which of the two it was."""
        if self.stated_tokens:
            return Split.MIXED if self.assumed_tokens else Split.STATED
        return Split.HALF if self.assumed_tokens else Split.NONE


class Price(msgspec.Struct, frozen=True):
    """US dollars for one token that goes in, and one that comes out."""

    input_usd_per_token: Decimal
    output_usd_per_token: Decimal
    source: PriceSource

    def cost(
        self, tokens: int | None, input_tokens: int | None = None, output_tokens: int | None = None
    ) -> Cost | None:
        """The cost of one request, or of the sums over many; None if no count is known.

        What the result states outweighs the total; a total alone is taken as half input and half
        output, as RustAssistant itself does.
        """
        if input_tokens is not None and output_tokens is not None:
            usd = self._usd(Decimal(input_tokens), Decimal(output_tokens))
            return Cost(usd, stated_tokens=input_tokens + output_tokens)
        if tokens is None or tokens < 0:
            return None
        half = Decimal(tokens) / 2
        return Cost(self._usd(half, half), assumed_tokens=tokens)

    def _usd(self, tokens_in: Decimal, tokens_out: Decimal) -> Decimal:
        return tokens_in * self.input_usd_per_token + tokens_out * self.output_usd_per_token


class Prices:
    """Finds the price of a model. ``overrides`` come from `Configuration.prices`."""

    def __init__(self, overrides: Iterable[PriceOverride] = ()) -> None:
        self._overrides = {
            (one.model.lower(), one.provider and one.provider.lower()): one for one in overrides
        }

    def price(self, provider: str, model: str, at: datetime | None = None) -> Price | None:
        """What one token costs, None if nobody knows.

        ``at`` is the time of the request (UTC if it names no zone), now if None: prices change.
        A price that grows with the request is that of a small one, as requests about one file are.
        """
        provider, model = provider.strip().lower(), model.strip().lower()
        override = self._overrides.get((model, provider)) or self._overrides.get((model, None))
        if override is not None:
            return Price(
                override.input_usd_per_million / _MILLION,
                override.output_usd_per_million / _MILLION,
                PriceSource.CONFIGURATION,
            )
        if not model or provider in _LOCAL:
            return None
        at = at or datetime.now(UTC)
        listed = _listed(provider, model, at if at.tzinfo else at.replace(tzinfo=UTC))
        return listed or _published(model)


@lru_cache(maxsize=4096)
def _listed(provider: str, model: str, at: datetime) -> Price | None:
    """The price in the list; a provider that is not in it (a proxy, say) is guessed by model."""
    from genai_prices import Usage, calc_price  # a fifth of a second: for cost reports alone

    usage = Usage(input_tokens=1, output_tokens=1)
    for provider_id in dict.fromkeys((provider or None, None)):
        try:
            found = calc_price(usage, model, provider_id=provider_id, genai_request_timestamp=at)
        except LookupError:
            continue
        listed = found.model_price
        if listed.input_mtok is None and listed.output_mtok is None:
            return None  # sold by the request, or not at all
        return Price(found.input_price, found.output_price, PriceSource.LIST)
    return None


def _published(model: str) -> Price | None:
    for family, usd_in, usd_out in _PUBLISHED:
        if family.search(model):
            return Price(
                Decimal(usd_in) / _MILLION, Decimal(usd_out) / _MILLION, PriceSource.PUBLISHED
            )
    return None
