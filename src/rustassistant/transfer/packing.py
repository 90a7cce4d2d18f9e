"""Writing the archive of a tree. What one looks like is said in ``archive``."""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from contextlib import closing, suppress
from hashlib import sha256
from io import BytesIO
from typing import IO, Final, cast

import zstandard

from rustassistant.stores.base import Tree
from rustassistant.transfer.archive import (
    FORMAT,
    MANIFEST_IN_MEMORY,
    MANIFEST_SUFFIX,
    Limited,
    Totals,
    Trailer,
    block_of,
)
from rustassistant.transfer.members import Member, forget, header_of, manifest_lines, member_of
from rustassistant.transfer.walking import (
    ATTEMPTS,
    ReportCopied,
    changing,
    opened,
    size_of,
    state_of,
    walk,
)

_LEVEL: Final = 6
_THREADS: Final = max(1, min(4, os.cpu_count() or 1))
_CHUNK: Final = 2**18
_IN_ONE_PIECE: Final = 4 * 2**20
"""Files up to this size are read whole, and again if they changed meanwhile."""


def write_archive(tree: Tree, path: str, progress: ReportCopied | None = None) -> Totals:
    """Write the archive of a tree into an existing file, and make it durable."""
    with open(path, "r+b") as file:
        hashing = _Hashing(file)
        compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=_THREADS, write_checksum=True)
        with (
            compressor.stream_writer(cast("IO[bytes]", hashing), closefd=False) as frame,
            _Writing(frame, os.path.dirname(path), progress) as writing,
        ):
            writing.tree(tree)
        trailer = Trailer(
            FORMAT,
            writing.files,
            writing.size,
            writing.members,
            writing.tar_size,
            tree.part,
            hashing.digest.hexdigest(),
        )
        file.write(block_of(trailer))
        file.flush()
        os.fsync(file.fileno())
        with suppress(AttributeError, OSError):  # so that reading back reads what the disk has
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return Totals(trailer.files, trailer.size, trailer.part)


class _Hashing:
    """Writes on, and hashes what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = sha256()
        self.size = 0
        self.gone = False

    def write(self, data: bytes) -> int:
        if self.gone:
            return len(data)
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Nothing is held back here."""


class _Writing:
    """Fills the tar stream."""

    def __init__(self, frame: IO[bytes], directory: str, progress: ReportCopied | None) -> None:
        self._out = _Hashing(frame)
        self._progress = progress
        self._tar = tarfile.open(  # noqa: SIM115 - closed on leaving
            fileobj=cast("IO[bytes]", self._out),
            mode="w|",
            format=tarfile.PAX_FORMAT,
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=_CHUNK,
        )
        self._manifest = tempfile.SpooledTemporaryFile(MANIFEST_IN_MEMORY, dir=directory)  # noqa: SIM115
        self.files = self.size = self.members = 0

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The stream would write its end even when it is thrown away.
        self._out.gone = kind is not None
        with closing(self._manifest), closing(self._tar):
            pass

    @property
    def tar_size(self) -> int:
        return self._out.size

    def tree(self, tree: Tree) -> None:
        """Each member, and the manifest at the end."""
        top = os.path.basename(tree.path) or "cache"
        source = tree.path
        parts: tuple[str, ...] = (top,)
        self._add(member_of(parts, os.stat(source)), None)
        if tree.part is not None:
            source, parts = os.path.join(source, tree.part), (top, tree.part)
            self._add(member_of(parts, os.stat(source)), None)
        self._below(source, parts, size_of(source))
        self._end(top)

    def _below(self, source: str, top: tuple[str, ...], total: int) -> None:
        for one in walk(source):
            parts = (*top, *one.parts)
            if stat.S_ISREG(one.status.st_mode):
                self._file(one.path, parts)
                if self._progress is not None:
                    self._progress(min(self.size, total), total)
            else:
                is_link = stat.S_ISLNK(one.status.st_mode)
                target = os.readlink(one.path) if is_link else ""
                self._add(member_of(parts, one.status, target), None)

    def _file(self, path: str, parts: tuple[str, ...]) -> None:
        """One file as it is at one moment: a large one is hashed before, since its hash is in the
        manifest only and what is in the stream can't be taken back."""
        with opened(path) as file:
            for _ in range(ATTEMPTS):
                before = os.fstat(file.fileno())
                if before.st_size > _IN_ONE_PIECE:
                    self._stream(file, path, member_of(parts, before))
                    return
                data = file.read(_IN_ONE_PIECE + 1)
                if state_of(os.fstat(file.fileno())) == state_of(before):
                    member = member_of(parts, before)
                    self._add(member, BytesIO(data), sha256(data).hexdigest())
                    return
                file.seek(0)
        raise changing(path)

    def _stream(self, file: IO[bytes], path: str, member: Member) -> None:
        limited = Limited(file, member.size)
        before = os.fstat(file.fileno())
        try:
            self._tar.addfile(header_of(member), cast("IO[bytes]", limited))
        except OSError as error:
            if error.errno is None:  # the file came to its end too early
                raise changing(path) from None
            raise
        if state_of(os.fstat(file.fileno())) != state_of(before):
            raise changing(path)
        self._note(member, limited.digest.hexdigest())

    def _add(self, member: Member, data: IO[bytes] | None, digest: str = "") -> None:
        self._tar.addfile(header_of(member), data)
        self._note(member, digest)

    def _note(self, member: Member, digest: str) -> None:
        forget(self._tar)
        self._manifest.write(manifest_lines(member, digest))
        self.members += 1
        if member.kind == "file":
            self.files += 1
            self.size += member.size

    def _end(self, top: str) -> None:
        header = tarfile.TarInfo(top + MANIFEST_SUFFIX)
        header.size = self._manifest.tell()
        header.mode = 0o600
        self._manifest.seek(0)
        self._tar.addfile(header, cast("IO[bytes]", self._manifest))
