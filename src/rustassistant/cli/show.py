"""``rustassistant cache show``: one entry with all that is known of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rustassistant.cli.entries import UNKNOWN, item_fields, when
from rustassistant.cli.readable import counted, dollars, size
from rustassistant.cli.render import say, visible
from rustassistant.cli.tables import Column, Gives, say_table
from rustassistant.configuration import load
from rustassistant.entry_json import file_name, result_in_file
from rustassistant.errors import NotFoundError, UsageError
from rustassistant.inspection import Shown, find_entries, show_entry
from rustassistant.pricing import Split
from rustassistant.stores.base import printable
from rustassistant.stores.sqlite.views.browsing import EntryPlace, Item
from rustassistant.timestamps import format_rfc3339


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """What the command line asked for; ``target`` is an ID or a file."""

    database: str
    target: str
    cache_type: str | None
    raw: bool
    as_json: bool


def run_show(options: ShowOptions) -> int:
    """Print an entry, or the entries about a file to choose from."""
    if options.raw and options.as_json:
        raise UsageError("--raw prints the result as it is, and --json does not", hint="Drop one.")
    if options.target.isascii() and options.target.isdecimal():
        ids = [int(options.target)]
    else:
        found = find_entries(options.database, options.target, cache_type=options.cache_type)
        ids = [item.id for item in _one_of_each_type(found)]
        if len(ids) > 1 and not options.as_json:
            return _choose(options, found)
    shown = [show_entry(options.database, one, load()) for one in ids]
    for one in shown:
        if options.cache_type not in (None, one.item.cache_type):
            raise NotFoundError(
                f"entry {one.item.id} is of type {visible(one.item.cache_type)}, not "
                f"{visible(options.cache_type or '')}",
                hint="Leave --type out: an ID names one entry.",
            )
    if options.as_json:
        _print_bytes(msgspec.json.encode(_summary(shown)) + b"\n")
    elif options.raw:
        _print_bytes(result_in_file(shown[0].entry))
    else:
        _say(shown[0])
    return 0


def _one_of_each_type(found: Sequence[Item]) -> list[Item]:
    """The newest of each, which come first."""
    newest: dict[str, Item] = {}
    for item in found:
        newest.setdefault(item.cache_type, item)
    return list(newest.values())


def _choose(options: ShowOptions, found: Sequence[Item]) -> int:
    if options.raw:
        raise UsageError(
            f"{options.target} has {counted(len(found), 'entry')}, and --raw prints one",
            hint="Add --type, or give the ID.",
        )
    say(f"{counted(len(found), 'entry')} about {visible(options.target)}; show one by its ID, or")
    say("the newest of a type with --type:")
    say_table(
        (
            Column("ID", is_number=True),
            Column("when (UTC)"),
            Column("type"),
            Column("content"),
            Column("model", gives=Gives.END),
            Column("prompt"),
            Column("tokens", is_number=True),
        ),
        [
            (
                str(item.id),
                when(item.analyzed_at),
                item.cache_type,
                item.file_hash.hex()[:12],
                item.model,
                item.prompt_hash or UNKNOWN,
                UNKNOWN if item.tokens_used is None else f"{item.tokens_used:,}",
            )
            for item in found
        ],
        indent="  ",
    )
    return 0


def _print_bytes(text: bytes) -> None:
    """As they are, whatever the screen's own encoding."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def _say(shown: Shown) -> None:
    item, entry = shown.item, shown.entry
    say(f"Entry {item.id}: {visible(item.cache_type)} of {visible(item.file_path)}")
    for name, text in (
        ("Repository", item.repository),
        ("Content", f"{item.file_hash.hex()}{_file_size(item)}"),
        ("Key", entry.key),
        ("Made", f"{format_rfc3339(item.analyzed_at)} by {item.model} of {item.provider}"),
        ("Prompt", item.prompt_hash or "not recorded: it answers for any, unless asked exactly"),
        ("Form", "not recorded, counts as 1" if item.schema_version is None
                 else str(item.schema_version)),
        ("Tokens", _tokens(shown)),
        ("Cost", _cost(shown)),
        ("Result", _result(shown)),
        ("Used", _uses(item)),
        ("State", _state(shown)),
    ):  # fmt: skip
        say(f"  {name + ':':<12}{visible(text)}")
    for place in shown.places:
        say(f"  {'Lay at:':<12}{visible(_place(place))}")
    say()
    _print_bytes(msgspec.json.format(entry.result, indent=2) + b"\n")


def _file_size(item: Item) -> str:
    return "" if item.file_size is None else f", {size(item.file_size)}"


def _tokens(shown: Shown) -> str:
    said = "not recorded" if shown.item.tokens_used is None else f"{shown.item.tokens_used:,}"
    if shown.usage is None:
        return said
    return f"{said} ({shown.usage.input_tokens:,} in, {shown.usage.output_tokens:,} out)"


def _cost(shown: Shown) -> str:
    if shown.cost is None:
        return "not known"
    half = " (half of the tokens taken as input)" if shown.cost.split is Split.HALF else ""
    return f"{dollars(shown.cost.usd)}{half}"


def _result(shown: Shown) -> str:
    text = size(len(shown.entry.result))
    if shown.result_of is not None:
        return f"{text}, the same as that of entry {shown.result_of}, stored there"
    kept = ", the original file included" if shown.entry.original is not None else ""
    return f"{text}, stored in {size(shown.item.stored_bytes)}{kept}"


def _uses(item: Item) -> str:
    if not item.hits or item.last_used is None:
        return "no hit was counted yet"
    return f"{counted(item.hits, 'hit')}, the last at {when(item.last_used)} UTC"


def _state(shown: Shown) -> str:
    state = "answers lookups"
    if shown.item.removed is not None:
        since = "" if shown.removed_at is None else f" since {when(shown.removed_at)} UTC"
        state = f"in the trash{since} ({shown.item.removed}): does not answer"
    pinned = "" if shown.pinned_at is None else f", pinned at {when(shown.pinned_at)} UTC"
    return state + pinned


def _place(place: EntryPlace) -> str:
    name = file_name(place.file_path) if place.name is None else printable(place.name)
    below = f"{place.subfolder}/" if place.subfolder else ""
    return f"{below}{name} ({place.layout}), for {place.file_path} in {place.repository}"


def _summary(shown: Sequence[Shown]) -> dict[str, Any]:
    return {"message_type": "summary", "entries": [_fields(one) for one in shown]}


def _fields(shown: Shown) -> dict[str, Any]:
    usage, cost, entry = shown.usage, shown.cost, shown.entry
    return {
        **item_fields(shown.item),
        "input_tokens": None if usage is None else usage.input_tokens,
        "output_tokens": None if usage is None else usage.output_tokens,
        "usd": None if cost is None else float(cost.usd),
        "split": None if cost is None else str(cost.split),
        "result_bytes": len(entry.result),
        "result_of": shown.result_of,
        "original_kept": entry.original is not None,
        "in_trash": shown.item.removed,
        "in_trash_since": _time(shown.removed_at),
        "pinned_at": _time(shown.pinned_at),
        "places": [
            {
                "repository": place.repository,
                "layout": place.layout,
                "subfolder": place.subfolder,
                "file_path": place.file_path,
                "file_name": (
                    file_name(place.file_path) if place.name is None else printable(place.name)
                ),
            }
            for place in shown.places
        ],
        "result": msgspec.Raw(entry.result),
    }


def _time(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else format_rfc3339(nanoseconds)
