"""Make ``examples/cache``: the cache that the Rust program would have left of the two projects.

The results are true of the files in ``projects``, but `ast` found them, in place of a language
model. Running it again gives the same bytes::

    python examples/make_cache.py            # into examples/
    python examples/make_cache.py /tmp/new   # into another directory
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
PROVIDER: Final = "xai"
MODEL: Final = "grok-beta"
SCHEMA_VERSION: Final = 1

PROMPTS: Final = {
    "analysis": "Count what {path} holds, and list what it depends on.",
    "docs": "Summarize the module {path} and document its functions.",
    "refactor": "Find code smells in {path}, and suggest how to mend them.",
}
"""Their hashes are part of the keys; todos have none, and the word ``default`` in its place."""

_FIRST_SWEEP_EVERY: Final = 4
_FIRST_SWEEP: Final = ("2026-02-03T22:41", 7_883_810_945)
_SECOND_SWEEP: Final = ("2026-02-06T09:15", 2_878_744_252)
_STEP_NS: Final = 1_254_807_361
_NS: Final = 10**9

_LONG_FUNCTION_LINES: Final = 30
_MANY_PARAMETERS: Final = 5
_LARGE_MODULE_LINES: Final = 180
_TODO: Final = re.compile(r"#\s*(TODO|FIXME|HACK|XXX)\b[:\s]*(.*)")
_BRANCHES: Final = (
    ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.comprehension, ast.match_case,
)  # fmt: skip

Json = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A file that is analysed; ``path`` as its repository knows it."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @property
    def lines(self) -> list[str]:
        """Its lines, without their ends."""
        return self.text.splitlines()


@dataclass(frozen=True)
class Function:
    """A function or method, and what it is called from outside its class."""

    name: str
    node: ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def length(self) -> int:
        """Lines from its ``def`` to its end."""
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def parameters(self) -> list[ast.arg]:
        """All of them, ``self`` excepted."""
        given = self.node.args
        both = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
        return [one for one in both if one is not None and one.arg not in ("self", "cls")]

    @property
    def complexity(self) -> int:
        """McCabe's number: one, and one for each place where the way through it divides."""
        count = 1
        for node in ast.walk(self.node):
            count += isinstance(node, _BRANCHES)
            if isinstance(node, ast.BoolOp):
                count += len(node.values) - 1
        return count


def functions_of(source: Source) -> list[Function]:
    """The functions of a module and the methods of its classes, in the order they stand."""
    return list(_functions(source.tree, ""))


def _functions(parent: ast.AST, prefix: str) -> Iterator[Function]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(prefix + node.name, node)
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")


