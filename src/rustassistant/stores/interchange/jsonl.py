"""JSON Lines: one entry a line, to be read by anything, and back by us. See ``line``.

A name that ends in ``.gz`` or ``.zst`` means that the file is written compressed. What is read is
told by how it begins, whatever its name.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Final, NamedTuple, cast

import msgspec
import zstandard

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.entry import Entry
from rustassistant.entry_json import file_name
from rustassistant.errors import (
    EntryError,
    InterruptedRunError,
    NotACacheError,
    NotFoundError,
    SourceUnreadableError,
)
from rustassistant.stores.base import (
    Folder,
    Found,
    Look,
    Partition,
    Stamps,
    Survey,
    Taker,
    Tree,
    printable,
)
from rustassistant.stores.interchange.line import entry_in, folder_in, line_of
from rustassistant.stores.interchange.single_file import SingleFile, Sink
from rustassistant.stores.outcomes import Failure, Problem

_LONGEST_LINE: Final = 4 * MAX_TEXT_BYTES
"""A result, its file, and escapes: a line that is longer is none of ours."""

_PARTITION_LINES: Final = 512
_PARTITION_BYTES: Final = 4 * 2**20
"""A partition carries its lines, since a compressed file can't be entered in the middle."""

_PIECE: Final = 4 * 2**20
"""Bytes of a line that are read at once; between any two, the run may be stopped."""

_SAMPLES_PER_TYPE: Final = 600

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MARK: Final = b"\xef\xbb\xbf"
"""With which some programs begin a file in UTF-8."""

_OTHERS: Final = (
    (
        b"SQLite format 3\0",
        "is an SQLite database",
        "A database is merged into another: `cache migrate --source PATH`.",
    ),
    (
        b"PAR1",
        "is a Parquet file, which can't be read back",
        "Name what it was exported from.",
    ),
)


