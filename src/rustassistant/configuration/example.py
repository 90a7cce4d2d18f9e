"""A first ``config.toml``: every key with its meaning and its default, all commented out."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from rustassistant.configuration.settings import FILE_NAME, SETTINGS, Setting, home
from rustassistant.errors import UsageError

_HEAD: Final = """\
# The settings of rustassistant. Uncomment what you want to change; `rustassistant config` shows
# what is in force and where it came from. Environment variables and options outweigh this file.
"""
_PRICES: Final = """\

# What models cost, where you know better than the price list: US dollars per million tokens.
# Without a provider it counts for all that offer the model.
#
# [prices."grok-beta"]
# input_usd_per_million = 5.00
# output_usd_per_million = 15.00
# provider = "xai"
"""
_EXAMPLES: Final = {
    "cache.jobs": "4",
    "cache.max_size": '"500MiB"',
    "cache.source": '"~/.rustassistant/cache/repos"',
    "cache.destination": '"~/.rustassistant/cache.db"',
}
"""Where the default can't be written, or would name this user's home."""


def example() -> str:
    """The text of an example file."""
    parts = [_HEAD]
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            parts.append(f"\n[{section}]\n")
        parts.append(f"# {setting.about}\n# {setting.key} = {_default(setting)}\n")
    return "".join([*parts, _PRICES])


def write_example() -> Path:
    """Write the example as this user's configuration and return its path.

    Raises UsageError if there is a file already, which stays as it is, or none can be written.
    """
    directory = home()
    file = directory / FILE_NAME
    beside = directory / f".{FILE_NAME}.{os.getpid()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write(beside, example().encode())
            os.link(beside, file)  # unlike a rename it never takes the place of another
        finally:
            beside.unlink(missing_ok=True)
        _sync_directory(directory)
    except OSError as error:
        if os.path.lexists(file):
            raise UsageError(f"{file} is there already; it was left as it is") from None
        raise UsageError(f"{file} can't be written: {error.strerror}") from None
    return file


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)  # of a process with our number that died here
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _default(setting: Setting) -> str:
    return _EXAMPLES.get(setting.name) or _toml(setting.default(Path()))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, Decimal) else msgspec.json.encode(value).decode()
