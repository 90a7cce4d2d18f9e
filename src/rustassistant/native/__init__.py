"""What takes longest, compiled: it says the same as the Python that it stands in for, or nothing.

Built where a C compiler is at hand when this is installed. Where none was, and where
``RUSTASSISTANT_PURE_PYTHON`` is set, all is done in Python, to the same end, and takes longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rustassistant.native.entries import Parts

PURE_PYTHON: Final = "RUSTASSISTANT_PURE_PYTHON"


def _compiled() -> Callable[[bytes], Parts | None] | None:
    if os.environ.get(PURE_PYTHON):
        return None
    try:
        from rustassistant.native.entries import take_apart
    except ImportError:  # not built, or for another Python
        return None
    return take_apart


take_apart: Final = _compiled()
"""See ``entries.pyi``; None where it is not to be had."""