class JsonLinesSink:
    """Writes lines."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self._closes = ExitStack()
        self._file: IO[bytes] = file
        if path.endswith(".gz"):
            # No time and no name in it: the same entries make the same file.
            packed = gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="")
            self._file = cast("IO[bytes]", self._closes.enter_context(packed))
        elif path.endswith(".zst"):
            compressor = zstandard.ZstdCompressor(write_checksum=True)
            writer = compressor.stream_writer(file, closefd=False)
            self._file = self._closes.enter_context(writer)

    def add(self, folder: Folder, entry: Entry, name: bytes | None) -> None:
        """Write a line."""
        self._file.write(line_of(folder, entry, name) + b"\n")

    def close(self) -> None:
        """End the compressed stream."""
        self._closes.close()


class JsonLines(SingleFile):
    """The file at ``path``, as a destination and as a source."""

    kind = "jsonl"
    beginnings = (b"{", _GZIP, _ZSTD)

    def __init__(
        self, path: str | os.PathLike[str], *, cancelled: Callable[[], bool] | None = None
    ) -> None:
        super().__init__(path)
        self._given = os.path.abspath(path)  # a pipe's link leads to no name that could be opened
        self._cancelled = cancelled or (lambda: False)

    def sink(self, file: IO[bytes]) -> Sink:
        """Lines."""
        return JsonLinesSink(file, self.path)

    def tree(self) -> Tree:
        """The file alone."""
        return Tree(os.path.dirname(self.path), os.path.basename(self.path))

    def survey(self) -> Survey:
        """Count the lines of each type, and take samples evenly. Reads the whole file."""
        files: defaultdict[str, int] = defaultdict(int)
        size = 0
        samples: defaultdict[str, list[LinesPartition]] = defaultdict(list)
        for item in self.partitions():
            if isinstance(item, Failure):
                files[item.cache_type] += 1
                size += item.size
            elif isinstance(item, LinesPartition):
                cache_type = item.folder.cache_type
                files[cache_type] += len(item.lines)
                size += sum(map(len, item.lines))
                if sum(len(one.lines) for one in samples[cache_type]) < _SAMPLES_PER_TYPE:
                    samples[cache_type].append(item.part(range(0, len(item.lines), 4)))
        total = sum(files.values())
        chosen = [one for parts in samples.values() for one in parts]
        return Survey(dict(files), size / total if total else 0.0, chosen)

    def partitions(self) -> Iterator[Partition | Failure | Problem]:
        """Read the file from its beginning, some lines of one folder at a time.

        Raises InterruptedRunError if it is cancelled, however long the line at hand.
        """
        batch: list[_Line] = []
        folder: Folder | None = None
        size = 0
        for item in _lines(self._given, self._cancelled):
            if isinstance(item, Failure):
                yield item
                continue
            try:
                own = folder_in(item.text)
            except EntryError as error:
                yield _failure(self._given, item.number, error.message, len(item.text))
                continue
            full = len(batch) >= _PARTITION_LINES or size >= _PARTITION_BYTES
            if folder is not None and batch and (own != folder or full):
                yield _partition(self._given, folder, batch)
                batch, size = [], 0
            folder = own
            batch.append(item)
            size += len(item.text)
        if folder is not None and batch:
            yield _partition(self._given, folder, batch)


class _Line(NamedTuple):
    number: int
    text: bytes


class LinesPartition(msgspec.Struct, frozen=True):
    """Some lines of one folder, with their numbers in the file."""

    folder: Folder
    path: str
    numbers: tuple[int, ...]
    lines: tuple[bytes, ...]

    @property
    def names(self) -> Sequence[str]:
        """What a line is called."""
        return [_name(number) for number in self.numbers]

    @property
    def label(self) -> str:
        """The file, for people."""
        return printable(self.path)

    def part(self, positions: Sequence[int]) -> LinesPartition:
        """Some of its lines."""
        return msgspec.structs.replace(
            self,
            numbers=tuple(self.numbers[position] for position in positions),
            lines=tuple(self.lines[position] for position in positions),
        )

    def place(self, position: int) -> str:
        """The file and the line."""
        return f"{self.label}/{_name(self.numbers[position])}"

    def look(self, known: Stamps) -> Look:
        """Lines have no stamps."""
        return Look()

    def read(self, taker: Taker | None = None) -> Iterator[Found | Failure]:
        """Read each line."""
        for number, text in zip(self.numbers, self.lines, strict=True):
            try:
                entry, name, notes = entry_in(text)
            except EntryError as error:
                reason = error.message
                yield _failure(self.path, number, reason, len(text), self.folder.cache_type)
                continue
            if name == file_name(entry.file_path).encode():
                name = None
            path = f"{printable(self.path)}/{_name(number)}"
            yield Found(entry, path, len(text), name, None, notes)


def _partition(path: str, folder: Folder, lines: Sequence[_Line]) -> LinesPartition:
    numbers = tuple(line.number for line in lines)
    return LinesPartition(folder, path, numbers, tuple(line.text for line in lines))


def _name(number: int) -> str:
    return f"line {number}"


def _failure(path: str, number: int, reason: str, size: int, cache_type: str = "") -> Failure:
    return Failure(f"{printable(path)}/{_name(number)}", cache_type, reason, size)


def _lines(path: str, cancelled: Callable[[], bool]) -> Iterator[_Line | Failure]:
    """The lines of a file, without those that are blank. A damaged file ends in a failure."""
    number = 0
    with _opened(path) as file:
        try:
            while size := (line := _read_line(file, path, cancelled)).size:
                number += 1
                if line.text is None:
                    yield _failure(path, number, "longer than a line can be", size)
                    continue
                text = line.text.removeprefix(_MARK) if number == 1 else line.text
                if text.strip():
                    yield _Line(number, text)
        except (OSError, EOFError, zstandard.ZstdError) as error:
            reason = f"the file is damaged or cut off from here on: {error}"
            yield _failure(path, number + 1, reason, 0)


class _Read(NamedTuple):
    """A line and its size in bytes, 0 at the end; no text if it is longer than a line can be."""

    text: bytes | None
    size: int


def _read_line(file: IO[bytes], path: str, cancelled: Callable[[], bool]) -> _Read:
    pieces: list[bytes] = []
    size = 0
    while piece := file.readline(_PIECE):
        if cancelled():
            raise InterruptedRunError(f"stopped while {printable(path)} was read")
        size += len(piece)
        if size <= _LONGEST_LINE:
            pieces.append(piece)
        else:
            pieces.clear()
        if piece.endswith(b"\n"):
            break
    return _Read(b"".join(pieces) if size <= _LONGEST_LINE else None, size)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """The text in a file, unpacked if need be."""
    with ExitStack() as closes:
        file = closes.enter_context(_open_regular(path))
        head = file.peek(io.DEFAULT_BUFFER_SIZE)
        for beginning, what, hint in _OTHERS:
            if head.startswith(beginning):
                raise NotACacheError(f"the source {printable(path)} {what}", hint=hint)
        packing = _packing(path, head)
        if packing == _GZIP:
            yield cast("IO[bytes]", closes.enter_context(gzip.open(file, "rb")))
        elif packing == _ZSTD:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            yield io.BufferedReader(closes.enter_context(reader), 2**20)
        else:
            yield file


def _packing(path: str, head: bytes) -> bytes:
    """How a file is compressed, by how it begins; by its name if that is neither that nor text."""
    for magic in (_GZIP, _ZSTD):
        if head.startswith(magic):
            return magic
    if head.removeprefix(_MARK).lstrip().startswith(b"{"):
        return b""
    return _GZIP if path.endswith(".gz") else _ZSTD if path.endswith(".zst") else b""


def _open_regular(path: str) -> io.BufferedReader:
    """Open a file that has an end and can be read twice, as it is: to be counted, to be moved."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        mode = os.fstat(descriptor).st_mode
    except FileNotFoundError:
        raise NotFoundError(f"the source {printable(path)} does not exist") from None
    except OSError as error:
        raise SourceUnreadableError(
            f"the source {printable(path)} cannot be read: {error.strerror}"
        ) from None
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise SourceUnreadableError(
            f"the source {printable(path)} is a directory, not a file of JSON Lines",
            hint="Name the file; a JSON cache is migrated: `cache migrate --source PATH`.",
        )
    raise SourceUnreadableError(
        f"the source {printable(path)} is no regular file",
        hint="Write the lines to a file first, and name that: it is read twice.",
    )
