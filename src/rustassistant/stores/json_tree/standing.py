"""What a directory that is named as a cache stands for, and where new files of it go."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from rustassistant.errors import NotACacheError, SourceUnreadableError, UsageError
from rustassistant.stores.base import printable
from rustassistant.stores.json_tree import layout
from rustassistant.stores.json_tree.layout import GIT_DIRECTORY, LOCAL_DIRECTORY, UNFINISHED

REPOSITORIES: Final = "repos"


class Standing(NamedTuple):
    """``base`` is the directory that places of entries are told from.

    ``local`` is the path of the one repository whose own cache this is, ``directory`` the name of
    the one ``<hash8>`` directory that it is; both None for a tree of many repositories.
    """

    base: str
    local: str | None = None
    directory: str | None = None

    @property
    def is_single(self) -> bool:
        """Whether it is the cache of one repository, in which others have no place."""
        return self.local is not None or self.directory is not None


def standing_of(root: str) -> Standing:
    """What a directory is, or would be if it were made. Raises UsageError for a whole home.

    Raises NotACacheError for what is none.
    """
    root = os.path.abspath(root)
    if os.path.basename(root) == LOCAL_DIRECTORY or layout.holds_local_cache(root):
        base = root if layout.holds_local_cache(root) else os.path.dirname(root)
        _refuse_home(os.path.join(base, LOCAL_DIRECTORY), root)
        return Standing(base, local=base)
    if not os.path.isdir(root) or _is_as_good_as_empty(root):
        return Standing(root)
    try:
        for recognizes, _ in layout.PLACES:
            if recognizes(root):
                return _standing(root, recognizes.__name__)
    except OSError as error:  # it could be listed a moment ago
        raise SourceUnreadableError(f"{printable(root)} cannot be read: {error.strerror}") from None
    raise NotACacheError(f"{printable(root)} holds no RustAssistant cache")


def _standing(root: str, found: str) -> Standing:
    parent = os.path.dirname(root)
    match found:
        case "_is_dot_directory":
            _refuse_home(root, root)
            raise NotACacheError(f"{printable(root)} holds no RustAssistant cache")
        case "_is_local_cache":
            _refuse_home(parent, root)
            above = os.path.dirname(parent)
            return Standing(above, local=above)
        case "_is_cache_of_a_repository":
            return Standing(os.path.dirname(parent), directory=os.path.basename(parent))
        case "_is_central_root":
            return Standing(root)
        case "_holds_exported_repositories":
            raise UsageError(
                f"{printable(root)} is an export of several repositories in the local layout",
                hint="Name one of them, or a tree in the centralized layout.",
            )
        case _:
            return Standing(parent, directory=os.path.basename(root))


def _is_as_good_as_empty(root: str) -> bool:
    try:
        return set(os.listdir(root)) <= {UNFINISHED, GIT_DIRECTORY, ".gitignore", ".gitattributes"}
    except OSError:
        return False  # listing it says why


def _refuse_home(dot_directory: str, root: str) -> None:
    """Refuse RustAssistant's own home, which is several caches and a database."""
    central = os.path.join(dot_directory, "cache", REPOSITORIES)
    if os.path.isdir(central):
        raise UsageError(
            f"{printable(root)} holds several caches",
            hint=f"Name one: {printable(central)} is that of all repositories.",
        )
