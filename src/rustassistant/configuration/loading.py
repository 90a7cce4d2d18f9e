"""From ``config.toml`` and the environment to the settings, or to all that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from rustassistant.configuration.file import Document, read_document
from rustassistant.configuration.settings import (
    FILE_NAME,
    PRICE_KEYS,
    PRICES,
    SETTINGS,
    BudgetSettings,
    CacheSettings,
    Configuration,
    CostSettings,
    Origin,
    OriginKind,
    PriceOverride,
    Setting,
    home,
)
from rustassistant.configuration.values import Kind, located, nearest, shown
from rustassistant.errors import ConfigurationError

_SECTIONS: Final = (*dict.fromkeys(setting.section for setting in SETTINGS), PRICES)
_LOCATED: Final = ("source", "destination")


def load(environ: Mapping[str, str] | None = None) -> Configuration:
    """The settings of this user, from `home` and the environment (the process's unless given).

    Raises ConfigurationError with every problem there is: unknown keys, values that are not
    allowed, each with its line or variable.
    """
    directory = home()
    file = str(directory / FILE_NAME)
    document = read_document(file)
    reader = _Reader(file, directory, document or Document({}, {}))
    chosen = reader.from_file()
    prices = reader.prices()
    chosen |= reader.from_environment(os.environ if environ is None else environ)
    values = {
        setting.name: chosen.get(setting.name, _Chosen(setting.default(directory), Origin()))
        for setting in SETTINGS
    }
    reader.check_order(values)
    reader.raise_problems()
    return Configuration(
        home=str(directory),
        file=file,
        file_exists=document is not None,
        cache=CacheSettings(**_section(values, "cache")),
        budget=BudgetSettings(**_section(values, "budget")),
        cost=CostSettings(**_section(values, "cost")),
        prices=tuple(prices),
        origins={name: value.origin for name, value in values.items()} | reader.price_origins,
    )


def price_name(model: str, key: str) -> str:
    """As a price's setting is written in one line: ``prices."grok-beta".provider``."""
    return f'{PRICES}."{model}".{key}'


class _Chosen(NamedTuple):
    value: Any
    origin: Origin


def _section(values: Mapping[str, _Chosen], section: str) -> dict[str, Any]:
    return {
        setting.key: values[setting.name].value
        for setting in SETTINGS
        if setting.section == section
    }


class _Reader:
    """Takes values out of a document and notes what is wrong, rather than stop at the first."""

    def __init__(self, file: str, directory: Path, document: Document) -> None:
        self._file = file
        self._directory = directory
        self._document = document
        self._problems: list[tuple[int, str]] = []
        self.price_origins: dict[str, Origin] = {}

    def raise_problems(self) -> None:
        """Raise all that was noted, in the order of the lines."""
        if self._problems:
            ordered = sorted(self._problems, key=lambda problem: problem[0])
            raise ConfigurationError([text for _, text in ordered])

    def _line(self, *path: str | int) -> int:
        return self._document.lines.get(path, 0)

    def _wrong(self, message: str, *path: str | int) -> None:
        line = self._line(*path)
        place = f"{self._file}:{line}" if line else self._file
        self._problems.append((line, f"{place}: {message}"))

    def _table(self, value: Any, *path: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._wrong(f"{'.'.join(path)} is a section, not {shown(value)}: write [{path[0]}]", *path)
        return {}

    def from_file(self) -> dict[str, _Chosen]:
        """The settings that the file has."""
        known = {setting.name: setting for setting in SETTINGS}
        chosen = {}
        for section, content in self._document.values.items():
            if section not in _SECTIONS:
                self._unknown_section(section, content)
            elif section != PRICES:
                for key, value in self._table(content, section).items():
                    setting = known.get(f"{section}.{key}")
                    if setting is None:
                        self._unknown_key(section, key)
                        continue
                    read = self._read(setting.kind, value, section, key)
                    if read is not None:
                        origin = Origin(OriginKind.FILE, self._line(section, key))
                        chosen[setting.name] = _Chosen(self._placed(setting, read), origin)
        return chosen

    def _placed(self, setting: Setting, value: Any) -> Any:
        if setting.key not in _LOCATED:
            return value
        if isinstance(value, tuple):
            return tuple(located(one, self._directory) for one in value)
        return located(value, self._directory)

    def _read(self, kind: Kind, value: Any, *path: str) -> Any:
        """The setting's value, None (which no value is) for one that is noted as wrong."""
        try:
            return kind.read(value)
        except ValueError as error:
            self._wrong(f"{path[-1]} must be {kind.form}, not {shown(value)}{_guess(error)}", *path)
            return None

    def _unknown_section(self, section: str, content: Any) -> None:
        homes = [setting.section for setting in SETTINGS if setting.key == section]
        if homes and not isinstance(content, dict):
            self._wrong(f"{section} belongs in the section [{homes[0]}]", section)
            return
        known = ", ".join(f"[{one}]" for one in _SECTIONS)
        self._wrong(
            f"unknown section [{section}]{nearest(section, _SECTIONS)}; there are {known}", section
        )

    def _unknown_key(self, section: str, key: str) -> None:
        keys = [setting.key for setting in SETTINGS if setting.section == section]
        others = [one.section for one in SETTINGS if one.key == key]
        guess = f" (it belongs in [{others[0]}])" if others else nearest(key, keys)
        self._wrong(
            f"unknown key {key} in [{section}]{guess}; there are {', '.join(keys)}", section, key
        )

    def prices(self) -> list[PriceOverride]:
        """The prices that the file has."""
        found = []
        content = self._document.values.get(PRICES, {})
        for model, table in self._table(content, PRICES).items():
            if not isinstance(table, dict):
                self._wrong(
                    f"a price belongs in a section of its model, such as "
                    f'[{PRICES}."grok-beta"], not directly in [{PRICES}]',
                    PRICES,
                    model,
                )
                continue
            values = self._price(model, table)
            if values is not None:
                found.append(PriceOverride(model=model, **values))
        return found

    def _price(self, model: str, table: dict[str, Any]) -> dict[str, Any] | None:
        values = {}
        for key, value in table.items():
            kind = PRICE_KEYS.get(key)
            if kind is None:
                guess = nearest(key, list(PRICE_KEYS))
                self._wrong(
                    f'unknown key {key} in [{PRICES}."{model}"]{guess}; '
                    f"there are {', '.join(PRICE_KEYS)}",
                    PRICES, model, key,
                )  # fmt: skip
                continue
            values[key] = self._read(kind, value, PRICES, model, key)
            line = self._line(PRICES, model, key)
            self.price_origins[price_name(model, key)] = Origin(OriginKind.FILE, line)
        missing = [key for key in PRICE_KEYS if key != "provider" and key not in table]
        for key in missing:
            self._wrong(f'[{PRICES}."{model}"] has no {key}', PRICES, model)
        return None if missing else values

    def from_environment(self, environ: Mapping[str, str]) -> dict[str, _Chosen]:
        """The settings that environment variables have; empty ones count as not set."""
        chosen = {}
        for setting in SETTINGS:
            text = environ.get(setting.variable)
            if not text:
                continue
            try:
                value = setting.kind.read(setting.kind.from_text(text))
            except ValueError as error:
                self._problems.append(
                    (0, f"{setting.variable} must be {setting.kind.form}, not {shown(text)}"
                        f"{_guess(error)}")
                )  # fmt: skip
                continue
            origin = Origin(OriginKind.ENVIRONMENT, variable=setting.variable)
            chosen[setting.name] = _Chosen(value, origin)
        return chosen

    def check_order(self, values: Mapping[str, _Chosen]) -> None:
        """A warning that comes after the alert would never be seen."""
        warn, alert = values["budget.warn_percent"], values["budget.alert_percent"]
        if warn.value <= alert.value:  # the defaults are
            return
        _, line, variable = max(warn.origin, alert.origin, key=_weight)
        place = variable or f"{self._file}:{line}"
        self._problems.append(
            (line or 0, f"{place}: warn_percent ({warn.value}) must not be more than "
                f"alert_percent ({alert.value})")
        )  # fmt: skip


def _guess(error: ValueError) -> str:
    """What `values.nearest` had to say; other texts only repeat what is allowed."""
    return str(error) if str(error).startswith(" (") else ""


def _weight(origin: Origin) -> tuple[int, int]:
    return list(OriginKind).index(origin.kind), origin.line or 0
