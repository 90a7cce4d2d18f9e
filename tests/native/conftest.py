"""Nothing here can be held side by side where Python alone was asked for."""

from __future__ import annotations

import os

from rustassistant.native import PURE_PYTHON

collect_ignore_glob = ["test_*.py"] if os.environ.get(PURE_PYTHON) else []
