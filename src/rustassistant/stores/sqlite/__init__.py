"""One SQLite file that holds everything."""

from rustassistant.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
