"""The Rust program's own SQLite file ("v1"), to read from and to write for it."""

from rustassistant.stores.v1.store import V1Store

__all__ = ["V1Store"]
