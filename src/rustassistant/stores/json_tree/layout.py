"""Where entries lie in a JSON cache tree, found from what is there.

Three layouts occur, and every directory that belongs to one may be named as the source::

    centralized   <root>/<hash8>/cache/<type>/<name>.json    and  <hash8>/meta.json
    flat          <root>/<hash8>/<type>/<name>.json          and  <hash8>/meta.json
    local         <repository>/.rustassistant/cache/<type>/<name>.json

An export of several repositories in the local layout is a directory of directories that hold
nothing else, each with a ``meta.json`` in its ``.rustassistant``. Read as a whole, they keep their
paths by it; one of them alone is the repository where it lies, as any other.

Symbolic links inside a tree are never followed: they can loop, and lead to other people's files.
Each is reported instead, since what lies behind it was paid for as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator
from typing import Final, NamedTuple

import msgspec

from rustassistant.entry import CacheType
from rustassistant.errors import NotACacheError, NotFoundError, SourceUnreadableError
from rustassistant.stores.base import Folder, Repository, printable
from rustassistant.stores.json_tree.meta import META_NAME, read_exported, read_repository
from rustassistant.stores.json_tree.scanning import SUFFIX, Scanned, scan
from rustassistant.stores.outcomes import Failure, Problem

LOCAL_DIRECTORY: Final = ".rustassistant"
GIT_DIRECTORY: Final = ".git"
UNFINISHED: Final = ".export-unfinished"
"""Where files lie that are written but not yet named, in the root of a tree that is exported to."""

_HASH8: Final = re.compile(r"[0-9a-f]{8}")
_BACKUP: Final = re.compile(r"\.backup(-\d{4}-\d\d-\d\dT\d{6}(-\d+)?)?(\.partial-\w+)?", re.ASCII)
_TYPES: Final = frozenset(CacheType)


class Listing(NamedTuple):
    """The entries of one folder: file names, sorted, in the directory ``path``."""

    folder: Folder
    path: str
    names: list[str]


_Walk = Iterator[Listing | Failure | Problem]
Scan = Callable[[str], Scanned]
"""How a directory is listed: `scan`, or one that remembers."""


class _Contents(NamedTuple):
    """What a directory holds, by what it means to us."""

    directories: list[str]
    names: list[str]


def walk(root: str, scan: Scan = scan) -> _Walk:
    """List a tree, one folder after the other, in a fixed order.

    ``scan`` lists each directory in which entries lie.
    Raises NotFoundError, SourceUnreadableError or NotACacheError if there is nothing to list.
    """
    root = _resolved(os.path.abspath(root))
    _check_root(root)
    try:
        for recognizes, lists in PLACES:
            if recognizes(root):
                return lists(root, scan)
    except OSError as error:  # it could be listed a moment ago
        raise _unreadable(root, error) from None
    raise NotACacheError(f"{printable(root)} holds no RustAssistant cache")


def walk_part(root: str, name: str) -> _Walk:
    """What `walk` gives of one directory right below the root of a tree of many repositories."""
    for kept in (yield from _without_backups(root, [name])):
        yield from _repository_directory(os.path.join(root, kept), scan)


def _resolved(root: str) -> str:
    """What a link given as the source leads to, so that a cache is the same by either name.

    Unless the link stands where a repository's cache should be: it is that repository's then.
    """
    in_place = os.path.basename(root) == LOCAL_DIRECTORY or _is_local_cache(root)
    return os.path.realpath(root) if os.path.islink(root) and not in_place else root


def holds_local_cache(root: str) -> bool:
    """Whether this is a repository with a cache of its own."""
    own = os.path.basename(root) == LOCAL_DIRECTORY
    return not own and os.path.isdir(os.path.join(root, LOCAL_DIRECTORY))


def _check_root(root: str) -> None:
    try:
        os.listdir(root)
    except FileNotFoundError:
        raise NotFoundError(
            f"the source {printable(root)} does not exist",
            hint="Give the cache's place with --source; RustAssistant keeps its own in "
            "~/.rustassistant/cache/repos, or in .rustassistant inside a repository.",
        ) from None
    except NotADirectoryError:
        raise NotACacheError(f"the source {printable(root)} is a file, not a cache tree") from None
    except OSError as error:
        raise _unreadable(root, error) from None


def _unreadable(root: str, error: OSError) -> SourceUnreadableError:
    return SourceUnreadableError(f"the source {printable(root)} cannot be read: {error.strerror}")


def _is_dot_directory(root: str) -> bool:
    """A ``.rustassistant``, or a home of RustAssistant under another name."""
    return os.path.basename(root) == LOCAL_DIRECTORY or os.path.isdir(
        os.path.join(root, "cache", "repos")
    )


def _is_local_cache(root: str) -> bool:
    parent = os.path.dirname(root)
    return os.path.basename(root) == "cache" and os.path.basename(parent) == LOCAL_DIRECTORY


def _is_cache_of_a_repository(root: str) -> bool:
    """The ``cache`` in a ``<hash8>`` directory: whose it is, only that directory knows."""
    parent = os.path.dirname(root)
    is_cache = os.path.basename(root) == "cache" and _has_type_directories(root)
    return is_cache and os.path.lexists(os.path.join(parent, META_NAME))


def _holds_types(root: str) -> bool:
    return _has_type_directories(os.path.join(root, "cache"))


def _is_central_root(root: str) -> bool:
    return any(_is_central(root, name) for name in _subdirectories(root))


def _holds_exported_repositories(root: str) -> bool:
    return any(_is_exported_repository(os.path.join(root, name)) for name in _subdirectories(root))


def _is_exported_repository(path: str) -> bool:
    """Code lies around any other's cache."""
    try:
        return os.path.lexists(os.path.join(path, LOCAL_DIRECTORY, META_NAME)) and os.listdir(
            path
        ) == [LOCAL_DIRECTORY]
    except OSError:
        return False


