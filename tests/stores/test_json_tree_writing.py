"""A tree as a destination: what lies where, what is never written over, and where it never goes."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from rustassistant.entry import Entry
from rustassistant.entry_json import render
from rustassistant.errors import DestinationError, LockedError
from rustassistant.stores.base import Destination, Folder, Found, Repository
from rustassistant.stores.json_tree import JsonTree, JsonTreeDestination, Layout
from rustassistant.stores.json_tree.naming import Naming, Tally
from rustassistant.stores.outcomes import OnConflict, Problem, Rules
from stores.store_suite import FLAT, FOLDER, HOME, DestinationSuite, entry_in, kept_entry, record_of
from support import as_nobody, snapshot

DOCS: Final = "6b1e9f3a/cache/docs"


def write(
    root: Path,
    *items: tuple[Folder, Entry] | tuple[Folder, Entry, bytes],
    on_conflict: OnConflict = OnConflict.NEWEST,
    every: bool = False,
    layout: Layout | None = None,
    folders: list[Folder] | None = None,
    dry: bool = False,
) -> Tally:
    """One run that puts each item in a batch of its own."""
    announced = [item[0] for item in items] if folders is None else folders
    store = JsonTreeDestination(root, layout=layout, folders=announced, every=every)

    def run(store: JsonTreeDestination) -> Tally:
        with store.writer(Rules(on_conflict=on_conflict)) as writer:
            for folder, entry, *name in items:
                writer.put(folder, [record_of(entry, name=name[0] if name else None)])
        return store.tally

    if dry:
        with store.rehearsal() as rehearsal:
            return run(rehearsal)
    return run(store)


def texts(root: Path) -> dict[str, bytes]:
    """All files below a directory but ``meta.json``."""
    return {
        name: content
        for name, (_, _, content) in snapshot(root).items()
        if (root / name).is_file() and not name.endswith("/meta.json")
    }


def read_back(root: Path) -> list[Entry]:
    return [
        found.entry
        for item in JsonTree(root).partitions()
        if not isinstance(item, Problem)
        for found in item.read()  # type: ignore[union-attr]
        if isinstance(found, Found)
    ]


# What the contract promises, as far as files can keep it. They remember neither stamps nor
# dictionaries; each place is a file of its own, none a duplicate; what JSON can't say is refused.

KEPT_PROMISES: Final = (
    "test_batch_is_invisible_until_commit",
    "test_candidates_tell_all_that_is_known_of_a_content",
    "test_committed_batch_is_there_after_reopening",
    "test_entries_from_before_keys_do_not_overwrite_each_other",
    "test_entries_that_differ_in_one_field_both_stay",
    "test_entry_with_its_file_kept_is_unchanged_when_put_again",
    "test_equal_entries_of_two_repositories_both_stay",
    "test_equal_entries_of_two_types_both_stay",
    "test_exact_lookup_refuses_old_entries",
    "test_exact_prompt_answers_before_an_old_entry",
    "test_file_without_a_stamp_is_not_known",
    "test_finder_can_be_sent_to_another_process_and_used_again",
    "test_kept_file_comes_back_with_its_entry",
    "test_leaving_the_writer_commits",
    "test_looking_whether_it_can_be_written_makes_nothing",
    "test_lookup_gives_what_any_repository_paid_for",
    "test_lookup_that_differs_in_one_part_is_a_miss",
    "test_newest_entry_answers_a_lookup",
    "test_newest_of_several_old_entries_answers",
    "test_nothing_is_an_empty_answer",
    "test_old_entry_answers_where_nothing_has_the_prompt",
    "test_putting_the_same_again_is_unchanged",
    "test_same_entry_twice_in_one_batch_is_kept_once",
    "test_two_directories_that_claim_one_path_both_stay",
    "test_two_writers_at_once_are_refused",
    "test_writer_goes_on_after_a_commit",
)


class TestJsonTreeDestination:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Destination:
        return self.make_store(tmp_path)

    def make_store(self, tmp_path: Path) -> Destination:
        return JsonTreeDestination(tmp_path / "tree")

    def reopen(self, store: Destination) -> Destination:
        assert isinstance(store, JsonTreeDestination)
        return JsonTreeDestination(store.path)


for _name in KEPT_PROMISES:
    setattr(TestJsonTreeDestination, _name, getattr(DestinationSuite, _name))


# What lies where.


def test_file_is_what_the_rust_program_would_write(tmp_path: Path) -> None:
    entry = entry_in()
    tally = write(tmp_path / "t", (FOLDER, entry))
    assert tally.written == 1
    place = tmp_path / "t" / DOCS / "src_lib_rs.json"
    assert place.read_bytes() == render(entry)
    assert (tmp_path / "t/6b1e9f3a/meta.json").read_bytes() == HOME.meta
    assert sorted(os.listdir(tmp_path / "t")) == ["6b1e9f3a"]  # nothing of ours is left


def test_files_and_directories_are_for_their_owner_alone(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, entry_in()))
    for path in (tmp_path / "t").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        (None, f"{DOCS}/old/src_lib_rs.json"),
        (Layout.CENTRALIZED, f"{DOCS}/old/src_lib_rs.json"),
        (Layout.FLAT, "6b1e9f3a/docs/old/src_lib_rs.json"),
        (Layout.LOCAL, ".rustassistant/cache/docs/old/src_lib_rs.json"),
    ],
)
def test_layout_may_be_chosen(tmp_path: Path, layout: Layout | None, place: str) -> None:
    folder = msgspec.structs.replace(FOLDER, subfolder="old")
    write(tmp_path / "t", (folder, entry_in()), layout=layout)
    assert list(texts(tmp_path / "t")) == [place]


def local(path: str) -> Folder:
    return Folder(Repository(path), "docs", "local")


def test_local_cache_that_is_exported_alone_becomes_local_again(tmp_path: Path) -> None:
    folder = local("/home/dev/project")
    write(tmp_path / "t", (folder, entry_in(folder)))
    assert list(texts(tmp_path / "t")) == [".rustassistant/cache/docs/src_lib_rs.json"]


def test_several_local_caches_keep_their_paths_by_a_meta_json(tmp_path: Path) -> None:
    mine, theirs = local("/home/dev/project"), local("/home/dev/fork")
    entries = [entry_in(mine), entry_in(theirs)]
    write(tmp_path / "t", (mine, entries[0]), (theirs, entries[1]))
    assert sorted(read_back(tmp_path / "t"), key=repr) == sorted(entries, key=repr)
    meta = [json.loads(path.read_text()) for path in (tmp_path / "t").glob("*/meta.json")]
    assert {one["path"] for one in meta} == {"/home/dev/project", "/home/dev/fork"}
    assert {path.parent.name for path in (tmp_path / "t").glob("*/meta.json")} == {
        one["hash"] for one in meta
    }


def test_several_local_caches_may_stay_local(tmp_path: Path) -> None:
    mine, theirs = local("/home/dev/project"), local("/srv/project")
    write(tmp_path / "t", (mine, entry_in(mine)), (theirs, entry_in(theirs)), layout=Layout.LOCAL)
    names = [path.split("/")[0] for path in texts(tmp_path / "t")]
    assert len(set(names)) == 2
    assert {name.partition("-")[0] for name in names} == {"project"}
    assert "project" in names


def test_local_and_central_cache_of_one_repository_stay_apart(tmp_path: Path) -> None:
    own = local("/home/dev/project")
    central = Folder(Repository("/home/dev/project", "c4b4ddfd"), "docs", "centralized")
    one, other = entry_in(own, result=b"1"), entry_in(central, result=b"2")
    for order in ([(own, one), (central, other)], [(central, other), (own, one)]):
        root = tmp_path / str(order[0][0].layout)
        tally = write(root, *order)
        assert (tally.written, tally.superseded, tally.failures) == (2, 0, [])
        assert sorted(read_back(root), key=repr) == sorted([one, other], key=repr)


def test_two_repositories_with_one_directory_get_two(tmp_path: Path) -> None:
    folders = [Folder(Repository(f"/{name}", "6b1e9f3a"), "docs", "flat") for name in "ab"]
    entries = [entry_in(folder) for folder in folders]
    for order in (1, -1):
        items = list(zip(folders, entries, strict=True))[::order]
        tally = write(tmp_path / str(order), *items)
        assert (tally.written, tally.failures) == (2, [])
    assert set(texts(tmp_path / "1")) == set(texts(tmp_path / "-1"))
    assert sorted(read_back(tmp_path / "1"), key=repr) == sorted(entries, key=repr)


def test_directory_of_another_repository_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, entry_in()))
    before = snapshot(tmp_path)
    other = Folder(Repository("/another", "6b1e9f3a", b'{"path": "/another"}'), "todos", "flat")
    tally = write(tmp_path / "t", (other, entry_in(other)))
    assert "belongs to '/home/dev/project'" in tally.failures[0].reason
    assert tally.written == 0
    assert snapshot(tmp_path) == before


def test_meta_json_that_says_the_same_in_other_words_stays(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, entry_in()))
    meta = tmp_path / "t/6b1e9f3a/meta.json"
    meta.write_text('{"repo_path": "/home/dev/project"}')
    tally = write(tmp_path / "t", (FLAT, entry_in()))
    assert (tally.written, len(tally.notes)) == (1, 1)
    assert meta.read_text() == '{"repo_path": "/home/dev/project"}'


def test_repository_without_meta_json_gets_none_unless_its_path_would_be_lost(
    tmp_path: Path,
) -> None:
    placed = Folder(Repository("/where/it/lay/6b1e9f3a", "6b1e9f3a"), "docs", "flat")
    named = Folder(Repository("/home/dev/project", "c4b4ddfd"), "docs", "flat")
    write(tmp_path / "t", (placed, entry_in(placed)), (named, entry_in(named)))
    assert [path.parent.name for path in (tmp_path / "t").rglob("meta.json")] == ["c4b4ddfd"]


# What is never written over.


def test_equal_file_is_not_touched(tmp_path: Path) -> None:
    items = [(FOLDER, entry_in()), (FLAT, entry_in()), (FOLDER, kept_entry(path="kept.rs"))]
    write(tmp_path / "t", *items)
    before = snapshot(tmp_path)
    tally = write(tmp_path / "t", *items)
    assert (tally.written, tally.unchanged) == (0, 3)
    assert snapshot(tmp_path) == before


OLDER: Final = entry_in(analyzed_at=1, result=b"1")
NEWER: Final = entry_in(analyzed_at=2, result=b"2")
PLAIN: Final = f"{DOCS}/src_lib_rs.json"


@pytest.mark.parametrize(
    ("policy", "there", "ours", "stays"),
    [
        (OnConflict.NEWEST, OLDER, NEWER, NEWER),
        (OnConflict.NEWEST, NEWER, OLDER, NEWER),
        (OnConflict.OLDEST, OLDER, NEWER, OLDER),
        (OnConflict.OLDEST, NEWER, OLDER, OLDER),
    ],
)
def test_policy_says_which_file_stays_and_neither_is_lost(
    tmp_path: Path, policy: OnConflict, there: Entry, ours: Entry, stays: Entry
) -> None:
    write(tmp_path / "t", (FOLDER, there))
    tally = write(tmp_path / "t", (FOLDER, ours), on_conflict=policy)
    found = texts(tmp_path / "t")
    assert found.pop(PLAIN) == render(stays)
    assert tally.conflict_count == len(tally.conflicts) == 1
    if stays is ours:
        assert (tally.written, tally.superseded, tally.replaced) == (1, 0, 1)
        assert tally.aside is not None
        assert found == {f"{tally.aside}/{PLAIN}": render(there)}
        assert JsonTree(tmp_path / "t").survey().total == 1  # what is aside is no entry of it
        assert read_back(tmp_path / "t" / tally.aside)[0].result == there.result
    else:
        assert (tally.written, tally.superseded, found) == (0, 1, {})


def test_both_may_be_kept(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, OLDER))
    for written in (1, 0):
        tally = write(tmp_path / "t", (FOLDER, NEWER), on_conflict=OnConflict.KEEP_BOTH)
        assert (tally.written, tally.unchanged, tally.renamed) == (written, 1 - written, 1)
    found = texts(tmp_path / "t")
    assert found.pop(PLAIN) == render(OLDER)
    assert list(found.values()) == [render(NEWER)]
    assert sorted(one.result for one in read_back(tmp_path / "t")) == [b"1", b"2"]


def test_policy_to_fail_leaves_all_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, OLDER))
    before = texts(tmp_path)
    tally = write(tmp_path / "t", (FOLDER, NEWER), on_conflict=OnConflict.FAIL)
    assert (tally.written, tally.unresolved, tally.conflict_count) == (0, 1, 1)
    assert texts(tmp_path) == before


def test_file_that_is_no_entry_is_kept_aside(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, OLDER))
    (tmp_path / "t" / PLAIN).write_bytes(b"my notes")
    tally = write(tmp_path / "t", (FOLDER, OLDER))
    found = texts(tmp_path / "t")
    assert found == {PLAIN: render(OLDER), f"{tally.aside}/{PLAIN}": b"my notes"}


def test_each_run_keeps_aside_in_a_place_of_its_own(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        write(tmp_path / "t", (FOLDER, OLDER))
        (tmp_path / "t" / PLAIN).write_bytes(text)
    write(tmp_path / "t", (FOLDER, OLDER))
    assert sorted(texts(tmp_path / "t").values()) == sorted([render(OLDER), b"one", b"two"])


@pytest.mark.parametrize("items", [(OLDER, NEWER), (NEWER, OLDER)])
def test_newest_result_of_a_path_gets_its_name_and_others_are_counted(
    tmp_path: Path, items: tuple[Entry, ...]
) -> None:
    for written in (1, 0):
        tally = write(tmp_path / "t", *((FOLDER, one) for one in items))
        assert (tally.written, tally.unchanged) == (written, 1 - written)
        assert (tally.superseded, tally.conflict_count) == (1, 0)
        assert texts(tmp_path / "t") == {PLAIN: render(NEWER)}


@pytest.mark.parametrize("policy", OnConflict)
def test_file_that_the_store_holds_as_an_older_result_is_no_conflict(
    tmp_path: Path, policy: OnConflict
) -> None:
    write(tmp_path / "t", (FOLDER, OLDER))
    tally = write(tmp_path / "t", (FOLDER, NEWER), (FOLDER, OLDER), on_conflict=policy)
    assert (tally.written, tally.superseded, tally.conflict_count) == (1, 1, 0)
    assert texts(tmp_path / "t") == {PLAIN: render(NEWER)}


@pytest.mark.parametrize("items", [(OLDER, NEWER), (NEWER, OLDER)])
def test_all_results_of_a_path_are_kept_if_asked_for(
    tmp_path: Path, items: tuple[Entry, ...]
) -> None:
    for written in (2, 0):
        tally = write(tmp_path / "t", *((FOLDER, one) for one in items), every=True)
        assert (tally.written, tally.unchanged, tally.superseded) == (written, 2 - written, 0)
    found = texts(tmp_path / "t")
    assert found.pop(PLAIN) == render(NEWER)
    assert list(found.values()) == [render(OLDER)]


def test_paths_that_share_a_name_are_both_kept(tmp_path: Path) -> None:
    one = entry_in(file_path="src/a_b.rs", analyzed_at=1)
    other = entry_in(file_path="src/a/b.rs", analyzed_at=2)
    for items in ((one, other), (other, one), (one, other)):
        tally = write(tmp_path / "t", *((FOLDER, entry) for entry in items))
        assert (tally.superseded, tally.conflict_count, tally.failures) == (0, 0, [])
        assert (tmp_path / "t" / DOCS / "src_a_b_rs.json").read_bytes() == render(other)
        assert len(read_back(tmp_path / "t")) == 2


def test_newer_result_after_a_commit_takes_the_name_over(tmp_path: Path) -> None:
    store = JsonTreeDestination(tmp_path / "t", every=False)
    with store.writer() as writer:
        for entry in (OLDER, NEWER):
            writer.put(FOLDER, [record_of(entry)])
            writer.commit()
    assert (store.tally.written, store.tally.superseded) == (1, 1)
    assert texts(tmp_path / "t") == {PLAIN: render(NEWER)}


def test_dry_run_counts_the_same_and_makes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, OLDER), (FOLDER, entry_in(file_path="same.rs")))
    items = [(FOLDER, NEWER), (FLAT, NEWER), (FOLDER, entry_in(file_path="same.rs"))]
    before = snapshot(tmp_path)
    told = write(tmp_path / "t", *items, dry=True)
    assert snapshot(tmp_path) == before
    done = write(tmp_path / "t", *items)
    assert (told.written, told.unchanged) == (done.written, done.unchanged) == (2, 1)
    assert write(tmp_path / "absent", (FOLDER, OLDER), dry=True).written == 1
    assert not (tmp_path / "absent").exists()


# Where it never goes.


@pytest.mark.parametrize(
    "folder",
    [
        Folder(Repository("/p", "../outside"), "docs", "flat"),
        Folder(Repository("/p", ".."), "docs", "flat"),
        Folder(Repository("/p", "/etc"), "docs", "flat"),
        Folder(Repository("/p", "nul\0"), "docs", "flat"),
        Folder(Repository("/p", ""), "docs", "flat"),
        Folder(Repository("/p", "x" * 256), "docs", "flat"),
        Folder(HOME, "..", "centralized"),
        Folder(HOME, "a/b", "centralized"),
        Folder(HOME, "", "centralized"),
        Folder(HOME, "docs", "centralized", "../../.."),
        Folder(HOME, "docs", "centralized", "/etc"),
        Folder(HOME, "docs", "centralized", "a//b"),
        Folder(HOME, "cache", "flat"),
        Folder(HOME, "docs", "sideways"),
    ],
)
def test_folder_that_leads_elsewhere_is_refused(tmp_path: Path, folder: Folder) -> None:
    root = tmp_path / "a" / "t"
    tally = write(root, (folder, entry_in(folder)), (FLAT, entry_in(FLAT)))
    assert len(tally.failures) == 1
    assert tally.failures[0].cache_type == folder.cache_type
    assert sorted(os.listdir(tmp_path)) == ["a"]
    assert list(texts(tmp_path)) == ["a/t/6b1e9f3a/docs/src_lib_rs.json"]


@pytest.mark.parametrize(
    "name", [b"../../../escaped.json", b"/tmp/x.json", b"..", b"", b"a\0.json", b"x.sh",
             b"x" * 251 + b".json"]
)  # fmt: skip
def test_name_that_is_none_is_refused(tmp_path: Path, name: bytes) -> None:
    tally = write(tmp_path / "a" / "b" / "t", (FOLDER, entry_in(), name))
    assert (len(tally.failures), tally.written) == (1, 0)
    assert texts(tmp_path) == {}


@pytest.mark.parametrize("path", ["x" * 300, "d/" * 150 + "é.rs", "nul\0inside.rs"])
def test_path_that_gives_no_name_gets_one_by_its_content(tmp_path: Path, path: str) -> None:
    entry = entry_in(file_path=path)
    for written in (1, 0):
        assert write(tmp_path / "t", (FOLDER, entry)).written == written
    assert read_back(tmp_path / "t") == [entry]


def test_name_that_is_no_text_is_kept_to_the_byte(tmp_path: Path) -> None:
    folder = Folder(HOME, "caf\\xe9", "flat", "\\xff/plain")
    write(tmp_path / "t", (folder, entry_in(folder), b"caf\xe9.json"))
    place = os.fsencode(tmp_path) + b"/t/6b1e9f3a/caf\xe9/\xff/plain/caf\xe9.json"
    with open(place, "rb") as file:
        assert file.read() == render(entry_in(folder))
    assert JsonTree(tmp_path / "t").survey().files == {"caf\\xe9": 1}


@pytest.mark.parametrize("part", ["6b1e9f3a", "6b1e9f3a/cache", DOCS])
def test_link_in_the_tree_is_not_followed(tmp_path: Path, part: str) -> None:
    outside, root = tmp_path / "outside", tmp_path / "t"
    outside.mkdir()
    (root / part).parent.mkdir(parents=True)
    (root / part).symlink_to(outside, target_is_directory=True)
    tally = write(root, (FOLDER, entry_in()))
    assert (len(tally.failures), tally.written) == (1, 0)
    assert "links are not followed" in tally.failures[0].reason
    assert list(outside.iterdir()) == []


def test_link_that_has_a_file_name_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "t" / PLAIN
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "outside")
    tally = write(tmp_path / "t", (FOLDER, entry_in()))
    assert "symbolic link" in tally.failures[0].reason
    assert place.is_symlink()
    assert not (tmp_path / "outside").exists()


def test_directory_that_has_a_file_name_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "t" / PLAIN).mkdir(parents=True)
    tally = write(tmp_path / "t", (FOLDER, entry_in()), (FOLDER, entry_in(file_path="b.rs")))
    assert (tally.written, len(tally.failures)) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"result": b"not JSON"},
        {"result": b'1,\n  "model": "another"'},
        {"result": b'1}, {"a": 1'},
        {"result": b""},
        {"result": b"[" * 300 + b"]" * 300},
        {"file_size": -1},
    ],
)
def test_entry_that_a_file_could_not_give_back_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    tally = write(tmp_path / "t", (FOLDER, entry_in(**changes)), (FOLDER, entry_in()))
    assert (tally.written, len(tally.failures)) == (1, 1)
    assert tally.failures[0].path.endswith("src/lib.rs")


@pytest.mark.parametrize("version", [None, 1, 3])
def test_version_of_an_entry_without_a_prompt_is_not_lost(
    tmp_path: Path, version: int | None
) -> None:
    entry = entry_in(prompt_hash=None, schema_version=version)
    write(tmp_path / "t", (FOLDER, entry))
    assert [one.identity for one in read_back(tmp_path / "t")] == [entry.identity]


def test_damaged_record_is_a_failure_and_hides_no_other(tmp_path: Path) -> None:
    store = JsonTreeDestination(tmp_path / "t")
    damaged = msgspec.structs.replace(record_of(entry_in()), result_digest=bytes(32))
    with store.writer() as writer:
        writer.put(FOLDER, [damaged, record_of(entry_in(file_path="b.rs"))])
    assert list(texts(tmp_path / "t")) == [f"{DOCS}/b_rs.json"]
    assert len(store.tally.failures) == 1


# What stops it, and what then stays.


def test_file_in_the_place_of_the_tree_is_told_before_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        store = JsonTreeDestination(place)
        with pytest.raises(DestinationError, match="is a file"):
            store.check_writable()
        with pytest.raises(DestinationError, match="is a file"), store.writer():
            pytest.fail("it was opened")
    assert (tmp_path / "file").read_text() == "mine"


def test_directory_without_permission_is_told_before_anything(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o555)

    def act() -> None:
        with pytest.raises(DestinationError, match="no permission"):
            JsonTreeDestination(tmp_path / "closed" / "t").check_writable()

    as_nobody(act)


def test_who_writes_is_named(tmp_path: Path) -> None:
    with (
        JsonTreeDestination(tmp_path / "t").writer(),
        pytest.raises(LockedError, match=f"process {os.getpid()}|another process"),
        JsonTreeDestination(tmp_path / "t").writer(),
    ):
        pytest.fail("a second writer was let in")


def test_error_leaves_nothing_that_was_not_committed(tmp_path: Path) -> None:
    def work() -> None:
        with JsonTreeDestination(tmp_path / "t").writer() as writer:
            writer.put(FOLDER, [record_of(entry_in())])
            writer.commit()
            writer.put(FOLDER, [record_of(entry_in(file_path="b.rs"))])
            writer.put(FLAT, [record_of(entry_in(file_path="b.rs"))])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(texts(tmp_path / "t")) == [PLAIN]
    assert sorted(os.listdir(tmp_path / "t")) == ["6b1e9f3a"]


def test_process_that_dies_leaves_no_entry_and_the_next_run_finishes(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from rustassistant.stores.json_tree import JsonTreeDestination
        from stores.store_suite import FOLDER, entry_in, record_of
        with JsonTreeDestination(sys.argv[1]).writer() as writer:
            writer.put(FOLDER, [record_of(entry_in(file_path="a.rs"))])
            writer.commit()
            for path in ("b.rs", "c.rs", "d.rs"):
                writer.put(FOLDER, [record_of(entry_in(file_path=path))])
            os.kill(os.getpid(), signal.SIGKILL)
    """
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "t"],
        env=os.environ | {"PYTHONPATH": str(tests)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [one.file_path for one in read_back(tmp_path / "t")] == ["a.rs"]
    problems = [
        one.text for one in JsonTree(tmp_path / "t").partitions() if isinstance(one, Problem)
    ]
    assert any("running it again finishes it" in text for text in problems)
    items = [(FOLDER, entry_in(file_path=path)) for path in ("a.rs", "b.rs", "c.rs", "d.rs")]
    tally = write(tmp_path / "t", *items)
    assert (tally.written, tally.unchanged) == (3, 1)
    assert sorted(os.listdir(tmp_path / "t")) == ["6b1e9f3a"]


def test_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    store = JsonTreeDestination(tmp_path / "t")
    with store.writer() as writer:
        writer.put(FOLDER, [record_of(entry_in())])
        (tmp_path / "t" / DOCS).mkdir(parents=True)
        (tmp_path / "t" / PLAIN).write_bytes(b"theirs")
    assert (tmp_path / "t" / PLAIN).read_bytes() == b"theirs"
    assert "meanwhile" in store.tally.failures[0].reason
    assert store.tally.written == 0


def test_file_that_changes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "t", (FOLDER, OLDER))
    store = JsonTreeDestination(tmp_path / "t", every=False)
    with store.writer() as writer:
        writer.put(FOLDER, [record_of(NEWER)])
        (tmp_path / "t" / PLAIN).write_bytes(b"theirs")
    assert (tmp_path / "t" / PLAIN).read_bytes() == b"theirs"
    assert "meanwhile" in store.tally.failures[0].reason


