"""What takes longest, compiled: it says the same as the Python that it stands in for, or nothing.

Built where a C compiler is at hand when this is installed. Where none was, and where
``RUSTASSISTANT_PURE_PYTHON`` is set, all is done in Python, to the same end, and takes longer: each
name is None then. What they do is said in the ``.pyi`` files here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rustassistant.native.arrivals import Arriving as _Arriving
    from rustassistant.native.entries import Parts
    from rustassistant.native.reading import Reader as _Reader
    from rustassistant.native.records import Packer as _Packer

PURE_PYTHON: Final = "RUSTASSISTANT_PURE_PYTHON"


def _compiled(module: str, name: str) -> Any:
    if os.environ.get(PURE_PYTHON):
        return None
    try:
        return getattr(import_module(f"{__name__}.{module}"), name)
    except (ImportError, AttributeError):  # not built, for another Python, or from older source
        return None


take_apart: Final[Callable[[bytes], Parts | None] | None] = _compiled("entries", "take_apart")
Arriving: Final[type[_Arriving] | None] = _compiled("arrivals", "Arriving")
Packer: Final[type[_Packer] | None] = _compiled("records", "Packer")
Reader: Final[type[_Reader] | None] = _compiled("reading", "Reader")
names_alone: Final[Callable[[str, bytes], list[str] | None] | None] = _compiled(
    "files", "names_alone"
)
stamp: Final[Callable[[int, int, int, int], int] | None] = _compiled("files", "stamp")
unchanged: Final[
    Callable[
        [int, tuple[str, ...], list[Collection[int] | None]],
        tuple[list[int], int],
    ]
    | None
] = _compiled("files", "unchanged")
