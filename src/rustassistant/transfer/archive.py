"""One compressed archive of a tree, which proves itself.

::

    archive  = zstd frame, trailer
    frame    = tar (PAX) of: the tree below a directory of its name, each directory before what is
               in it, by name as bytes; at last the manifest, ``<name>.sha256``
    manifest = for each member "# <kind> <mode> <mtime> <size>", then for a file what ``sha256sum``
               prints, for all else "# <name>" or "# <name> -> <target>"
    trailer  = a skippable zstd frame of 512 bytes: JSON with the totals and the SHA-256 of the
               frame, filled up with spaces

Any ``tar`` with zstd unpacks it, and ``sha256sum -c`` then checks it. The trailer, which those
pass over, says before a byte is decompressed how much is to come, and a cut or a flipped bit
anywhere shows. Frames: RFC 8878; times to the nanosecond are in PAX records.
"""

from __future__ import annotations

import os
import struct
import tarfile
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from typing import IO, Final, Protocol, cast

import msgspec
import zstandard

from rustassistant.errors import BackupError, DamagedError
from rustassistant.stores.base import printable
from rustassistant.transfer.members import (
    Member,
    Order,
    from_header,
    manifest_lines,
    read_members,
)
from rustassistant.transfer.walking import (
    ReportCopied,
)

MAGIC: Final = b"\x28\xb5\x2f\xfd"
_TRAILER_BYTES: Final = 512
_SKIPPABLE: Final = 0x184D2A5E
_TRAILER_HEAD: Final = struct.pack("<II", _SKIPPABLE, _TRAILER_BYTES - 8)
FORMAT: Final = "rustassistant archive 1"
_MAX_WINDOW: Final = 2**23
"""The most memory that a frame may ask for: what RFC 8878 wants every decoder to grant."""

_CHUNK: Final = 2**18

MANIFEST_IN_MEMORY: Final = 8 * 2**20
MANIFEST_SUFFIX: Final = ".sha256"
_MAX_LINE: Final = 2**17


class Totals(msgspec.Struct, frozen=True):
    """What an archive holds: ``files`` and the bytes in them; ``part`` as in `Tree`."""

    files: int
    size: int
    part: str | None = None


class Trailer(msgspec.Struct, frozen=True):
    """The end of an archive. ``sha256`` is of the frame, in hex; ``tar_size`` its bytes unpacked;
    ``members`` counts all but the manifest; the rest as in `Totals`."""

    format: str
    files: int
    size: int
    members: int
    tar_size: int
    part: str | None
    sha256: str


class Sink(Protocol):
    """Where the bytes of one file go."""

    def write(self, data: bytes, /) -> int:
        """Add to it."""

    def close(self) -> None:
        """That was all of it, or as much as could be read."""


class Unpacking(Protocol):
    """Takes what is read from an archive, in its order. Nothing of it is proven before the end."""

    def expect(self, totals: Totals, room: int) -> None:
        """Told first: what is to come, and how many bytes at most."""

    def begin(self, member: Member) -> Sink | None:
        """A member begins; for a file, where its bytes go."""


def read_archive(
    path: str, unpacking: Unpacking | None, progress: ReportCopied | None = None
) -> Totals:
    """Read an archive from end to end and prove it: every file against the manifest, everything
    against the trailer. Raises DamagedError for whatever does not fit, NotFoundError never."""
    with open(path, "rb") as file:
        trailer = _read_trailer(file, path)
        totals = Totals(trailer.files, trailer.size, trailer.part)
        if unpacking is not None:
            unpacking.expect(totals, trailer.tar_size)
        compressed = Limited(file, os.path.getsize(path) - _TRAILER_BYTES)
        try:
            with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
                cast("IO[bytes]", compressed), closefd=False
            ) as frame:
                stream = Limited(cast("IO[bytes]", frame), trailer.tar_size)
                reading = _Reading(stream, path, unpacking, trailer, progress)
                reading.all()
                stream.drain()
                exact = not stream.left and not frame.read(1)
            compressed.drain()
        except (zstandard.ZstdError, tarfile.TarError, ValueError, RecursionError) as error:
            raise _damaged(path, str(error) or "its headers make no sense") from None
        if not exact or compressed.digest.hexdigest() != trailer.sha256:
            raise _damaged(path, "its bytes are not those that were written")
    return totals


def part_of(path: str) -> str | None:
    """Which part of a repository an archive holds, by its end; None for a whole tree."""
    with open(path, "rb") as file:
        return _read_trailer(file, path).part


