"""Where things lie unless told otherwise, and the database that a command is about."""

from __future__ import annotations

from typing import Final

from rustassistant.configuration.settings import home
from rustassistant.locations import Unfit, parted

__all__ = ["database_at", "default_destination", "default_source", "home"]

_WHY: Final = "this command is about a database of ours"
_NO_DATABASE: Final = {
    "json": Unfit(_WHY, "Move the JSON cache into one: `cache migrate --source PATH`."),
    "jsonl": Unfit(_WHY, "Read the file into one: `cache import --source PATH`."),
    "parquet": Unfit(_WHY, "A Parquet file can't be read back; name what it was exported from."),
    "v1": Unfit(_WHY, "Move what it holds into one: `cache migrate --source PATH`."),
}


def default_source() -> str:
    """The Rust program's own cache."""
    return str(home() / "cache" / "repos")


def default_destination() -> str:
    """The database that everything goes to."""
    return str(home() / "cache.db")


def database_at(destination: str | None) -> str:
    """The path of the database that ``--destination`` names, or of the one by default.

    Raises UsageError where what is named is, by its own word, no such database.
    """
    if destination is None:
        return default_destination()
    place = parted(destination)
    place.check_fit(_NO_DATABASE)
    return place.path
