"""Parquet, as an analyst's tools read it."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
import pyarrow.parquet

from rustassistant.errors import ForeignFileError, UsageError
from rustassistant.stores.interchange.parquet import ParquetFile
from stores.store_suite import FOLDER, entry_in, kept_entry, record_of


def write(path: Path, *entries: Any) -> ParquetFile:
    store = ParquetFile(path)
    with store.writer() as writer:
        writer.put(FOLDER, [record_of(entry, name=b"caf\xe9.json") for entry in entries])
    return store


def rows(path: Path) -> list[dict[str, Any]]:
    table = pyarrow.parquet.read_table(path)
    table = table.set_column(
        table.column_names.index("analyzed_at"), "analyzed_at", table["analyzed_at"].cast("int64")
    )
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def test_row_says_what_is_known(tmp_path: Path) -> None:
    entry = entry_in(tokens_used=None, prompt_hash=None, schema_version=None)
    write(tmp_path / "a.parquet", entry, kept_entry())
    first, second = rows(tmp_path / "a.parquet")
    assert first == {
        "repository": "/home/dev/project",
        "directory": "6b1e9f3a",
        "cache_type": "docs",
        "layout": "centralized",
        "subfolder": "",
        "file_path": "src/lib.rs",
        "file_hash": entry.file_hash.hex(),
        "cache_key": entry.key,
        "analyzed_at": entry.analyzed_at,
        "provider": "xai",
        "model": "grok-beta",
        "prompt_hash": None,
        "schema_version": None,
        "tokens_used": None,
        "file_size": 13,
        "result": entry.result.decode(),
        "original": None,
        "name": b"caf\xe9.json",
    }
    assert second["original"] == kept_entry().original


def test_times_are_times(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", entry_in(analyzed_at=0))
    column = pyarrow.parquet.read_table(tmp_path / "a.parquet")["analyzed_at"]
    assert column.type == pyarrow.timestamp("ns", tz="UTC")
    assert column.cast(pyarrow.timestamp("us", tz="UTC"))[0].as_py() == dt.datetime(
        1970, 1, 1, tzinfo=dt.UTC
    )


def test_many_rows_are_all_there(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", *(entry_in(file_path=str(number)) for number in range(5000)))
    assert [row["file_path"] for row in rows(tmp_path / "a.parquet")] == [
        str(number) for number in range(5000)
    ]


def test_nothing_is_an_empty_table(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == []


def test_result_that_is_no_text_is_a_failure(tmp_path: Path) -> None:
    store = write(tmp_path / "a.parquet", entry_in(result=b"\xff"), entry_in())
    assert (store.tally.written, len(store.tally.failures)) == (1, 1)
    assert len(rows(tmp_path / "a.parquet")) == 1


def test_error_leaves_nothing(tmp_path: Path) -> None:
    def work() -> None:
        with ParquetFile(tmp_path / "a.parquet").writer() as writer:
            writer.put(FOLDER, [record_of(entry_in())])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.iterdir()) == []


def test_file_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("mine")
    with pytest.raises(ForeignFileError):
        write(tmp_path / "a.parquet", entry_in())
    assert (tmp_path / "a.parquet").read_text() == "mine"


def test_without_pyarrow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as raised:
        ParquetFile(tmp_path / "a.parquet").check_writable()
    assert "rustassistant[parquet]" in raised.value.hint
