"""The reference store keeps the promises that others are measured by."""

from __future__ import annotations

from pathlib import Path

from rustassistant.stores.base import Destination
from rustassistant.stores.memory import MemoryStore
from stores.store_suite import FLAT, FOLDER, DestinationSuite, entry_in, put


class TestMemoryStore(DestinationSuite):
    def make_store(self, tmp_path: Path) -> Destination:
        return MemoryStore()

    def reopen(self, store: Destination) -> Destination:
        return store  # it lives in this process alone

    def test_all_entries_are_listed_once(self) -> None:
        store = MemoryStore()
        one, other = entry_in(), entry_in(file_path="other.rs")
        put(store, FOLDER, one, other)
        put(store, FLAT, one)
        assert store.entries() == [one, other]

    def test_it_says_where_it_is(self) -> None:
        assert MemoryStore().info().kind == "memory"
