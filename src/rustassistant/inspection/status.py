"""What a cache holds, what it cost, what it has saved, and how it grew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import apsw

from rustassistant.budget import Budget, judge, month_of
from rustassistant.configuration import Configuration
from rustassistant.inspection.opening import AnyPath, opened, place_of_database, resolved
from rustassistant.inspection.scope import repositories_of, scope_of
from rustassistant.inspection.sums import spending_of
from rustassistant.pricing import Prices
from rustassistant.results import Spending
from rustassistant.spending import Bill, MonthlyPrices, bill_of, estimate
from rustassistant.stores.sqlite.views.summary import (
    Asked,
    By,
    Line,
    Scope,
    Sizes,
    lines,
    removed_lines,
    sizes,
    traffic_lines,
)
from rustassistant.transfer.selection import ALL, Selection

_NS_PER_DAY: Final = 86_400 * 10**9


@dataclass(slots=True)
class Share:
    """One type's, model's or repository's part, or all of it.

    ``tokens`` are those told apart by the result and those of the others; ``text_bytes`` are
    results before compression, None if nobody has added them up; ``bill`` is what it cost,
    ``saved_usd`` what hits would have cost anew.
    """

    name: str
    entries: int = 0
    tokens: int = 0
    text_bytes: int | None = 0
    stored_bytes: int = 0
    hits: int = 0
    misses: int = 0
    bill: Bill = field(default_factory=Bill)
    saved_usd: Decimal = Decimal(0)

    @property
    def hit_percent(self) -> float | None:
        """Hits of all lookups, None if there were none."""
        asked = self.hits + self.misses
        return 100 * self.hits / asked if asked else None

    @property
    def stored_percent(self) -> float | None:
        """What is left of the results by compression, and by storing equal ones once."""
        return 100 * self.stored_bytes / self.text_bytes if self.text_bytes else None


@dataclass(frozen=True, slots=True)
class Month:
    """What came in a month (twelve times the year, and 0 to 11) and what there was at its end."""

    month: int
    added: int
    total: int
    usd: Decimal

    @property
    def name(self) -> str:
        """As ``2026-02``."""
        return f"{self.month // 12:04d}-{self.month % 12 + 1:02d}"


@dataclass(frozen=True, slots=True)
class Status:
    """All of that. Sizes are bytes.

    ``is_scanned`` if filters made it read entries' columns: then how results compress is not known,
    and every count of tokens is taken half and half. ``counts_lookups`` is not so with filters
    that lookups are not counted by. ``estimated_usd`` is what entries without token counts may
    have cost on top. The budget is that of all entries, whatever the filters.
    """

    path: str
    file_bytes: int
    log_bytes: int
    sizes: Sizes
    whole: Share
    by_type: tuple[Share, ...]
    by_model: tuple[Share, ...]
    by_repository: tuple[Share, ...]
    months: tuple[Month, ...]
    budget: Budget
    budget_month: Month
    budget_is_whole: bool
    estimated_usd: Decimal
    seconds: float
    saved_seconds: float
    is_filtered: bool
    is_scanned: bool
    counts_lookups: bool


def status_of(
    database: AnyPath,
    configuration: Configuration,
    *,
    selection: Selection = ALL,
    now: datetime | None = None,
) -> Status:
    """Add a database up, without reading results; without reading entries either, unless a filter
    is about paths, days or tokens. Raises NotFoundError and the like."""
    path = resolved(database)
    with opened(path) as connection:
        summing = _Summing(connection, configuration, selection)
        found = summing.sum_up()
        budget, month, is_whole = _budget(connection, summing, now or datetime.now(UTC))
        size = sizes(connection)
    seconds = float(configuration.cost.seconds_per_entry)
    return Status(
        path=path,
        file_bytes=size.pages * size.page_size,
        log_bytes=place_of_database(path).log_size,
        sizes=size,
        whole=found.whole,
        by_type=found.sorted_by("type"),
        by_model=found.sorted_by("model"),
        by_repository=found.sorted_by("repository"),
        months=found.growth(),
        budget=budget,
        budget_month=month,
        budget_is_whole=is_whole,
        estimated_usd=estimate(found.made, summing.prices),
        seconds=seconds * found.whole.entries,
        saved_seconds=seconds * found.whole.hits,
        is_filtered=selection != ALL,
        is_scanned=not summing.scope.is_summed,
        counts_lookups=summing.counts_lookups,
    )


class _Shares:
    """Everything once for the whole, and once for each type, model and repository."""

    def __init__(self, *, sizes_known: bool) -> None:
        self._text_bytes = 0 if sizes_known else None
        self.whole = self._share("")
        self._parts: dict[str, dict[str, Share]] = {"type": {}, "model": {}, "repository": {}}
        self._months: defaultdict[int, Bill] = defaultdict(Bill)
        self.made: list[tuple[Spending, int]] = []

    def _share(self, name: str) -> Share:
        return Share(name, text_bytes=self._text_bytes)

    def _part(self, dimension: str, name: str) -> Share:
        parts = self._parts[dimension]
        if name not in parts:
            parts[name] = self._share(name)
        return parts[name]

    def add(self, line: Line, bill: Bill) -> None:
        """Count entries in, for what the line keeps them apart by."""
        shares = []
        if line.cache_type:
            shares += [
                self.whole, self._part("type", line.cache_type), self._part("model", line.model)
            ]  # fmt: skip
            self._months[line.month] += bill
            self.made.append((spending_of(line), line.month))
        if line.repository:
            shares.append(self._part("repository", line.repository))
        for share in shares:
            share.entries += line.entries
            share.tokens += line.assumed_tokens + line.input_tokens + line.output_tokens
            share.stored_bytes += line.stored_bytes
            if share.text_bytes is not None:
                share.text_bytes += line.text_bytes
            share.bill += bill

    def add_lookups(self, asked: Asked, saved_usd: Decimal) -> None:
        """Count hits and misses in; a miss may not have named its model or repository."""
        shares = [self.whole, self._part("type", asked.cache_type)]
        shares += [
            self._part(dimension, name)
            for dimension, name in (("model", asked.model), ("repository", asked.repository))
            if name
        ]
        for share in shares:
            share.hits += asked.hits
            share.misses += asked.misses
            share.saved_usd += saved_usd

    def sorted_by(self, dimension: str) -> tuple[Share, ...]:
        """The shares of one kind, the largest first."""
        shares = self._parts[dimension].values()
        return tuple(sorted(shares, key=lambda one: (-one.entries, -one.hits, one.name)))

    def growth(self) -> tuple[Month, ...]:
        """Every month from the first with entries to the last, those without any included."""
        months, total = [], 0
        if self._months:
            for month in range(min(self._months), max(self._months) + 1):
                bill = self._months.get(month, Bill())
                total += bill.entries
                months.append(Month(month, bill.entries, total, bill.cost.usd))
        return tuple(months)


class _Summing:
    def __init__(
        self, connection: apsw.Connection, configuration: Configuration, selection: Selection
    ) -> None:
        self._connection = connection
        self._selection = selection
        self.configuration = configuration
        self.prices = MonthlyPrices(Prices(configuration.prices))
        self.scope = scope_of(connection, selection)
        self.counts_lookups = not (
            selection.providers or selection.include or selection.exclude or selection.min_tokens
        )

    def sum_up(self) -> _Shares:
        """All that is meant."""
        shares = _Shares(sizes_known=self.scope.is_summed)
        inputs: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        providers: dict[str, tuple[int, str]] = {}
        for line in self._lines():
            shares.add(line, bill_of(spending_of(line), line.month, self.prices))
            if not line.cache_type:
                continue
            share = inputs[line.model]
            share[0] += 2 * line.input_tokens + line.assumed_tokens
            share[1] += 2 * (line.input_tokens + line.output_tokens + line.assumed_tokens)
            most = (line.entries, line.provider)
            providers[line.model] = max(providers.get(line.model, most), most)
        if self.counts_lookups:
            for asked in self._lookups():
                _, provider = providers.get(asked.model, (0, ""))
                part, all_of_it = inputs.get(asked.model, (1, 2))
                shares.add_lookups(asked, self._saved(asked, provider, part, all_of_it))
        return shares

    def _lines(self) -> Iterator[Line]:
        """By type and by repository one after the other, unless entries have to be gone over."""
        for by in (By.TYPE, By.REPOSITORY) if self.scope.is_summed else (By.BOTH,):
            yield from lines(self._connection, self.scope, by)

    def _lookups(self) -> Iterable[Asked]:
        chosen = self._selection
        repositories = repositories_of(self._connection, chosen) if chosen.repositories else None
        for asked in traffic_lines(
            self._connection,
            first_day=None if chosen.since is None else chosen.since // _NS_PER_DAY,
            last_day=None if chosen.until is None else chosen.until // _NS_PER_DAY,
        ):
            if (
                (not chosen.types or asked.cache_type in chosen.types)
                and (not chosen.models or asked.model in chosen.models)
                and (repositories is None or asked.repository in repositories)
            ):
                yield asked

    def _saved(self, asked: Asked, provider: str, part: int, all_of_it: int) -> Decimal:
        """What the tokens of hits cost, as much of them going in as with the model's entries."""
        price = self.prices.price(provider, asked.model, asked.month)
        if price is None or not asked.tokens_saved:
            return Decimal(0)
        going_in = asked.tokens_saved * part // all_of_it if all_of_it else asked.tokens_saved // 2
        cost = price.cost(None, going_in, asked.tokens_saved - going_in)
        return Decimal(0) if cost is None else cost.usd


def _budget(
    connection: apsw.Connection, summing: _Summing, now: datetime
) -> tuple[Budget, Month, bool]:
    """This month's spending: what is in the trash by now was paid for too."""
    start, end = month_of(now)
    utc = now.astimezone(UTC)
    month = utc.year * 12 + utc.month - 1
    spent = Bill()
    for line in (
        *lines(connection, Scope(since=start, until=end - 1)),
        *removed_lines(connection, start, month),
    ):
        spent += bill_of(spending_of(line), line.month, summing.prices)
    usd = spent.cost.usd
    budget = judge(usd, summing.configuration.budget)
    return budget, Month(month, spent.entries, spent.entries, usd), spent.is_whole
