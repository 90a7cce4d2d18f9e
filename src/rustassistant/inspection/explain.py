"""Whether a file would be a hit, and if not, what differs and what analysing it anew costs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from rustassistant.configuration import Configuration
from rustassistant.errors import DamagedError, NotFoundError
from rustassistant.inspection.opening import AnyPath, opened, resolved
from rustassistant.inspection.paths import ranked, suffixes
from rustassistant.inspection.scope import repositories_of
from rustassistant.inspection.showing import cost_of, read_entry
from rustassistant.inspection.sums import spending_of
from rustassistant.inspection.working_tree import NOT_REGULAR, hash_and_close
from rustassistant.pricing import Cost, Prices, Split
from rustassistant.spending import PUBLISHED_USD_PER_ENTRY, MonthlyPrices, bill
from rustassistant.stores.base import Candidate, Query, printable
from rustassistant.stores.sqlite.views.browsing import Item, items_of_content, items_of_paths
from rustassistant.stores.sqlite.views.summary import Scope, lines
from rustassistant.transfer.selection import Selection
from rustassistant.usage import stated_usage


class Basis(StrEnum):
    """What a cost of analysing anew is taken from, the best first."""

    NEAREST = "the nearest entry's tokens"
    MEAN = "the model's mean for that type"
    MODEL = "the model's mean"
    PUBLISHED = "the published figure"


class Wanted(NamedTuple):
    """What a program would ask for beside the content; None is not compared."""

    model: str | None = None
    prompt_hash: str | None = None
    schema_version: int | None = None
    exact: bool = False


ANY: Final = Wanted()


class Anew(NamedTuple):
    """What analysing a file costs: US dollars (None if its model has no price), and seconds."""

    usd: Decimal | None
    seconds: float
    basis: Basis
    split: Split


class Verdict(NamedTuple):
    """For one type: the entry that answers; or else the nearest, the parts in which it ``differs``
    (``content``, ``model``, ``prompt hash``, ``schema version``), and the cost. ``nearest`` is None
    if nothing of that type is about this content or file. ``is_same_file`` says whether the entry
    told of is about a file of that path, and not just of that content."""

    cache_type: str
    hit: Item | None
    nearest: Item | None
    differs: tuple[str, ...]
    anew: Anew | None
    is_same_file: bool

    @property
    def is_hit(self) -> bool:
        """Whether nothing has to be paid for."""
        return self.hit is not None


@dataclass(frozen=True, slots=True)
class Explained:
    """The file as it is now (``size`` in bytes), and a verdict for each type."""

    path: str
    file_hash: bytes
    size: int
    wanted: Wanted
    verdicts: tuple[Verdict, ...]


def explain_file(
    database: AnyPath,
    file: AnyPath,
    configuration: Configuration,
    *,
    types: Sequence[str] = (),
    wanted: Wanted = ANY,
    repositories: Sequence[str] = (),
    now: datetime | None = None,
) -> Explained:
    """Ask for each type (all that the database holds, if none are named) as programs ask.

    ``repositories`` (paths, globs, ``<hash8>``) limit what counts as about this file, not what
    answers: a lookup asks by content alone. Raises NotFoundError for a file that can't be read.
    """
    file_hash, size = hashed(file)
    path = resolved(database)
    with opened(path) as connection:
        asking = _Asking(connection, configuration, now or datetime.now(UTC))
        near = _near(connection, file, file_hash, repositories)
        names = types or _types_of(connection)
        verdicts = tuple(asking.verdict(name, file, file_hash, wanted, near) for name in names)
    place = printable(os.path.abspath(Path(file).expanduser()))
    return Explained(place, file_hash, size, wanted, verdicts)


def hashed(file: AnyPath) -> tuple[bytes, int]:
    """The SHA-256 of a file's content and its size, however large it is."""
    path = Path(file).expanduser()
    hint = "Name a file of the repository: the cache is asked by its content."
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # or a FIFO waits
        found = hash_and_close(descriptor)
    except OSError as error:
        raise NotFoundError(
            f"{printable(path)} cannot be read: {error.strerror}", hint=hint
        ) from None
    if found is None:
        raise NotFoundError(f"{printable(path)} is {NOT_REGULAR}", hint=hint)
    return found


def _types_of(connection: apsw.Connection) -> list[str]:
    return sorted({line.cache_type for line in lines(connection, Scope())})


