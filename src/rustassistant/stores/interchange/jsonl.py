"""JSON Lines: one entry a line, to be read by anything, and back by us. See ``line``.

A name that ends in ``.gz`` or ``.zst`` means that the file is compressed.
"""

from __future__ import annotations

import gzip
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Final, NamedTuple, cast

import msgspec
import zstandard

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.entry import Entry
from rustassistant.entry_json import file_name
from rustassistant.errors import EntryError, NotFoundError, SourceUnreadableError
from rustassistant.stores.base import (
    Folder,
    Found,
    Known,
    Partition,
    Survey,
    Tree,
    Unchanged,
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

_SAMPLES_PER_TYPE: Final = 600


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
    beginnings = (b"{", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # plain, gzip, zstd

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
        """Read the file from its beginning, some lines of one folder at a time."""
        batch: list[_Line] = []
        folder: Folder | None = None
        size = 0
        for item in _lines(self.path):
            if isinstance(item, Failure):
                yield item
                continue
            try:
                own = folder_in(item.text)
            except EntryError as error:
                yield _failure(self.path, item.number, error.message, len(item.text))
                continue
            full = len(batch) >= _PARTITION_LINES or size >= _PARTITION_BYTES
            if folder is not None and batch and (own != folder or full):
                yield _partition(self.path, folder, batch)
                batch, size = [], 0
            folder = own
            batch.append(item)
            size += len(item.text)
        if folder is not None and batch:
            yield _partition(self.path, folder, batch)


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

    def read(self, known: Known) -> Iterator[Found | Unchanged | Failure]:
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


def _lines(path: str) -> Iterator[_Line | Failure]:
    """The lines of a file, without those that are blank. A damaged file ends in a failure."""
    number = 0
    with _opened(path) as file:
        try:
            while text := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(text) > _LONGEST_LINE:
                    size = len(text) + _skip_line(file)
                    yield _failure(path, number, "longer than a line can be", size)
                elif text.strip():
                    yield _Line(number, text)
        except (OSError, EOFError, zstandard.ZstdError) as error:
            reason = f"the file is damaged or cut off from here on: {error}"
            yield _failure(path, number + 1, reason, 0)


def _skip_line(file: IO[bytes]) -> int:
    skipped = 0
    while text := file.readline(_PARTITION_BYTES):
        skipped += len(text)
        if text.endswith(b"\n"):
            break
    return skipped


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with ExitStack() as closes:
        try:
            file: IO[bytes] = closes.enter_context(open(path, "rb"))
        except FileNotFoundError:
            raise NotFoundError(f"the source {printable(path)} does not exist") from None
        except OSError as error:
            raise SourceUnreadableError(
                f"the source {printable(path)} cannot be read: {error.strerror}"
            ) from None
        if path.endswith(".gz"):
            yield cast("IO[bytes]", closes.enter_context(gzip.open(file, "rb")))
        elif path.endswith(".zst"):
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            yield io.BufferedReader(closes.enter_context(reader), 2**20)
        else:
            yield file
