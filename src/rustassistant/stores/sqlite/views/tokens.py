"""What some entries took to make, in tokens; results are read only where they state any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from rustassistant.errors import DamagedError
from rustassistant.stores.sqlite.rows import EntryReader
from rustassistant.usage import MAX_TOKENS, Usage, stated_usage

SAID: Final = f"e.tokens_used BETWEEN 0 AND {MAX_TOKENS}"
"""Counts that can be right, of the table ``e``."""

STATING: Final = "SELECT DISTINCT producer_id FROM totals WHERE input_tokens + output_tokens > 0"
"""Producers of which a result tells input from output."""

_SUMS: Final = f"""
SELECT p.provider, p.model, count(*), sum(iif({SAID}, e.tokens_used, 0)), 0, 0,
       sum(NOT ifnull({SAID}, 0))
FROM {{source}} JOIN producers p ON p.id = e.producer_id
WHERE {{condition}} AND e.producer_id NOT IN ({{stating}})
GROUP BY p.provider, p.model ORDER BY p.provider, p.model
"""
_EACH: Final = f"""
SELECT p.provider, p.model, iif({SAID}, e.tokens_used, NULL), ifnull(e.result, o.result),
       iif(e.result IS NULL, o.dictionary_id, e.dictionary_id)
FROM {{source}} JOIN producers p ON p.id = e.producer_id LEFT JOIN entries o ON o.id = e.result_of
WHERE {{condition}} AND e.producer_id IN ({{stating}})
"""


class Made(NamedTuple):
    """Entries of one model. ``assumed_tokens`` are of those whose result does not tell input from
    output, ``without_tokens`` entries that say nothing."""

    provider: str
    model: str
    entries: int = 0
    assumed_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    without_tokens: int = 0


def made_of(
    reader: EntryReader,
    source: str,
    condition: str,
    values: Sequence[Any],
    *,
    stating: str = STATING,
) -> list[Made]:
    """Sums over what SQL selects: tables ``source``, among them ``e``, and a condition.

    ``stating`` selects the producers whose results have to be read.
    """
    parts = {"source": source, "condition": condition, "stating": stating}
    execute = reader.connection.execute
    sums = [Made(*row) for row in execute(_SUMS.format(**parts), tuple(values))]
    found = {(one.provider, one.model): one for one in sums}
    for provider, model, tokens, *result in execute(_EACH.format(**parts), tuple(values)):
        usage = stated_in(reader, *result)
        before = found.get((provider, model), Made(provider, model))
        tokens_in, tokens_out = usage or (0, 0)
        found[provider, model] = before._replace(
            entries=before.entries + 1,
            assumed_tokens=before.assumed_tokens + (0 if usage else tokens or 0),
            input_tokens=before.input_tokens + tokens_in,
            output_tokens=before.output_tokens + tokens_out,
            without_tokens=before.without_tokens + (tokens is None and usage is None),
        )
    return list(found.values())


def stated_in(reader: EntryReader, frame: Any, dictionary_id: Any) -> Usage | None:
    """What a stored result states; None also if it is damaged, which a check tells."""
    try:
        return stated_usage(reader.text(frame, dictionary_id))
    except DamagedError:
        return None