def _first_paragraph(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    text = ast.get_docstring(node) or ""
    return " ".join(text.split("\n\n")[0].split())


def _signature(source: Source, function: Function) -> str:
    node = function.node
    head = " ".join(source.lines[node.lineno - 1 : node.body[0].lineno - 1])
    text = " ".join(head.split()).removesuffix(":")
    return text.replace("( ", "(").replace(", )", ")")


def _written(source: Source, node: ast.expr | None) -> str:
    return "" if node is None else ast.get_source_segment(source.text, node) or ""


def docs(source: Source) -> Json:
    """Summary, functions and parameters of a module."""
    return {
        "examples": [],
        "functions": [
            {
                "description": _first_paragraph(function.node),
                "examples": [],
                "name": function.name,
                "parameters": [
                    {
                        "description": "",
                        "name": one.arg,
                        "param_type": _written(source, one.annotation),
                    }
                    for one in function.parameters
                ],
                "returns": _written(source, function.node.returns),
                "signature": _signature(source, function),
            }
            for function in functions_of(source)
        ],
        "module_name": Path(source.path).stem,
        "summary": _first_paragraph(source.tree),
    }


def refactor(source: Source) -> Json:
    """Code smells of a module, and how much of it they concern."""
    smells = list(_smells(source))
    functions = functions_of(source)
    total = sum(function.complexity for function in functions)
    concerned = {
        line
        for smell in smells
        if smell["smell_type"] != "LargeModule"
        for line in range(smell["location"]["line_start"], smell["location"]["line_end"] + 1)
    }
    return {
        "code_smells": smells,
        "complexity_score": round(total / len(functions), 2) if functions else 0.0,
        "estimated_effort": ("None", "Small", "Small", "Medium")[min(len(smells), 3)],
        "maintainability_score": round(100 - 100 * len(concerned) / len(source.lines), 2),
        "path": source.path,
        "priorities": [smell["description"] for smell in smells if smell["severity"] != "Low"],
        "suggestions": [
            {
                "description": _ADVICE[smell["smell_type"]],
                "priority": smell["severity"],
                "title": f"{smell['smell_type']}: {smell['location']['item_name']}",
            }
            for smell in smells
        ],
    }


_ADVICE: Final = {
    "LargeModule": "Divide it where few names are used on both sides.",
    "LongFunction": "Give its steps names of their own.",
    "LongParameterList": "Pass what belongs together as one object.",
}


def _smells(source: Source) -> Iterator[Json]:
    count = len(source.lines)
    if count > _LARGE_MODULE_LINES:
        yield _smell(source, "LargeModule", f"The module has {count} lines.", source.path, 1, count)
    for function in functions_of(source):
        node = function.node
        where = (function.name, node.lineno, node.end_lineno or node.lineno)
        if function.length > _LONG_FUNCTION_LINES:
            what = f"`{function.name}` has {function.length} lines."
            yield _smell(source, "LongFunction", what, *where)
        names = [one.arg for one in function.parameters]
        if len(names) > _MANY_PARAMETERS:
            what = f"`{function.name}` takes {len(names)} parameters: {', '.join(names)}."
            yield _smell(source, "LongParameterList", what, *where)


def _smell(source: Source, kind: str, what: str, item: str, start: int, end: int) -> Json:
    return {
        "description": what,
        "impact": f"{end - start + 1} of {len(source.lines)} lines are concerned.",
        "location": {
            "file": source.path,
            "item_name": item,
            "line_end": end,
            "line_start": start,
        },
        "severity": "Low" if kind == "LongParameterList" else "Medium",
        "smell_type": kind,
    }


def todos(source: Source) -> Json:
    """Comments that say something is still to be done."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        match = _TODO.match(token.string) if token.type == tokenize.COMMENT else None
        if match:
            found.append({"kind": match[1], "line": token.start[0], "text": match[2]})
    return {"todos": found, "total": len(found)}


def analysis(source: Source) -> Json:
    """Counts, imports and complexity."""
    functions = functions_of(source)
    imported = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    return {
        "blank_lines": sum(not line.strip() for line in source.lines),
        "classes": [one.name for one in ast.walk(source.tree) if isinstance(one, ast.ClassDef)],
        "complexity": {function.name: function.complexity for function in functions},
        "dependencies": sorted(imported),
        "file": source.path,
        "functions": len(functions),
        "lines": len(source.lines),
    }


_ANALYSES: Final[dict[str, Callable[[Source], Json]]] = {
    "analysis": analysis,
    "docs": docs,
    "refactor": refactor,
    "todos": todos,
}


class Clock:
    """The moments at which two sweeps got their answers; the first was before keys existed."""

    def __init__(self) -> None:
        self._count = 0
        self._now = {True: _FIRST_SWEEP[1], False: _SECOND_SWEEP[1]}

    def next(self) -> tuple[bool, str]:
        """Whether the next entry is of the old kind, and when it was made."""
        old = self._count % _FIRST_SWEEP_EVERY == 0
        self._count += 1
        minute = (_FIRST_SWEEP if old else _SECOND_SWEEP)[0]
        now = self._now[old]
        self._now[old] = now + _STEP_NS
        seconds, fraction = divmod(now, _NS)
        if seconds >= 60 or fraction % 1000 == 0:
            raise ValueError("too many entries for the clock: choose another step")
        return old, f"{minute}:{seconds:02d}.{fraction:09d}+00:00"


def entry(source: Source, cache_type: str, *, old: bool, analyzed_at: str) -> Json:
    """The fields of an entry's file, in the Rust program's order. ``old``: before keys."""
    content = source.text.encode()
    file_hash = sha256(content).hexdigest()
    result = _sorted(_ANALYSES[cache_type](source))
    prompt_hash = "default"
    if cache_type in PROMPTS:
        prompt_hash = sha256(PROMPTS[cache_type].encode()).hexdigest()[:16]
    request = f"{file_hash}:{MODEL}:{prompt_hash}:{SCHEMA_VERSION}"
    fields: Json = {
        "file_path": source.path,
        "file_hash": file_hash,
        "cache_key": sha256(request.encode()).hexdigest()[:32],
        "analyzed_at": analyzed_at,
        "provider": PROVIDER,
        "model": MODEL,
        "prompt_hash": prompt_hash,
        "schema_version": SCHEMA_VERSION,
        "result": result,
        # Four characters to a token is the usual rule of thumb; todos are found without a model.
        "tokens_used": None if cache_type == "todos" else len(source.text + str(result)) // 4,
        "file_size": len(content),
        "cache_type": cache_type,
    }
    if old:
        for name in ("cache_key", "prompt_hash", "schema_version"):
            del fields[name]
    return fields


def _sorted(value: Any) -> Any:
    """The value with the keys of every object in it sorted, as serde_json has them."""
    return json.loads(json.dumps(value, sort_keys=True))


def dump(fields: Json) -> bytes:
    """As serde_json prints: two spaces, UTF-8 unescaped, no final newline."""
    return json.dumps(fields, indent=2, ensure_ascii=False).encode()


def write_entry(cache: Path, fields: Json) -> None:
    """Put an entry where the Rust program would, below the directory of its type."""
    name = re.sub(r"[/\\.:]", "_", fields["file_path"]) + ".json"
    directory = cache / fields["cache_type"]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(dump(fields))


def sources(project: str) -> list[Source]:
    """The files of a project, by path."""
    root = HERE / "projects" / project
    return [
        Source(path.relative_to(root).as_posix(), path.read_bytes().decode())
        for path in sorted(root.rglob("*.py"))
    ]


def wanted_types(project: str, source: Source) -> list[str]:
    """What was asked about a file: only its docs where there is nothing in it."""
    if not source.text:
        return ["docs"]
    return ["docs", "refactor", "todos"] + ["analysis"] * (project == "cache-tools")


def write_central(root: Path) -> None:
    """The central cache of both projects: ``<root>/repos/<hash8>/cache/<type>/<name>.json``."""
    clock = Clock()
    for project in ("rustassistant-core", "cache-tools"):
        repository = f"/home/dev/{project}"
        hash8 = sha256(repository.encode()).hexdigest()[:8]
        directory = root / "repos" / hash8
        directory.mkdir(parents=True, exist_ok=True)
        created_at = "2026-02-03T22:41:07.019283746+00:00"
        meta = {"path": repository, "hash": hash8, "schema_version": 1, "created_at": created_at}
        (directory / "meta.json").write_bytes(dump(meta))
        for source in sources(project):
            for cache_type in wanted_types(project, source):
                old, now = clock.next()
                fields = entry(source, cache_type, old=old, analyzed_at=now)
                write_entry(directory / "cache", fields)


def write_local(root: Path) -> None:
    """A repository's own cache, as kept before there was a central one: old entries only."""
    asked = {"report.py": ["docs", "refactor"], "flow.py": ["docs"]}
    for source in sources("cache-tools"):
        for number, cache_type in enumerate(asked.get(source.path, [])):
            now = f"2026-01-30T18:02:{31 + number}.407{len(source.text):06d}+00:00"
            fields = entry(source, cache_type, old=True, analyzed_at=now)
            write_entry(root / ".rustassistant" / "cache", fields)


def main() -> None:
    """Write both caches below the directory given, or into ``examples``."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    write_central(root / "cache")
    write_local(root / "projects" / "cache-tools")


if __name__ == "__main__":
    main()
