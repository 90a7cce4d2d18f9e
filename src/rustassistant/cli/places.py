"""Where things lie unless told otherwise."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """``~/.rustassistant``, or where ``RUSTASSISTANT_HOME`` moves it."""
    moved = os.environ.get("RUSTASSISTANT_HOME")
    return Path(moved).expanduser() if moved else Path.home() / ".rustassistant"


def default_source() -> str:
    """The Rust program's own cache."""
    return str(home() / "cache" / "repos")


def default_destination() -> str:
    """The database that everything goes to."""
    return str(home() / "cache.db")
