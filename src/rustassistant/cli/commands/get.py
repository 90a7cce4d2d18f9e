"""``rustassistant cache get``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli.options import Destination, Exact, Json, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache get --type docs --content src/error.rs
  rustassistant cache get --type refactor --content src/error.rs --model grok-beta
  git show HEAD~1:src/error.rs | rustassistant cache get --type docs --content -
\b
Exit codes: 0 hit, 1 miss (what was looked for, and why nothing matched, is on standard error),
4 the entry is there but damaged, 10 no such database or file."""


def get(
    cache_type: Annotated[
        str,
        option(
            "--type",
            "-t",
            metavar="TYPE",
            help="The kind of analysis: analysis, docs, refactor, todos, …",
        ),
    ],
    content: Annotated[
        str,
        option(
            "--content",
            "-c",
            metavar="FILE",
            help="The file whose analysis is wanted, by its content; - for standard input.",
        ),
    ],
    model: Annotated[
        str | None,
        option("--model", "-m", metavar="MODEL", help="Only a result of this model."),
    ] = None,
    prompt_hash: Annotated[
        str | None,
        option(
            "--prompt-hash",
            metavar="HASH",
            help="Only a result of this prompt, or one from before prompts were recorded.",
        ),
    ] = None,
    schema_version: Annotated[
        int | None,
        option("--schema-version", metavar="N", help="Only a result in this form."),
    ] = None,
    exact: Exact = False,
    destination: Destination = None,
    as_json: Json = False,
) -> None:
    """Print the cached result for a file's content."""
    from rustassistant.cli.get import GetOptions, run_get
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told

    with errors_told(as_json=as_json):
        options = GetOptions(
            cache_type=cache_type,
            content=content,
            model=model,
            prompt_hash=prompt_hash,
            schema_version=schema_version,
            exact=exact,
            database=database_at(destination),
            as_json=as_json,
        )
        raise typer.Exit(run_get(options))
