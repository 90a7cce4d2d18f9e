from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.configuration import PriceOverride
from rustassistant.pricing import Cost, Price, Prices, PriceSource, Split

FEBRUARY = datetime(2026, 2, 4, 3, tzinfo=UTC)
TOKENS = st.integers(0, 2**62)


def per_million(price: Price | None) -> Any:
    if price is None:
        return None
    return (
        price.input_usd_per_token * 10**6, price.output_usd_per_token * 10**6, str(price.source)
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    ("provider", "model", "usd_in", "usd_out"),
    [
        ("xai", "grok-2", "2", "10"),
        ("openai", "gpt-4", "30", "60"),
        ("openai", "gpt-4o-mini", "0.15", "0.6"),
        ("openai", "gpt-3.5-turbo", "0.5", "1.5"),
        ("anthropic", "claude-3-5-sonnet", "3", "15"),
        ("google", "gemini-1.5-pro", "1.25", "5"),
        ("OpenAI", " GPT-4 ", "30", "60"),
        ("", "gpt-4", "30", "60"),
        ("some-proxy", "gpt-4", "30", "60"),
    ],
)
def test_price_list_has_common_models(provider: str, model: str, usd_in: str, usd_out: str) -> None:
    found = per_million(Prices().price(provider, model, FEBRUARY))
    assert found == (Decimal(usd_in), Decimal(usd_out), "genai-prices")


@pytest.mark.parametrize(
    ("provider", "model", "usd_in", "usd_out"),
    [
        ("xai", "grok-beta", "5", "15"),
        ("openai", "gpt-4-of-my-own", "30", "60"),
        ("azure", "gpt-35-of-my-own", "0.50", "1.50"),
        ("anthropic", "claude-99-sonnet", "3", "15"),
        ("vertex-of-my-own", "gemini-99-pro", "0.50", "1.50"),
    ],
)
def test_published_figures_serve_where_the_list_has_none(
    provider: str, model: str, usd_in: str, usd_out: str
) -> None:
    found = per_million(Prices().price(provider, model, FEBRUARY))
    assert found == (Decimal(usd_in), Decimal(usd_out), "published")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("acme", "nonesuch-1"),
        ("openai", "gpt-4q-of-my-own"),
        ("xai", ""),
        ("", ""),
        ("ollama", "gpt-4"),
        ("Local", "grok-beta"),
        ("xai", "\udcff"),
    ],
)
def test_price_nobody_knows_is_none(provider: str, model: str) -> None:
    assert Prices().price(provider, model, FEBRUARY) is None


def override(model: str, usd_in: str, usd_out: str, provider: str | None = None) -> PriceOverride:
    return PriceOverride(
        model=model,
        input_usd_per_million=Decimal(usd_in),
        output_usd_per_million=Decimal(usd_out),
        provider=provider,
    )


def test_configured_price_outweighs_list_and_published_figures() -> None:
    prices = Prices([override("gpt-4", "1", "2"), override("Grok-Beta", "3", "4")])
    assert per_million(prices.price("openai", "gpt-4")) == (1, 2, "configuration")
    assert per_million(prices.price("xai", "grok-beta")) == (3, 4, "configuration")
    assert per_million(prices.price("xai", "grok-beta-2", FEBRUARY)) == (5, 15, "published")


def test_configured_price_of_a_provider_is_for_that_alone() -> None:
    prices = Prices([override("gpt-4", "1", "2", "Azure")])
    assert per_million(prices.price("azure", "gpt-4")) == (1, 2, "configuration")
    assert per_million(prices.price("openai", "gpt-4", FEBRUARY)) == (30, 60, "genai-prices")


def test_a_model_at_home_costs_what_its_owner_says() -> None:
    prices = Prices([override("llama3", "0", "0.01")])
    assert per_million(prices.price("ollama", "llama3")) == (0, Decimal("0.01"), "configuration")


def test_price_is_that_of_the_time_of_the_request() -> None:
    before = Prices().price("openai", "o3", datetime(2025, 5, 1, tzinfo=UTC))
    after = Prices().price("openai", "o3", datetime(2025, 7, 1, tzinfo=UTC))
    assert before
    assert after
    assert before.input_usd_per_token > after.input_usd_per_token
    assert Prices().price("openai", "o3", datetime(2025, 5, 1)) == before  # noqa: DTZ001
    assert Prices().price("openai", "o3") is not None


PRICE = Price(Decimal("0.000005"), Decimal("0.000015"), PriceSource.PUBLISHED)


def test_stated_tokens_outweigh_the_total() -> None:
    cost = PRICE.cost(1000, 900, 100)
    assert cost == Cost(Decimal("0.006"), stated_tokens=1000)
    assert cost
    assert str(cost.split) == "stated"
    assert PRICE.cost(None, 900, 100) == cost
    assert PRICE.cost(7, 900, 100) == cost


@pytest.mark.parametrize("stated", [(None, None), (900, None), (None, 100)])
def test_a_total_alone_is_half_and_half(stated: tuple[int | None, int | None]) -> None:
    cost = PRICE.cost(1001, *stated)
    assert cost == Cost(Decimal("0.01001"), assumed_tokens=1001)
    assert cost
    assert str(cost.split) == "half and half"


@pytest.mark.parametrize("tokens", [None, -1, -(2**63)])
def test_without_a_count_there_is_no_cost_rather_than_none_to_pay(tokens: int | None) -> None:
    assert PRICE.cost(tokens) is None


def test_costs_add_up_and_say_of_what() -> None:
    stated, assumed = PRICE.cost(None, 900, 100), PRICE.cost(1000)
    assert stated
    assert assumed
    both = stated + assumed
    assert both == Cost(Decimal("0.016"), stated_tokens=1000, assumed_tokens=1000)
    assert both.split is Split.MIXED
    assert Cost().split is Split.NONE
    assert sum([stated, assumed], Cost()) == both


@given(st.lists(st.integers(0, 10**9), max_size=50))
def test_cost_of_a_sum_is_the_sum_of_costs(tokens: list[int]) -> None:
    """Reports add up tokens first: that must not lose a fraction of a cent."""
    one_by_one = sum((PRICE.cost(one) or Cost() for one in tokens), Cost())
    assert one_by_one == (PRICE.cost(sum(tokens)) or Cost())


@given(tokens_in=TOKENS, tokens_out=TOKENS)
def test_huge_sums_stay_exact(tokens_in: int, tokens_out: int) -> None:
    cost = PRICE.cost(None, tokens_in, tokens_out)
    assert cost
    assert int(cost.usd * 10**6) == tokens_in * 5 + tokens_out * 15


def test_commands_do_not_load_the_price_list() -> None:
    """It takes a fifth of a second, and only cost reports need it."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, rustassistant.pricing, rustassistant.cli.config;"
         "print([name for name in sys.modules if name.startswith(('genai', 'pydantic'))])"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"
