"""A migration's plan: what a rehearsal found, and whether that still holds."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rustassistant.errors import ChangedSourceError, UsageError
from rustassistant.results import Rehearsal
from rustassistant.stores.base import printable
from rustassistant.timestamps import format_rfc3339
from rustassistant.transfer.digest import Digest
from rustassistant.transfer.plan import Options
from rustassistant.transfer.plan_file import Plan
from rustassistant.version import __version__


def check_utf8(places: Sequence[str]) -> None:
    """Raise UsageError for a place whose name no plan can hold."""
    for place in places:
        if printable(place) != place:
            raise UsageError(
                f"{printable(place)} is not UTF-8, which a plan has to be",
                hint="Migrate without a plan, or from a place with another name.",
            )


def plan_of(
    rehearsal: Rehearsal,
    digest: Digest,
    *,
    sources: tuple[str, ...],
    destination: str,
    options: Options,
) -> Plan:
    """The plan to do what was rehearsed; ``digest`` is that of the sources before."""
    result = rehearsal.result
    return Plan(
        made_at=format_rfc3339(time.time_ns()),
        version=__version__,
        sources=sources,
        destination=destination,
        on_conflict=options.rules.on_conflict,
        dedup=options.rules.dedup,
        level=options.level,
        dictionaries=options.dictionaries,
        selection=options.selection,
        digest=digest.hexdigest(),
        entries=digest.count,
        expected={
            "migrated": result.total_migrated,
            "unchanged": result.total_unchanged,
            "duplicates": result.total_duplicates,
            "filtered": result.total_filtered,
            "failed": result.total_failed,
            "conflicts": len(result.conflicts),
            "destination_size": result.destination_size,
        },
    )


def check_unchanged(plan: Plan, digest: Digest) -> None:
    """Raise ChangedSourceError if the sources are not what they were when the plan was made."""
    if (digest.hexdigest(), digest.count) != (plan.digest, plan.entries):
        raise ChangedSourceError(
            f"the source has changed since the plan was made at {plan.made_at}: it held "
            f"{plan.entries} entries then, and holds "
            f"{digest.count if digest.count != plan.entries else 'other'} now"
        )
