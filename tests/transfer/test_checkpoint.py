from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import pytest

from rustassistant.errors import InterruptedRunError
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.transfer import checkpoint as checkpoint_module
from rustassistant.transfer.checkpoint import Checkpoint, Part
from rustassistant.transfer.digest import Digest
from rustassistant.transfer.engine import transfer
from rustassistant.transfer.plan import Options
from rustassistant.transfer.report import Comparison, Progress
from rustassistant.transfer.verify import compare
from support import Cache

ENTRIES: Final = 20
PER_PARTITION: Final = 2
LONG_AGO: Final = 1_700_000_000 * 10**9 + 1


def age(path: Path) -> None:
    """A file as it is some time after it was written: so fresh a time is not to be trusted."""
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


class Job(NamedTuple):
    """A cache, a database that holds it, and a directory for notes."""

    cache: Cache
    database: Path
    notes: Path

    def checkpoint(self) -> Checkpoint:
        state = SqliteStore(self.database).state
        return Checkpoint(os.fspath(self.notes), str(self.cache.root), str(self.database), state)

    def compare(
        self,
        *,
        stop_after: int | None = None,
        during: Callable[[Progress], Any] | None = None,
        jobs: int = 1,
    ) -> tuple[Comparison, str]:
        """Go on with what there is; the answer has, too, why that was not possible."""
        checkpoint = self.checkpoint()
        why_not = checkpoint.load()
        done = 0

        def progress(now: Progress) -> None:
            nonlocal done
            done = now.done
            if during is not None:
                during(now)

        comparison = compare(
            JsonTree(self.cache.root),
            SqliteStore(self.database),
            options=Options(jobs=jobs),
            progress=progress,
            cancelled=lambda: stop_after is not None and done >= stop_after,
            checkpoint=checkpoint,
        )
        return comparison, why_not

    def interrupt(self, after: int = 8) -> None:
        with pytest.raises(InterruptedRunError, match="of 20 entries"):
            self.compare(stop_after=after)
        assert os.listdir(self.notes)

    @property
    def files(self) -> list[Path]:
        return sorted(self.cache.root.rglob("src_*.json"))

    def change_database(self, sql: str) -> None:
        connection = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.execute(sql)
        assert connection.changes()
        connection.close()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(json_store, "PARTITION_FILES", PER_PARTITION)
    cache = Cache(tmp_path / "repos")
    for number in range(ENTRIES):
        age(cache.add(f"src/{number:02}.rs", content=b"%d" % number))
    database = tmp_path / "cache.db"
    transfer(JsonTree(cache.root), SqliteStore(database), options=Options(jobs=1))
    age(database)
    return Job(cache, database, tmp_path / "home" / "verify")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, read_in_python: None) -> Iterator[list[str]]:
    """Names of the files that are read, in this process."""
    names: list[str] = []
    original = json_store.JsonPartition._read_one

    def noting(self: Any, name: str, directory: int, now: int) -> Any:
        names.append(name)
        return original(self, name, directory, now)

    monkeypatch.setattr(json_store.JsonPartition, "_read_one", noting)
    return names  # type: ignore[return-value]


def test_an_interrupted_comparison_goes_on_where_it_was(job: Job, read: list[str]) -> None:
    job.interrupt(after=8)
    assert len(read) == 8
    read.clear()
    comparison, why_not = job.compare()
    assert (comparison.compared, comparison.resumed, why_not) == (ENTRIES, 8, "")
    assert len(read) == ENTRIES - 8, "what was compared before is not read again"
    assert comparison.passed


def test_the_digest_is_the_same_whether_interrupted_or_not(job: Job) -> None:
    whole, _ = job.compare()
    for after in (2, 8, 14):
        job.interrupt(after)
    comparison, _ = job.compare()
    assert comparison.resumed == 14
    assert comparison.digest == whole.digest


def test_worker_processes_go_on_too(job: Job) -> None:
    job.interrupt(after=8)
    comparison, _ = job.compare(jobs=2)
    assert (comparison.compared, comparison.resumed, comparison.passed) == (ENTRIES, 8, True)


