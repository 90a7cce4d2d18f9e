"""How two results for one request differ, in a few lines for a person who has to choose."""

from __future__ import annotations

import json
from typing import Any, Final

from rustassistant.entry import Entry

_LISTED: Final = 8
_SHOWN_CHARACTERS: Final = 60
_COLUMNS: Final = ("provider", "model", "prompt_hash", "tokens_used", "file_size")


def differences(a: Entry | None, b: Entry | None) -> list[str]:
    """Lines such as ``complexity_score: 50.0 | 61.0``; None is one that can't be read any more."""
    if a is None or b is None:
        return ["one of them can't be read any more"]
    lines = [
        _line(name, getattr(a, name), getattr(b, name))
        for name in _COLUMNS
        if getattr(a, name) != getattr(b, name)
    ]
    if a.result == b.result:
        return [*lines, "the results are equal"]
    one, other = _parsed(a.result), _parsed(b.result)
    if one == other:
        return [*lines, "the results differ in spelling only"]
    if not isinstance(one, dict) or not isinstance(other, dict):
        return [*lines, _line("result", one, other)]
    names = [name for name in one | other if one.get(name) != other.get(name)]
    lines += [_line(name, one.get(name), other.get(name)) for name in names[:_LISTED]]
    if len(names) > _LISTED:
        lines.append(f"… and {len(names) - _LISTED} more fields")
    return lines


def _parsed(result: bytes) -> Any:
    try:
        return json.loads(result)
    except (ValueError, RecursionError):
        return result.decode("utf-8", "replace")


def _line(name: str, one: Any, other: Any) -> str:
    return f"{name}: {_shown(one)} | {_shown(other)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
