"""Parquet, for analysts: one row an entry, typed columns. It is not read back."""

from __future__ import annotations

from typing import IO, Any, Final

from rustassistant.entry import Entry, full_key
from rustassistant.errors import EntryError, UsageError
from rustassistant.stores.base import Folder
from rustassistant.stores.interchange.single_file import SingleFile, Sink

_ROWS: Final = 4096
_BYTES: Final = 64 * 2**20
"""A row group is written when either is reached: it is held in memory until then."""


def _arrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "Parquet files are written by pyarrow, which is not installed",
            hint="Install it: pip install 'rustassistant[parquet]'",
        ) from None
    return pa


def schema() -> Any:
    """The columns. Long texts are of the large kind: a row group may hold more than 2 GiB."""
    arrow = _arrow()
    text, number = arrow.string(), arrow.int64()
    return arrow.schema(
        [
            arrow.field("repository", text, nullable=False),
            ("directory", text),
            arrow.field("cache_type", text, nullable=False),
            arrow.field("layout", text, nullable=False),
            arrow.field("subfolder", text, nullable=False),
            arrow.field("file_path", text, nullable=False),
            arrow.field("file_hash", text, nullable=False),
            arrow.field("cache_key", text, nullable=False),
            arrow.field("analyzed_at", arrow.timestamp("ns", tz="UTC"), nullable=False),
            arrow.field("provider", text, nullable=False),
            arrow.field("model", text, nullable=False),
            ("prompt_hash", text),
            ("schema_version", number),
            ("tokens_used", number),
            ("file_size", number),
            arrow.field("result", arrow.large_string(), nullable=False),
            ("original", arrow.large_binary()),
            ("name", arrow.binary()),
        ]
    )


class ParquetSink:
    """Gathers rows, and writes them a row group at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._arrow = _arrow()
        self._schema = schema()
        self._writer = self._arrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._size = 0

    def add(self, folder: Folder, entry: Entry, name: bytes | None) -> None:
        """Take a row in."""
        try:
            result = entry.result.decode()
        except UnicodeDecodeError as error:
            raise EntryError(f"its result is not valid UTF-8: {error.reason}") from None
        file_hash = entry.file_hash.hex()
        repository = folder.repository
        self._rows.append(
            {
                "repository": repository.path,
                "directory": repository.directory,
                "cache_type": folder.cache_type,
                "layout": folder.layout,
                "subfolder": folder.subfolder,
                "file_path": entry.file_path,
                "file_hash": file_hash,
                "cache_key": full_key(
                    file_hash, entry.model, entry.prompt_hash, entry.schema_version
                ),
                "analyzed_at": entry.analyzed_at,
                "provider": entry.provider,
                "model": entry.model,
                "prompt_hash": entry.prompt_hash,
                "schema_version": entry.schema_version,
                "tokens_used": entry.tokens_used,
                "file_size": entry.file_size,
                "result": result,
                "original": entry.original,
                "name": name,
            }
        )
        self._size += len(entry.result) + len(entry.original or b"")
        if len(self._rows) >= _ROWS or self._size >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            columns = {
                field.name: self._arrow.array(
                    [row[field.name] for row in self._rows], type=field.type
                )
                for field in self._schema
            }
            self._writer.write_table(self._arrow.table(columns, schema=self._schema))
        self._rows, self._size = [], 0

    def close(self) -> None:
        """Write the rest, and the file's end."""
        self._flush()
        self._writer.close()


class ParquetFile(SingleFile):
    """The file at ``path``, as a destination."""

    kind = "parquet"
    beginnings = (b"PAR1",)

    def check_writable(self) -> None:
        """As for any file; and pyarrow has to be there."""
        _arrow()
        super().check_writable()

    def sink(self, file: IO[bytes]) -> Sink:
        """Row groups."""
        return ParquetSink(file)
