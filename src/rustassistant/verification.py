"""The published API for comparing caches with a database, as a whole or by a sample.

verification = CacheVerifier("~/.rustassistant/cache/repos", "cache.db").verify()
assert verification, verification.differences
print(verification.digest)  # the same on every machine with the same entries
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rustassistant.errors import UsageError
from rustassistant.locations import Place, Unfit
from rustassistant.results import (
    MigrationProgress,
    Verification,
    published_progress,
    verification_of,
)
from rustassistant.route import KEEPS_LESS, Route
from rustassistant.stores.base import HasState
from rustassistant.transfer.checkpoint import Checkpoint
from rustassistant.transfer.plan import Options, check_jobs
from rustassistant.transfer.report import Cancelled
from rustassistant.transfer.sample import MAX_SEED, Sample, Sampled
from rustassistant.transfer.verify import compare

_NO_DESTINATIONS: Final = {
    "json": Unfit(
        "entries are looked up in a database",
        "Name the JSON cache with --source and the database with --destination: that compares "
        "the same entries.",
    ),
    "jsonl": Unfit(
        "entries are looked up in a database, not in a file of lines",
        "Name the file with --source and the database with --destination: that compares the same "
        "entries.",
    ),
    "parquet": Unfit(
        "a Parquet file can't be read back",
        "`cache export --format parquet --dry-run` says whether it is what an export would write.",
    ),
    "v1": KEEPS_LESS,
}


class Resumption(NamedTuple):
    """What an interrupted run has left: how many entries it had compared of how many, and, where
    it left something that can't be used, why."""

    compared: int = 0
    total: int = 0
    why_anew: str = ""


class CacheVerifier:
    """Compares every entry of ``source``, one or several, with what ``destination`` gives back.

    Neither is ever written to. ``sample`` (``5%``, or a number of entries) compares only so many,
    chosen at random by ``seed`` (0 to 2^32 - 1, chosen too if it is None). ``progress_kept_in`` is
    a directory for remembering how far an interrupted run has come; samples are not remembered.
    ``jobs`` worker processes (None chooses; 1 stays in this process).
    """

    def __init__(
        self,
        source: Place | Sequence[Place],
        destination: Place,
        *,
        sample: str | None = None,
        seed: int | None = None,
        progress_kept_in: Place | None = None,
        jobs: int | None = None,
        cancelled: Cancelled | None = None,
    ) -> None:
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise UsageError(f"the seed {seed} is out of range", hint=f"It is 0 to {MAX_SEED}.")
        route = Route(source, destination, unfit=_NO_DESTINATIONS)
        self.sources, self.destination = route.source_paths, route.destination_path
        self._from, self._to = route.source, route.destination
        self.seed = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
        self._options = Options(jobs=check_jobs(jobs))
        self._cancelled = cancelled
        self._sampled = None
        if sample is not None:
            self._sampled = Sampled(self._from, Sample.of(sample, self.seed))
        self._checkpoint = self._opened(progress_kept_in, route.names)

    def _opened(self, directory: Place | None, names: Sequence[str]) -> Checkpoint | None:
        if directory is None or self._sampled is not None or not isinstance(self._to, HasState):
            return None
        place = os.path.abspath(os.path.expanduser(directory))
        return Checkpoint(place, "\n".join(names), os.fspath(self.destination), self._to.state)

    @property
    def population(self) -> int:
        """How many entries a sample was drawn from; 0 without one, or before it was drawn."""
        return 0 if self._sampled is None else self._sampled.population

    @property
    def progress_problem(self) -> str:
        """Why it could not be remembered how far this came; empty if it could."""
        return "" if self._checkpoint is None else self._checkpoint.problem

    def resume(self) -> Resumption:
        """Take up what an interrupted run has left, for `verify` to go on from there."""
        if self._checkpoint is None:
            return Resumption()
        why_not = self._checkpoint.load()
        return Resumption(self._checkpoint.compared, self._checkpoint.total, why_not)

    def verify(self, progress: Callable[[MigrationProgress], None] | None = None) -> Verification:
        """Compare. The answer is true if nothing differs.

        Raises InterruptedRunError if ``cancelled`` says so, NotFoundError and the like.
        """
        comparison = compare(
            self._from if self._sampled is None else self._sampled,
            self._to,
            options=self._options,
            progress=published_progress(progress),
            cancelled=self._cancelled,
            checkpoint=self._checkpoint,
        )
        return verification_of(comparison)
