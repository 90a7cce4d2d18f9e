"""How results are compressed: rewriting them, and what other ways to compress would give."""

from rustassistant.tuning.compression import (
    LEVELS,
    Compression,
    Trial,
    TypeCompression,
    measure_compression,
)
from rustassistant.tuning.recompress import (
    Damage,
    Estimate,
    Recompressed,
    RecompressOptions,
    estimate_recompression,
    recompress,
)

__all__ = [
    "LEVELS",
    "Compression",
    "Damage",
    "Estimate",
    "RecompressOptions",
    "Recompressed",
    "Trial",
    "TypeCompression",
    "estimate_recompression",
    "measure_compression",
    "recompress",
]
