"""Sums as a store keeps them, in the words in which costs are asked for."""

from __future__ import annotations

from rustassistant.results import Spending
from rustassistant.stores.sqlite.views.summary import Line


def spending_of(line: Line) -> Spending:
    """The tokens of some entries."""
    return Spending(
        provider=line.provider,
        model=line.model,
        entries=line.entries,
        assumed_tokens=line.assumed_tokens,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        entries_without_tokens=line.without_tokens,
    )
