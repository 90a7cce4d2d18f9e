"""Reading ``config.toml``: its values, and the line that each stands on."""

from __future__ import annotations

import os
import re
import stat
from decimal import Decimal
from typing import Any, Final, NamedTuple

from rustassistant.errors import ConfigurationError

MAX_BYTES: Final = 2**20
"""More is no configuration but some other file, or a device that never ends."""

_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


class Document(NamedTuple):
    """A TOML file. ``values`` has decimals exactly as written; ``lines`` is as in `toml_lines`."""

    values: dict[str, Any]
    lines: dict[tuple[str | int, ...], int]


def read_document(file: str) -> Document | None:
    """The file's content, None if there is no such file.

    Raises ConfigurationError for what can't be read or is no TOML, naming the line.
    """
    content = _read(file)
    if content is None:
        return None
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{file}:{line}: not valid UTF-8: {error.reason}"]) from None
    import tomllib

    from rustassistant.configuration.toml_lines import lines_of_keys

    try:
        return Document(tomllib.loads(text, parse_float=Decimal), lines_of_keys(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_syntax(file, text, str(error))]) from None
    except RecursionError:
        raise ConfigurationError([f"{file}: nested too deeply"]) from None
    except (ValueError, ArithmeticError) as error:  # digits without end
        raise ConfigurationError([f"{file}: not valid TOML: {error}"]) from None


def _read(file: str) -> bytes | None:
    try:
        # O_NONBLOCK: opening a FIFO does not wait for who might write into it
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.islink(file):
            raise ConfigurationError([f"{file}: a link to a file that is not there"]) from None
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError([f"{file}: can't be read: {reason}"]) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            what = "a directory" if stat.S_ISDIR(mode) else "no regular file"
            raise ConfigurationError([f"{file}: can't be read: it is {what}"])
        with open(descriptor, "rb", closefd=False) as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{file}: can't be read: {error.strerror}"]) from None
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise ConfigurationError([f"{file}: larger than {MAX_BYTES} bytes: not a configuration"])
    return content


def _syntax(file: str, text: str, message: str) -> str:
    match = _PLACE.fullmatch(message)
    if match is None:
        return f"{file}: not valid TOML: {message}"
    what, line, column = match.groups()
    if line is None:
        end = text.rstrip().count("\n") + 1
        return f"{file}:{end}: not valid TOML: {what[:1].lower()}{what[1:]}, at the end"
    return f"{file}:{line}: not valid TOML: {what[:1].lower()}{what[1:]}, at column {column}"
