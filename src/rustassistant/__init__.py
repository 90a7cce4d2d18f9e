"""The safe home of paid-for LLM analyses of source code."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rustassistant.cache import (
        AnalysisCache,
        CachedAnalysis,
        CacheStatistics,
        Computed,
        DamagedEntryWarning,
        NotKeptWarning,
    )
    from rustassistant.entry import CacheType
    from rustassistant.errors import RustAssistantError
    from rustassistant.export import CacheExporter, CacheImporter, ExportResult, ImportResult
    from rustassistant.migrate import (
        CacheMigrator,
        MigrationConflict,
        MigrationFailure,
        MigrationProgress,
        MigrationResult,
        OnConflict,
        Rehearsal,
        Selection,
        Spending,
        Verification,
    )
    from rustassistant.verification import CacheVerifier

from rustassistant.version import __version__

__all__ = [
    "AnalysisCache",
    "CacheExporter",
    "CacheImporter",
    "CacheMigrator",
    "CacheStatistics",
    "CacheType",
    "CacheVerifier",
    "CachedAnalysis",
    "Computed",
    "DamagedEntryWarning",
    "ExportResult",
    "ImportResult",
    "MigrationConflict",
    "MigrationFailure",
    "MigrationProgress",
    "MigrationResult",
    "NotKeptWarning",
    "OnConflict",
    "Rehearsal",
    "RustAssistantError",
    "Selection",
    "Spending",
    "Verification",
    "__version__",
]

_ROOMS = {
    "AnalysisCache": "cache",
    "CacheExporter": "export",
    "CacheImporter": "export",
    "CacheStatistics": "cache",
    "CacheType": "entry",
    "CacheVerifier": "verification",
    "CachedAnalysis": "cache",
    "Computed": "cache",
    "DamagedEntryWarning": "cache",
    "ExportResult": "export",
    "ImportResult": "export",
    "NotKeptWarning": "cache",
    "RustAssistantError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: the command's ``--help`` needs none."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'migrate')}"), name)


def __dir__() -> list[str]:
    return __all__
