from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rustassistant.errors import (
    BackupError,
    DamagedError,
    OutOfSpaceError,
    RestoreError,
    RustAssistantError,
)
from rustassistant.stores.base import Tree
from rustassistant.transfer import archive, backup, packing
from rustassistant.transfer.archive import part_of, read_archive
from rustassistant.transfer.members import (
    Member,
    from_header,
    header_of,
    leads_outside,
    manifest_lines,
    read_members,
)
from rustassistant.transfer.restore import restore_archive
from rustassistant.transfer.walking import state_of
from transfer.trees import age, repository, state, varied


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return varied(tmp_path / "repos")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An archive of a few hundred bytes."""
    root = tmp_path / "small"
    root.mkdir()
    (root / "a.json").write_bytes(b'{"a": 1}')
    (root / "b.json").write_bytes(b'{"b": 2}')
    age(root)
    return Path(pack(root))


def pack(root: Path, part: str | None = None) -> str:
    return backup.back_up(Tree(str(root), part), f"{root}.tar.zst").path


# --- There and back.


def test_a_tree_comes_back_the_same_in_bytes_modes_times_and_links(
    source: Path, tmp_path: Path
) -> None:
    before = state(source)
    packed = pack(source)
    assert packed == f"{source}.tar.zst"
    restored = restore_archive(packed, str(tmp_path / "back"), None)
    assert state(tmp_path / "back") == before
    assert state(source) == before, "and the source is as it was"
    files = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    assert restored.files == len(files)
    assert restored.size == sum(path.stat().st_size for path in files)
    assert restored.kept is None


def test_equal_trees_have_equal_archives(source: Path, tmp_path: Path) -> None:
    """Whatever order the directory happens to list them in."""
    shutil.copytree(source / "hollow", tmp_path / "elsewhere" / "repos")
    for name in ("b", "a", "c"):
        (tmp_path / "elsewhere" / "repos" / name).write_bytes(name.encode())
    other = tmp_path / "again" / "repos"
    shutil.copytree(source / "hollow", other)
    for name in ("c", "b", "a"):
        (other / name).write_bytes(name.encode())
    for root in (tmp_path / "elsewhere" / "repos", other):
        age(root)
    first, second = (Path(pack(root)) for root in (tmp_path / "elsewhere" / "repos", other))
    assert first.read_bytes() == second.read_bytes()


def test_an_archive_is_private_and_alone(source: Path) -> None:
    packed = Path(pack(source))
    assert packed.stat().st_mode & 0o777 == 0o600
    assert set(os.listdir(source.parent)) == {"repos", "repos.tar.zst"}


def test_of_a_repository_only_the_cache_is_packed(tmp_path: Path) -> None:
    root = repository(tmp_path / "project")
    packed = pack(root, ".rustassistant")
    assert part_of(packed) == ".rustassistant"
    restored = restore_archive(packed, str(tmp_path / "clone"), ".rustassistant")
    assert restored.path == str(tmp_path / "clone" / ".rustassistant")
    assert state(tmp_path / "clone" / ".rustassistant") == state(root / ".rustassistant")
    assert os.listdir(tmp_path / "clone") == [".rustassistant"]


def test_an_empty_tree_is_packed_too(tmp_path: Path) -> None:
    (tmp_path / "repos").mkdir()
    restore_archive(pack(tmp_path / "repos"), str(tmp_path / "back"), None)
    assert os.listdir(tmp_path / "back") == []


def test_a_taken_name_gets_a_date_before_its_suffix(source: Path) -> None:
    first, second = pack(source), pack(source)
    assert first == f"{source}.tar.zst"
    assert second.startswith(f"{source}-2")
    assert second.endswith(".tar.zst")
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_progress_counts_up_to_all_bytes(source: Path) -> None:
    told: list[tuple[int, int]] = []
    backup.back_up(Tree(str(source)), f"{source}.tar.zst", progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    assert len({total for _, total in told}) == 1


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd program")
def test_other_tools_unpack_and_check_it(tmp_path: Path) -> None:
    root = tmp_path / "repos"
    root.mkdir()
    for name in ("plain.json", "näme.json", "two\nlines", "back\\slash"):
        (root / name).write_bytes(name.encode())
    packed, place = pack(root), tmp_path / "by-hand"
    place.mkdir()
    plain = subprocess.run(["zstd", "-dcq", packed], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-xf", "-"], input=plain, cwd=place, check=True)
    subprocess.run(["sha256sum", "--quiet", "-c", "repos.sha256"], cwd=place, check=True)
    assert (place / "repos" / "two\nlines").read_bytes() == b"two\nlines"
    (place / "repos" / "plain.json").write_bytes(b"other")
    done = subprocess.run(
        ["sha256sum", "--quiet", "-c", "repos.sha256"], cwd=place, capture_output=True, check=False
    )
    assert done.returncode == 1


NAMES = st.lists(
    st.binary(min_size=1, max_size=120)
    .filter(lambda name: not {b"/"[0], 0} & set(name) and name not in (b".", b".."))
    .map(os.fsdecode),
    min_size=1,
    max_size=4,
).map(tuple)


@given(
    parts=NAMES,
    mode=st.integers(0, 0o7777),
    mtime=st.integers(-(2**60), 2**61),
    kind=st.sampled_from(["file", "directory", "fifo", "link"]),
    target=NAMES,
)
def test_a_member_survives_its_header(
    parts: tuple[str, ...], mode: int, mtime: int, kind: str, target: tuple[str, ...]
) -> None:
    content = b"x" * 5 if kind == "file" else b""
    link = "/".join(target) if kind == "link" else ""
    member = Member(kind, parts, mode, mtime, len(content), link)
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream,
        mode="w|",
        format=tarfile.PAX_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        tar.addfile(header_of(member), io.BytesIO(content))
    stream.seek(0)
    [(found, read)] = [
        (from_header(header), data and data.read()) for header, data in read_members(stream)
    ]
    assert found == member
    assert read == (content if kind == "file" else None)


# --- What changes while it is read.


def test_a_file_written_to_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "repos"
    root.mkdir()
    (root / "entry.json").write_bytes(b"before")
    real, calls = state_of, 0

    def looked(status: os.stat_result) -> tuple[int, int, int]:
        nonlocal calls
        calls += 1
        if calls == 1:  # between reading and looking again
            with open(root / "entry.json", "r+b") as file:
                file.write(b"after, and longer")
        return real(os.stat(root / "entry.json") if calls == 1 else status)

    monkeypatch.setattr(packing, "state_of", looked)
    packed = pack(root)
    restore_archive(packed, str(tmp_path / "back"), None)
    assert (tmp_path / "back" / "entry.json").read_bytes() == b"after, and longer"
    assert calls > 2


@pytest.mark.parametrize("size", [10, 5 * 2**20])
def test_a_file_that_never_holds_still_fails_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    root = tmp_path / "repos"
    root.mkdir()
    (root / "entry.json").write_bytes(bytes(size))
    states = iter(range(1000))
    monkeypatch.setattr(packing, "state_of", lambda _: (next(states), 0, 0))
    with pytest.raises(BackupError, match=r"entry\.json changes while it is copied"):
        pack(root)
    assert os.listdir(tmp_path) == ["repos"]


def test_what_is_read_back_is_compared(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that keeps something else than it was given."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        os.pwrite(descriptor, b"\x55", 2000)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DamagedError):
        pack(source)
    assert os.listdir(source.parent) == ["repos"]


# --- Damage.


def refused(packed: Path, place: Path, *, hint: str = "") -> RustAssistantError:
    """Restoring it fails as one of our errors, and leaves nothing."""
    before = set(os.listdir(place.parent))
    with pytest.raises(RustAssistantError) as caught:
        restore_archive(str(packed), str(place), None)
    assert set(os.listdir(place.parent)) == before, "nothing appeared"
    assert hint in caught.value.hint
    return caught.value


def test_every_flipped_bit_is_found(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    spoilt = tmp_path / "spoilt.tar.zst"
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << (position % 8)
        spoilt.write_bytes(data)
        error = refused(spoilt, tmp_path / "back")
        assert isinstance(error, DamagedError if position >= 4 else BackupError), position


def test_every_cut_is_found(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    spoilt = tmp_path / "spoilt.tar.zst"
    for length in [*range(4, len(whole), 7), len(whole) - 1]:
        spoilt.write_bytes(whole[:length])
        assert isinstance(refused(spoilt, tmp_path / "back"), DamagedError), length


def test_something_appended_is_found(small: Path, tmp_path: Path) -> None:
    small.write_bytes(small.read_bytes() + small.read_bytes())
    assert isinstance(refused(small, tmp_path / "back"), DamagedError)


def test_damage_exits_with_four_and_says_what_to_do(small: Path, tmp_path: Path) -> None:
    small.write_bytes(small.read_bytes()[:-1])
    error = refused(small, tmp_path / "back", hint="Restore another backup")
    assert error.exit_code == 4


def test_archive_of_another_program_is_refused(tmp_path: Path) -> None:
    plain = tmp_path / "plain.tar.zst"
    plain.write_bytes(zstandard.compress(b"no tar at all"))
    assert "another program" in refused(plain, tmp_path / "back").message


# --- Archives that would do harm.

Entry = tuple[tarfile.TarInfo, bytes]


def directory(name: str) -> Entry:
    header = tarfile.TarInfo(name)
    header.type, header.mode = tarfile.DIRTYPE, 0o755
    return header, b""


def file(name: str, content: bytes = b"content") -> Entry:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    return header, content


def odd(name: str, kind: bytes, target: str = "") -> Entry:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header, b""


def forged(
    path: Path, entries: Iterable[Entry], *, size: int | None = None, tar_size: int | None = None
) -> Path:
    """An archive whose manifest and end are right for whatever is in it."""
    tar_bytes, manifest = io.BytesIO(), b""
    files = total = members = 0
    with tarfile.open(fileobj=tar_bytes, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for header, content in entries:
            tar.addfile(header, io.BytesIO(content))
            members += 1
            is_file = header.type == tarfile.REGTYPE
            files, total = files + is_file, total + len(content)
            try:
                member = from_header(header)
            except ValueError:
                continue
            manifest += manifest_lines(member, sha256(content).hexdigest())
        header = tarfile.TarInfo("top.sha256")
        header.size = len(manifest)
        tar.addfile(header, io.BytesIO(manifest))
    return sealed(path, tar_bytes.getvalue(), files, total if size is None else size, members,
                  tar_size)  # fmt: skip


def sealed(
    path: Path, tar: bytes, files: int, size: int, members: int, tar_size: int | None = None
) -> Path:
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(tar)
    trailer = archive.Trailer(
        archive.FORMAT,
        files,
        size,
        members,
        len(tar) if tar_size is None else tar_size,
        None,
        sha256(frame).hexdigest(),
    )
    path.write_bytes(frame + archive.block_of(trailer))
    return path


def test_forged_archives_are_good_unless_they_hold_something_bad(tmp_path: Path) -> None:
    packed = forged(tmp_path / "good.tar.zst", [directory("top"), file("top/a"), file("top/b")])
    assert restore_archive(str(packed), str(tmp_path / "back"), None).files == 2


@pytest.mark.parametrize(
    "entries",
    [
        [directory("/top"), file("/top/a")],
        [directory("top"), file("/etc/cron.d/evil")],
        [directory("top"), file("top/../../evil")],
        [directory("top"), file("top/./a")],
        [directory("top"), file("../evil")],
        [directory(".."), file("../evil")],
        [directory("top"), file("other/a")],
        [directory("top"), directory("zzz")],
        [file("top")],
        [directory("top"), file("top/a"), file("top/a")],
        [directory("top"), file("top/b"), file("top/a")],
        [directory("top"), file("top/missing/a")],
        [directory("top"), directory("top/d"), file("top/e"), file("top/d/late")],
        [directory("top"), odd("top/a", tarfile.SYMTYPE, "."), file("top/a/through")],
        [directory("top"), file("top/a"), odd("top/b", tarfile.LNKTYPE, "top/a")],
        [directory("top"), odd("top/a", tarfile.LNKTYPE, "/etc/passwd")],
        [directory("top"), odd("top/a", tarfile.CHRTYPE)],
        [directory("top"), odd("top/a", tarfile.BLKTYPE)],
        [directory("top"), odd("top/a", tarfile.CONTTYPE)],
        [directory("top"), odd("top/a", tarfile.GNUTYPE_SPARSE)],
        [directory("top"), odd("top/a", tarfile.SYMTYPE, "")],
    ],
    ids=lambda entries: " ".join(header.name for header, _ in entries),
)
def test_what_would_do_harm_is_refused(tmp_path: Path, entries: list[Entry]) -> None:
    (tmp_path / "in").mkdir()
    packed = forged(tmp_path / "evil.tar.zst", entries)
    assert isinstance(refused(packed, tmp_path / "in" / "back"), DamagedError)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "target", ["/etc", "../..", "../../etc", "a/../../..", "b/..", "..x/../.."]
)
def test_links_that_lead_outside_need_trust(tmp_path: Path, target: str) -> None:
    link = odd("top/link", tarfile.SYMTYPE, target)
    packed = forged(tmp_path / "linked.tar.zst", [directory("top"), link])
    assert isinstance(refused(packed, tmp_path / "back", hint="--outside-links"), RestoreError)
    restore_archive(str(packed), str(tmp_path / "back"), None, outside_links=True)
    assert os.readlink(tmp_path / "back" / "link") == target


@given(
    depth=st.integers(1, 4),
    steps=st.lists(st.sampled_from(["..", "a", "b", ".", ""]), min_size=1, max_size=7),
)
def test_links_that_stay_inside_are_told_from_others(depth: int, steps: list[str]) -> None:
    """Taken word for word, none that is let through ever leaves the root."""
    target = "/".join(steps)
    parts = ("d",) * depth
    if target.startswith("/") or leads_outside(parts, target):
        return
    level = depth - 1
    for step in steps:
        level += {"..": -1, "": 0, ".": 0}.get(step, 1)
        assert level >= 0


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    zeros = bytes(64 * 2**20)
    entries = [directory("top"), file("top/zeros", zeros)]
    assert (
        "more than its end says"
        in refused(forged(tmp_path / "liar.tar.zst", entries, size=100), tmp_path / "back").message
    )
    cut = forged(tmp_path / "cut.tar.zst", entries, tar_size=2**20)
    assert isinstance(refused(cut, tmp_path / "back"), DamagedError)
    huge = forged(tmp_path / "huge.tar.zst", entries, tar_size=2**60)
    assert isinstance(refused(huge, tmp_path / "back"), OutOfSpaceError)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("top")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    tar = header.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)
    packed = sealed(tmp_path / "evil.tar.zst", tar, 0, 0, 0, tar_size=2**30)
    assert "longer than any name" in refused(packed, tmp_path / "back").message


def test_a_frame_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    packed = forged(tmp_path / "good.tar.zst", [directory("top"), file("top/a")])
    tar = zstandard.ZstdDecompressor().decompressobj().decompress(packed.read_bytes())
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    compressing = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = compressing.compress(tar) + compressing.flush()
    data = packed.read_bytes()
    trailer = archive._parsed(data[-512:])
    assert trailer is not None
    trailer = msgspec.structs.replace(trailer, sha256=sha256(frame).hexdigest())
    packed.write_bytes(frame + archive.block_of(trailer))
    assert "memory" in refused(packed, tmp_path / "back").message


def test_sparse_files_are_refused(tmp_path: Path) -> None:
    sparse = file("top/a")
    sparse[0].pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": "1000000",
        "GNU.sparse.map": "999993,7",
    }
    packed = forged(tmp_path / "evil.tar.zst", [directory("top"), sparse], size=1_000_000)
    assert "neither file" in refused(packed, tmp_path / "back").message


def test_headers_of_headers_without_end_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("top")
    header.type, header.size = tarfile.XHDTYPE, 0
    packed = sealed(tmp_path / "evil.tar.zst", header.tobuf() * 20_000, 0, 0, 0)
    assert isinstance(refused(packed, tmp_path / "back"), DamagedError)


def test_members_after_the_manifest_are_refused(tmp_path: Path) -> None:
    good = [directory("top"), file("top/a")]
    packed = forged(tmp_path / "good.tar.zst", good)
    data = zstandard.ZstdDecompressor().decompressobj().decompress(packed.read_bytes())
    end = data.rindex(b"\n") // 512 * 512 + 512
    more = io.BytesIO()
    with tarfile.open(fileobj=more, mode="w|") as tar:
        tar.addfile(file("top/evil")[0], io.BytesIO(b"content"))
    packed = sealed(tmp_path / "evil.tar.zst", data[:end] + more.getvalue(), 1, 7, 2)
    assert "goes on after" in refused(packed, tmp_path / "back").message


@pytest.mark.parametrize("what", ["content", "mode", "missing", "no manifest"])
def test_what_differs_from_the_manifest_is_named(tmp_path: Path, what: str) -> None:
    """Though checksums of the frame are right."""
    good = forged(tmp_path / "good.tar.zst", [directory("top"), file("top/a"), file("top/b")])
    data = zstandard.ZstdDecompressor().decompressobj().decompress(good.read_bytes())
    spoils: dict[str, Callable[[bytes], bytes]] = {
        "content": lambda tar: tar.replace(b"content", b"CONTENT", 1),
        "mode": lambda tar: tar,
        "missing": lambda tar: tar,
        "no manifest": lambda tar: tar[: tar.index(b"top.sha256")] + bytes(1024),
    }
    files, members = 2, 3
    if what in ("mode", "missing"):
        entries = [directory("top"), file("top/a"), file("top/b")]
        if what == "mode":
            entries[1][0].mode = 0o777
        else:
            del entries[1]
            files, members = 1, 2
        other = forged(tmp_path / "other.tar.zst", entries)
        changed = zstandard.ZstdDecompressor().decompressobj().decompress(other.read_bytes())
        manifest = data[data.index(b"top.sha256") :]
        data = changed[: changed.index(b"top.sha256")] + manifest
    packed = sealed(tmp_path / "bad.tar.zst", spoils[what](data), files, 7 * files, members)
    error = refused(packed, tmp_path / "back")
    assert isinstance(error, DamagedError)
    assert ("manifest is missing" if what == "no manifest" else "top/") in error.message


def test_rights_of_its_owner_are_not_given_to_files(tmp_path: Path) -> None:
    program, shared = file("top/program"), directory("top/shared")
    program[0].mode, shared[0].mode = 0o6755, 0o2775
    packed = forged(tmp_path / "a.tar.zst", [directory("top"), program, shared])
    restore_archive(str(packed), str(tmp_path / "back"), None)
    assert (tmp_path / "back" / "program").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "back" / "shared").stat().st_mode & 0o7777 == 0o2775


def test_memory_does_not_grow_with_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tar reader and writer would keep every header."""
    root = tmp_path / "repos"
    root.mkdir()
    for number in range(50):
        (root / f"{number}.json").write_bytes(b"{}")
    kept: list[int] = []
    real = tarfile.TarFile.next

    def counting(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        kept.append(len(tar.members))  # type: ignore[attr-defined]
        return real(tar)

    monkeypatch.setattr(tarfile.TarFile, "next", counting)
    read_archive(pack(root), None)
    assert len(kept) > 100
    assert max(kept) <= 1