def _is_repository_directory(root: str) -> bool:
    hashed = _HASH8.fullmatch(os.path.basename(root)) is not None
    has_meta = os.path.lexists(os.path.join(root, META_NAME))
    return has_meta or (hashed and bool(_subdirectories(root)))


def _is_flat_without_meta(root: str) -> bool:
    """Nothing but directories lie in one: code, too, may have JSON in its ``docs``."""
    below = _subdirectories(root)
    if len(below) < len(os.listdir(root)):
        return False
    return any(name in _TYPES and _holds_json(os.path.join(root, name)) for name in below)


def _is_empty(root: str) -> bool:
    return not os.listdir(root)  # a cache that nothing was put in yet


def _has_type_directories(path: str) -> bool:
    return any(name in _TYPES for name in _subdirectories(path))


def _is_central(root: str, name: str) -> bool:
    """Whether a directory is a repository's. One with a ``meta.json`` but no directories is not:
    it may hold entries, one of which is about a file called ``meta``."""
    path = os.path.join(root, name)
    has_meta = os.path.lexists(os.path.join(path, META_NAME)) and bool(_subdirectories(path))
    return _HASH8.fullmatch(name) is not None or has_meta or _holds_types(path)


def _subdirectories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _holds_json(path: str) -> bool:
    try:
        return any(name.endswith(SUFFIX) for name in os.listdir(path))
    except OSError:
        return False


def _repository(root: str, scan: Scan) -> _Walk:
    """A repository's own cache, and those of others if somebody works in a central root."""
    yield from _local(os.path.join(root, LOCAL_DIRECTORY), scan)
    for name in _subdirectories(root):
        path = os.path.join(root, name)
        has_meta = os.path.lexists(os.path.join(path, META_NAME))
        if _HASH8.fullmatch(name) and (has_meta or _holds_types(path)):
            yield from _repository_directory(path, scan)


def _local(dot_directory: str, scan: Scan, repository: Repository | None = None) -> _Walk:
    """A ``.rustassistant``: a repository's own, or the home's, which holds the central root too.

    What lies beside ``cache`` (README.md, config.toml, cache.json, batches/) is no entry.
    """
    cache = os.path.join(dot_directory, "cache")
    if os.path.islink(cache):
        return iter((Failure(printable(cache), "", _LINK),))
    return _local_cache(cache, dot_directory, scan, repository)


def _local_cache(
    cache: str, dot_directory: str, scan: Scan, repository: Repository | None = None
) -> _Walk:
    try:
        os.lstat(cache)
    except FileNotFoundError:
        return  # nothing was analysed yet
    except OSError:
        pass  # listing it says why
    repository = repository or Repository(path=printable(os.path.dirname(dot_directory)))
    contents = yield from _contents(cache)
    for name in (yield from _without_backups(cache, contents.directories)):
        path = os.path.join(cache, name)
        if name == "repos" and (_is_central_root(path) or not _holds_json(path)):
            yield from _central(path, scan)
        else:
            yield from _type_directory(Folder(repository, printable(name), "local"), path, scan)


def _exported_repositories(root: str, scan: Scan) -> _Walk:
    """Those of an export in the local layout, and those that were added to it in another."""
    for name in (yield from _without_backups(root, _subdirectories(root))):
        path = os.path.join(root, name)
        if _is_exported_repository(path):
            dot_directory = os.path.join(path, LOCAL_DIRECTORY)
            repository, problems = read_exported(dot_directory)
            yield from problems
            yield from _local(dot_directory, scan, repository)
        elif _is_central(root, name):
            yield from _repository_directory(path, scan)
        else:
            yield Problem(
                printable(path),
                "is none of the repositories that were exported to here: left alone; if it holds a "
                "cache, name it as a source of its own",
            )


