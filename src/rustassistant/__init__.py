"""The safe home of paid-for LLM analyses of source code."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rustassistant.entry import CacheType
    from rustassistant.errors import RustAssistantError
    from rustassistant.migrate import (
        CacheMigrator,
        MigrationFailure,
        MigrationProgress,
        MigrationResult,
        Verification,
    )

__version__ = "0.1.0"

__all__ = [
    "CacheMigrator",
    "CacheType",
    "MigrationFailure",
    "MigrationProgress",
    "MigrationResult",
    "RustAssistantError",
    "Verification",
    "__version__",
]

_ROOMS = {"CacheType": "entry", "RustAssistantError": "errors"}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: the command's ``--help`` needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'migrate')}"), name)


def __dir__() -> list[str]:
    return __all__
