"""``rustassistant cache explain``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from rustassistant.cli import filters
from rustassistant.cli.options import Destination, Exact, Json, from_environment, option

EXAMPLES: Final = """\b
Examples:
  rustassistant cache explain src/error.rs
  rustassistant cache explain src/error.rs --type docs --model grok-beta
\b
It asks as programs and `cache get` do: by the file's content, the type, and what else is given. On
a miss the nearest entry is told: about the same content, or about a file of that path, wherever its
repository lay. --repo says whose file it is, where several have one of that path; what answers may
be of any repository. Without --type, all types are asked for that the cache holds.
\b
Exit codes: 0 all hits, 1 at least one miss, 2 wrong usage, 4 damaged, 10 no such file or
database."""


def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to ask about.")],
    types: filters.Types = None,
    model: Annotated[
        str | None, option("--model", "-m", metavar="MODEL", help="Ask for a result of this model.")
    ] = None,
    prompt_hash: Annotated[
        str | None,
        option(
            "--prompt-hash",
            metavar="HASH",
            help="Ask for a result of this prompt, or one from before prompts were recorded.",
        ),
    ] = None,
    schema_version: Annotated[
        int | None,
        option("--schema-version", metavar="N", help="Ask for a result in this form."),
    ] = None,
    exact: Exact = False,
    repositories: filters.Repositories = None,
    destination: Destination = None,
    as_json: Json = False,
) -> None:
    """Say whether a file would be a hit, and if not, what differs and what it costs."""
    from rustassistant.cli.explain import ExplainOptions, run_explain
    from rustassistant.cli.places import database_at
    from rustassistant.cli.render import errors_told
    from rustassistant.inspection.explain import Wanted

    with errors_told(as_json=as_json):
        options = ExplainOptions(
            database=database_at(destination),
            file=file,
            types=tuple(types or from_environment("--type") or ()),
            repositories=tuple(repositories or from_environment("--repo") or ()),
            wanted=Wanted(model, prompt_hash, schema_version, exact),
            as_json=as_json,
        )
        raise typer.Exit(run_explain(options))
