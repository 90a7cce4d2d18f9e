"""What a setting's value may be, as it stands in TOML and as it stands in the environment."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

from rustassistant.locations import listed, parted
from rustassistant.quantities import SIZE_FORM, parse_size

_SHOWN: Final = 60
_YES: Final = frozenset(("1", "true", "t", "yes", "y", "on"))
_NO: Final = frozenset(("0", "false", "f", "no", "n", "off"))
"""As the options read their environment variables."""


class Kind(NamedTuple):
    """One kind of value.

    ``form`` says what is allowed. ``read`` makes the setting's value of a TOML one, ``from_text``
    a TOML value of an environment variable's text; both raise ValueError.
    """

    form: str
    read: Callable[[Any], Any]
    from_text: Callable[[str], Any]


def whole(low: int, high: int | None = None) -> Kind:
    """A whole number in a range, both ends included."""
    form = f"a whole number of {low} or more" if high is None else f"a whole number, {low}-{high}"

    def read(value: Any) -> int:
        if type(value) is not int or value < low or (high is not None and value > high):
            raise ValueError
        return value

    return Kind(form, read, _integer)


def number(form: str, *, above: int | None = None, low: int = 0, high: int | None = None) -> Kind:
    """A decimal number: more than ``above``, if given, and within ``low`` and ``high``."""

    def read(value: Any) -> Decimal:
        if type(value) not in (int, Decimal):
            raise ValueError
        amount = Decimal(value)
        if not amount.is_finite() or amount < low or (above is not None and amount <= above):
            raise ValueError
        if high is not None and amount > high:
            raise ValueError
        return amount

    return Kind(form, read, _decimal)


def choice(*names: str) -> Kind:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(nearest(str(value), names))
        return str(value)

    return Kind("one of " + ", ".join(names), read, str)


def text(form: str) -> Kind:
    """Any text but a blank one, such as a path."""
    return Kind(form, _text, str)


def size() -> Kind:
    """Bytes, as a whole number or with a unit."""

    def read(value: Any) -> int:
        if type(value) is int:
            value = str(value)
        return parse_size(_text(value))

    return Kind(SIZE_FORM, read, str)


def flag() -> Kind:
    """Yes or no."""

    def read(value: Any) -> bool:
        if type(value) is not bool:
            raise ValueError
        return value

    return Kind("true or false", read, _boolean)


def paths() -> Kind:
    """One path, or a list of some (in the environment with ``:`` between): a tuple in the end."""

    def read(value: Any) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError
        return tuple(map(_text, values))

    return Kind("a path, or a list of paths", read, listed)


def located(value: str, directory: Path) -> str:
    """A path of the configuration: ``~`` is the home, a relative one starts at ``directory``.

    A scheme before it stays, as in ``v1:PATH``; addresses such as ``https://…`` stay as they are.
    """
    if "://" in value:
        return value
    place = parted(value)
    try:
        path = directory / Path(place.path).expanduser()
    except RuntimeError:  # no such user: then it is a name like any other
        path = directory / place.path
    return str(place._replace(path=str(path)))


def nearest(word: str, known: tuple[str, ...] | list[str]) -> str:
    """The known word that was probably meant, as the end of a sentence; empty if none is near."""
    from difflib import get_close_matches

    close = get_close_matches(word, known, n=1) or get_close_matches(
        word.lower().replace("-", "_"), known, n=1
    )
    return f" (did you mean {close[0]}?)" if close else ""


def shown(value: Any) -> str:
    """A wrong value for a message, as it would stand in TOML, cut if it is long."""
    spelled = {True: "true", False: "false"}.get(value) if type(value) is bool else None
    spelled = spelled or (str(value) if isinstance(value, Decimal) else repr(value))
    return spelled if len(spelled) <= _SHOWN else spelled[:_SHOWN] + "…"


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError
    return value


def _integer(value: str) -> int:
    if not value.isascii() or len(value) > _SHOWN:
        raise ValueError
    return int(value)


def _decimal(value: str) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:
        raise ValueError from None


def _boolean(value: str) -> bool:
    word = value.strip().lower()
    if word not in _YES | _NO:
        raise ValueError
    return word in _YES
