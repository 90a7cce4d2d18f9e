"""Options' values that are what they should be as they were given.

The parser converts and checks each value through pydantic, whose import takes longer than all else
that a command does at its start. Most values are text that is wanted as text, or were not given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, get_args, get_origin

_ELSE: Final = object()
"""What is to be converted by the parser, or refused in its words."""


def spare_conversions(parameters: Iterable[Any]) -> None:
    """Let these parameters of a command take simple values as they are.

    Versions of the parser without such a conversion are left alone.
    """
    for parameter in parameters:
        convert = getattr(parameter, "get_runtime_param", None)
        if convert is not None and not isinstance(convert, _Spared):
            parameter.get_runtime_param = _Spared(parameter.type_descriptor, convert)


class _Spared:
    """In place of the method that makes a conversion: the conversion itself, and that of the
    parser for what it does not know."""

    def __init__(self, descriptor: Any, convert: Callable[[], Any]) -> None:
        self._annotation = descriptor.annotation
        self._info = descriptor.parameter_info
        self._convert = convert

    def __call__(self) -> _Spared:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command wants it."""
        found = self._simple(value, several=param.multiple or param.nargs == -1)
        return self._convert().coerce(value, param=param, ctx=ctx) if found is _ELSE else found

    def _simple(self, value: Any, *, several: bool) -> Any:
        if self._info.parser is not None:
            return _ELSE
        if value is None:
            return () if several else None
        if get_origin(self._annotation) is not list:
            return _ELSE if several else self._single(value, self._annotation)
        if type(value) not in (list, tuple):
            return _ELSE
        (wanted,) = get_args(self._annotation)
        found = [self._single(one, wanted) for one in value]
        return _ELSE if _ELSE in found else found

    def _single(self, value: Any, wanted: Any) -> Any:
        if wanted is str and type(value) is str:
            return value
        if wanted is int:
            return self._number(value)
        if isinstance(wanted, type) and issubclass(wanted, Enum):
            return next((one for one in wanted if value in (one, one.value)), _ELSE)
        return _ELSE

    def _number(self, value: Any) -> Any:
        if type(value) is str and value.isascii() and value.isdecimal() and len(value) < 19:
            value = int(value)
        least, most = self._info.min, self._info.max
        is_right = (
            type(value) is int
            and (least is None or value >= least)
            and (most is None or value <= most)
        )
        return value if is_right else _ELSE
