"""``rustassistant config``: each setting, its value, and where that came from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

from rustassistant.cli.render import emit, say, visible, warn
from rustassistant.configuration import Configuration, Origin, OriginKind, load
from rustassistant.configuration.example import write_example
from rustassistant.configuration.loading import price_name
from rustassistant.configuration.settings import PRICE_KEYS, SETTINGS
from rustassistant.configuration.values import nearest
from rustassistant.errors import ConfigurationError
from rustassistant.quantities import spell_size

_WIDEST: Final = 48


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What the command line asked for. ``variables`` are those that some option reads."""

    init: bool
    as_json: bool
    variables: frozenset[str]


class _Row(NamedTuple):
    section: str
    key: str
    name: str
    value: Any
    origin: Origin


def run_config(options: ConfigOptions) -> int:
    """Show the settings, or write an example file; 0 if that went well."""
    if options.init:
        file = write_example()
        if options.as_json:
            emit("summary", file=str(file), written=True)
        else:
            say(f"✓ Wrote an example, in which nothing is set yet: {visible(str(file))}")
        return 0
    configuration = load()
    unknown = _unknown_variables(options.variables)
    if options.as_json:
        _emit(configuration, unknown)
    else:
        _show(configuration)
    for message in unknown.values():
        warn(f"⚠ {visible(message)}")
    return 0


def _unknown_variables(of_options: frozenset[str]) -> dict[str, str]:
    """Variables that are set and look like ours, but that nothing reads, each with a message.

    No error: another program of the same name may have them.
    """
    known = sorted(of_options | {one.variable for one in SETTINGS} | {"RUSTASSISTANT_HOME"})
    return {
        name: f"{name} is set, but nothing reads it{nearest(name, known)}"
        for name in sorted(os.environ)
        if name.startswith("RUSTASSISTANT_") and name not in known
    }


def option_value(configuration: Configuration, option: str, *, repeatable: bool) -> Any:
    """What the file gives for an option such as ``--max-size``; None if it gives nothing.

    A list if the option is ``repeatable``. Raises ConfigurationError for a list of several where
    it is not.
    """
    key = option.lstrip("-").replace("-", "_")
    name = f"cache.{key}"
    origin = configuration.origins.get(name, Origin())
    if origin.kind is not OriginKind.FILE:
        return None
    value = getattr(configuration.cache, key)
    if name == "cache.max_size":
        value = spell_size(value)
    if not isinstance(value, tuple):
        return [value] if repeatable else value
    if repeatable or len(value) == 1:
        return list(value) if repeatable else value[0]
    raise ConfigurationError(
        [f"{configuration.file}:{origin.line}: {key} is a list of {len(value)}, but this command "
         "takes one"],
        hint=f"Say which with {option}.",
    )  # fmt: skip


def _rows(configuration: Configuration) -> list[_Row]:
    rows = [
        _Row(one.section, one.key, one.name, configuration.value(one),
             configuration.origins[one.name])
        for one in SETTINGS
    ]  # fmt: skip
    for price in configuration.prices:
        for key in PRICE_KEYS:
            name = price_name(price.model, key)
            if name in configuration.origins:
                section = f'prices."{price.model}"'
                value = getattr(price, key)
                rows.append(_Row(section, key, name, value, configuration.origins[name]))
    return rows


def _show(configuration: Configuration) -> None:
    say(f"Configuration file: {visible(configuration.file)}")
    if not configuration.file_exists:
        say("  There is none; `rustassistant config --init` writes an example.")
    section = ""
    rows = _rows(configuration)
    widest = max(len(row.key) for row in rows)
    values = [visible(_spelled(row.name, row.value)) for row in rows]
    wide = min(_WIDEST, max(map(len, values)))
    for row, value in zip(rows, values, strict=True):
        if row.section != section:
            section = row.section
            say(f"\n[{visible(section)}]")
        say(f"  {row.key:<{widest}}  {value:<{wide}}  {_told(row.origin)}")


def _told(origin: Origin) -> str:
    if origin.kind is OriginKind.FILE:
        return f"config.toml, line {origin.line}"
    return origin.variable or "default"


def _spelled(name: str, value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return spell_size(value) if name == "cache.max_size" else str(value)


def _emit(configuration: Configuration, unknown: Iterable[str]) -> None:
    emit(
        "summary",
        home=configuration.home,
        file=configuration.file,
        file_exists=configuration.file_exists,
        unknown_variables=list(unknown),
        settings=[
            {
                "name": row.name,
                "value": float(row.value) if isinstance(row.value, Decimal) else row.value,
                "origin": row.origin.kind,
                "line": row.origin.line,
                "variable": row.origin.variable,
            }
            for row in _rows(configuration)
        ],
    )
