"""Where things lie unless told otherwise."""

from __future__ import annotations

from rustassistant.configuration.settings import home

__all__ = ["default_destination", "default_source", "home"]


def default_source() -> str:
    """The Rust program's own cache."""
    return str(home() / "cache" / "repos")


def default_destination() -> str:
    """The database that everything goes to."""
    return str(home() / "cache.db")
