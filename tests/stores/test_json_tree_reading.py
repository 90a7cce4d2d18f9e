"""Reading files that others may be changing, or that were never meant to be read."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.codec import MAX_TEXT_BYTES
from rustassistant.errors import EntryError
from rustassistant.stores.base import Found, Look, Partition
from rustassistant.stores.json_tree import JsonTree
from rustassistant.stores.json_tree import store as json_store
from rustassistant.stores.json_tree.reading import FileText, read_file, stamp_of
from rustassistant.stores.outcomes import Failure, Problem
from support import Cache, as_nobody, dump, fields_of

SECOND = 10**9
LONG_AGO = 1_700_000_000 * SECOND
NOW = LONG_AGO + 1_000 * SECOND
WHOLE = 1_770_000_000 * 10**9


def aged(path: Path, nanoseconds: int = LONG_AGO) -> Path:
    """The file, last changed long ago as far as anyone can tell."""
    os.utime(path, ns=(nanoseconds, nanoseconds))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "entry.json"
    path.write_bytes(b"old" * 100)
    return aged(path)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """The file of the one entry of a cache, aged."""
    return aged(Cache(tmp_path / "repos").add())


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that an unprivileged user can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name).resolve()
        directory.chmod(0o755)
        yield directory
        for path, directories, _ in os.walk(directory):
            for one in directories:
                Path(path, one).chmod(0o755)


def partition_of(file: Path) -> Partition:
    """The one partition of the cache that this entry lies in."""
    [partition] = JsonTree(file.parents[3]).partitions()
    assert not isinstance(partition, Failure | Problem)
    return partition


def read(partition: Partition) -> list[Found | Failure]:
    return list(partition.read())


def reasons(items: list[Found | Failure]) -> dict[str, str]:
    """Of failures alone, by file name; anything else is an error of the test."""
    found = {}
    for item in items:
        assert isinstance(item, Failure), item
        found[item.path.rpartition("/")[2]] = item.reason
    return found


def on_first_read(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], object], *, part: int | None = None
) -> list[int]:
    """Let something happen right after the first bytes were read, ``part`` of them or all."""
    real = os.read
    calls: list[int] = []

    def changing(descriptor: int, count: int) -> bytes:
        first = not calls
        calls.append(descriptor)
        data = real(descriptor, part if first and part is not None else count)
        if first:
            change()
        return data

    monkeypatch.setattr(os, "read", changing)
    return calls


# What is read


@pytest.mark.parametrize("text", [b"", b"x", b"{}" * 5_000_000])
def test_whole_file_is_read(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    assert read_file(str(path)).text == text


def test_file_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, MAX_TEXT_BYTES)
    assert len(read_file(str(path)).text) == MAX_TEXT_BYTES
    os.truncate(path, MAX_TEXT_BYTES + 1)
    with pytest.raises(EntryError, match="larger than an entry can be"):
        read_file(str(path))


def test_huge_file_is_refused_by_its_size_without_reading_it(
    entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 200 * 2**20
    os.truncate(entry, size)
    partition = partition_of(entry)

    def unexpected(descriptor: int, count: int) -> NoReturn:
        raise AssertionError("it was read")

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", unexpected)
        [failure] = read(partition)
    assert isinstance(failure, Failure)
    assert "larger than an entry can be" in failure.reason
    assert str(size) in failure.reason
    assert failure.size == size


def test_file_is_read_in_pieces_where_the_system_gives_no_more(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, count: real(descriptor, min(count, 7)))
    assert read_file(str(file)).text == b"old" * 100


def test_read_that_ends_early_is_not_taken_for_the_whole(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a network file system may do when another machine cut the file and wrote it anew.
    real = os.read
    answers = [150, 0]

    def ending_early(descriptor: int, count: int) -> bytes:
        return real(descriptor, answers.pop(0) if answers else count)

    monkeypatch.setattr(os, "read", ending_early)
    assert read_file(str(file)).text == b"old" * 100


# What is no file


def test_fifo_is_refused_at_once_though_nobody_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    with pytest.raises(EntryError, match="not a regular file"):
        read_file(str(path))


def test_fifo_with_a_writer_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.write(descriptor, b"for somebody else")
        with pytest.raises(EntryError, match="not a regular file"):
            read_file(str(path))
        assert os.read(descriptor, 100) == b"for somebody else"
    finally:
        os.close(descriptor)


def test_directory_is_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.mkdir()
    with pytest.raises(EntryError, match="not a regular file"):
        read_file(str(path))


def test_socket_is_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has room for some hundred bytes only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.json")
        with pytest.raises(EntryError, match="cannot be read"):
            read_file("s.json")


@pytest.mark.parametrize("target", ["file", "nothing", "itself"])
def test_link_is_refused(tmp_path: Path, file: Path, target: str) -> None:
    link = tmp_path / "link.json"
    link.symlink_to({"file": file, "nothing": tmp_path / "gone", "itself": link}[target])
    with pytest.raises(EntryError, match="symbolic link"):
        read_file(str(link))


def test_missing_file_has_vanished(tmp_path: Path) -> None:
    with pytest.raises(EntryError, match="vanished"):
        read_file(str(tmp_path / "gone.json"))


def test_nothing_stays_open_whatever_happens(tmp_path: Path, file: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open descriptors cannot be counted here")
    fifo, directory, huge = (tmp_path / name for name in ("f.json", "d.json", "h.json"))
    os.mkfifo(fifo)
    directory.mkdir()
    huge.touch()
    os.truncate(huge, 2**40)
    before = len(os.listdir("/proc/self/fd"))
    read_file(str(file))
    for path in (fifo, directory, huge, tmp_path / "gone.json"):
        with pytest.raises(EntryError):
            read_file(str(path))
    assert len(os.listdir("/proc/self/fd")) == before


# Files that change while they are read


def test_file_that_grows_once_is_read_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grow() -> None:
        with file.open("ab") as writer:
            writer.write(b"more")

    on_first_read(monkeypatch, grow)
    assert read_file(str(file)).text == b"old" * 100 + b"more"


def test_file_that_grows_without_end_is_given_up(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read

    def growing(descriptor: int, count: int) -> bytes:
        with file.open("ab") as writer:
            writer.write(b"more")
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", growing)
    with pytest.raises(EntryError, match="changes while it is being read"):
        read_file(str(file))


def test_file_that_is_cut_is_read_as_it_is_then(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_first_read(monkeypatch, lambda: os.truncate(file, 10), part=5)
    assert read_file(str(file)).text == (b"old" * 4)[:10]


@pytest.mark.parametrize("part", [None, 0, 1, 150, 299])
def test_file_rewritten_in_place_is_never_read_half_and_half(
    file: Path, monkeypatch: pytest.MonkeyPatch, part: int | None
) -> None:
    on_first_read(monkeypatch, lambda: file.write_bytes(b"new" * 100), part=part)
    found = read_file(str(file), now=NOW)
    assert found.text == b"new" * 100


def test_rewriting_that_restores_the_time_is_noticed_too(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.stat().st_ctime_ns

    def rewrite() -> None:
        file.write_bytes(b"new" * 100)
        while aged(file).stat().st_ctime_ns == before:
            pass  # the kernel's clock may tick only every few milliseconds

    on_first_read(monkeypatch, rewrite, part=150)
    assert read_file(str(file)).text == b"new" * 100


def test_file_replaced_while_it_is_read_is_read_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = file.with_name("other.tmp")
    other.write_bytes(b"new" * 100)
    aged(other, LONG_AGO + 1)
    on_first_read(monkeypatch, lambda: other.replace(file), part=150)
    found = read_file(str(file), now=NOW)
    assert found.text == b"old" * 100
    assert found.stamp is not None
    assert found.stamp != stamp_of(file.stat()), "the new one would never be read"


def test_file_removed_while_it_is_read_is_read_as_it_was(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_first_read(monkeypatch, file.unlink, part=150)
    assert read_file(str(file)).text == b"old" * 100


def test_undisturbed_file_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = on_first_read(monkeypatch, lambda: None)
    read_file(str(file))
    assert len(calls) == 1


@pytest.mark.usefixtures("read_in_python")
def test_entry_that_keeps_changing_is_a_failure_and_the_next_is_read(
    entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restless = entry.with_name("aaa.json")
    restless.write_bytes(dump(fields_of("aaa")))
    partition = partition_of(entry)
    real = os.read
    inode = restless.stat().st_ino

    def growing(descriptor: int, count: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode:
            with restless.open("ab") as writer:
                writer.write(b" ")
        return real(descriptor, count)

    with monkeypatch.context() as patched:
        patched.setattr(os, "read", growing)
        first, second = read(partition)
    assert isinstance(first, Failure)
    assert "run again" in first.reason
    assert isinstance(second, Found)
    assert second.entry.file_path == "src/lib.rs"


# Stamps


def test_stamp_tells_size_time_and_file_apart(file: Path) -> None:
    def stamp() -> int | None:
        return read_file(str(file), now=NOW).stamp

    first = stamp()
    assert first is not None
    assert stamp() == first
    aged(file, LONG_AGO + 1)
    touched = stamp()
    file.write_bytes(b"old" * 100 + b" ")
    aged(file)
    grown = stamp()
    copy = file.with_name("copy.json")
    copy.write_bytes(b"old" * 100)
    aged(copy).replace(file)
    replaced = stamp()
    assert len({first, touched, grown, replaced}) == 4
    assert None not in {touched, grown, replaced}


def test_stamp_is_that_of_the_status(file: Path) -> None:
    assert read_file(str(file), now=NOW).stamp == stamp_of(file.stat())


def test_stamp_does_not_depend_on_reading(file: Path) -> None:
    before = stamp_of(file.stat())
    file.read_bytes()
    assert stamp_of(file.stat()) == before


def test_stamp_differs_for_a_file_changed_with_its_time_set_back(file: Path) -> None:
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # until the kernel's clock has moved on
        file.write_bytes(file.read_bytes()[::-1])
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert stamp_of(file.stat()) != stamp_of(before)


@given(size=st.integers(0, 2**63 - 1), mtime=st.integers(-(2**63), 2**63 - 1), inode=st.integers(0))
def test_stamp_of_any_status_fits_the_database(size: int, mtime: int, inode: int) -> None:
    class Status:
        st_size, st_mtime_ns, st_ino = size, mtime, inode % 2**64
        st_ctime_ns = -mtime - 1

    assert -(2**63) <= stamp_of(Status()) < 2**63  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "age", "trusted"),
    [
        (WHOLE, 1_000 * SECOND, True),
        (WHOLE, 2 * SECOND, True),
        (WHOLE, 2 * SECOND - 1, False),
        (WHOLE, 0, False),
        (WHOLE, -1_000 * SECOND, False),
        (WHOLE + 1, SECOND, True),
        (WHOLE + 1, SECOND // 20, True),
        (WHOLE + 1, SECOND // 20 - 1, False),
        (WHOLE + 1, 0, False),
        (WHOLE + 1, -1, False),
    ],
)
def test_file_changed_within_a_step_of_its_clock_has_no_stamp(
    file: Path, changed: int, age: int, trusted: bool
) -> None:
    # Times without a fraction are of a file system that has none: its step is two seconds at most.
    aged(file, changed)
    assert (read_file(str(file), now=changed + age).stamp is not None) == trusted


def test_without_a_clock_no_stamp_is_given(file: Path) -> None:
    assert read_file(str(file)).stamp is None


@pytest.mark.parametrize("mtime", ["now", "future"])
def test_fresh_entry_is_found_without_a_stamp(entry: Path, mtime: str) -> None:
    if mtime == "now":
        os.utime(entry)
    else:
        aged(entry, entry.stat().st_ctime_ns + 1_000_000 * SECOND)
    [found] = read(partition_of(entry))
    assert isinstance(found, Found)
    assert found.stamp is None


def test_old_entry_is_found_with_its_stamp(entry: Path) -> None:
    [found] = read(partition_of(entry))
    assert isinstance(found, Found)
    assert found.stamp == stamp_of(entry.stat())
    assert found.size == entry.stat().st_size
    assert found.path == str(entry)
    assert found.name is None


def test_known_stamp_spares_the_reading(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partition = partition_of(entry)
    stamp = stamp_of(entry.stat())
    size = entry.stat().st_size

    def unexpected(descriptor: int, count: int) -> NoReturn:
        raise AssertionError("it was read")

    monkeypatch.setattr(os, "read", unexpected)
    for stamps in ([stamp], [1, stamp, 2], {stamp}):
        assert partition.look([stamps]) == Look((0,), size)


@pytest.mark.parametrize("change", ["content", "size", "time", "inode", "none known"])
def test_anything_else_has_changed(entry: Path, change: str) -> None:
    partition = partition_of(entry)
    known = [stamp_of(entry.stat())]
    if change == "content":
        entry.write_bytes(entry.read_bytes().replace(b"xai", b"xia"))
    elif change == "size":
        entry.write_bytes(entry.read_bytes() + b"\n")
        aged(entry)
    elif change == "time":
        aged(entry, LONG_AGO - 1)
    elif change == "inode":
        copy = entry.with_name("copy")
        shutil.copy2(entry, copy)
        copy.replace(entry)
    else:
        known = []
    assert partition.look([known]) == Look()


def test_link_in_place_of_a_known_file_is_not_taken_for_it(entry: Path, tmp_path: Path) -> None:
    partition = partition_of(entry)
    known = [stamp_of(entry.stat())]
    moved = entry.rename(tmp_path / "moved.json")
    entry.symlink_to(moved)
    assert partition.look([known]) == Look()
    assert "symbolic link" in reasons(read(partition))[entry.name]


def test_known_file_that_vanished_has_changed(entry: Path) -> None:
    partition = partition_of(entry)
    known = [stamp_of(entry.stat())]
    entry.unlink()
    assert partition.look([known]) == Look()
    entry.parent.rmdir()
    assert partition.look([known]) == Look()


def test_look_tells_which_files_are_unchanged(entry: Path) -> None:
    files = [entry.with_name(f"{letter}.json") for letter in "abcde"]
    entry.unlink()
    for file in files:
        file.write_bytes(dump(fields_of(file.name)))
        aged(file)
    stamps = [stamp_of(file.stat()) for file in files]
    size = files[0].stat().st_size
    partition = partition_of(files[0])
    assert partition.look([[one] for one in stamps]) == Look((0, 1, 2, 3, 4), 5 * size)
    aged(files[0], LONG_AGO - 1)
    files[2].unlink()
    others = [[stamps[0]], [stamps[1]], [stamps[2]], None, [stamps[3]]]
    assert partition.look(others) == Look((1,), size), "the stamp of another file says nothing"


# Between listing and reading


def test_vanished_file_does_not_hide_the_others(entry: Path) -> None:
    names = [f"{letter}.json" for letter in "abc"]
    for name in names:
        entry.with_name(name).write_bytes(dump(fields_of(name)))
    partition = partition_of(entry)
    entry.with_name("b.json").unlink()
    a, b, c, lib = read(partition)
    assert isinstance(b, Failure)
    assert "vanished" in b.reason
    assert b.cache_type == "docs"
    assert all(isinstance(item, Found) for item in (a, c, lib))


def not_in_memory(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
    assert flags == os.RWF_NOWAIT
    raise BlockingIOError


@pytest.mark.usefixtures("read_in_python")
def test_files_are_announced_to_the_kernel_before_any_is_read(
    entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", not_in_memory)
    for name in ("a", "b"):
        entry.with_name(f"{name}.json").write_bytes(dump(fields_of(name)))
    partition = partition_of(entry)
    entry.with_name("b.json").unlink()
    os.mkfifo(entry.with_name("b.json"))
    calls: list[str] = []
    advise = os.posix_fadvise

    def announced(descriptor: int, offset: int, length: int, advice: int) -> None:
        calls.append("announced")
        assert (offset, advice) == (0, os.POSIX_FADV_WILLNEED)
        assert length > entry.stat().st_size
        advise(descriptor, offset, length, advice)  # which of a FIFO is an error

    def spy(name: str, **how: Any) -> FileText:
        calls.append(name)
        return read_file(name, **how)

    monkeypatch.setattr(os, "posix_fadvise", announced)
    monkeypatch.setattr(json_store, "read_file", spy)
    a, b, lib = read(partition)
    assert calls == ["announced"] * 3 + list(partition.names)
    assert isinstance(a, Found)
    assert isinstance(b, Failure)
    assert isinstance(lib, Found)


def test_files_are_read_where_nothing_can_be_announced(
    entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry.with_name("a.json").write_bytes(dump(fields_of("a")))
    for name in ("posix_fadvise", "preadv", "RWF_NOWAIT"):
        monkeypatch.delattr(os, name)
    assert all(isinstance(item, Found) for item in read(partition_of(entry)))


def test_files_in_memory_are_not_announced(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcdefgh":
        entry.with_name(f"{name}.json").write_bytes(dump(fields_of(name)))
    partition = partition_of(entry).part(range(8))
    calls: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: calls.append(1))
    monkeypatch.setattr(os, "preadv", lambda *_: 1)
    assert all(isinstance(item, Found) for item in read(partition))
    assert not calls
    monkeypatch.setattr(os, "preadv", not_in_memory)
    assert all(isinstance(item, Found) for item in read(partition))
    assert len(calls) == 8


def test_results_come_in_the_order_of_the_names(entry: Path) -> None:
    for name in ("c", "a", "é", "B"):
        entry.with_name(f"{name}.json").write_bytes(dump(fields_of(name)))
    partition = partition_of(entry)
    paths = [item.path for item in read(partition) if isinstance(item, Found)]
    assert [path.rpartition("/")[2] for path in paths] == list(partition.names)
    assert paths == [partition.place(position) for position in range(len(paths))]


@pytest.mark.parametrize("into", ["fifo", "directory", "link"])
def test_file_that_became_something_else_is_refused(entry: Path, tmp_path: Path, into: str) -> None:
    partition = partition_of(entry)
    moved = entry.rename(tmp_path / "moved.json")
    if into == "fifo":
        os.mkfifo(entry)
    elif into == "directory":
        entry.mkdir()
    else:
        entry.symlink_to(moved)
    expected = "symbolic link" if into == "link" else "not a regular file"
    assert expected in reasons(read(partition))[entry.name]


@pytest.mark.parametrize("into", ["nothing", "file", "fifo"])
def test_directory_that_is_gone_fails_each_of_its_files(
    entry: Path, tmp_path: Path, into: str
) -> None:
    entry.with_name("other.json").write_bytes(dump(fields_of("other")))
    partition = partition_of(entry)
    directory = entry.parent
    directory.rename(tmp_path / "moved")
    if into == "file":
        directory.touch()
    elif into == "fifo":
        os.mkfifo(directory)
    found = reasons(read(partition))
    assert list(found) == ["other.json", "src_lib_rs.json"]
    assert all("directory cannot be read" in reason for reason in found.values())


def test_directory_replaced_by_a_link_is_not_followed(entry: Path, tmp_path: Path) -> None:
    partition = partition_of(entry)
    moved = entry.parent.rename(tmp_path / "moved")
    entry.parent.symlink_to(moved)
    assert list(reasons(read(partition))) == [entry.name]


def test_directory_replaced_by_another_is_read_as_it_is_now(entry: Path, tmp_path: Path) -> None:
    partition = partition_of(entry)
    known = [stamp_of(entry.stat())]
    entry.parent.rename(tmp_path / "moved")
    entry.parent.mkdir()
    entry.write_bytes(dump(fields_of("another.rs")))
    assert partition.look([known]) == Look()
    [found] = read(partition)
    assert isinstance(found, Found)
    assert found.entry.file_path == "another.rs"


def test_directory_replaced_while_it_is_read_gives_the_rest_of_the_old_one(
    entry: Path, tmp_path: Path
) -> None:
    entry.with_name("a.json").write_bytes(dump(fields_of("a")))
    reading = iter(partition_of(entry).read())
    first = next(reading)
    entry.parent.rename(tmp_path / "moved")
    second = next(reading)
    assert isinstance(first, Found)
    assert isinstance(second, Found)


# Without permission


def test_unreadable_file_is_a_failure_and_the_next_is_read(public: Path) -> None:
    entry = Cache(public / "repos").add()
    closed = entry.with_name("closed.json")
    closed.write_bytes(dump(fields_of("closed")))
    closed.chmod(0)

    def reads_the_other() -> None:
        failure, found = read(partition_of(entry))
        assert isinstance(failure, Failure)
        assert "Permission denied" in failure.reason
        assert failure.path == str(closed)
        assert failure.size > 0
        assert isinstance(found, Found)

    as_nobody(reads_the_other)


def test_directory_closed_after_listing_fails_each_of_its_files(public: Path) -> None:
    entry = Cache(public / "repos").add()
    partition = partition_of(entry)
    entry.parent.chmod(0)

    def fails() -> None:
        assert "Permission denied" in reasons(read(partition))[entry.name]

    as_nobody(fails)


def test_directory_that_may_be_listed_but_not_entered_fails_each_of_its_files(
    public: Path,
) -> None:
    entry = Cache(public / "repos").add()
    entry.with_name("b.json").write_bytes(dump(fields_of("b")))
    entry.parent.chmod(0o444)

    def fails() -> None:
        found = reasons(read(partition_of(entry)))
        assert list(found) == ["b.json", "src_lib_rs.json"]
        assert all("Permission denied" in reason for reason in found.values())

    as_nobody(fails)
