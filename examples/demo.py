"""What ``make demo`` runs: the example cache through the real command, in a directory of its own.

Every line is the command's own output. Nothing outside a temporary directory is written to, and
the exit code is 1 if anything is not as it should be.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

EXAMPLES: Final = Path(__file__).resolve().parent
SHOWN_FILE: Final = "projects/rustassistant-core/errors.py"
SHOWN_ENTRY: Final = "*/cache/docs/errors_py.json"
SHOWN_LINES: Final = 12
CHECKOUTS: Final = 20
COLOURED: Final = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class NotAsExpectedError(Exception):
    """The demonstration shows something that should not be."""


class Ran(NamedTuple):
    """How a command ended, and what it printed."""

    exit_code: int
    output: str
    problems: str


class Demo:
    """One walk through the command line, with a home of its own in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / ".rustassistant"
        self.cache = self.home / "cache" / "repos"
        shutil.copytree(EXAMPLES / "cache", self.home / "cache")
        self.total = len(list(self.cache.glob("*/cache/*/*.json")))
        self.source_before = contents(self.cache)
        settings = {k: v for k, v in os.environ.items() if not k.startswith("RUSTASSISTANT_")}
        self._environment: Mapping[str, str] = {
            **settings,
            "HOME": str(directory),
            "RUSTASSISTANT_HOME": str(self.home),
            "PYTHONIOENCODING": "utf-8",
        }

    def run(self, *arguments: str, lines: int | None = None) -> Ran:
        """Show a command and what it prints, or the first ``lines`` of it."""
        print(bold(f"$ rustassistant {' '.join(arguments)}"))
        done = subprocess.run(
            [sys.executable, "-m", "rustassistant", *arguments],
            cwd=EXAMPLES,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
        printed = ran.output.splitlines()
        shown = printed if lines is None else printed[:lines]
        print("\n".join([*shown, *ran.problems.splitlines()]))
        if len(shown) < len(printed):
            print(dim(f"  … and {len(printed) - len(shown)} lines more"))
        print(dim(f"  (exit code {ran.exit_code})"))
        return ran

    def migrate(self) -> None:
        """The whole cache into one file, after a backup, with every entry compared."""
        title(f"1. {self.total} paid-for analyses, one file each, become one SQLite file")
        ran = self.run("cache", "migrate", "--backup", "--verify")
        expect(ran.exit_code == 0, "the migration succeeds")
        expect(f"  Migrated: {self.total}\n" in ran.output, "every entry is migrated")
        expect("✓ Verification passed!" in ran.output, "the verification passes")
        backup = self.cache.with_name("repos.backup")
        expect(contents(backup) == self.source_before, "the backup equals the source")
        expect((self.home / "cache.db").is_file(), "there is a database")

    def hit(self) -> None:
        """A program asks with the content of a file, and gets what was paid for."""
        title("2. Ask for the docs of a file by its content: a hit, nothing is paid again")
        ran = self.run("cache", "get", "--type", "docs", "--content", SHOWN_FILE, lines=SHOWN_LINES)
        expect(ran.exit_code == 0, "the lookup is a hit")
        (paid_for,) = self.cache.glob(SHOWN_ENTRY)
        result = read_json(paid_for)["result"]
        expect(json.loads(ran.output) == result, "the hit is what was paid for")

    def miss(self, directory: Path) -> None:
        """A changed file is another file."""
        title("3. Change one byte of that file: a miss, which says why")
        text = (EXAMPLES / SHOWN_FILE).read_bytes()
        changed = directory / "errors.py"
        changed.write_bytes(text.replace(b"one", b"One", 1))
        ran = self.run("cache", "get", "--type", "docs", "--content", str(changed))
        expect(ran.exit_code == 1 and not ran.output, "the lookup is a miss")
        expect("miss" in ran.problems, "the miss is explained")

        title("   Ask for another prompt's result: a miss that names the part that differs")
        wanted = ("--type", "docs", "--content", SHOWN_FILE, "--prompt-hash", "0123456789abcdef")
        ran = self.run("cache", "get", *wanted)
        expect(ran.exit_code == 1 and not ran.output, "another prompt's result is a miss")
        expect("other prompt hash" in ran.problems, "the part that differs is named")

    def rerun(self) -> None:
        """Running it again is safe, and cheap."""
        title("4. Run it again: what is there is left alone")
        ran = self.run("cache", "migrate")
        expect(ran.exit_code == 0, "the second run succeeds")
        expect(f"  Unchanged: {self.total}\n" in ran.output, "nothing is migrated twice")
        expect(contents(self.cache) == self.source_before, "the source is as it was")

    def grow(self) -> None:
        """More repositories come, with files that were analysed elsewhere already."""
        for number in range(1, CHECKOUTS + 1):
            for meta in map(read_json, sorted((EXAMPLES / "cache" / "repos").glob("*/meta.json"))):
                self._check_out(meta, f"{meta['path']}-{number:02d}")
        count = CHECKOUTS * self.total
        title(f"5. {CHECKOUTS} more checkouts of both projects: equal results are stored once")
        ran = self.run("cache", "migrate", "--verify")
        expect(ran.exit_code == 0, "the third run succeeds")
        expect(f"  Migrated: {count}\n" in ran.output, "every new entry is migrated")
        expect(f"  Unchanged: {self.total}\n" in ran.output, "every known entry is left alone")
        expect("Space saved: -" not in ran.output, "the database is smaller than the cache")

    def _check_out(self, meta: dict[str, Any], repository: str) -> None:
        hash8 = sha256(repository.encode()).hexdigest()[:8]
        directory = self.cache / hash8
        shutil.copytree(EXAMPLES / "cache" / "repos" / meta["hash"], directory)
        text = json.dumps({**meta, "path": repository, "hash": hash8}, indent=2)
        (directory / "meta.json").write_text(text)


def contents(directory: Path) -> dict[str, bytes]:
    """The bytes of every file below a directory."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def read_json(path: Path) -> dict[str, Any]:
    """The object that a file holds."""
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def expect(truth: bool, what: str) -> None:
    """Stop the demonstration unless what it says is so."""
    if not truth:
        raise NotAsExpectedError(what)


def bold(text: str) -> str:
    """Text that stands out on a terminal."""
    return f"\033[1m{text}\033[0m" if COLOURED else text


def dim(text: str) -> str:
    """Text that stands back on a terminal."""
    return f"\033[2m{text}\033[0m" if COLOURED else text


def title(text: str) -> None:
    """A heading over the next command."""
    rule = "─" * len(text)
    print(f"\n{bold(text)}\n{dim(rule)}")


def main() -> int:
    """Run all of it, and say what to do next."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="rustassistant-demo-") as name:
        demo = Demo(Path(name))
        try:
            demo.migrate()
            demo.hit()
            demo.miss(Path(name))
            demo.rerun()
            demo.grow()
        except NotAsExpectedError as error:
            print(f"\n✗ The demonstration failed. Expected: {error}.", file=sys.stderr)
            return 1
    title("Next: your own cache")
    print("  rustassistant cache migrate --backup --verify")
    print("  rustassistant cache get --type docs --content path/to/a/file")
    print(dim("  It is looked for in ~/.rustassistant/cache/repos; --source names another place,"))
    print(dim("  such as a repository with a .rustassistant in it. It is never written to."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
