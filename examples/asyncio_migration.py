"""Migrate from an asyncio program: the work runs in a thread, the event loop stays free.

::

    python examples/asyncio_migration.py                     # the example cache, then forgotten
    python examples/asyncio_migration.py SOURCE DATABASE
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from rustassistant import CacheMigrator, MigrationProgress, MigrationResult, RustAssistantError

EXAMPLE_CACHE = Path(__file__).resolve().parent / "cache" / "repos"


async def migrate(source: Path, database: Path) -> MigrationResult:
    """Migrate and verify, printing progress; stop cleanly if the task is cancelled."""
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def progress(now: MigrationProgress) -> None:
        # Called in the thread that works: hand what is to be done to the event loop's own.
        loop.call_soon_threadsafe(print, f"  {now.done}/{now.total} ({now.failed} failed)")

    with CacheMigrator(source, database, cancelled=stop.is_set) as migrator:
        running = asyncio.ensure_future(asyncio.to_thread(migrator.migrate, progress))
        try:
            result = await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.set()  # what was committed is kept, and the next run goes on from there
            with suppress(RustAssistantError):
                await running
            raise
        check = await asyncio.to_thread(migrator.verify)
    print(f"{result.total_migrated} of {result.total_entries} entries migrated", end=", ")
    print("all of them verified" if check else f"{len(check.differences)} differ")
    return result


def main() -> None:
    """Migrate what the arguments name, or the example cache into a database nobody keeps."""
    with tempfile.TemporaryDirectory() as scratch:
        places = sys.argv[1:] or [str(EXAMPLE_CACHE), f"{scratch}/cache.db"]
        source, database = map(Path, places)
        asyncio.run(migrate(source, database))


if __name__ == "__main__":
    main()
