"""Which entries a run is about: the filters of every command that moves or lists entries."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Final

import msgspec

from rustassistant.entry import Entry
from rustassistant.errors import UsageError
from rustassistant.stores.base import Folder, Repository, printable

_GLOB: Final = re.compile(r"[*?\[]")
_SEPARATOR: Final = "/"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry must be like; of each list one is enough, and an empty one admits all.

    ``repositories`` are paths, globs, or the name of a cache's own directory (``<hash8>``);
    ``include`` and ``exclude`` are globs on file paths: ``*`` stays within a directory, ``**`` does
    not, and one without a ``/`` is about the name alone. ``since`` and ``until`` are nanoseconds
    since 1970, both included.
    """

    types: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    min_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse text that is not UTF-8: it matches nothing, and can't be written down."""
        for name in self.__struct_fields__:
            for text in getattr(self, name) if isinstance(getattr(self, name), tuple) else ():
                if printable(text) != text:
                    raise UsageError(
                        f"the filter {printable(text)} is not UTF-8",
                        hint="Paths and names in a cache are; write ? or * for what you can't.",
                    )

    @property
    def reads_entries(self) -> bool:
        """Whether an entry has to be read to tell."""
        return self != msgspec.structs.replace(
            Selection(), types=self.types, repositories=self.repositories
        )

    def admits_folder(self, folder: Folder) -> bool:
        """Whether entries of that type and repository are meant."""
        if self.types and folder.cache_type not in self.types:
            return False
        return self.admits_repository(folder.repository)

    def admits_repository(self, repository: Repository) -> bool:
        """Whether entries of that repository are meant."""
        return not self.repositories or any(
            _is_repository(pattern, repository) for pattern in self.repositories
        )

    def admits(self, entry: Entry) -> bool:
        """Whether an entry of a folder that is meant is meant itself."""
        return (
            self.admits_producer(entry.provider, entry.model)
            and (self.since is None or entry.analyzed_at >= self.since)
            and (self.until is None or entry.analyzed_at <= self.until)
            and (self.min_tokens is None or (entry.tokens_used or 0) >= self.min_tokens)
            and self.admits_path(entry.file_path)
        )

    def admits_producer(self, provider: str, model: str) -> bool:
        """Whether what a model of a provider made is meant."""
        return (not self.providers or provider in self.providers) and (
            not self.models or model in self.models
        )

    def admits_path(self, path: str) -> bool:
        """Whether entries about a file of that path are meant."""
        return (not self.include or any(_matches(one, path) for one in self.include)) and not any(
            _matches(one, path) for one in self.exclude
        )


ALL: Final = Selection()


def _is_repository(pattern: str, repository: Repository) -> bool:
    if pattern in (repository.path, repository.directory):
        return True
    if _GLOB.search(pattern):
        return _matches(pattern, repository.path)
    return os.path.abspath(os.path.expanduser(pattern)) == repository.path.rstrip(_SEPARATOR)


def _matches(pattern: str, path: str) -> bool:
    if _SEPARATOR not in pattern:
        path = path.rpartition(_SEPARATOR)[2]
    return _compiled(pattern).fullmatch(path) is not None


_PART: Final = re.compile(r"(\*\*/)|(\*\*)|(\*)|(\?)|\[(!?)(\]?[^\]]*)\]")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression: neither ``*``, ``?`` nor ``[!a]`` goes past a ``/``."""
    expression, end = "", 0
    for part in _PART.finditer(pattern):
        expression += re.escape(pattern[end : part.start()])
        end = part.end()
        directories, anything, within, one, negated, characters = part.groups()
        if directories:
            expression += "(?:[^/]+/)*"
        elif anything:
            expression += ".*"
        elif within:
            expression += "[^/]*"
        elif one:
            expression += "[^/]"
        else:
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", characters)
            expression += f"(?!/)[{'^' if negated else ''}{escaped}]"
    try:
        return re.compile(expression + re.escape(pattern[end:]), re.DOTALL)
    except re.error:  # a range that goes backwards, such as [z-a], stands for itself
        return re.compile(re.escape(pattern))
