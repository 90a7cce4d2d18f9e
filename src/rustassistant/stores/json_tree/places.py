"""Where in a tree each folder of entries goes, and what its ``meta.json`` says.

Without a layout asked for, a folder goes where it came from, to the letter. Two rules keep what a
tree can't hold apart:

- A local cache knows its repository only by where it lies. One that is exported alone becomes
  ``.rustassistant`` again; with others beside it, it goes to a ``<hash8>`` directory, whose
  ``meta.json`` names the repository. If all are asked to be local, each gets a directory of its
  name, and the ``meta.json`` lies in its ``.rustassistant``.
- Two repositories that want one directory don't get it both: whose name it is not, gets another.

Names come from a database that anybody may have written: a part that could lead anywhere else is
refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from itertools import chain, count
from typing import Final, NamedTuple

import msgspec

from rustassistant.entry_json import file_name
from rustassistant.errors import EntryError
from rustassistant.stores.base import Folder, Repository, printable
from rustassistant.stores.json_tree.layout import LOCAL_DIRECTORY
from rustassistant.stores.json_tree.meta import path_in

MAX_NAME_BYTES: Final = 255
"""What Linux's and macOS's file systems take for one name."""

_SUFFIX: Final = b".json"
_SHOWN_BYTE: Final = re.compile(r"\\x([89a-f][0-9a-f])")
_DIGEST_DIGITS: Final = 16


class Layout(StrEnum):
    """How a tree may be laid out; see ``layout``."""

    CENTRALIZED = "centralized"
    FLAT = "flat"
    LOCAL = "local"


class Place(NamedTuple):
    """A folder's place: the parts of its path below the root.

    ``owner`` is how many of them are the repository's directory; 0 if that has no ``meta.json``.
    ``meta`` is what belongs into that, None for nothing.
    """

    parts: tuple[bytes, ...]
    owner: int
    meta: bytes | None


_Key = tuple[str, str | None]


class Placement:
    """Gives each folder its place, the same one each time.

    ``folders`` are all that will come, if that is known: which directory a repository gets then
    does not depend on the order in which they come.
    """

    def __init__(self, layout: Layout | None = None, folders: Iterable[Folder] = ()) -> None:
        self._layout = layout
        folders = list(folders)
        repositories = {_key(folder.repository): folder.repository for folder in folders}
        # One that has a meta.json knows its path, and would lose it.
        self._alone = len(repositories) == 1 and all(
            layout is Layout.LOCAL
            or (layout is None and folder.layout == Layout.LOCAL and not folder.repository.meta)
            for folder in folders
        )
        self._directories: dict[_Key, str] = {}
        self._taken: set[str] = set()
        # Those that have a name of their own keep it: they are served before the nameless.
        for key in sorted(repositories, key=lambda key: (key[1] is None, key[0], key[1] or "")):
            self._directory(repositories[key])

    def place(self, folder: Folder) -> Place:
        """Where a folder's entries go. Raises EntryError if that can't be told safely."""
        below = [folder.cache_type]
        if folder.subfolder:
            below += folder.subfolder.split("/")
        repository = folder.repository
        try:
            layout = self._layout or Layout(folder.layout)
        except ValueError:
            raise EntryError(f"its layout {folder.layout!r} is none that we know") from None
        if layout is Layout.LOCAL and self._alone:
            return Place(_parts(LOCAL_DIRECTORY, "cache", *below), 0, None)
        directory = self._directory(repository)
        if layout is Layout.LOCAL and self._layout is Layout.LOCAL:
            names_it = repository.meta is not None and path_in(repository.meta) == repository.path
            meta = repository.meta if names_it else _made_meta(repository)
            return Place(_parts(directory, LOCAL_DIRECTORY, "cache", *below), 2, meta)
        if layout is Layout.FLAT and folder.cache_type == "cache":
            raise EntryError(
                "its type is called 'cache', which the flat layout can't tell from a directory of "
                "types"
            )
        middle = [] if layout is Layout.FLAT else ["cache"]
        parts = _parts(directory, *middle, *below)
        return Place(parts, 1, _meta(repository))

    def _directory(self, repository: Repository) -> str:
        key = _key(repository)
        if key not in self._directories:
            own = hash8(repository.path)
            if self._layout is Layout.LOCAL:
                name = os.path.basename(repository.path.rstrip("/"))
                wanted = [name or own, f"{name}-{own}"]
            elif repository.directory is None:
                wanted = [own, f"{own}-local"]
            else:
                wanted = [repository.directory, own]
            further = (f"{wanted[-1]}-{number}" for number in count(2))
            name = next(name for name in chain(wanted, further) if name not in self._taken)
            self._directories[key] = name
            self._taken.add(name)
        return self._directories[key]


def _key(repository: Repository) -> _Key:
    return (repository.path, repository.directory)


def hash8(path: str) -> str:
    """The name that the Rust program gives the directory of the repository at that path."""
    return sha256(path.encode()).hexdigest()[:8]


def _meta(repository: Repository) -> bytes | None:
    """What ``meta.json`` held, or would hold.

    None where there was none and the path only repeats where the cache lay: one that we made would
    say no more, and the tree would not be the one that was migrated.
    """
    if repository.meta is not None:
        return repository.meta
    directory = repository.directory
    if directory is not None and os.path.basename(repository.path) == directory:
        return None
    return _made_meta(repository)


def _made_meta(repository: Repository) -> bytes:
    meta = {
        "path": repository.path,
        "hash": hash8(repository.path),
        "schema_version": 1,
        "created_at": datetime.now(UTC).isoformat(),
    }
    return msgspec.json.format(msgspec.json.encode(meta), indent=2)


def _parts(*texts: str) -> tuple[bytes, ...]:
    return tuple(map(_part, texts))


def _part(text: str) -> bytes:
    part = _unshown(text)
    _check(part)
    return part


def _unshown(text: str) -> bytes:
    """The bytes of a directory's name, which stores keep as `printable` shows it.

    Where two names are shown alike, the one whose bytes are not UTF-8 is meant: a backslash in a
    directory's name is rarer still.
    """
    plain = text.encode("utf-8", "surrogatepass")
    if "\\x" not in text:
        return plain
    pieces = _SHOWN_BYTE.split(text)
    name = b"".join(
        bytes([int(piece, 16)]) if index % 2 else piece.encode("utf-8", "surrogatepass")
        for index, piece in enumerate(pieces)
    )
    return name if printable(name) == text else plain


def _check(part: bytes) -> None:
    if part in (b"", b".", b"..") or b"/" in part or b"\0" in part:
        raise EntryError(f"{printable(part)!r} can't be part of a path inside the tree")
    if len(part) > MAX_NAME_BYTES:
        raise EntryError(f"{printable(part)[:80]!r}… is too long for a file system")


def name_for(file_path: str, own_name: bytes | None, digest: bytes) -> bytes:
    """The name of an entry's file: its own, or the one that its path implies.

    A path too long for a name, or with a NUL in it, gets one that ends in its text's digest:
    the Rust program could not have written such a file, so nobody looks for it by name.
    """
    if own_name is not None:
        _check(own_name)
        if not own_name.endswith(_SUFFIX):
            raise EntryError(f"its name {printable(own_name)!r} does not end in .json")
        return own_name
    name = file_name(file_path).encode("utf-8", "surrogatepass")
    if len(name) <= MAX_NAME_BYTES and b"\0" not in name:
        return name
    return suffixed(name.replace(b"\0", b"_"), digest)


def suffixed(name: bytes, digest: bytes) -> bytes:
    """Another name for a file whose text has that digest: the same one each time."""
    digits = digest.hex()[:_DIGEST_DIGITS].encode()
    stem = name.removesuffix(_SUFFIX)[: MAX_NAME_BYTES - len(_SUFFIX) - 1 - len(digits)]
    stem = stem.decode("utf-8", "ignore").encode() if _is_utf8(name) else stem
    return stem + b"~" + digits + _SUFFIX


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
