"""The published API for comparing caches with a database, as a whole or by a sample.

verification = CacheVerifier("~/.rustassistant/cache/repos", "cache.db").verify()
assert verification, verification.differences
print(verification.digest)  # the same on every machine with the same entries
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rustassistant.errors import UsageError
from rustassistant.results import (
    MigrationProgress,
    Verification,
    published_progress,
    verification_of,
)
from rustassistant.stores import open_destination, open_source
from rustassistant.stores.base import HasState, Source
from rustassistant.transfer.checkpoint import Checkpoint
from rustassistant.transfer.plan import Options
from rustassistant.transfer.report import Cancelled
from rustassistant.transfer.sample import MAX_SEED, Sample, Sampled
from rustassistant.transfer.sources import Sources
from rustassistant.transfer.verify import compare

Place = str | os.PathLike[str]


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
        if jobs is not None and jobs < 1:
            raise UsageError(f"{jobs} worker processes are too few", hint="Name at least 1.")
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise UsageError(f"the seed {seed} is out of range", hint=f"It is 0 to {MAX_SEED}.")
        given = [source] if isinstance(source, str | os.PathLike) else list(source)
        if not given:
            raise UsageError("no source is named", hint="Name at least one.")
        self.sources = tuple(map(_place, given))
        self.destination = _place(destination)
        self.seed = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
        self._options = Options(jobs=jobs)
        self._cancelled = cancelled
        stores = [open_source(os.fspath(place)) for place in self.sources]
        self._from: Source = stores[0] if len(stores) == 1 else Sources(stores)
        self._to = open_destination(os.fspath(self.destination))
        self._sampled = None
        if sample is not None:
            self._sampled = Sampled(self._from, Sample.of(sample, self.seed))
        self._checkpoint = self._opened(progress_kept_in)

    def _opened(self, directory: Place | None) -> Checkpoint | None:
        if directory is None or self._sampled is not None or not isinstance(self._to, HasState):
            return None
        sources = "\n".join(map(os.fspath, self.sources))
        return Checkpoint(
            os.fspath(_place(directory)), sources, os.fspath(self.destination), self._to.state
        )

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


def _place(given: Place) -> Path:
    """Where it is, whatever the working directory may be later on."""
    if not os.fspath(given):
        raise UsageError("an empty path names no cache", hint="Name a directory or a file.")
    return Path(os.path.abspath(Path(given).expanduser()))
