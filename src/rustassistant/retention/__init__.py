"""What of a cache goes, and what stays: eviction, the trash, pins, clearing, compacting."""

from rustassistant.retention.clearing import Cleared, clear
from rustassistant.retention.compacting import Compacted, compact
from rustassistant.retention.eviction import Eviction, evict, keep_within, plan_eviction
from rustassistant.retention.pins import list_pins, pin, unpin
from rustassistant.retention.policies import WAITING_USD_PER_SECOND, Policy, Worth
from rustassistant.retention.trashcan import (
    Chosen,
    TrashContents,
    empty,
    look_into_trash,
    restore,
)

__all__ = [
    "WAITING_USD_PER_SECOND",
    "Chosen",
    "Cleared",
    "Compacted",
    "Eviction",
    "Policy",
    "TrashContents",
    "Worth",
    "clear",
    "compact",
    "empty",
    "evict",
    "keep_within",
    "list_pins",
    "look_into_trash",
    "pin",
    "plan_eviction",
    "restore",
    "unpin",
]
