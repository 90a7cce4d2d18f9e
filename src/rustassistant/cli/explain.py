"""``rustassistant cache explain``: a hit or a miss, for each type, and why."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rustassistant.cli.entries import item_fields, when
from rustassistant.cli.exits import EXIT_MISS
from rustassistant.cli.readable import counted, dollars, duration, size
from rustassistant.cli.render import emit, say, visible
from rustassistant.configuration import load
from rustassistant.entry import DEFAULT_SCHEMA_VERSION
from rustassistant.inspection import Explained, Verdict, explain_file
from rustassistant.inspection.explain import Anew, Wanted
from rustassistant.pricing import Split
from rustassistant.stores.sqlite.views.browsing import Item


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What the command line asked for."""

    database: str
    file: str
    types: tuple[str, ...]
    repositories: tuple[str, ...]
    wanted: Wanted
    as_json: bool


def run_explain(options: ExplainOptions) -> int:
    """Tell; return 0 if every type asked for is a hit, else 1."""
    explained = explain_file(
        options.database,
        options.file,
        load(),
        types=options.types,
        wanted=options.wanted,
        repositories=options.repositories,
    )
    misses = [one for one in explained.verdicts if not one.is_hit]
    if options.as_json:
        emit("summary", **_fields(explained))
    else:
        _say(explained, misses)
    return EXIT_MISS if misses or not explained.verdicts else 0


def _say(explained: Explained, misses: list[Verdict]) -> None:
    say(f"{visible(explained.path)}: {size(explained.size)}, content {explained.file_hash.hex()}")
    if not explained.verdicts:
        say("✗ miss: the cache is empty")
    for verdict in explained.verdicts:
        if verdict.hit is not None:
            _say_hit(verdict, verdict.hit)
        else:
            _say_miss(explained, verdict)
    known = [one.anew.usd for one in misses if one.anew is not None and one.anew.usd is not None]
    if len(misses) > 1 and len(known) == len(misses):
        seconds = sum(one.anew.seconds for one in misses if one.anew is not None)
        usd = dollars(sum(known, Decimal(0)))
        say(f"Analysing it anew for {len(misses)} types costs about {usd} and {duration(seconds)}")


def _say_hit(verdict: Verdict, hit: Item) -> None:
    say(f"✓ {visible(verdict.cache_type)}: hit, entry {hit.id}")
    say(f"    by {visible(hit.model)}, {_prompt(hit)}, made {when(hit.analyzed_at)} UTC")
    if not verdict.is_same_file:
        say(f"    analysed as {visible(hit.file_path)} in {visible(hit.repository)}")


def _say_miss(explained: Explained, verdict: Verdict) -> None:
    near, name = verdict.nearest, visible(verdict.cache_type)
    if near is None:
        say(f"✗ {name}: miss, neither this content nor this file was ever analysed for it")
    else:
        say(f"✗ {name}: miss, the {' and the '.join(verdict.differs)} changed"
            if verdict.differs == ("content",)
            else f"✗ {name}: miss, other {' and '.join(verdict.differs)}")  # fmt: skip
        say(
            f"    nearest is entry {near.id} of {when(near.analyzed_at)} UTC, by "
            f"{visible(near.model)}, {_prompt(near)}"
        )
        if not verdict.is_same_file:
            say(f"    about {visible(near.file_path)} in {visible(near.repository)}")
        for line in _differences(explained, verdict.differs, near):
            say(f"    {visible(line)}")
    if verdict.anew is not None:
        say(f"    {_price(verdict.anew)}")


def _differences(explained: Explained, differs: tuple[str, ...], near: Item) -> list[str]:
    wanted = explained.wanted
    version = DEFAULT_SCHEMA_VERSION if near.schema_version is None else near.schema_version
    was = "" if near.file_size is None else f" ({counted(near.file_size, 'byte')})"
    asked = "one that is recorded" if wanted.prompt_hash is None else wanted.prompt_hash
    told = {
        "content": f"content: it was {near.file_hash.hex()[:16]}…{was}, and is "
                   f"{explained.file_hash.hex()[:16]}… ({counted(explained.size, 'byte')})",
        "model": f"model: asked for {wanted.model}, there is {near.model}",
        "prompt hash": f"prompt: asked for {asked}, there is {near.prompt_hash or 'none'}",
        "schema version": f"schema version: asked for {wanted.schema_version}, there is {version}",
    }  # fmt: skip
    return [told[part] for part in differs if part in told]


def _prompt(item: Item) -> str:
    if item.prompt_hash is None:
        return "prompt not recorded"
    return f"prompt {visible(item.prompt_hash)}"


def _price(anew: Anew) -> str:
    if anew.usd is None:
        return f"analysing it anew takes about {duration(anew.seconds)}; no price is known"
    half = ", half and half" if anew.split is Split.HALF else ""
    return (
        f"analysing it anew costs about {dollars(anew.usd)} and {duration(anew.seconds)} "
        f"(by {anew.basis}{half})"
    )


def _fields(explained: Explained) -> dict[str, Any]:
    wanted = explained.wanted
    return {
        "file": explained.path,
        "file_hash": explained.file_hash.hex(),
        "file_size": explained.size,
        "hit": bool(explained.verdicts) and all(one.is_hit for one in explained.verdicts),
        "looked_for": wanted._asdict(),
        "types": [_verdict_fields(one) for one in explained.verdicts],
    }


def _verdict_fields(verdict: Verdict) -> dict[str, Any]:
    anew = verdict.anew
    return {
        "cache_type": verdict.cache_type,
        "hit": verdict.is_hit,
        "entry": None if verdict.hit is None else item_fields(verdict.hit),
        "nearest": None if verdict.nearest is None else item_fields(verdict.nearest),
        "differs": list(verdict.differs),
        "same_file": verdict.is_same_file,
        "anew": None if anew is None else {
            "usd": None if anew.usd is None else float(anew.usd),
            "seconds": anew.seconds,
            "basis": str(anew.basis),
            "split": str(anew.split),
        },
    }  # fmt: skip
