"""How far a comparison has come, kept in a file so that an interrupted one can go on.

What is kept are partitions in which nothing was amiss, each with the state its entries had before
they were read. It holds for as long as the destination is in the state that it was in before all
of them were compared and still was when this was written. So going on is safe: a partition whose
entries have changed since is compared again, as is one that had a failure or a difference, and if
the destination has changed, everything is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b, sha256
from typing import Final

import msgspec

from rustassistant.stores.base import Partition
from rustassistant.transfer.digest import Digest

SAVE_SECONDS: Final = 3.0
"""No more work than this is lost to a run that is killed."""

_FORMAT: Final = 1
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

State = Callable[[], bytes | None]
_encode: Final = msgspec.msgpack.Encoder().encode


class Part(msgspec.Struct, array_like=True):
    """A partition in which nothing was amiss: the state of its entries, how many there are, and the
    states of the digests over all of them and over those that answer no more."""

    state: bytes
    compared: int
    digest: bytes
    removed: bytes


class _File(msgspec.Struct):
    format: int
    source: str
    destination: str
    state: bytes
    total: int
    parts: dict[str, Part]


class Checkpoint:
    """What was compared between one source and one destination. ``state`` is the destination's.

    ``problem`` says why nothing could be kept, if so: a comparison does not fail for that;
    ``total`` is how many entries an earlier run had before it.
    """

    def __init__(self, directory: str, source: str, destination: str, state: State) -> None:
        name = sha256(_encode((source, destination))).hexdigest()[:32]
        self.path = os.path.join(directory, f"{name}.json")
        self.problem = ""
        self.total = 0
        self._source, self._destination = source, destination
        self._state = state
        self._base: bytes | None = None
        self._parts: dict[str, Part] = {}
        self._loaded: tuple[bytes | None, dict[str, Part]] = (None, {})
        self._due = time.monotonic() + SAVE_SECONDS

    @property
    def compared(self) -> int:
        """Entries that are known to be equal."""
        return sum(part.compared for part in self._parts.values())

    def load(self) -> str:
        """Take up what an earlier run left; the answer says why that can't be, if so."""
        try:
            with open(self.path, "rb") as file:
                kept = msgspec.json.decode(file.read(), type=_File)
            for part in kept.parts.values():
                Digest.of_state(part.digest)
                Digest.of_state(part.removed)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:  # msgspec's are ValueErrors
            return f"its notes cannot be read ({error})"
        if (kept.format, kept.source, kept.destination) != (
            _FORMAT,
            self._source,
            self._destination,
        ):
            return "its notes are those of another version"
        if kept.state != self._state():
            return "the destination has changed since"
        self._base, self._parts = kept.state, dict(kept.parts)
        self._loaded = (kept.state, kept.parts)
        self.total = kept.total
        return ""

    def token(self) -> bytes | None:
        """The state of the destination that what is compared from now on is compared with.

        None while it changes, or has just done so: what is compared now can't be kept.
        """
        if self._base is None:
            self._base = self._state()
        return self._base

    def known(self, key: str) -> Part | None:
        """What an earlier run has found out about a partition, by `key_of`, if that still holds."""
        state, parts = self._loaded
        return parts.get(key) if state == self._base else None

    def resumed(self, key: str) -> Part:
        """What `known` said, even if the destination has changed in the meantime."""
        return self._loaded[1][key]

    def note(self, token: bytes | None, key: str, part: Part | None) -> None:
        """Remember a partition that was submitted when `token` gave this answer, or, with None,
        forget what was known of it."""
        if part is None:
            self._parts.pop(key, None)
        elif token is not None and token == self._base:
            self._parts[key] = part

    def save_if_due(self, total: int) -> None:
        """Save, if that was last done some seconds ago."""
        if time.monotonic() >= self._due:
            self.save(total)

    def save(self, total: int) -> None:
        """Write down what is known, of ``total`` entries, unless the destination has changed."""
        self._due = time.monotonic() + SAVE_SECONDS
        if self._base is None:
            return
        if self._state() != self._base:
            self._base = None
            self._parts.clear()
            self.remove()
            return
        kept = _File(_FORMAT, self._source, self._destination, self._base, total, self._parts)
        try:
            _replace(self.path, msgspec.json.encode(kept))
        except OSError as error:
            self.problem = error.strerror or str(error)

    def remove(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            os.unlink(self.path)


def key_of(partition: Partition) -> str:
    """What tells partitions apart, whatever has become of their entries: 32 hex digits."""
    digest = blake2b(_encode((partition.folder, partition.label)), digest_size=16)
    for name in partition.names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.hexdigest()


def _make(directory: str) -> None:
    """Make a directory for its owner alone, and so those above it that are not there."""
    if not os.path.isdir(directory):
        _make(os.path.dirname(directory))
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)


def _replace(path: str, content: bytes) -> None:
    """Put a file in its place as a whole, durably."""
    directory = os.path.dirname(path)
    _make(directory)
    new = f"{path}.{os.getpid()}"
    try:
        with open(os.open(new, _NEW_FILE, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
