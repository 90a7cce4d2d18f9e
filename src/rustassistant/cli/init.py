"""``rustassistant cache init`` and ``path``: making a database, and where it is."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from rustassistant.cli.places import database_at
from rustassistant.cli.render import emit, say, visible
from rustassistant.configuration import load
from rustassistant.inspection import make_database, place_of_database
from rustassistant.inspection.opening import make_local_database
from rustassistant.stores.base import printable


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What the command line asked for. ``path`` is a database, or a repository if ``local``."""

    path: str | None
    local: bool
    as_json: bool


def run_init(options: InitOptions) -> int:
    """Make the database unless there is one, and say what comes next."""
    default = database_at(load().cache.destination)
    if options.local:
        made = make_local_database(os.curdir if options.path is None else options.path)
    else:
        made = make_database(default if options.path is None else database_at(options.path))
    if options.as_json:
        emit("summary", database=printable(made.path), made=not made.was_there)
        return 0
    place = visible(printable(made.path))
    if made.was_there:
        say(f"✓ There is a cache already: {place}")
        say("  Nothing was changed; `rustassistant cache status` shows what it holds.")
        return 0
    say(f"✓ Made an empty cache: {place}")
    say("  To fill it with a JSON cache:")
    say(f"    rustassistant cache migrate{_arguments(made.path, default, local=options.local)}")
    say("  For programs:")
    say(f"    from rustassistant import AnalysisCache; AnalysisCache({printable(made.path)!r})")
    return 0


def _arguments(path: str, default: str, *, local: bool) -> str:
    words = []
    if local:
        words = ["--source", os.path.dirname(os.path.dirname(path))]
    if path != os.path.realpath(os.path.expanduser(default)):
        words += ["--destination", path]
    return "".join(f" {visible(shlex.quote(printable(word)))}" for word in words)


def run_path(database: str, *, as_json: bool) -> int:
    """Print where the database lies, whether or not it exists."""
    place = place_of_database(database)
    if as_json:
        emit(
            "summary",
            database=printable(place.path),
            exists=place.exists,
            size=place.size,
            log_size=place.log_size,
        )
    else:
        say(printable(place.path))
    return 0
