"""The tree of small JSON files that the Rust program writes."""

from rustassistant.stores.json_tree.destination import JsonTreeDestination
from rustassistant.stores.json_tree.places import Layout
from rustassistant.stores.json_tree.store import JsonTree

__all__ = ["JsonTree", "JsonTreeDestination", "Layout"]