def test_what_is_named_was_on_the_disk_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visible: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: visible.append((tmp_path / "t" / PLAIN).exists()))
    write(tmp_path / "t", (FOLDER, entry_in()))
    assert visible == [False]
    assert (tmp_path / "t" / PLAIN).exists()


def test_directory_that_cannot_be_made_durable_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        if (tmp_path / "t" / PLAIN).exists():
            raise OSError(errno.EIO, "bad disk")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DestinationError, match="bad disk"):
        write(tmp_path / "t", (FOLDER, entry_in()))
    monkeypatch.undo()
    assert write(tmp_path / "t", (FOLDER, entry_in())).unchanged == 1
    assert set(os.listdir(tmp_path / "t")) == {Path(PLAIN).parts[0]}


def test_folder_that_can_no_longer_be_opened_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, give = os.open, Naming.give
    given: list[int] = []

    def gives(naming: Naming, steps: Any) -> None:
        give(naming, steps)
        given.append(len(steps))

    def failing(path: Any, *args: Any, **options: Any) -> int:
        if given and path == b"docs":
            raise OSError(errno.EIO, "bad disk")
        return opens(path, *args, **options)

    def work() -> None:
        with JsonTreeDestination(tmp_path / "t").writer() as writer:
            writer.put(FOLDER, [record_of(entry_in())])
            writer.commit()

    monkeypatch.setattr(Naming, "give", gives)
    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(DestinationError, match="bad disk"):
        work()
