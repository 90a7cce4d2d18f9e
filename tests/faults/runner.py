"""The command line as a process of its own that tells after each commit what is safe.

``python -m faults.runner FD ARGUMENT...``: acknowledgements go to the descriptor FD, as JSON Lines.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from faults.children import Commits
from rustassistant.cli import main


def _say(word: str, value: Any) -> None:
    os.write(_pipe, json.dumps((word, value)).encode() + b"\n")


if __name__ == "__main__":
    _pipe = int(sys.argv.pop(1))
    Commits(_say, commit_rows=8, partition_files=5)
    main()