def test_nothing_is_left_of_a_comparison_that_ended(job: Job) -> None:
    job.interrupt()
    job.compare()
    assert os.listdir(job.notes) == []


def test_notes_are_for_their_owner_alone(job: Job) -> None:
    job.interrupt()
    [file] = job.notes.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for directory in (job.notes, job.notes.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_neither_side_is_touched(job: Job) -> None:
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in [*job.files, job.database]]
    job.interrupt()
    job.compare()
    after = [(file.read_bytes(), file.stat().st_mtime_ns) for file in [*job.files, job.database]]
    assert after == before


# --- What has changed since is compared again.


def test_a_file_that_has_changed_since_is_compared_again(job: Job, read: list[str]) -> None:
    job.interrupt(after=8)
    file = job.files[0]
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"tokens_used": 1234', b'"tokens_used": 1235'))
    age(file)  # same size, and its time set back
    read.clear()
    comparison, _ = job.compare()
    [difference] = comparison.differences
    assert (difference.path, difference.what) == (str(file), "differs in tokens_used")
    assert comparison.resumed == 8 - PER_PARTITION
    assert len(read) == ENTRIES - 8 + PER_PARTITION, "no more than its neighbours with it"


def test_a_file_that_is_gone_since_is_not_counted(job: Job) -> None:
    job.interrupt(after=8)
    job.files[0].unlink()
    comparison, _ = job.compare()
    assert comparison.compared == ENTRIES - 1


def test_another_meta_json_is_noticed(job: Job) -> None:
    """Even if all entries of its repository were compared before."""
    other = "/home/dev/later"
    assert job.cache.repository(other) > job.cache.repository()
    age(job.cache.add(repository=other))
    transfer(JsonTree(job.cache.root), SqliteStore(job.database), options=Options(jobs=1))
    age(job.database)
    with pytest.raises(InterruptedRunError, match="20 of 21"):
        job.compare(stop_after=ENTRIES)
    meta = job.cache.repository() / "meta.json"
    meta.write_bytes(meta.read_bytes() + b"\n")
    comparison, _ = job.compare()
    assert [one.what for one in comparison.differences] == ["differs in its text"]


def test_with_a_changed_database_all_is_compared_anew(job: Job, read: list[str]) -> None:
    job.interrupt(after=8)
    job.change_database("UPDATE entries SET tokens_used = 5, seal = seal + 1 WHERE id = 1")
    age(job.database)
    read.clear()
    comparison, why_not = job.compare()
    assert why_not == "the destination has changed since"
    assert (len(comparison.differences), comparison.resumed) == (1, 0)
    assert len(read) == ENTRIES


def test_a_database_with_its_time_set_back_is_still_another(job: Job) -> None:
    job.interrupt(after=8)
    content = job.database.read_bytes()
    job.database.write_bytes(content)
    age(job.database)
    assert job.compare()[1] == "the destination has changed since"


def test_a_database_that_others_change_meanwhile_ends_what_was_kept(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_module, "SAVE_SECONDS", 0)

    def change(now: Progress) -> None:
        if now.done == 8:
            job.change_database("UPDATE entries SET source_stamp = NULL WHERE id = 1")

    with pytest.raises(InterruptedRunError):
        job.compare(stop_after=10, during=change)
    assert os.listdir(job.notes) == []