def _near(
    connection: apsw.Connection, file: AnyPath, file_hash: bytes, repositories: Sequence[str]
) -> list[Item]:
    """Live entries about that content or a file of that path."""
    chosen = None
    if repositories:
        chosen = repositories_of(connection, Selection(repositories=tuple(repositories)))
        if not chosen:
            raise NotFoundError(
                f"the database holds nothing of {', '.join(repositories)}",
                hint="`rustassistant cache status` names the repositories.",
            )
    about = [
        item
        for item in items_of_paths(connection, suffixes(file))
        if item.removed is None and (chosen is None or item.repository in chosen)
    ]
    best = max((ranked(file, one.repository, one.file_path) for one in about), default=None)
    about = [one for one in about if ranked(file, one.repository, one.file_path) == best]
    known = {(one.id, one.copy_id) for one in about}
    same = items_of_content(connection, file_hash)
    return about + [one for one in same if (one.id, one.copy_id) not in known]


class _Asking:
    def __init__(
        self, connection: apsw.Connection, configuration: Configuration, now: datetime
    ) -> None:
        self._connection = connection
        self._prices = MonthlyPrices(Prices(configuration.prices))
        self._seconds = float(configuration.cost.seconds_per_entry)
        utc = now.astimezone(UTC)
        self._month = utc.year * 12 + utc.month - 1

    def verdict(
        self,
        cache_type: str,
        file: AnyPath,
        file_hash: bytes,
        wanted: Wanted,
        near: Iterable[Item],
    ) -> Verdict:
        """What a lookup of that type would find."""
        query = Query(cache_type, file_hash, *wanted)
        ends = set(suffixes(file))
        items = {candidate_of(item): item for item in near if item.cache_type == cache_type}
        best = query.best(items)
        if best is not None:
            return Verdict(cache_type, items[best], None, (), None, best.file_path in ends)

        def nearness(candidate: Candidate) -> tuple[int, bool, int]:
            is_other = candidate.file_path not in ends
            return (len(query.why_not(candidate)), is_other, -candidate.analyzed_at)

        nearest = min(items, key=nearness, default=None)
        item = None if nearest is None else items[nearest]
        return Verdict(
            cache_type,
            None,
            item,
            () if nearest is None else tuple(query.why_not(nearest)),
            self._anew(cache_type, item, wanted.model),
            nearest is not None and nearest.file_path in ends,
        )

    def _anew(self, cache_type: str, nearest: Item | None, model: str | None) -> Anew:
        if nearest is not None:
            cost = self._like(nearest, model)
            if cost is not None:
                return self._told(cost.usd, Basis.NEAREST, cost.split)
        return self._like_others(cache_type, model or (nearest.model if nearest else None))

    def _like(self, item: Item, model: str | None) -> Cost | None:
        """What an entry's tokens cost now, with another model if one is asked for."""
        try:
            usage = stated_usage(read_entry(self._connection, item.id).result)
        except DamagedError:
            usage = None
        if model not in (None, item.model):
            item = item._replace(provider="", model=model)
        return cost_of(item, usage, self._prices, month=self._month)

    def _like_others(self, cache_type: str, model: str | None) -> Anew:
        """By the mean of that type and model; of the model; of all if no model is known."""
        if model is not None and not self._has_price(model):
            return self._told(None, Basis.PUBLISHED, Split.NONE)
        for kind in (cache_type, None):
            made = [
                (spending_of(line), self._month)
                for line in lines(self._connection, Scope())
                if kind in (None, line.cache_type) and model in (None, line.model)
            ]
            total = bill(made, self._prices)
            priced = total.entries - total.without_tokens - total.unpriced_entries
            if priced > 0:
                basis = Basis.MODEL if kind is None else Basis.MEAN
                return self._told(total.cost.usd / priced, basis, total.cost.split)
        return self._told(PUBLISHED_USD_PER_ENTRY, Basis.PUBLISHED, Split.NONE)

    def _has_price(self, model: str) -> bool:
        rows = self._connection.execute("SELECT provider FROM producers WHERE model = ?", (model,))
        providers = {provider for (provider,) in rows} or {""}
        return any(self._prices.price(one, model, self._month) for one in providers)

    def _told(self, usd: Decimal | None, basis: Basis, split: Split) -> Anew:
        return Anew(usd, self._seconds, basis, split)


def candidate_of(item: Item) -> Candidate:
    """What a lookup compares of an entry."""
    return Candidate(
        item.id,
        item.repository,
        item.cache_type,
        item.file_path,
        item.file_hash,
        item.provider,
        item.model,
        item.prompt_hash,
        item.schema_version,
        item.analyzed_at,
    )
