"""The promises of ``rustassistant.stores.base``, as tests that every destination must pass.

A new store subclasses `DestinationSuite`, says how it is made and how it is opened again, and
adds tests of what only it does. The property at the end compares it with the reference store.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rustassistant.codec import Dictionary, Encoder
from rustassistant.entry import Entry
from rustassistant.entry_json import file_name, parse
from rustassistant.errors import DamagedError, LockedError
from rustassistant.records import Record
from rustassistant.stores.base import Candidate, Destination, Folder, Query, Repository, Writer
from rustassistant.stores.memory import MemoryStore
from rustassistant.stores.outcomes import OnConflict, Outcomes, Put, Rules
from support import dump, fields_of, sample_entry, snapshot

INT64: Final = 2**63
HOME: Final = Repository("/home/dev/project", "6b1e9f3a", b'{"path": "/home/dev/project"}')
FOLDER: Final = Folder(HOME, "docs", "centralized")
FLAT: Final = Folder(HOME, "docs", "flat")
MIGRATED: Final = Outcomes(migrated=1)
UNCHANGED: Final = Outcomes(unchanged=1)
DUPLICATE: Final = Outcomes(duplicate=1)
DICTIONARY: Final = b'{"summary": "the function returns", "issues": [], "score": 50.0}' * 4
NEWER_DICTIONARY: Final = b'{"complexity": "the module contains", "kind": "unwrap"}' * 4
PROMPT: Final = "b56f6b9b1ff77eac"

_plain: Final = Encoder()


def entry_in(folder: Folder = FOLDER, **changes: Any) -> Entry:
    fields = {"repository": folder.repository.path, "cache_type": folder.cache_type}
    return sample_entry(**(fields | changes))


def kept_entry(folder: Folder = FOLDER, **changes: Any) -> Entry:
    """An entry whose file says more than the columns hold, so that it is kept as well."""
    text = dump(fields_of(**({"reviewed_by": "Zoë", "cache_type": folder.cache_type} | changes)))
    entry = parse(text, repository=folder.repository.path, cache_type=folder.cache_type).entry
    assert entry.original == text
    return entry


def record_of(
    entry: Entry, *, name: bytes | None = None, stamp: int | None = 1, by: Encoder = _plain
) -> Record:
    return by.encode(entry, name=name, stamp=stamp)


def put(store: Destination, folder: Folder, *items: Entry | Record) -> Outcomes:
    """One batch, committed."""
    records = [record_of(item) if isinstance(item, Entry) else item for item in items]
    with store.writer() as writer:
        return writer.put(folder, records).outcomes


def given_back(found: Sequence[Entry | DamagedError]) -> list[Entry]:
    """Entries that a finder found, all of them sound; raises the first that is not."""
    entries = []
    for one in found:
        if isinstance(one, DamagedError):
            raise one
        entries.append(one)
    return entries


def find(store: Destination, entry: Entry, folder: Folder = FOLDER) -> list[Entry]:
    with store.finder() as finder:
        return given_back(finder.find(folder, entry))


def lookup(store: Destination, query: Query) -> Entry | None:
    with store.finder() as finder:
        return finder.lookup(query)


def candidates(store: Destination, entry: Entry) -> list[Candidate]:
    """What may answer for an entry's content, in a fixed order."""
    with store.finder() as finder:
        return _sorted(finder.candidates(entry.file_hash))


def query_for(entry: Entry, **changes: Any) -> Query:
    wanted = Query(
        entry.cache_type, entry.file_hash, entry.model, entry.prompt_hash, entry.schema_version
    )
    return wanted._replace(**changes)


def known(store: Destination, folder: Folder = FOLDER) -> dict[str, list[int]]:
    with store.writer() as writer:
        return stamps_of(writer, folder)


def stamps_of(writer: Writer, folder: Folder) -> dict[str, list[int]]:
    return {name: sorted(stamps) for name, stamps in writer.known(folder).items()}


class _Interruption(BaseException):
    """Like KeyboardInterrupt, which pytest would take for the user's."""


