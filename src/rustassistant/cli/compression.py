"""``rustassistant cache compression``: ratios, dictionaries, and what other levels would give."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from rustassistant.cli.readable import counted, duration, percent, size
from rustassistant.cli.render import emit, meter, say, visible
from rustassistant.cli.stopping import interruptible
from rustassistant.cli.tables import Column, Gives, say_table
from rustassistant.stores.base import printable
from rustassistant.tuning import LEVELS, Compression, TypeCompression, measure_compression
from rustassistant.tuning.compression import Advice, DictionaryUse

_NONE: Final = "-"

_TYPES: Final = (
    Column("type", gives=Gives.END),
    Column("entries", is_number=True),
    Column("text", is_number=True),
    Column("stored", is_number=True),
    Column("ratio", is_number=True),
    Column("mean frame", is_number=True, goes=1),
    Column("dictionary", gives=Gives.END, least=20),
)
_TRIALS: Final = (
    Column("type", gives=Gives.END),
    Column("dictionary"),
    Column("as stored", is_number=True),
    *(Column(f"level {level}", is_number=True) for level in LEVELS),
)


def run_compression(database: str, sample: int, *, as_json: bool, quiet: bool) -> int:
    """Measure and show; return the exit code."""
    with (
        interruptible("interrupted; nothing was written"),
        meter("measure", as_json=as_json, quiet=quiet or not as_json, unit="types") as shown,
    ):
        found = measure_compression(
            database, sample=sample, progress=lambda done, total: shown.update(done, total, 0)
        )
    if as_json:
        emit("summary", database=printable(database), **_fields(found))
    elif not quiet:
        _say(database, found)
    return 0


def _say(database: str, found: Compression) -> None:
    say(f"🗜  {visible(printable(database))}")
    if not any(one.results for one in found.types):
        say("It holds no results yet.")
        return
    say_table(_TYPES, [_row(one) for one in found.types])
    sampled = sum(one.sampled for one in found.types)
    say(f"\nWhat {counted(sampled, 'result')} would take: bytes and microseconds for each")
    rows = []
    for one in found.types:
        stored = f"{one.sample_bytes:,.0f}"
        for is_trained, words in ((False, "present"), (True, "new")):
            trials = [trial for trial in one.trials if trial.trained is is_trained]
            if trials:
                numbers = [
                    f"{trial.mean_bytes:,.0f} {trial.microseconds:,.0f}µs" for trial in trials
                ]
                rows.append((one.cache_type, _words(one, words), stored, *numbers))
    say_table(_TRIALS, rows)
    say("(Times are those of this machine just now, and vary; sizes do not.)\n")
    say(_advice(found.advice))


def _words(one: TypeCompression, words: str) -> str:
    has_any = any(use.id is not None for use in one.dictionaries)
    return words if words == "new" or has_any else "none"


def _row(one: TypeCompression) -> tuple[str, ...]:
    return (
        one.cache_type,
        f"{one.entries:,}",
        size(one.text_bytes),
        size(one.stored_bytes),
        _NONE if one.ratio is None else f"{one.ratio:.2f}",
        _NONE if one.mean_frame is None else size(round(one.mean_frame)),
        "; ".join(map(_use, one.dictionaries)),
    )


def _use(one: DictionaryUse) -> str:
    entries = counted(one.entries, "entry")
    if one.id is None:
        return f"none: {entries}"
    return f"{one.id} ({size(one.size)}): {entries}"


def _advice(advice: Advice | None) -> str:
    if advice is None:
        return "There is nothing to measure."
    saved = advice.before - advice.after
    part = percent(100 * saved / advice.before) if advice.before else percent(0)
    command = f"rustassistant cache recompress --level {advice.level}"
    if advice.train:
        command += " --train"
    if not advice.is_worth_it:
        return f"Nothing to gain: at best, about {size(max(saved, 0))} ({part}) could be saved."
    return (
        f"`{command}` would save about {size(saved)} of {size(advice.before)} ({part}), in about "
        f"{duration(advice.seconds)} of one processor."
    )


def _fields(found: Compression) -> dict[str, Any]:
    advice = found.advice
    return {
        "types": [
            asdict(one) | {"ratio": one.ratio, "mean_frame": one.mean_frame} for one in found.types
        ],
        "advice": None
        if advice is None
        else asdict(advice) | {"is_worth_it": advice.is_worth_it, "text": _advice(advice)},
    }
