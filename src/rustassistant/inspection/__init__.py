"""Looking into a cache database: what there is, what it cost, and whether it would answer."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rustassistant.inspection.explain import Explained, Verdict, explain_file
    from rustassistant.inspection.listing import Listed, Listing, Order, list_entries
    from rustassistant.inspection.opening import Made, Place, make_database, place_of_database
    from rustassistant.inspection.showing import Shown, find_entries, show_entry
    from rustassistant.inspection.stale import FileState, Staleness, look_for_stale
    from rustassistant.inspection.status import Status, status_of

__all__ = [
    "Explained",
    "FileState",
    "Listed",
    "Listing",
    "Made",
    "Order",
    "Place",
    "Shown",
    "Staleness",
    "Status",
    "Verdict",
    "explain_file",
    "find_entries",
    "list_entries",
    "look_for_stale",
    "make_database",
    "place_of_database",
    "show_entry",
    "status_of",
]

_ROOMS = {
    "Explained": "explain",
    "FileState": "stale",
    "Listed": "listing",
    "Listing": "listing",
    "Made": "opening",
    "Order": "listing",
    "Place": "opening",
    "Shown": "showing",
    "Staleness": "stale",
    "Status": "status",
    "Verdict": "explain",
    "explain_file": "explain",
    "find_entries": "showing",
    "list_entries": "listing",
    "look_for_stale": "stale",
    "make_database": "opening",
    "place_of_database": "opening",
    "show_entry": "showing",
    "status_of": "status",
}


def __getattr__(name: str) -> Any:
    """Import names when they are first used: a command needs one or two of them."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
