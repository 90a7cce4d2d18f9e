"""The cache for programs."""

from rustassistant.cache.analysis_cache import AnalysisCache
from rustassistant.cache.cached import CachedAnalysis, CacheStatistics, Computed
from rustassistant.cache.warning import DamagedEntryWarning, NotKeptWarning

__all__ = [
    "AnalysisCache",
    "CacheStatistics",
    "CachedAnalysis",
    "Computed",
    "DamagedEntryWarning",
    "NotKeptWarning",
]