def _read_trailer(file: IO[bytes], path: str) -> Trailer:
    size = os.fstat(file.fileno()).st_size
    if file.read(len(MAGIC)) != MAGIC:
        raise BackupError(
            f"{printable(path)} is no archive of rustassistant",
            hint="Name a backup: a directory, a .tar.zst or a database.",
        )
    file.seek(max(0, size - _TRAILER_BYTES))
    block = file.read()
    file.seek(0)
    trailer = _parsed(block)
    if trailer is None:
        raise _damaged(path, "its end is missing, or another program made it")
    if min(trailer.files, trailer.size, trailer.members, trailer.tar_size) < 0:
        raise _damaged(path, "its end makes no sense")
    return trailer


def _parsed(block: bytes) -> Trailer | None:
    """The trailer, if the block is one to the last bit."""
    try:
        trailer = msgspec.json.decode(block[len(_TRAILER_HEAD) :], type=Trailer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return trailer if block == block_of(trailer) and trailer.format == FORMAT else None


def block_of(trailer: Trailer) -> bytes:
    """Its bytes: the only ones that stand for it."""
    text = msgspec.json.encode(trailer)
    return _TRAILER_HEAD + text.ljust(_TRAILER_BYTES - len(_TRAILER_HEAD))


def _damaged(path: str, why: str) -> DamagedError:
    return DamagedError(
        f"the archive {printable(path)} is damaged: {why}",
        hint="Nothing was restored from it. Restore another backup; if there is none, "
        "`zstd -dc` and `tar -x` give back what can still be read.",
    )


class Limited:
    """The next so many bytes of a file, hashed as they are read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.left = size
        self.digest = sha256()

    def read(self, size: int = -1) -> bytes:
        """As of a file that ends there."""
        data = self._file.read(min(size, self.left) if size >= 0 else self.left)
        self.left -= len(data)
        self.digest.update(data)
        return data

    def drain(self) -> None:
        """Read, and hash, what is left."""
        while self.read(_CHUNK):
            pass


class _Reading:
    """Reads the tar stream, and holds it against its manifest."""

    def __init__(
        self,
        stream: Limited,
        path: str,
        unpacking: Unpacking | None,
        trailer: Trailer,
        progress: ReportCopied | None,
    ) -> None:
        self._stream = stream
        self._path = path
        self._unpacking = unpacking
        self._trailer = trailer
        self._progress = progress
        self._order = Order()
        self._files = self._size = self._members = 0

    def all(self) -> None:
        """Every member; raises DamagedError unless all are there and as they were."""
        with tempfile.SpooledTemporaryFile(MANIFEST_IN_MEMORY) as seen:
            manifest, proven = None, False
            for header, content in read_members(cast("IO[bytes]", self._stream)):
                if proven:
                    raise _damaged(self._path, "it goes on after its manifest")
                if header.name == manifest and content is not None:
                    self._compare(cast("IO[bytes]", seen), content)
                    proven = True
                    continue
                member = from_header(header)
                self._order.check(member)
                manifest = manifest or member.name + MANIFEST_SUFFIX
                seen.write(manifest_lines(member, self._take(member, content)))
        if not proven:
            raise _damaged(self._path, "its manifest is missing")
        found = (self._files, self._size, self._members)
        if found != (self._trailer.files, self._trailer.size, self._trailer.members):
            raise _damaged(self._path, "it does not hold what its end says")

    def _take(self, member: Member, content: IO[bytes] | None) -> str:
        self._members += 1
        if self._size + member.size > self._trailer.size:
            raise _damaged(self._path, "it holds more than its end says")
        out = None if self._unpacking is None else self._unpacking.begin(member)
        if content is None:
            return ""
        self._files += 1
        self._size += member.size
        digest = sha256()
        try:
            for chunk in _chunks(content):
                digest.update(chunk)
                if out is not None:
                    out.write(chunk)
        finally:
            if out is not None:
                out.close()
        if self._progress is not None:
            self._progress(self._size, self._trailer.size)
        return digest.hexdigest()

    def _compare(self, seen: IO[bytes], content: IO[bytes]) -> None:
        seen.seek(0)
        while True:
            # Facts and name, a line each; ours end, so a manifest without end is not read either.
            ours = (seen.readline(), seen.readline())
            if ours != (content.readline(_MAX_LINE), content.readline(_MAX_LINE)):
                name = ours[1].rstrip(b"\n").removeprefix(b"# ")
                what = printable(name.rpartition(b"  ")[2] or b"its manifest")
                raise _damaged(self._path, f"{what} is not what was written")
            if not ours[0]:
                return


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(_CHUNK):
        yield chunk
