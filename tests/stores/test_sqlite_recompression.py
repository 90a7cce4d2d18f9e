from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from damage import entries_of, make_database
from rustassistant.check import check_database
from rustassistant.codec import Compressor, Decoder
from rustassistant.errors import InterruptedRunError, LockedError
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.stores.sqlite.upkeep import recompression
from rustassistant.stores.sqlite.upkeep.recompression import (
    NewFrames,
    Recompression,
    drop_dictionaries,
)
from rustassistant.stores.sqlite.views.texts import StoredTexts, reading_texts


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make_database(tmp_path)


def rows(database: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(apsw.Connection(str(database))) as connection:
        return connection.execute(sql, values).fetchall()


def is_usual(row: StoredTexts) -> bool:
    """A result of its own, with a dictionary, and nothing else."""
    return bool(row.result and row.dictionary_id and row.original is None)


def first_with_result(store: Recompression) -> StoredTexts:
    batch = next(store.rows(None, 0, store.last_id()))
    return next(row for row in batch.sound if is_usual(row))


def plain(store: Recompression, row: StoredTexts) -> NewFrames:
    """The row's text in a frame of its own."""
    data = {one.id: one.data for one in store.dictionaries()}
    text = Decoder(data.__getitem__).decode(row.result or b"", row.dictionary_id)
    return NewFrames(Compressor(3).original(text), None, None)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET result = CAST(result || x'00' AS BLOB) WHERE id = ?",
        "UPDATE entries SET dictionary_id = NULL WHERE id = ?",
        "UPDATE entries SET original = x'00' WHERE id = ?",
        "UPDATE entries SET result_digest = zeroblob(16) WHERE id = ?",
    ],
)
def test_row_that_others_changed_meanwhile_is_passed_over(database: Path, change: str) -> None:
    with Recompression(str(database), {}) as store:
        row = first_with_result(store)
        new = plain(store, row)
        rows(database, change, row.id)
        changed = rows(database, "SELECT * FROM entries WHERE id = ?", row.id)
        done = store.replace([(row, new)], row.id)
    assert (done.rows, done.changed, done.saved) == (0, 1, 0)
    assert rows(database, "SELECT * FROM entries WHERE id = ?", row.id) == changed


def test_sums_follow_what_was_replaced_unless_it_is_in_the_trash(database: Path) -> None:
    expected = entries_of(database)
    with Recompression(str(database), {}) as store:
        row = first_with_result(store)
        new = plain(store, row)
        with SqliteStore(database).writer() as writer:
            writer.throw_away([row.id], reason="cleared")
        done = store.replace([(row, new)], row.id)
        other = next(
            one for one in next(store.rows(None, row.id, store.last_id())).sound if is_usual(one)
        )
        store.replace([(other, plain(store, other))], other.id)
    assert done.rows == 1
    assert done.saved == row.size - new.size
    assert entries_of(database) == expected
    assert not check_database(database).problems


def test_lock_that_is_not_let_go_is_named(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompression, "_PATIENCE", 0.0)
    monkeypatch.setattr(recompression, "_TRY_MS", 1)
    with Recompression(str(database), {}) as store:
        row = first_with_result(store)
        with SqliteStore(database).writer(), pytest.raises(LockedError, match="is locked by"):
            store.replace([(row, plain(store, row))], row.id)
        assert store.replace([(row, plain(store, row))], row.id).rows == 1


def test_waiting_for_the_lock_can_be_interrupted(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompression, "_TRY_MS", 1)
    with Recompression(str(database), {}, cancelled=lambda: True) as store:
        row = first_with_result(store)
        with SqliteStore(database).writer(), pytest.raises(InterruptedRunError):
            store.replace([(row, plain(store, row))], row.id)


def test_batches_end_at_rows_and_bytes(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = rows(database, "SELECT id FROM entries ORDER BY id")
    for name, limit in (("BATCH_ROWS", 7), ("_BATCH_BYTES", 1000)):
        monkeypatch.setattr(recompression, name, limit)
        with Recompression(str(database), {}) as store:
            batches = list(store.rows(None, 0, store.last_id()))
        assert len(batches) > 5
        assert [(row.id,) for batch in batches for row in batch.sound] == everything
        assert all(batch.through == batch.sound[-1].id for batch in batches)


def test_column_of_another_kind_is_a_damaged_row(database: Path) -> None:
    last = rows(database, "SELECT max(id) FROM entries WHERE result IS NOT NULL")[0][0]
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'entries'"
        )
        connection.execute("PRAGMA writable_schema=RESET")
        connection.execute("UPDATE entries SET result = 7 WHERE id = ?", (last,))
    with Recompression(str(database), {}) as store:
        (batch,) = store.rows(None, 0, store.last_id())
        assert [number for number, _ in batch.damaged] == [last]
        assert len(batch.sound) == len(rows(database, "SELECT id FROM entries")) - 1


def test_sample_is_spread_and_the_same_each_time(database: Path) -> None:
    with reading_texts(str(database)) as texts:
        some = texts.sample("docs", 20)
        assert texts.sample("docs", 20) == some
        rest = texts.sample("docs", 1000, skip=20)
        everything = texts.sample("docs", 1000)
    assert some + rest == everything
    own = "SELECT count(*) FROM entries e JOIN folders d ON d.id = e.folder_id"
    own += " WHERE d.cache_type = 'docs' AND e.result IS NOT NULL"
    assert [(len(everything),)] == rows(database, own)
    ids = sorted(row.id for row in some)
    assert ids[0] < 15
    assert ids[-1] > 75
    assert max(after - before for before, after in pairwise(ids)) < 20


def test_dictionary_in_use_is_never_dropped(database: Path) -> None:
    before = rows(database, "SELECT * FROM dictionaries")
    assert before
    assert drop_dictionaries(str(database), None, ()) == ((), ())
    assert rows(database, "SELECT * FROM dictionaries") == before


def test_writer_that_took_a_dictionary_keeps_it(database: Path) -> None:
    """What it has compressed, and not put in yet, could never be read without."""
    with SqliteStore(database).writer() as writer:
        made = writer.add_dictionary("docs", b"nothing uses it yet" * 100)
        writer.commit()
        dropped = drop_dictionaries(str(database), None, ())
        assert (dropped.gone, dropped.left) == ((), (made.id,))
    assert drop_dictionaries(str(database), None, {made.id}) == ((), ())
    assert drop_dictionaries(str(database), {"analysis"}, ()) == ((), ())
    assert drop_dictionaries(str(database), {"docs"}, ()).gone == (made.id,)
