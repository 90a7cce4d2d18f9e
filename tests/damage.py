"""A small database that has a bit of everything, and ways to damage it."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from rustassistant.entry import Entry
from rustassistant.errors import DamagedError
from rustassistant.migrate import CacheMigrator
from rustassistant.stores.sqlite.rows import EntryReader, copy_sql, entry_sql
from support import Cache

PAGE = 8192


def make_cache(root: Path, entries: int = 90) -> Path:
    """Entries in two repositories: shared results, copies, originals, entries from before keys."""
    cache = Cache(root)
    words = random.Random(1)
    vocabulary = [f"{words.choice('abcdefgh') * 2}{number:x}_function" for number in range(400)]
    for number in range(entries):
        shared = number % 10 == 9  # the same result as its neighbour's
        words.seed(number - shared)
        extra: dict[str, Any] = {"added_by": "a newer one"} if number % 13 == 5 else {}
        cache.add(
            f"src/part_{number}.rs",
            content=b"// %d\n" % number,
            repository=f"/home/dev/project-{number % 2}",
            result={
                "summary": " ".join(words.choices(vocabulary, k=120)),
                "score": number - shared,
                "notes": ["let mut total = 0;", "for item in list { total += item.weight(); }"],
            },
            model=("grok-beta", "gpt-4", "claude-3-5-sonnet")[number % 3],
            cache_type=("docs", "analysis")[number % 9 == 0],
            tokens_used=1000 + number,
            old=number % 17 == 3,
            **extra,
        )
    for path in ("src/__init__.py", "src/a/__init__.py", "src/b/__init__.py"):  # one row for all
        cache.add(path, repository="/home/dev/project-1", content=b"", result={"summary": "empty"})
    # The same entry again where the early script put it.
    directory = cache.repository("/home/dev/project-1")
    (directory / "docs").mkdir(exist_ok=True)
    for number in (1, 3):
        name = f"src_part_{number}_rs.json"
        (directory / "docs" / name).write_bytes((directory / "cache" / "docs" / name).read_bytes())
    return root


def make_database(place: Path) -> Path:
    """The database of `make_cache`, in ``place``; the cache lies beside it."""
    cache = make_cache(place / "cache")
    database = place / "cache.db"
    CacheMigrator(cache, database, jobs=1, dedup=True).migrate()
    return database


def run_sql(database: Path, *statements: str) -> None:
    """Change it as any program could that knows nothing of us, triggers out of the way."""
    with closing(apsw.Connection(str(database))) as connection:
        kept = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        triggers = kept.fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers:
            connection.execute(str(sql))


def value(database: Path, sql: str) -> object:
    """One value."""
    with closing(apsw.Connection(str(database))) as connection:
        return connection.execute(sql).get


def single_entries(database: Path, count: int) -> list[int]:
    """Ids of entries that share nothing with others and lay at one place only."""
    with closing(apsw.Connection(str(database))) as connection:
        rows = connection.execute(
            "SELECT id FROM entries WHERE result NOT NULL AND original IS NULL"
            " AND id NOT IN (SELECT result_of FROM entries WHERE result_of NOT NULL)"
            " AND id NOT IN (SELECT entry_id FROM copies) AND tokens_used NOT NULL"
            " ORDER BY id LIMIT ? OFFSET 5",
            (count,),
        )
        return [int(number) for (number,) in rows]


def pages_of(database: Path, name: str, kind: str = "leaf") -> list[int]:
    """Numbers of the pages of a table or index."""
    with closing(apsw.Connection(str(database))) as connection:
        rows = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path", (name, kind)
        )
        return [int(number) for (number,) in rows]


def overwrite(database: Path, page: int, content: bytes = bytes(PAGE), at: int = 0) -> None:
    """Write over a page; zeros unless told otherwise."""
    with database.open("r+b") as file:
        file.seek((page - 1) * PAGE + at)
        file.write(content)


def flip(database: Path, position: int, bit: int) -> None:
    """Turn one bit around."""
    with database.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def entries_of(database: Path) -> set[Entry]:
    """All entries that can be read, at all places where they lay, through plain SQL."""
    found: set[Entry] = set()
    with closing(apsw.Connection(str(database))) as connection:
        reader = EntryReader(connection)
        for sql in (entry_sql(), copy_sql()):
            found.update(one for one in _read(reader, sql) if not isinstance(one, DamagedError))
    return found


def _read(reader: EntryReader, sql: str) -> list[Entry | DamagedError]:
    """As many as come before SQLite gives up, if it does."""
    found: list[Entry | DamagedError] = []
    give: Callable[[Entry | DamagedError], None] = found.append
    try:
        for one in reader.select(sql, ()):
            give(one)
    except (apsw.Error, UnicodeDecodeError):
        pass
    return found
