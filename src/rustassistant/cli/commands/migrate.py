"""``rustassistant cache migrate``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.filters import NO_FILTERS, Filters, filtered
from rustassistant.cli.options import (
    Destination,
    Jobs,
    Json,
    Level,
    OnConflict,
    Policy,
    Quiet,
    Sources,
    option,
)
from rustassistant.levels import DEFAULT_LEVEL

EXAMPLES: Final = """\b
Examples:
  rustassistant cache migrate --backup --verify
  rustassistant cache migrate --dry-run
  rustassistant cache migrate --source ~/code/project --destination team.db
  rustassistant cache migrate -s laptop.db -s desktop.db -d both.db
  rustassistant cache migrate --type docs --include 'src/**/*.rs' --since 30d
  rustassistant cache migrate --json --quiet | tail -n 1
\b
Run it again at any time: what is there already is left alone. The source is never written to.
As v1:PATH the destination is the Rust program's own database, which keeps less than ours.
Each option reads an environment variable too (--source: RUSTASSISTANT_SOURCE, and so on), and
config.toml; RUSTASSISTANT_HOME moves ~/.rustassistant.
\b
Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 some files failed, 4 verification found a
difference, 5 conflicts that were to fail, 10 no such source, 11 locked by another process,
130 interrupted."""


_WITH_A_PLAN: Final = frozenset(
    ("backup", "backup_to", "verify", "apply", "log", "jobs", "as_json", "quiet")
)
"""What may be given beside --apply."""


def _beside_apply(context: typer.Context) -> tuple[str, ...]:
    """Options on the command line that the plan has decided about already."""
    return tuple(
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name not in _WITH_A_PLAN
        and getattr(context.get_parameter_source(parameter.name or ""), "name", "") == "COMMANDLINE"
    )


@filtered
def migrate(
    context: typer.Context,
    source: Sources = None,
    destination: Destination = None,
    backup: Annotated[
        bool,
        option(
            "--backup",
            "-b",
            help="First copy the source to <source>.backup, and check the copy.",
        ),
    ] = False,
    backup_to: Annotated[
        str | None,
        option(
            "--backup-to",
            metavar="PLACE",
            help="The same, to a place of your choice: a directory, or one compressed archive if "
            "its name ends in .tar.zst.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        option(
            "--verify",
            "-v",
            help="Afterwards compare every entry, in all fields, with what the database gives "
            "back.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        option(
            "--dry-run",
            "-n",
            help="Read everything and say what would become of it, how large the database would "
            "be, and what the entries cost to make; write nothing.",
        ),
    ] = False,
    plan: Annotated[
        str | None,
        option("--plan", metavar="FILE", help="The same, and write a plan for --apply."),
    ] = None,
    apply: Annotated[
        str | None,
        option(
            "--apply",
            metavar="FILE",
            help="Carry out a plan, unless the source has changed since it was made.",
        ),
    ] = None,
    retry_failed: Annotated[
        int | None,
        option(
            "--retry-failed",
            metavar="RUN",
            help="Take up only what failed in that run; `cache log` lists runs.",
        ),
    ] = None,
    on_conflict: OnConflict = Policy.NEWEST,
    dedup: Annotated[
        bool,
        option(
            "--dedup",
            help="Let entries with equal key, type and result share one row. (Equal results share "
            "their bytes in any case.)",
        ),
    ] = False,
    checksum: Annotated[
        bool,
        option(
            "--checksum",
            help="Read all files again, also those that by size, times and inode have not changed.",
        ),
    ] = False,
    chosen: Filters = NO_FILTERS,
    log: Annotated[
        str | None,
        option("--log", metavar="FILE", help="Append a JSON line for each entry and its outcome."),
    ] = None,
    jobs: Jobs = None,
    level: Level = DEFAULT_LEVEL,
    no_dictionary: Annotated[
        bool, option("--no-dictionary", help="Compress each result for itself.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Move every entry of one or several caches into one SQLite file."""
    from rustassistant.cli.migrate import MigrateOptions, run_migration
    from rustassistant.cli.places import default_destination, default_source
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = MigrateOptions(
            sources=tuple(source) if source else (),
            default_source=default_source(),
            destination=default_destination() if destination is None else destination,
            backup=backup,
            backup_to=backup_to,
            verify=verify,
            dry_run=dry_run,
            plan=plan,
            apply=apply,
            retry_failed=retry_failed,
            on_conflict=on_conflict,
            dedup=dedup,
            checksum=checksum,
            selection=chosen.selection(),
            log=log,
            jobs=jobs,
            level=level,
            dictionaries=not no_dictionary,
            as_json=as_json,
            quiet=quiet,
            beside_apply=_beside_apply(context),
        )
        raise typer.Exit(run_migration(options))
