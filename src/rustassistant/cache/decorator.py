"""Making a function that analyses a file into one that asks the cache first."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Any, Final, NamedTuple, ParamSpec, Protocol

from rustassistant.cache.computing import Computation
from rustassistant.cache.warning import NotKeptWarning, warn
from rustassistant.entry import content_hash
from rustassistant.errors import UsageError

_NAME_DIGITS: Final = 16
_OF_AN_OBJECT: Final = ("self", "cls")
_P = ParamSpec("_P")


class Subject(NamedTuple):
    """What is to be analysed. ``path`` is the file on disk, None where only content was given."""

    content: bytes
    file_path: str
    path: str | None


class Begin(Protocol):
    """Makes the computation for a subject and a prompt."""

    def __call__(
        self, subject: Subject, prompt: str | None, may_keep: Callable[[], bool]
    ) -> Computation:
        """Not begun yet."""


class Call:
    """How a decorated function is called, and what that says of the key."""

    def __init__(
        self,
        function: Callable[..., Any],
        prompt: str | Callable[..., str] | None,
        ignore: Collection[str],
        repository: str,
    ) -> None:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(f"{function.__name__} yields its result in pieces")
        self._signature = inspect.signature(function)
        names = list(self._signature.parameters)
        self._ignored = {*ignore, "file_path"}
        if names and names[0] in _OF_AN_OBJECT:
            self._ignored.add(names.pop(0))
        if not names:
            raise UsageError(f"{function.__name__} takes no file to analyse")
        self._subject = names[0]
        self._prompt = prompt
        self._repository = repository

    def read(self, args: Any, kwargs: Any) -> tuple[Subject, str | None]:
        """The file and the prompt of one call. Raises OSError if the file can't be read."""
        given = dict(self._signature.bind(*args, **kwargs).arguments)
        what = given.pop(self._subject)
        others = sorted(set(given) - self._ignored)
        if others and not callable(self._prompt):
            raise UsageError(
                f"the result may depend on {', '.join(others)}, and the key would not",
                hint="Give `prompt` a function of the same arguments that returns the prompt, "
                "or name in `ignore` what makes no difference.",
            )
        prompt = self._prompt(*args, **kwargs) if callable(self._prompt) else self._prompt
        return self._read(what, given.get("file_path")), prompt

    def _read(self, what: Any, file_path: Any) -> Subject:
        if isinstance(what, bytes):
            name = sha256(what).hexdigest()[:_NAME_DIGITS] if file_path is None else file_path
            return Subject(what, os.fspath(name), None)
        if not isinstance(what, str | os.PathLike):
            raise UsageError(
                f"{self._subject} is a {type(what).__name__}",
                hint="Give the path of a file, or its content as bytes.",
            )
        path = os.path.abspath(os.fspath(what))
        with open(path, "rb") as file:
            content = file.read()
        within = os.path.join(os.path.abspath(self._repository), "")
        return Subject(content, path.removeprefix(within), path)


def decorated(function: Callable[_P, Any], call: Call, begin: Begin) -> Callable[_P, Any]:
    """The function, asking first. It returns results as they come back from JSON, each time."""

    def computation(args: Any, kwargs: Any) -> Computation:
        subject, prompt = call.read(args, kwargs)
        return begin(subject, prompt, lambda: _is_unchanged(subject))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def ask_async(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            made = computation(args, kwargs)
            return (await made.run_async(lambda: function(*args, **kwargs))).result

        return ask_async

    @functools.wraps(function)
    def ask(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        return computation(args, kwargs).run(lambda: function(*args, **kwargs)).result

    return ask


def _is_unchanged(subject: Subject) -> bool:
    """Whether a file is still what was asked for: the function read it by itself, and later."""
    if subject.path is None:
        return True
    try:
        with open(subject.path, "rb") as file:
            unchanged = content_hash(file.read()) == content_hash(subject.content)
    except OSError:
        unchanged = False
    if not unchanged:
        warn(NotKeptWarning, f"{subject.path} changed while it was analysed: not kept")
    return unchanged
