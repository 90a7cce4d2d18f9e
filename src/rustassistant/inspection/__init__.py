"""Looking into a cache database: what there is, what it cost, and whether it would answer."""

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