def test_what_was_compared_before_a_change_is_never_kept_for_after_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change comes between two looks at the database, and both look trustworthy."""
    monkeypatch.setattr(checkpoint_module, "SAVE_SECONDS", 0)

    def change(now: Progress) -> None:
        if now.done == 8:
            job.change_database("UPDATE entries SET tokens_used = 5, seal = seal + 1 WHERE id = 1")
            age(job.database)

    with pytest.raises(InterruptedRunError):
        job.compare(stop_after=12, during=change)
    comparison, _ = job.compare()
    assert len(comparison.differences) == 1
    assert comparison.resumed <= 4


def test_answers_that_come_after_a_change_are_not_kept_for_it(job: Job) -> None:
    states = [b"before"]
    checkpoint = Checkpoint(os.fspath(job.notes), "source", "database", lambda: states[0])
    part = Part(b"state", 2, Digest().state, Digest().state)
    submitted = checkpoint.token()
    checkpoint.note(submitted, "key", part)
    assert checkpoint.compared == 2
    states[0] = b"after"
    checkpoint.save(ENTRIES)
    assert (checkpoint.compared, checkpoint.token()) == (0, b"after")
    checkpoint.note(submitted, "key", part)
    assert checkpoint.compared == 0, "it was compared with what is no more"
    checkpoint.note(None, "key", part)
    assert checkpoint.compared == 0
    checkpoint.note(checkpoint.token(), "key", part)
    checkpoint.note(checkpoint.token(), "key", None)
    assert checkpoint.compared == 0, "something is amiss in it now"


def test_what_an_earlier_run_found_holds_only_until_a_change(job: Job) -> None:
    states = [b"before"]

    def opened() -> Checkpoint:
        return Checkpoint(os.fspath(job.notes), "source", "database", lambda: states[0])

    part = Part(b"state", 2, Digest().state, Digest().state)
    earlier = opened()
    earlier.note(earlier.token(), "key", part)
    earlier.save(ENTRIES)
    checkpoint = opened()
    checkpoint.load()
    assert checkpoint.known("key") == part
    assert checkpoint.known("other") is None
    states[0] = b"after"
    checkpoint.save(ENTRIES)
    checkpoint.token()
    assert checkpoint.known("key") is None
    assert checkpoint.resumed("key") == part, "for the answer that is on its way"


def test_the_state_of_a_database_changes_with_its_log(job: Job) -> None:
    store = SqliteStore(job.database)
    before = store.state()
    connection = apsw.Connection(str(job.database), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0")
    connection.execute("UPDATE entries SET source_stamp = NULL")
    log = Path(f"{job.database}-wal")
    assert log.stat().st_size
    assert store.state() is None, "its time is too fresh"
    age(job.database)
    age(log)
    state = store.state()
    assert state not in (before, None)
    connection.execute("UPDATE entries SET source_stamp = 1")
    age(log)
    assert store.state() not in (before, state, None)
    connection.close()


def test_reading_a_database_leaves_its_state_as_it_is(job: Job) -> None:
    store = SqliteStore(job.database)
    before = store.state()
    with store.finder() as finder, finder.snapshot():
        assert store.state() == before
    assert store.state() == before
    assert before is not None


def test_a_database_that_is_not_there_has_a_state_of_its_own(job: Job, tmp_path: Path) -> None:
    assert SqliteStore(tmp_path / "absent.db").state() != SqliteStore(job.database).state()


# --- What is not kept.


def test_a_partition_with_a_failure_or_a_difference_is_compared_again(
    job: Job, read: list[str]
) -> None:
    job.files[0].write_bytes(b"")
    age(job.files[0])
    job.change_database("DELETE FROM entries WHERE id = 4")
    age(job.database)
    job.interrupt(after=8)
    read.clear()
    comparison, _ = job.compare()
    assert comparison.resumed == 4
    assert len(read) == ENTRIES - 4
    assert (len(comparison.unreadable), len(comparison.differences)) == (1, 1)


def test_what_is_wrong_with_meta_json_is_told_in_the_end_too(job: Job) -> None:
    job.change_database("UPDATE repositories SET meta = x'7b7d'")
    age(job.database)
    job.interrupt(after=8)
    comparison, _ = job.compare()
    assert [one.what for one in comparison.differences] == ["differs in its text"]
    assert comparison.compared == ENTRIES


def test_files_too_fresh_to_tell_are_compared_again(job: Job) -> None:
    future = LONG_AGO * 2
    os.utime(job.files[0], ns=(future, future))
    job.interrupt(after=8)
    assert job.compare()[0].resumed == 8 - PER_PARTITION


def test_nothing_is_kept_about_a_database_too_fresh_to_tell(job: Job) -> None:
    future = LONG_AGO * 2
    os.utime(job.database, ns=(future, future))
    with pytest.raises(InterruptedRunError):
        job.compare(stop_after=8)
    assert not job.notes.exists()


# --- Notes that are of no use.


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: b"",
        lambda text: text[:-20],
        lambda text: b"\xff" + text,
        lambda text: b"[]",
        lambda text: text.replace(b'"compared"', b'"x"').replace(b'["', b'["!'),
    ],
    ids=["empty", "cut off", "no text", "no notes", "no state"],
)
def test_notes_that_are_damaged_are_not_believed(job: Job, spoil: Callable[[bytes], bytes]) -> None:
    job.interrupt()
    [file] = job.notes.iterdir()
    file.write_bytes(spoil(file.read_bytes()))
    comparison, why_not = job.compare()
    assert "notes cannot be read" in why_not
    assert (comparison.compared, comparison.resumed, comparison.passed) == (ENTRIES, 0, True)
    assert os.listdir(job.notes) == []


def test_notes_of_another_version_are_not_believed(job: Job) -> None:
    job.interrupt()
    [file] = job.notes.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"format":1', b'"format":2'))
    comparison, why_not = job.compare()
    assert "another version" in why_not
    assert comparison.resumed == 0


def test_notes_about_others_are_not_ours(job: Job, tmp_path: Path) -> None:
    job.interrupt()
    copied = tmp_path / "copy.db"
    copied.write_bytes(job.database.read_bytes())
    age(copied)
    other = Job(job.cache, copied, job.notes)
    comparison, why_not = other.compare()
    assert (comparison.resumed, why_not) == (0, "")
    assert len(os.listdir(job.notes)) == 1, "and ours stay"


def test_notes_that_cannot_be_written_stop_nothing(job: Job) -> None:
    job.notes.parent.mkdir()
    job.notes.write_bytes(b"a file stands there")
    checkpoint = job.checkpoint()
    with pytest.raises(InterruptedRunError):
        compare(
            JsonTree(job.cache.root),
            SqliteStore(job.database),
            options=Options(jobs=1),
            cancelled=lambda: True,
            checkpoint=checkpoint,
        )
    assert checkpoint.problem
    comparison, _ = job.compare()
    assert comparison.passed
    assert job.notes.read_bytes() == b"a file stands there"


# --- Death.

_DYING: Final = """
import os, signal, sys
from rustassistant.stores.json_tree import JsonTree, store
from rustassistant.stores.sqlite import SqliteStore
from rustassistant.transfer import checkpoint
from rustassistant.transfer.plan import Options
from rustassistant.transfer.verify import compare
source, database, notes = sys.argv[1:]
store.PARTITION_FILES = 2
checkpoint.SAVE_SECONDS = 0
kept = checkpoint.Checkpoint(notes, source, database, SqliteStore(database).state)
def die(now):
    if now.done == 12:
        os.kill(os.getpid(), signal.SIGKILL)
compare(JsonTree(source), SqliteStore(database), options=Options(jobs=1), progress=die,
        checkpoint=kept)
"""


def test_a_comparison_that_was_killed_goes_on(job: Job) -> None:
    places = [job.cache.root, job.database, job.notes]
    died = subprocess.run([sys.executable, "-c", _DYING, *places], check=False)
    assert died.returncode == -signal.SIGKILL
    comparison, why_not = job.compare()
    assert (comparison.resumed, why_not) == (10, "")
    assert (comparison.compared, comparison.passed) == (ENTRIES, True)


@pytest.mark.parametrize("stage", ["open", "rename"])
def test_an_interruption_while_notes_are_written_leaves_the_last_ones(
    job: Job, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    job.interrupt(after=8)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename" if stage == "rename" else "fsync", refuse)
        with pytest.raises(KeyboardInterrupt):
            job.compare(stop_after=12)
    assert len(os.listdir(job.notes)) == 1
    assert job.compare()[0].resumed == 8
