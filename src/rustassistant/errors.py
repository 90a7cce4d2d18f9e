"""The one exception tree. Each class owns its exit code and, where one helps, its hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class RustAssistantError(Exception):
    """Base of every error of ours: what happened, to what, and what to do about it.

    ``hint`` is one sentence for the person who has to act; ``exit_code`` is what the command
    line exits with.
    """

    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint


class UsageError(RustAssistantError):
    """The call itself makes no sense: options that exclude each other, a value out of range."""

    exit_code = 2


class ConfigurationError(RustAssistantError):
    """The configuration can't be read, or something in it is not known or not allowed.

    ``problems`` are all there are, each on a line that names the place; the message is the first.
    """

    exit_code = 2
    default_hint = "rustassistant config --help and docs/configuration.md say what may stand there."

    def __init__(self, problems: Sequence[str], *, hint: str | None = None) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more, hint=hint)
        self.problems = tuple(problems)


class NotFoundError(RustAssistantError):
    """A source or destination that was named does not exist."""

    exit_code = 10


class NotACacheError(RustAssistantError):
    """The source exists, but nothing in it is laid out as a RustAssistant cache."""

    default_hint = (
        "Name the directory that holds the <hash8> directories, one of those, a repository, "
        "or its .rustassistant directory."
    )


class SourceUnreadableError(RustAssistantError):
    """The source exists, but the operating system does not let us read it."""

    default_hint = "Check its permissions, or run as the user who owns the cache."


class ForeignFileError(RustAssistantError):
    """The destination is a file that some other program made. It was not touched."""

    default_hint = "Name another destination; this file was left as it is."


class NewerFileError(RustAssistantError):
    """The database was written by a newer version of this program. It was not touched."""

    default_hint = "Upgrade rustassistant; the file was left as it is."


class UnsafePlaceError(RustAssistantError):
    """The destination lies where SQLite cannot keep its promises (a network file system)."""

    default_hint = (
        "Put the database on a local disk: over a network, two machines can damage it unseen."
    )


class DestinationError(RustAssistantError):
    """The destination cannot be written: a directory, read-only, no permission, bad medium."""


class OutOfSpaceError(DestinationError):
    """The disk is full, or would be. What was committed before stays."""

    default_hint = "Free some space and run the same command again: it goes on where it stopped."


class LockedError(RustAssistantError):
    """Another process holds the database's write lock."""

    exit_code = 11
    default_hint = "Wait until it has finished, then run the same command again."


class UnreachableSizeError(RustAssistantError):
    """Even without all that may be evicted the database would be larger than was asked for."""

    default_hint = "Nothing was evicted. Name a larger size, unpin entries, or widen the filters."


class DamagedError(RustAssistantError):
    """Bytes read back are not the bytes that were written."""

    exit_code = 4
    default_hint = "Keep the file as it is, and migrate again from the JSON cache into a new one."


class ConflictError(RustAssistantError):
    """Results under one identity differ, and the user asked to be told instead of choosing."""

    exit_code = 5
    default_hint = (
        "Nothing was changed. Choose with --on-conflict newest, oldest or keep-both; whichever "
        "does not answer is kept in the trash."
    )

    def __init__(
        self, message: str, *, hint: str | None = None, conflicts: Sequence[object] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.conflicts = tuple(conflicts)


class ChangedSourceError(RustAssistantError):
    """The source is not what it was when the plan was made."""

    default_hint = "Make a new plan with --plan; nothing was changed."


class BackupError(RustAssistantError):
    """The backup could not be made, or its copy differs from the source."""


class RestoreError(RustAssistantError):
    """The backup could not be restored. What lay in its place lies there still."""


class OccupiedError(RestoreError):
    """Something lies where the backup is to go, and nobody said that it may be replaced."""

    default_hint = (
        "Name another place, or add --force: what lies there is then kept beside it under a name "
        "with the date."
    )


class InterruptedRunError(RustAssistantError):
    """The user stopped the run. Everything committed stays."""

    exit_code = 130
    default_hint = "Run the same command again: it goes on where it stopped."


class UnsuitableResultError(UsageError):
    """A result that JSON would not give back as it was. It was paid for: ``value`` holds it."""

    def __init__(self, message: str, *, hint: str | None = None, value: object) -> None:
        super().__init__(message, hint=hint)
        self.value = value


class EntryError(RustAssistantError):
    """One source file is not an entry that can be kept; the message says why."""


class WorkersUnavailableError(RustAssistantError):
    """Worker processes can't be started on this machine."""

    default_hint = "Run again with --jobs 1 to work in one process."


class WorkerDiedError(RustAssistantError):
    """A worker process ended before it answered (killed, out of memory)."""


class UnsafeSyncError(RustAssistantError):
    """Syncing now could lose results on a side that is as it should be. Nothing was done."""
