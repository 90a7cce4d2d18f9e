"""Keeping two caches in step: a JSON tree and a database, or two of either.

result = CacheSync("cache.db", "repos").run()
assert not result.left and not result.failed
"""

from rustassistant.sync.api import CacheSync
from rustassistant.sync.decide import Choice
from rustassistant.sync.options import MaxDelete, Resolve
from rustassistant.sync.report import Question, Sign, Step, SyncResult, Trouble

__all__ = [
    "CacheSync",
    "Choice",
    "MaxDelete",
    "Question",
    "Resolve",
    "Sign",
    "Step",
    "SyncResult",
    "Trouble",
]
