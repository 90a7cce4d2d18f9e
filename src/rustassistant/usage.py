"""The token counts that a result states itself, as the services' own answers do.

Read are ``usage.prompt_tokens`` with ``usage.completion_tokens`` (OpenAI, xAI, and whoever copies
them), ``usage.input_tokens`` with ``usage.output_tokens`` (Anthropic, and xAI's newer service),
and either pair at the top of the result. Nothing below that is looked at: a result may well speak
of tokens without having used them.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

MAX_STATED_TOKENS: Final = 10**9
"""More in one request is damage, not usage; ten million such rows still add up in 64 bits."""

MAX_TOKENS: Final = 10**12
"""An entry that says it used more says nothing: millions of rows of it still add up in 64 bits."""

_MARK: Final = b't_tokens"'
"""What both pairs have in common: prompt_tokens, input_tokens, output_tokens."""


class Usage(NamedTuple):
    """Tokens that went in and came out, 0 to 10^9 each, not both 0."""

    input_tokens: int
    output_tokens: int


class _Counts(msgspec.Struct, gc=False):
    prompt_tokens: Raw | UnsetType = UNSET
    completion_tokens: Raw | UnsetType = UNSET
    input_tokens: Raw | UnsetType = UNSET
    output_tokens: Raw | UnsetType = UNSET
    usage: Raw | UnsetType = UNSET


_counts: Final = msgspec.json.Decoder(_Counts).decode
_count: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=MAX_STATED_TOKENS)]).decode


def stated_usage(result: bytes) -> Usage | None:
    """What a result, JSON text as bytes, says it used; None where it does not say so plainly.

    Never raises: counts that are negative, huge, or no integers, and text that is no JSON, say
    nothing. A result without such words costs one search for bytes.
    """
    if _MARK not in result:
        return None
    top = _read(result)
    if top is None:
        return None
    inner = None if top.usage is UNSET else _read(top.usage)
    return (inner and _usage(inner)) or _usage(top)


def _read(text: bytes | Raw) -> _Counts | None:
    try:
        return _counts(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _usage(counts: _Counts) -> Usage | None:
    return _pair(counts.prompt_tokens, counts.completion_tokens) or _pair(
        counts.input_tokens, counts.output_tokens
    )


def _pair(tokens_in: Raw | UnsetType, tokens_out: Raw | UnsetType) -> Usage | None:
    if tokens_in is UNSET or tokens_out is UNSET:
        return None
    try:
        usage = Usage(_count(tokens_in), _count(tokens_out))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return usage if any(usage) else None  # an answer that took nothing was not measured
