"""The settings: ``config.toml`` and the environment over the defaults, each with its origin.

A command's options stand above both; that order is the command line's (``cli/options.py``).
"""

from rustassistant.configuration.loading import load
from rustassistant.configuration.settings import (
    Configuration,
    Origin,
    OriginKind,
    PriceOverride,
    home,
)

__all__ = ["Configuration", "Origin", "OriginKind", "PriceOverride", "home", "load"]
