"""Programs, migrations and evictions on one database at once, each checked against a model.

``RUSTASSISTANT_TOGETHER=32x60`` makes it 32 processes for 60 seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from rustassistant import AnalysisCache, CacheMigrator
from rustassistant.check import check_database
from rustassistant.retention.trashcan import Chosen, restore
from support import Cache

PROCESSES, _, SECONDS = os.environ.get("RUSTASSISTANT_TOGETHER", "6x3").partition("x")
ENTRIES = 300

PROGRAM = """
import json, random, sys, time
from rustassistant import AnalysisCache
from rustassistant.errors import LockedError
path, me, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(me)
model, done, until = {}, 0, time.monotonic() + seconds
with AnalysisCache(path, write_timeout=0.3) as cache:
    while time.monotonic() < until:
        key = f"{me} {chance.randrange(20)}"
        words = {"type": "docs", "content": key, "model": "m"}
        done += 1
        if chance.random() < 0.4:
            model[key] = {"step": done, "text": key * 20}
            cache.set(**words, provider="p", file_path=f"{key}.py", repository="/r",
                      result=model[key])
        else:
            got = cache.get(**words)
            # What was evicted is a miss; anything else must be what was set last.
            assert got is None or got.result == model.get(key), (key, got, model.get(key))
print(json.dumps([done, model]))
"""


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "rustassistant", "cache", *map(str, words)]


def test_programs_migrations_and_evictions_together_lose_nothing(tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    tree = Cache(tmp_path / "repos")
    for number in range(ENTRIES):
        tree.add(f"src/{number}.rs", content=str(number).encode())
    CacheMigrator(tree.root, database).migrate()
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM, str(database), str(number), SECONDS],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(int(PROCESSES))
    ]
    limit = 262_144 + ENTRIES * 230
    while any(process.poll() is None for process in running):
        evicting = subprocess.run(
            command("evict", "-d", database, "--max-size", limit, "--quiet"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        # Locked for a while, or nothing left that could go: both are said, and harm nothing.
        assert evicting.returncode in (0, 1, 11), evicting.stderr
        migrating = subprocess.run(
            command("migrate", "-s", tree.root, "-d", database, "--checksum", "--quiet"),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert migrating.returncode in (0, 11), migrating.stderr
    answers = []
    for process in running:
        out, _ = process.communicate()
        assert process.returncode == 0
        answers.append(json.loads(out))
    assert all(done for done, _ in answers)

    with AnalysisCache(database) as cache:
        cache.flush()  # what waited beside the database, too
    assert check_database(database).sound
    evicted = restore(database, Chosen(reason="evicted"))
    assert evicted > 0
    expected = {
        hashlib.sha256(key.encode()).hexdigest(): result
        for _, model in answers
        for key, result in model.items()
    }
    with AnalysisCache(database) as cache:
        for _, model in answers:
            for key, result in model.items():
                got = cache.get(type="docs", content=key, model="m")
                assert got is not None
                assert got.result == result
        kept = {one.file_hash for one in cache.entries(repository="/r")}
        assert kept == set(expected)
        assert len(list(cache.entries(repository="/home/dev/project"))) == ENTRIES
    with CacheMigrator(tree.root, database) as migrator:
        assert migrator.verify()