def _central(root: str, scan: Scan) -> _Walk:
    contents = yield from _contents(root)
    for name in (yield from _without_backups(root, contents.directories)):
        yield from _repository_directory(os.path.join(root, name), scan)


def _without_backups(path: str, names: list[str]) -> Generator[Problem, None, list[str]]:
    """Directories that are not our own backups, which would come out as further repositories."""
    kept = []
    for name in names:
        if name == GIT_DIRECTORY:
            continue  # people keep caches under version control
        if name == UNFINISHED:
            yield Problem(
                printable(os.path.join(path, name)),
                "an export that is under way or was cut off; running it again finishes it",
            )
        elif is_backup(name):
            yield Problem(
                printable(os.path.join(path, name)),
                "a backup, left alone; name it as a source of its own to migrate it",
            )
        else:
            kept.append(name)
    return kept


def is_backup(name: str) -> bool:
    """Whether a directory of that name, beside those of repositories, is a backup of ours."""
    return _BACKUP.fullmatch(name[max(name.rfind(".backup"), 0) :]) is not None


def _repository_directory(path: str, scan: Scan) -> _Walk:
    repository, problems = read_repository(path)
    yield from problems
    contents = yield from _contents(path, expected=META_NAME)
    for name in contents.directories:
        below = os.path.join(path, name)
        if name != "cache":
            yield from _type_directory(Folder(repository, printable(name), "flat"), below, scan)
            continue
        inner = yield from _contents(below)
        for cache_type in inner.directories:
            folder = Folder(repository, printable(cache_type), "centralized")
            yield from _type_directory(folder, os.path.join(below, cache_type), scan)


def _whole_repository(cache: str, scan: Scan) -> _Walk:
    return _repository_directory(os.path.dirname(cache), scan)


def _type_directory(folder: Folder, path: str, scan: Scan) -> _Walk:
    pending = [(folder, path)]  # however deep they lie in each other
    while pending:
        folder, path = pending.pop()
        contents = yield from _contents(path, folder.cache_type, scan)
        if contents.names:
            yield Listing(folder, path, contents.names)
        for name in reversed(contents.directories):
            subfolder = "/".join(filter(None, (folder.subfolder, printable(name))))
            below = msgspec.structs.replace(folder, subfolder=subfolder)
            pending.append((below, os.path.join(path, name)))


_LINK: Final = (
    "a symbolic link, which is not followed; name what it leads to as a source of its own"
)


def _contents(
    path: str, cache_type: str = "", scan: Scan | None = None, *, expected: str | None = None
) -> Generator[Failure | Problem, None, _Contents]:
    """Sort out one directory. With ``scan``, entries may lie right in it; a file of the name
    ``expected`` is somebody else's to read."""
    try:
        names, rest = _scan_all(path) if scan is None else scan(path)
    except OSError as error:
        reason = f"the directory cannot be listed: {error.strerror}"
        yield Failure(printable(path), cache_type, reason)
        return _Contents([], [])
    contents = _Contents([], names)
    others = 0
    for entry in rest:
        if entry.is_dir(follow_symlinks=False):
            contents.directories.append(entry.name)
        elif entry.name == expected:
            continue
        elif entry.name.endswith(SUFFIX):
            yield Failure(printable(entry.path), cache_type, _why_no_entry(entry))
        elif entry.is_symlink() and not os.path.isfile(entry.path):
            yield Failure(printable(entry.path), cache_type, _LINK)
        else:
            others += 1
    if others and scan is not None:
        what = "file there does" if others == 1 else "files there do"
        yield Problem(printable(path), f"{others} {what} not end in .json: left alone")
    return contents


def _scan_all(path: str) -> Scanned:
    """List a directory in which no entries lie, but what holds them."""
    with os.scandir(path) as entries:
        return Scanned([], sorted(entries, key=lambda entry: entry.name))


def _why_no_entry(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return _LINK
    if not entry.is_file(follow_symlinks=False):
        return "not a regular file"
    return "lies outside every type directory, so what it is can't be told; move it into one"


PLACES: Final[tuple[tuple[Callable[[str], bool], Callable[[str, Scan], _Walk]], ...]] = (
    (holds_local_cache, _repository),
    (_is_dot_directory, _local),
    (_is_local_cache, lambda root, scan: _local_cache(root, os.path.dirname(root), scan)),
    (_is_cache_of_a_repository, _whole_repository),
    (_holds_types, _repository_directory),
    (_holds_exported_repositories, _exported_repositories),
    (_is_central_root, _central),
    (_is_repository_directory, _repository_directory),
    (_is_flat_without_meta, _repository_directory),
    (_is_empty, lambda _root, _scan: iter(())),
)
"""What a source may be, and how each is listed; the first that fits is meant."""
