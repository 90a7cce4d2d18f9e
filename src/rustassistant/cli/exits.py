"""Exit codes of commands that end without an error. An error carries its own."""

from __future__ import annotations

from typing import Final

EXIT_MISS: Final = 1
"""Nothing is there that answers, as with grep."""

EXIT_DECLINED: Final = 1
"""Asked before something was removed, somebody said no."""

EXIT_FAILURES: Final = 3
"""Some entries could not be handled; each is named."""

EXIT_DAMAGED: Final = 4
EXIT_DIFFERENCES: Final = 4
"""What is stored is not what it should be."""

EXIT_CONFLICTS: Final = 5
"""Two results claim one place, and nobody has decided between them."""