class DestinationSuite:
    """What is durable, what is the same, what answers, and who may write."""

    def make_store(self, tmp_path: Path) -> Destination:
        """A store that holds nothing, with whatever it keeps below ``tmp_path``."""
        raise NotImplementedError

    def reopen(self, store: Destination) -> Destination:
        """The same store, as another process would see it."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Destination:
        return self.make_store(tmp_path)

    # What is visible, and what lasts.

    def test_batch_is_invisible_until_commit(self, store: Destination) -> None:
        entry = entry_in()
        with store.writer() as writer:
            writer.put(FOLDER, [record_of(entry)])
            assert find(self.reopen(store), entry) == []
            assert lookup(self.reopen(store), query_for(entry)) is None
            writer.commit()
            assert find(self.reopen(store), entry) == [entry]

    def test_committed_batch_is_there_after_reopening(self, store: Destination) -> None:
        entry = entry_in()
        with store.writer() as writer:
            writer.put(FOLDER, [record_of(entry)])
            writer.commit()
        assert find(self.reopen(store), entry) == [entry]

    def test_leaving_the_writer_commits(self, store: Destination) -> None:
        entry = entry_in()
        with store.writer() as writer:
            writer.put(FOLDER, [record_of(entry)])
        assert find(self.reopen(store), entry) == [entry]

    @pytest.mark.parametrize("error", [RuntimeError("stop"), _Interruption()])
    def test_leaving_with_an_exception_undoes_since_the_last_commit(
        self, store: Destination, error: BaseException
    ) -> None:
        before, after = entry_in(file_path="before.rs"), entry_in(file_path="after.rs")

        def work() -> None:
            with store.writer() as writer:
                writer.put(FOLDER, [record_of(before)])
                writer.commit()
                writer.put(FOLDER, [record_of(after)])
                writer.add_dictionary("docs", DICTIONARY)
                raise error

        with pytest.raises(type(error)):
            work()
        again = self.reopen(store)
        assert find(again, before) == [before]
        assert find(again, after) == []
        assert known(again) == {"before_rs.json": [1]}
        with again.writer() as writer:
            assert list(writer.dictionaries()) == []

    def test_writer_goes_on_after_a_commit(self, store: Destination) -> None:
        entries = [entry_in(file_path=f"src/{number}.rs") for number in range(4)]
        with store.writer() as writer:
            for entry in entries:
                assert writer.put(FOLDER, [record_of(entry)]).outcomes == MIGRATED
                writer.commit()
                assert writer.put(FOLDER, [record_of(entry)]).outcomes == UNCHANGED
        with self.reopen(store).finder() as finder:
            assert [finder.find(FOLDER, entry) for entry in entries] == [[one] for one in entries]

    def test_two_writers_at_once_are_refused(self, store: Destination) -> None:
        entry = entry_in()
        with store.writer() as writer:
            with pytest.raises(LockedError), self.reopen(store).writer():
                pytest.fail("a second writer was let in")
            writer.put(FOLDER, [record_of(entry)])
        assert find(self.reopen(store), entry) == [entry]
        assert put(store, FOLDER, entry) == UNCHANGED

    def test_looking_whether_it_can_be_written_makes_nothing(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        before = snapshot(tmp_path)
        store.check_writable()
        room = store.room()
        assert room is None or room > 0
        assert store.info().size == 0
        assert snapshot(tmp_path) == before

    def test_size_grows_with_what_is_stored(self, store: Destination) -> None:
        # 40 KiB that don't compress, more than any store would take for an empty table.
        result = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(1280))
        put(store, FOLDER, entry_in())
        before = store.info().size
        put(store, FOLDER, entry_in(file_path="large.rs", result=result))
        assert before > 0
        assert self.reopen(store).info().size >= before + len(result)

    # What is the same, and what is not.

    def test_putting_the_same_again_is_unchanged(self, store: Destination) -> None:
        entry = entry_in()
        assert put(store, FOLDER, entry) == MIGRATED
        assert put(self.reopen(store), FOLDER, entry) == UNCHANGED
        assert find(self.reopen(store), entry) == [entry]

    def test_same_entry_twice_in_one_batch_is_kept_once(self, store: Destination) -> None:
        entry = entry_in()
        assert put(store, FOLDER, entry, entry) == Outcomes(migrated=1, unchanged=1)
        assert find(self.reopen(store), entry) == [entry]

    def test_entry_with_its_file_kept_is_unchanged_when_put_again(self, store: Destination) -> None:
        entry = kept_entry()
        assert put(store, FOLDER, entry) == MIGRATED
        assert put(store, FOLDER, entry) == UNCHANGED

    def test_same_entry_in_another_layout_is_a_duplicate_and_then_unchanged(
        self, store: Destination
    ) -> None:
        entry = entry_in()
        assert put(store, FOLDER, entry) == MIGRATED
        assert put(store, FLAT, entry) == DUPLICATE
        assert put(store, FLAT, entry) == UNCHANGED
        assert put(store, FOLDER, entry) == UNCHANGED
        assert find(self.reopen(store), entry) == [entry]

    def test_same_entry_under_another_name_is_a_duplicate_and_then_unchanged(
        self, store: Destination
    ) -> None:
        entry = entry_in()
        copy = record_of(entry, name=b"src_lib_rs (copy).json")
        assert put(store, FOLDER, entry) == MIGRATED
        assert put(store, FOLDER, copy) == DUPLICATE
        assert put(store, FOLDER, copy) == UNCHANGED
        assert put(store, FOLDER, entry) == UNCHANGED
        assert find(self.reopen(store), entry) == [entry]

    def test_same_entry_in_a_subfolder_is_a_duplicate(self, store: Destination) -> None:
        entry = entry_in()
        assert put(store, FOLDER, entry) == MIGRATED
        assert put(store, Folder(HOME, "docs", "centralized", "old"), entry) == DUPLICATE

    def test_equal_entries_of_two_repositories_both_stay(self, store: Destination) -> None:
        other = Folder(Repository("/home/dev/fork", "0c55a4f1"), "docs", "centralized")
        mine, theirs = entry_in(FOLDER), entry_in(other)
        assert put(store, FOLDER, mine) == MIGRATED
        assert put(store, other, theirs) == MIGRATED
        assert find(self.reopen(store), mine, FOLDER) == [mine]
        assert find(self.reopen(store), theirs, other) == [theirs]

    def test_two_directories_that_claim_one_path_both_stay(self, store: Destination) -> None:
        other = Folder(Repository(HOME.path, "ffffffff"), "docs", "centralized")
        local = Folder(Repository(HOME.path, None), "docs", "local")
        entry = entry_in()
        for folder in (FOLDER, other, local):
            assert put(store, folder, entry) == MIGRATED
            assert put(store, folder, entry) == UNCHANGED
        for folder in (FOLDER, other, local):
            assert find(self.reopen(store), entry, folder) == [entry]

    def test_repository_whose_meta_changed_is_the_same_repository(self, store: Destination) -> None:
        entry = entry_in()
        rewritten = msgspec.structs.replace(HOME, meta=b'{"path": "/home/dev/project", "v": 2}')
        assert put(store, FOLDER, entry) == MIGRATED
        for repository in (rewritten, msgspec.structs.replace(HOME, meta=None), HOME):
            folder = Folder(repository, "docs", "centralized")
            assert put(store, folder, entry) == UNCHANGED
            assert known(store, folder) == {"src_lib_rs.json": [1]}
            assert find(self.reopen(store), entry, folder) == [entry]

    def test_equal_entries_of_two_types_both_stay(self, store: Destination) -> None:
        todos = Folder(HOME, "todos", "centralized")
        docs, others = entry_in(FOLDER), entry_in(todos)
        assert put(store, FOLDER, docs) == MIGRATED
        assert put(store, todos, others) == MIGRATED
        assert find(self.reopen(store), docs, FOLDER) == [docs]
        assert find(self.reopen(store), others, todos) == [others]

    def test_entries_from_before_keys_do_not_overwrite_each_other(self, store: Destination) -> None:
        old = [
            entry_in(
                file_path=f"src/{number}.rs",
                file_hash=hashlib.sha256(b"%d" % number).digest(),
                prompt_hash=None,
                schema_version=None,
                result=b'{"number":%d}' % number,
            )
            for number in range(5)
        ]
        assert put(store, FOLDER, *old) == Outcomes(migrated=5)
        for entry in old:
            assert find(self.reopen(store), entry) == [entry]
            assert lookup(store, query_for(entry, prompt_hash=PROMPT, schema_version=1)) == entry

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("file_path", "src/lib_rs"),  # the same file name
            ("file_hash", sample_entry().file_hash[:8] + bytes(24)),
            ("analyzed_at", 1_770_174_834_878_744_253),
            ("provider", "openai"),
            ("model", "grok-2"),
            ("prompt_hash", "default"),
            ("schema_version", 2),
            ("result", b'{"summary":"another"}'),
            ("tokens_used", 1235),
            ("file_size", 14),
        ],
    )
    def test_entries_that_differ_in_one_field_both_stay(
        self, store: Destination, field: str, value: Any
    ) -> None:
        one, other = entry_in(), entry_in(**{field: value})
        assert put(store, FOLDER, one, other) == Outcomes(migrated=2)
        assert put(self.reopen(store), FOLDER, other, one) == Outcomes(unchanged=2)
        assert one in find(store, one)
        assert other in find(store, other)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("prompt_hash", ""),
            ("schema_version", 0),
            ("schema_version", 1),
            ("schema_version", -1),
            ("tokens_used", 0),
            ("tokens_used", -1),
            ("file_size", 0),
        ],
    )
    def test_absent_is_not_the_same_as_empty(
        self, store: Destination, field: str, value: Any
    ) -> None:
        changes: dict[str, Any] = {field: None}
        absent, present = entry_in(**changes), entry_in(**{field: value})
        assert put(store, FOLDER, absent, present) == Outcomes(migrated=2)
        assert put(self.reopen(store), FOLDER, present, absent) == Outcomes(unchanged=2)
        assert absent in find(self.reopen(store), absent)
        assert present in find(self.reopen(store), present)

    def test_files_that_say_the_same_in_other_words_both_stay(self, store: Destination) -> None:
        spaced = kept_entry()
        assert spaced.original is not None
        renamed = msgspec.structs.replace(spaced, original=spaced.original + b"\n")
        bare = msgspec.structs.replace(spaced, original=None)
        assert put(store, FOLDER, spaced, renamed, bare) == Outcomes(migrated=3)
        assert put(store, FOLDER, bare, renamed, spaced) == Outcomes(unchanged=3)
        assert find(self.reopen(store), spaced) == [spaced, renamed, bare]

    def test_same_identity_with_another_result_keeps_both(self, store: Destination) -> None:
        first = entry_in(result=b"1", analyzed_at=1)
        second = entry_in(result=b"2", analyzed_at=2)
        assert first.identity == second.identity
        put(store, FOLDER, first)
        assert put(store, FOLDER, second) == MIGRATED
        assert find(self.reopen(store), first) == [first, second]

    # What answers.

    def test_nothing_is_an_empty_answer(self, store: Destination) -> None:
        put(store, FOLDER, entry_in(file_path="other.rs", file_hash=bytes(32)))
        absent = entry_in()
        assert find(store, absent) == []
        assert lookup(store, query_for(absent)) is None
        with store.finder() as finder:
            assert list(finder.candidates(absent.file_hash)) == []
        assert known(store, Folder(HOME, "todos", "centralized")) == {}

    @pytest.mark.parametrize("newest_first", [False, True])
    def test_newest_entry_answers_a_lookup(self, store: Destination, newest_first: bool) -> None:
        entries = [entry_in(analyzed_at=moment, result=b"%d" % moment) for moment in (-5, 3, 10)]
        put(store, FOLDER, *(reversed(entries) if newest_first else entries))
        assert lookup(self.reopen(store), query_for(entries[0])) == entries[-1]

    def test_lookup_gives_what_any_repository_paid_for(self, store: Destination) -> None:
        entry = entry_in()
        put(store, FOLDER, entry)
        asked = Query("docs", entry.file_hash)
        assert lookup(self.reopen(store), asked) == entry

    def test_exact_prompt_answers_before_an_old_entry(self, store: Destination) -> None:
        exact = entry_in(analyzed_at=1)
        newer_but_old = entry_in(prompt_hash=None, schema_version=None, analyzed_at=2, result=b"0")
        put(store, FOLDER, exact, newer_but_old)
        assert lookup(self.reopen(store), query_for(exact)) == exact

    def test_old_entry_answers_where_nothing_has_the_prompt(self, store: Destination) -> None:
        old = entry_in(prompt_hash=None, schema_version=None)
        put(store, FOLDER, old, entry_in(prompt_hash="another"))
        assert lookup(self.reopen(store), query_for(old, prompt_hash=PROMPT)) == old

    def test_newest_of_several_old_entries_answers(self, store: Destination) -> None:
        old = [
            entry_in(prompt_hash=None, schema_version=None, analyzed_at=moment) for moment in (7, 5)
        ]
        put(store, FOLDER, *old)
        assert lookup(self.reopen(store), query_for(old[0], prompt_hash=PROMPT)) == old[0]

    def test_exact_lookup_refuses_old_entries(self, store: Destination) -> None:
        old = entry_in(prompt_hash=None, schema_version=None)
        put(store, FOLDER, old)
        asked = query_for(old, prompt_hash=PROMPT)
        assert lookup(self.reopen(store), asked._replace(exact=True)) is None
        assert lookup(store, Query("docs", old.file_hash, exact=True)) is None
        assert lookup(self.reopen(store), asked) == old

    @pytest.mark.parametrize(
        ("stored", "asked", "hit"),
        [(None, 1, True), (None, 2, False), (1, 1, True), (2, 1, False), (2, 2, True),
         (2, None, True), (0, 1, False)],
    )  # fmt: skip
    def test_schema_version_is_compared_and_absent_counts_as_1(
        self, store: Destination, stored: int | None, asked: int | None, hit: bool
    ) -> None:
        entry = entry_in(schema_version=stored)
        put(store, FOLDER, entry)
        answer = lookup(self.reopen(store), query_for(entry, schema_version=asked))
        assert answer == (entry if hit else None)

    @pytest.mark.parametrize(
        "part",
        [
            {"cache_type": "todos"},
            {"model": "grok-2"},
            {"model": ""},
            {"prompt_hash": "another"},
            {"prompt_hash": ""},
            {"file_hash": bytes(32)},
            # Stores may index a part of the hash: what they find by it must be compared in full.
            {"file_hash": sample_entry().file_hash[:31] + b"\0"},
            {"file_hash": sample_entry().file_hash[:6] + bytes(26)},
        ],
    )
    def test_lookup_that_differs_in_one_part_is_a_miss(
        self, store: Destination, part: dict[str, Any]
    ) -> None:
        entry = entry_in()
        put(store, FOLDER, entry)
        assert lookup(self.reopen(store), query_for(entry, **part)) is None
        assert lookup(self.reopen(store), query_for(entry)) == entry

    def test_unnamed_parts_are_not_compared(self, store: Destination) -> None:
        old = entry_in(prompt_hash=None, model="grok-2", analyzed_at=9, result=b"2")
        entry = entry_in(analyzed_at=8, schema_version=4)
        put(store, FOLDER, old, entry)
        assert lookup(store, Query("docs", entry.file_hash)) == old
        assert lookup(store, Query("docs", entry.file_hash, "grok-beta")) == entry
        assert lookup(store, Query("docs", entry.file_hash, prompt_hash=PROMPT)) == entry
        assert lookup(store, Query("docs", entry.file_hash, schema_version=4)) == entry

    def test_model_names_with_colons_are_never_taken_for_each_other(
        self, store: Destination
    ) -> None:
        one = entry_in(model="grok:beta", prompt_hash="v1", result=b"1")
        other = entry_in(model="grok", prompt_hash="beta:v1", result=b"2")
        assert one.key == other.key
        put(store, FOLDER, one)
        assert lookup(self.reopen(store), query_for(other)) is None
        assert put(store, FOLDER, other) == MIGRATED
        for entry in (one, other):
            assert lookup(self.reopen(store), query_for(entry)) == entry
            assert entry in find(store, entry)
        third = query_for(one, model="grok:beta:v1", prompt_hash="", exact=True)
        assert lookup(store, third) is None

    def test_candidates_tell_all_that_is_known_of_a_content(self, store: Destination) -> None:
        todos = Folder(HOME, "todos", "centralized")
        entries = [entry_in(), entry_in(todos, prompt_hash=None, schema_version=None, model="m")]
        similar = entries[0].file_hash[:31] + b"\0"
        put(store, FOLDER, entries[0], entry_in(file_hash=similar))
        put(store, todos, entries[1])
        with self.reopen(store).finder() as finder:
            found = list(finder.candidates(entries[0].file_hash))
        assert [_without_id(one) for one in found] == [_as_candidate(one) for one in entries]
        assert len({one.id for one in found}) == 2

    def test_finder_can_be_sent_to_another_process_and_used_again(self, store: Destination) -> None:
        entry = entry_in()
        put(store, FOLDER, entry)
        finder = pickle.loads(pickle.dumps(store.finder()))  # noqa: S301 - made right here
        for _ in range(2):
            with finder:
                assert list(finder.find(FOLDER, entry)) == [entry]

    # Stamps: what need not be read again.

    def test_stamps_are_known_by_file_name(self, store: Destination) -> None:
        put(
            store,
            FOLDER,
            record_of(entry_in(file_path="src/ä.rs"), stamp=INT64 - 1),
            record_of(entry_in(file_path="src/b.rs"), stamp=-INT64, name=b"another.json"),
            record_of(entry_in(file_path="src/c.rs"), stamp=0, name=b"caf\xe9.json"),
        )
        assert known(self.reopen(store)) == {
            "src_ä_rs.json": [INT64 - 1],
            "another.json": [-INT64],
            "caf\udce9.json": [0],
        }

    def test_stamps_are_known_before_the_commit(self, store: Destination) -> None:
        with store.writer() as writer:
            writer.put(FOLDER, [record_of(entry_in(), stamp=5)])
            assert stamps_of(writer, FOLDER) == {"src_lib_rs.json": [5]}

    def test_file_without_a_stamp_is_not_known(self, store: Destination) -> None:
        entry = entry_in()
        assert put(store, FOLDER, record_of(entry, stamp=None)) == MIGRATED
        assert known(self.reopen(store)) == {}
        assert find(store, entry) == [entry]
        assert put(store, FOLDER, record_of(entry, stamp=None)) == UNCHANGED

    def test_both_files_that_share_a_name_are_known(self, store: Destination) -> None:
        put(
            store,
            FOLDER,
            record_of(entry_in(file_path="src/a_b.rs"), stamp=1),
            record_of(entry_in(file_path="src/a/b.rs"), stamp=2),
        )
        assert known(self.reopen(store)) == {"src_a_b_rs.json": [1, 2]}

    def test_each_folder_knows_its_own_files(self, store: Destination) -> None:
        entry = entry_in()
        below = Folder(HOME, "docs", "centralized", "old")
        elsewhere = Folder(Repository(HOME.path, "ffffffff"), "docs", "centralized")
        for stamp, folder in enumerate((FOLDER, FLAT, below, elsewhere)):
            put(store, folder, record_of(entry, stamp=stamp))
        for stamp, folder in enumerate((FOLDER, FLAT, below, elsewhere)):
            assert known(self.reopen(store), folder) == {"src_lib_rs.json": [stamp]}

    @pytest.mark.parametrize("folder", [FOLDER, FLAT])
    def test_touched_file_is_known_by_its_new_stamp(
        self, store: Destination, folder: Folder
    ) -> None:
        entry = entry_in()
        put(store, FOLDER, record_of(entry, stamp=1))
        put(store, folder, record_of(entry, stamp=2))
        assert put(store, folder, record_of(entry, stamp=3)) == UNCHANGED
        assert known(self.reopen(store), folder) == {"src_lib_rs.json": [3]}

    @pytest.mark.parametrize("folder", [FOLDER, FLAT])
    def test_doubtful_stamp_does_not_replace_a_sure_one(
        self, store: Destination, folder: Folder
    ) -> None:
        entry = entry_in()
        put(store, FOLDER, record_of(entry, stamp=1))
        put(store, folder, record_of(entry, stamp=1))
        assert put(store, folder, record_of(entry, stamp=None)) == UNCHANGED
        assert known(self.reopen(store), folder) == {"src_lib_rs.json": [1]}

    # Dictionaries.

    def test_adding_a_dictionary_again_keeps_it_once(self, store: Destination) -> None:
        with store.writer() as writer:
            first = writer.add_dictionary("docs", DICTIONARY)
            assert writer.add_dictionary("docs", DICTIONARY) == first
        with self.reopen(store).writer() as writer:
            assert writer.add_dictionary("docs", DICTIONARY) == first
            assert list(writer.dictionaries()) == [first]
            assert first.data == DICTIONARY

    def test_newest_dictionary_of_each_type_is_given(self, store: Destination) -> None:
        with store.writer() as writer:
            writer.add_dictionary("docs", DICTIONARY)
            other = writer.add_dictionary("todos", DICTIONARY + b"!")
            newer = writer.add_dictionary("docs", NEWER_DICTIONARY)
        with self.reopen(store).writer() as writer:
            assert sorted(writer.dictionaries()) == sorted([other, newer])

    def test_entries_are_read_back_with_the_dictionary_they_were_written_with(
        self, store: Destination
    ) -> None:
        plain = entry_in(file_path="plain.rs")
        older = entry_in(file_path="older.rs", result=DICTIONARY + b"1")
        newer = entry_in(file_path="newer.rs", result=NEWER_DICTIONARY + b"2")
        kept = kept_entry(path="kept.rs")
        entries = [plain, older, newer, kept]
        put(store, FOLDER, plain)
        for entry, data in ((older, DICTIONARY), (newer, NEWER_DICTIONARY), (kept, DICTIONARY)):
            _put_with_dictionary(store, entry, data)
        twin = entry_in(file_path="twin.rs", result=older.result)
        put(store, FOLDER, twin)  # itself encoded without any, like what may be stored for it
        entries.append(twin)
        with self.reopen(store).finder() as finder:
            for entry in entries:
                assert list(finder.find(FOLDER, entry)) == [entry]
                assert finder.lookup(query_for(entry)) in entries

    def test_equal_results_written_with_different_dictionaries_stay_equal(
        self, store: Destination
    ) -> None:
        kept = kept_entry()
        twin = msgspec.structs.replace(kept, original=None, analyzed_at=1)
        third = msgspec.structs.replace(kept, analyzed_at=2, original=None)
        put(store, FOLDER, twin)
        _put_with_dictionary(store, kept, DICTIONARY)
        _put_with_dictionary(store, third, NEWER_DICTIONARY)
        assert find(self.reopen(store), kept) == [twin, kept, third]
        for entry, data in ((twin, DICTIONARY), (kept, NEWER_DICTIONARY), (third, DICTIONARY)):
            assert _put_with_dictionary(store, entry, data) == UNCHANGED

    # What comes back.

    @pytest.mark.parametrize(
        "changes",
        [
            {"prompt_hash": None},
            {"schema_version": None},
            {"tokens_used": None, "file_size": None},
            {"prompt_hash": None, "schema_version": None, "tokens_used": None, "file_size": None},
            {"file_path": "src/größe/日本語/😀.rs"},
            {"file_path": "nul\0inside.rs"},
            {"model": "nul\0inside", "provider": "\0", "prompt_hash": "\0"},
            {"file_path": "", "provider": "", "model": "", "prompt_hash": "", "result": b""},
            {"file_path": "e\u0301.rs"},
            {"analyzed_at": INT64 - 1, "tokens_used": INT64 - 1, "file_size": INT64 - 1},
            {"schema_version": INT64 - 1},
            {"analyzed_at": -INT64, "tokens_used": -INT64, "schema_version": -INT64},
            {"analyzed_at": -1},
            {"file_size": 0, "tokens_used": 0, "schema_version": 0},
            {"file_hash": bytes(32)},
            {"file_hash": b"\xff" * 32},
            {"result": b"\0\xff not even JSON"},
            {"result": b"9" * 300_000},
        ],
    )
    def test_every_field_comes_back_as_it_was(
        self, store: Destination, changes: dict[str, Any]
    ) -> None:
        entry = entry_in(**changes)
        put(store, FOLDER, entry)
        assert find(self.reopen(store), entry) == [entry]
        assert lookup(store, query_for(entry)) == entry

    def test_kept_file_comes_back_with_its_entry(self, store: Destination) -> None:
        entry = kept_entry(path="src/日本.rs", result={"text": "€\n"}, tokens_used=None)
        put(store, FOLDER, entry)
        assert find(self.reopen(store), entry) == [entry]
        assert lookup(store, query_for(entry)) == entry

    @pytest.mark.parametrize(
        "folder",
        [
            Folder(Repository("", None), "docs", "local"),
            Folder(Repository("/größe/\0", "日本"), "weird type\0", "flat", "a/b"),
            Folder(Repository("/p", "caf\\xe9", b"\xff\0 not JSON"), "", "centralized"),
        ],
    )
    def test_any_folder_is_found_again(self, store: Destination, folder: Folder) -> None:
        entry = entry_in(folder)
        assert put(store, folder, record_of(entry, stamp=4)) == MIGRATED
        assert find(self.reopen(store), entry, folder) == [entry]
        assert known(store, folder) == {"src_lib_rs.json": [4]}
        assert put(store, folder, entry) == UNCHANGED

    # Conflicts, and rows that are shared.

    @pytest.mark.parametrize(
        ("policy", "answers"),
        [(OnConflict.NEWEST, 9), (OnConflict.OLDEST, 5), (OnConflict.KEEP_BOTH, 9)],
    )
    def test_policy_says_which_of_two_results_answers_and_both_are_kept(
        self, store: Destination, policy: OnConflict, answers: int
    ) -> None:
        results = {time: entry_in(analyzed_at=time, result=b"%d" % time) for time in (5, 9, 7)}
        with store.writer(Rules(policy)) as writer:
            made = [writer.put(FOLDER, [record_of(entry)]) for entry in results.values()]
        assert [one.outcomes for one in made] == [MIGRATED] * 3
        assert lookup(self.reopen(store), query_for(results[5])) == results[answers]
        assert sorted(find(store, results[5]), key=repr) == sorted(results.values(), key=repr)
        told = [conflict.incoming_answers for one in made for conflict in one.conflicts]
        assert len(told) == (3 if policy is OnConflict.KEEP_BOTH else 2)
        live = candidates(store, results[5])
        assert len(live) == (3 if policy is OnConflict.KEEP_BOTH else 1)

    def test_superseded_entry_stays_unchanged_when_put_again(self, store: Destination) -> None:
        older, newer = entry_in(analyzed_at=1, result=b"1"), entry_in(analyzed_at=2, result=b"2")
        assert put(store, FOLDER, older, newer) == Outcomes(migrated=2)
        again = put(self.reopen(store), FOLDER, record_of(older, stamp=7), newer)
        assert again == Outcomes(unchanged=2)
        assert lookup(store, query_for(older)) == newer
        assert known(store) == {"src_lib_rs.json": [1, 7]}

    def test_conflict_is_told_once(self, store: Destination) -> None:
        older, newer = entry_in(analyzed_at=1, result=b"1"), entry_in(analyzed_at=2, result=b"2")
        with store.writer() as writer:
            first = writer.put(FOLDER, [record_of(newer), record_of(older)])
            second = writer.put(FOLDER, [record_of(newer), record_of(older)])
        assert [one.incoming_answers for one in first.conflicts] == [False]
        assert first.conflicts[0][:5] == (HOME.path, "docs", "src/lib.rs", 1, 2)
        assert second.conflicts == []

    def test_same_result_at_another_time_is_no_conflict(self, store: Destination) -> None:
        with store.writer() as writer:
            put = writer.put(FOLDER, [record_of(entry_in(analyzed_at=time)) for time in (1, 2)])
        assert (put.outcomes, list(put.conflicts)) == (Outcomes(migrated=2), [])

    def test_size_of_the_file_is_no_part_of_the_identity(self, store: Destination) -> None:
        older = entry_in(analyzed_at=1, result=b"1", file_size=1)
        newer = entry_in(analyzed_at=2, result=b"2", file_size=2)
        with store.writer() as writer:
            conflicts = writer.put(FOLDER, [record_of(older), record_of(newer)]).conflicts
        assert len(conflicts) == 1
        assert candidates(store, older) == [_as_candidate(newer)]

    @given(
        entries=st.lists(
            st.builds(
                entry_in,
                analyzed_at=st.integers(0, 2),
                result=st.sampled_from([b"1", b"2", b"3"]),
                model=st.sampled_from(["m", "n"]),
                provider=st.sampled_from(["xai", "openai"]),
            ),
            unique=True,
            min_size=1,
            max_size=8,
        ),
        policy=st.sampled_from([OnConflict.NEWEST, OnConflict.OLDEST, OnConflict.KEEP_BOTH]),
        data=st.data(),
    )
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def test_who_answers_does_not_depend_on_the_order(
        self, entries: list[Entry], policy: OnConflict, data: st.DataObject
    ) -> None:
        order = data.draw(st.permutations(entries))
        live = []
        for given_order in (entries, order):
            with tempfile.TemporaryDirectory() as directory:
                store = self.make_store(Path(directory))
                for entry in given_order:
                    with store.writer(Rules(policy)) as writer:
                        writer.put(FOLDER, [record_of(entry)])
                live.append(candidates(store, entry_in()))
                assert all(entry in find(store, entry) for entry in entries)
        assert live[0] == live[1]

    def test_deduplicated_entries_share_a_row_and_each_place_is_found(
        self, store: Destination
    ) -> None:
        other = Folder(Repository("/home/dev/fork", "0c55a4f1"), "docs", "centralized")
        mine = entry_in(analyzed_at=1)
        moved = entry_in(analyzed_at=2, file_path="src/moved.rs")
        theirs = entry_in(other, analyzed_at=3)
        with store.writer(Rules(dedup=True)) as writer:
            first = writer.put(FOLDER, [record_of(mine), record_of(moved)]).outcomes
            second = writer.put(other, [record_of(theirs)]).outcomes
            again = writer.put(other, [record_of(theirs)]).outcomes
        assert (first.migrated, first.duplicate, first.shared) == (1, 1, 1)
        assert (second.duplicate, second.shared) == (1, 1)
        assert again == UNCHANGED
        assert put(self.reopen(store), other, theirs) == UNCHANGED  # without dedup, too
        for folder, entry in ((FOLDER, mine), (FOLDER, moved), (other, theirs)):
            assert find(self.reopen(store), entry, folder) == [entry]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("result", b"1"),
            ("model", "grok-2"),
            ("provider", "openai"),
            ("tokens_used", 1),
            ("prompt_hash", "default"),
            ("file_hash", bytes(32)),
        ],
    )
    def test_entries_that_differ_in_more_than_their_place_share_no_row(
        self, store: Destination, field: str, value: Any
    ) -> None:
        one, other = entry_in(), entry_in(file_path="src/other.rs", **{field: value})
        with store.writer(Rules(dedup=True)) as writer:
            assert writer.put(FOLDER, [record_of(one), record_of(other)]).outcomes.migrated == 2

    def test_entry_whose_shared_row_is_superseded_answers_on(self, store: Destination) -> None:
        mine = entry_in(analyzed_at=1, result=b"1")
        moved = entry_in(analyzed_at=1, result=b"1", file_path="src/moved.rs")
        newer = entry_in(analyzed_at=2, result=b"2")
        with store.writer(Rules(dedup=True)) as writer:
            writer.put(FOLDER, [record_of(mine), record_of(moved)])
            writer.put(FOLDER, [record_of(newer)])
        live = candidates(store, mine)
        assert sorted(live) == sorted(map(_as_candidate, (moved, newer)))
        assert put(self.reopen(store), FOLDER, mine, moved, newer) == Outcomes(unchanged=3)

    @given(
        batches=st.deferred(lambda: _batches),
        policy=st.sampled_from([OnConflict.NEWEST, OnConflict.OLDEST, OnConflict.KEEP_BOTH]),
        dedup=st.booleans(),
    )
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    def test_under_any_rules_outcomes_are_those_of_the_reference_store(
        self, batches: list[_Batch], policy: OnConflict, dedup: bool
    ) -> None:
        reference = MemoryStore()
        rules = Rules(policy, dedup)
        with tempfile.TemporaryDirectory() as directory:
            store = self.make_store(Path(directory))
            with store.writer(rules) as writer, reference.writer(rules) as expected:
                for batch in batches:
                    ours, theirs = (_put_all(one, batch) for one in (writer, expected))
                    assert ours.each == theirs.each
                    assert sorted(ours.conflicts) == sorted(theirs.conflicts)
                    assert stamps_of(writer, batch.folder) == stamps_of(expected, batch.folder)
                    if batch.then_commit:
                        writer.commit()
            with self.reopen(store).finder() as finder, reference.finder() as other:
                for folder, entry in _all_of(batches):
                    assert entry in finder.find(folder, entry)
                    answers = finder.lookup(query_for(entry)), other.lookup(query_for(entry))
                    assert (answers[0] is None) == (answers[1] is None)
                    if not dedup:
                        assert answers[0] == answers[1]

    @given(batches=st.deferred(lambda: _batches))
    @settings(
        max_examples=60,
        deadline=None,
        # One method serves every subclass, which is what the first of these warns of.
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    def test_whatever_is_put_is_found_and_answers_as_in_the_reference_store(
        self, batches: list[_Batch]
    ) -> None:
        reference = MemoryStore()
        with tempfile.TemporaryDirectory() as directory:
            store = self.make_store(Path(directory))
            with store.writer() as writer, reference.writer() as expected:
                for batch in batches:
                    assert _put_batch(writer, batch) == _put_batch(expected, batch)
                    assert stamps_of(writer, batch.folder) == stamps_of(expected, batch.folder)
                    if batch.then_commit:
                        writer.commit()
            with self.reopen(store).finder() as finder, reference.finder() as other:
                for folder, entry in _all_of(batches):
                    assert entry in finder.find(folder, entry)
                    asked = query_for(entry)
                    for query in (asked, asked._replace(prompt_hash="p"), asked._replace(model="")):
                        assert finder.lookup(query) == other.lookup(query)
                    known_of = finder.candidates(entry.file_hash), other.candidates(entry.file_hash)
                    assert _sorted(known_of[0]) == _sorted(known_of[1])


def _without_id(candidate: Candidate) -> Candidate:
    return candidate._replace(id=0)


def _as_candidate(entry: Entry) -> Candidate:
    return Candidate(
        0,
        entry.repository,
        entry.cache_type,
        entry.file_path,
        entry.file_hash,
        *entry.producer,
        entry.analyzed_at,
    )


def _sorted(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(map(_without_id, candidates), key=repr)


def _put_with_dictionary(store: Destination, entry: Entry, data: bytes) -> Outcomes:
    with store.writer() as writer:
        dictionary = writer.add_dictionary(entry.cache_type, data)
        encoder = Encoder(dictionaries=[dictionary._replace(cache_type=entry.cache_type)])
        return writer.put(FOLDER, [record_of(entry, by=encoder)]).outcomes


class _Item(NamedTuple):
    entry: Entry
    name: bytes | None
    stamp: int | None


class _Batch(NamedTuple):
    folder: Folder
    items: list[_Item]
    dictionary: bytes | None
    then_commit: bool


def _put_batch(writer: Writer, batch: _Batch) -> Outcomes:
    return _put_all(writer, batch).outcomes


def _put_all(writer: Writer, batch: _Batch) -> Put:
    dictionaries: list[Dictionary] = []
    if batch.dictionary is not None:
        added = writer.add_dictionary(batch.folder.cache_type, batch.dictionary)
        dictionaries.append(added._replace(cache_type=batch.folder.cache_type))
    encoder = Encoder(dictionaries=dictionaries)
    records = [encoder.encode(entry, name=name, stamp=stamp) for entry, name, stamp in batch.items]
    return writer.put(batch.folder, records)


def _all_of(batches: list[_Batch]) -> list[tuple[Folder, Entry]]:
    return [(batch.folder, item.entry) for batch in batches for item in batch.items]


# Few choices, so that entries meet: equal ones, equal keys, one hash prefix, one file name.
_int64 = st.integers(-INT64, INT64 - 1)
_hashes = st.sampled_from([bytes(32), bytes(31) + b"\1", hashlib.sha256(b"").digest()])
_repositories = st.builds(
    Repository, st.sampled_from(["/a", "/b"]), st.sampled_from([None, "0a1b2c3d", "ffffffff"])
)
_folders = st.builds(
    Folder,
    _repositories,
    st.sampled_from(["docs", "todos"]),
    st.sampled_from(["centralized", "flat", "local"]),
    st.sampled_from(["", "old"]),
)
_bare_entries = st.builds(
    Entry,
    repository=st.just(""),
    cache_type=st.just(""),
    file_path=st.sampled_from(["a/b", "a_b"]) | st.text(max_size=5),
    file_hash=_hashes,
    analyzed_at=st.integers(-1, 1) | _int64,
    provider=st.sampled_from(["xai", "\0", "é"]),
    model=st.sampled_from(["m", "m:p", ""]),
    prompt_hash=st.sampled_from([None, "", "p", "p:1"]),
    schema_version=st.sampled_from([None, -1, 0, 1]) | _int64,
    result=st.sampled_from([b"null", b"{}", DICTIONARY]) | st.binary(max_size=20),
    tokens_used=st.sampled_from([None, 0]) | _int64,
    file_size=st.sampled_from([None, 0]) | _int64,
)
_kept_entries = st.builds(
    lambda old, note: (
        parse(
            dump(fields_of("a/b", content=b"", old=old, note=note)), repository="", cache_type=""
        ).entry
    ),
    old=st.booleans(),
    note=st.sampled_from(["", "x"]),
)


def _item(entry: Entry, folder: Folder, name: bytes | None, stamp: int | None) -> _Item:
    entry = msgspec.structs.replace(
        entry, repository=folder.repository.path, cache_type=folder.cache_type
    )
    # A record carries a name only where the path does not imply it.
    return _Item(entry, None if name == file_name(entry.file_path).encode() else name, stamp)


def _batch_of(folder: Folder) -> st.SearchStrategy[_Batch]:
    items = st.builds(
        _item,
        _bare_entries | _kept_entries,
        st.just(folder),
        st.sampled_from([None, b"a_b.json", b"\xff.json"]),
        st.none() | st.integers(0, 2) | _int64,
    )
    return st.builds(
        _Batch,
        st.just(folder),
        st.lists(items, max_size=5),
        st.sampled_from([None, DICTIONARY, NEWER_DICTIONARY]),
        st.booleans(),
    )


_drawn_batches = st.lists(_folders.flatmap(_batch_of), max_size=5)
# Some are put again, as in a second run over the same source.
_batches: st.SearchStrategy[list[_Batch]] = st.builds(
    lambda first, again: first + first[:again], _drawn_batches, st.integers(0, 3)
)
